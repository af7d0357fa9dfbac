//! AK/SK: the published vectors and the requests that the binary really sends, through Python's own HMAC.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Site;
use super::judge::{Judge, script};
use crate::process::{output_of, root, say};

const KEY: &str = "21000001";
const SECRET: &str = "conformance-Artemis-1!";

/// Runs the checks; returns how many passed.
pub(super) fn check(ground: &Path, binaries: &Path) -> Result<u32> {
    let judge = Judge::start(&ground.join("judge"), SECRET)?;
    let file = root().join("tests/fixtures/artemis_vectors.json");
    let vectors: u32 = output_of(script().arg("vectors").arg(file))?.trim().parse()?;
    say(&format!("AK/SK: Python rebuilds and judges {vectors} published vectors as they say: ok"));

    let port = judge.port;
    let connection = |name: &str, md5: &str| {
        format!(
            "  {name}:\n    url: http://127.0.0.1:{port}\n    auth:\n      ak-sk: {{ key: {{ env: BASCULE_CONFORMANCE_KEY }}, \
             secret: {{ env: BASCULE_CONFORMANCE_SECRET }}, content-md5: {md5} }}\n"
        )
    };
    let inventory = format!("connections:\n{}{}", connection("plain", "false"), connection("hashed", "true"));
    let workflow = fs::read_to_string(root().join("tests/fixtures/conformance/signatures.yaml"))?;
    let site = Site::new(&ground.join("site"), binaries, &inventory, &[("signatures", &workflow)])?;
    let secrets = |secret| [("BASCULE_CONFORMANCE_KEY", KEY), ("BASCULE_CONFORMANCE_SECRET", secret)];
    let output = site.run_with("signatures", "succeeded", &secrets(SECRET))?;
    ensure!(output == json!({ "versions": ["V3.1.1.0", "V3.1.1.0"], "people": [0, 0] }), "{output}");
    let seen = judge.seen()?;
    ensure!(seen.len() == 4, "the gateway saw {} requests, not 4", seen.len());
    for one in &seen {
        ensure!(one["signature"] == true && one["fresh"] == true, "not signed as Python signs it: {one}");
    }
    let md5: Vec<&Value> = seen.iter().map(|one| &one["md5"]).collect();
    ensure!(md5 == [&Value::Null, &json!(true), &Value::Null, &json!(true)], "Content-MD5: {md5:?}");
    say(&format!("AK/SK: {} requests of the binary carry Python's signature: ok", seen.len()));

    // A wrong secret is refused by the gateway, and said as what it is.
    site.run_with("signatures", "failed", &secrets("another-Secret-2!"))?;
    let refused = judge.seen()?;
    let refused = refused.get(4..).unwrap_or_default();
    ensure!(
        !refused.is_empty() && refused.iter().all(|one| one["signature"] == false),
        "a wrong secret went through: {refused:?}"
    );
    Ok(vectors + u32::try_from(seen.len())? + 1)
}
