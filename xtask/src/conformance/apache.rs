//! The Digest client against Apache's mod_auth_digest.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Site, free_port, until_listening};
use crate::process::{Running, must, root, say};

const USER: &str = "admin";
const PASSWORD: &str = "conformance-Digest-1!";
const REALM: &str = "IP Camera(83813)";

/// What Apache answers for any path below `/ISAPI`: who asked, with what method, and the body's length.
const SCRIPT: &str = r#"#!/bin/sh
body=$(cat)
printf 'Content-Type: application/json\r\n\r\n'
case "$PATH_INFO" in
  */UserInfo/Count) printf '{"UserInfoCount":{"userNumber":%d,"user":"%s","method":"%s"}}' "${CONTENT_LENGTH:-0}" "$REMOTE_USER" "$REQUEST_METHOD" ;;
  */UserInfo/Search) printf '{"UserInfoSearch":{"searchID":"1","responseStatusStrg":"OK","numOfMatches":1,"totalMatches":1,"UserInfo":[{"employeeNo":"1001","name":"%s-%s","userType":"normal","numOfFace":1}]}}' "$REQUEST_METHOD" "${#body}" ;;
  *) printf '{"statusCode":1,"statusString":"OK","subStatusCode":"ok"}' ;;
esac
"#;

/// One way of asking for Digest; `nonces` and `gap` are the connection's. mod_auth_digest knows only MD5 and qop `auth`.
struct Case {
    name: &'static str,
    directives: &'static str,
    nonces: &'static str,
    gap: &'static str,
}

const CASES: [Case; 3] = [
    Case { name: "a fresh challenge for each request", directives: "", nonces: "fresh", gap: "0s" },
    Case { name: "one challenge kept, nc counted", directives: "", nonces: "reuse", gap: "0s" },
    Case {
        name: "nonces that live one second, requests two seconds apart",
        directives: "AuthDigestNonceLifetime 1\n",
        nonces: "reuse",
        gap: "2s",
    },
];

/// Runs every case; returns how many checks passed.
pub(super) fn check(ground: &Path, binaries: &Path) -> Result<u32> {
    if !Path::new("/usr/sbin/apache2").exists() {
        super::install("apache2", &["apache2", "apache2-utils"])?;
    }
    let mut passed = 0;
    for case in &CASES {
        passed += one(ground, binaries, case).with_context(|| format!("Apache, {}", case.name))?;
        say(&format!("Apache mod_auth_digest: {}: ok", case.name));
    }
    Ok(passed)
}

fn one(ground: &Path, binaries: &Path, case: &Case) -> Result<u32> {
    if ground.exists() {
        fs::remove_dir_all(ground)?;
    }
    fs::create_dir_all(ground)?;
    let port = free_port()?;
    let script = ground.join("isapi.sh");
    fs::write(&script, SCRIPT)?;
    must(Command::new("chmod").arg("755").arg(&script))?;
    must(Command::new("chmod").arg("755").arg(ground))?;
    let ha1 = format!("{USER}:{REALM}:{PASSWORD}");
    let hash = crate::process::output_of(Command::new("sh").args([
        "-c",
        r#"printf %s "$1" | md5sum | cut -c1-32"#,
        "sh",
        &ha1,
    ]))?;
    fs::write(ground.join("users"), format!("{USER}:{REALM}:{}\n", hash.trim()))?;
    let here = ground.display();
    let modules: String = [
        "mpm_event",
        "authn_core",
        "authn_file",
        "authz_core",
        "authz_user",
        "auth_digest",
        "alias",
        "cgid",
        "env",
    ]
    .iter()
    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
    .collect();
    fs::write(
        ground.join("httpd.conf"),
        format!(
            "{modules}ServerRoot {here}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {here}/pid\nErrorLog {here}/error.log\n\
             ScriptSock {here}/cgid.sock\nDefaultRuntimeDir {here}\nUser www-data\nGroup www-data\nKeepAliveTimeout 10\n\
             ScriptAlias /ISAPI {here}/isapi.sh\n\
             <Location /ISAPI>\nAuthType Digest\nAuthName \"{REALM}\"\nAuthDigestProvider file\nAuthUserFile {here}/users\n\
             {}Require valid-user\n</Location>\n",
            case.directives
        ),
    )?;
    let mut server = Running::start(
        Command::new("/usr/sbin/apache2").arg("-f").arg(ground.join("httpd.conf")).arg("-DFOREGROUND"),
    )?;
    until_listening(port, Duration::from_secs(10))
        .with_context(|| fs::read_to_string(ground.join("error.log")).unwrap_or_default())?;

    let inventory = format!(
        "connections:\n  terminal:\n    url: http://127.0.0.1:{port}\n    auth:\n      digest:\n        user: {USER}\n        \
         password: {{ env: BASCULE_CONFORMANCE_PASSWORD }}\n        nonces: {}\n    gap: {}\n    test: /ISAPI/AccessControl/UserInfo/Count\n",
        case.nonces, case.gap
    );
    let workflow = fs::read_to_string(root().join("tests/fixtures/conformance/digest.yaml"))?;
    let site = Site::new(&ground.join("site"), binaries, &inventory, &[("digest", &workflow)])?;
    let status = site
        .bascule(&["connection", "test", "terminal"])
        .env("BASCULE_CONFORMANCE_PASSWORD", PASSWORD)
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "`bascule connection test` ended with {status}");
    let output = site.run_with("digest", "succeeded", &[("BASCULE_CONFORMANCE_PASSWORD", PASSWORD)])?;
    // The script saw the method and a body: the name it made of them came back through the plugin.
    let names = output["names"].as_array().context("no names")?;
    ensure!(
        names.len() == 4
            && names.iter().all(|name| name.as_str().is_some_and(|name| name.starts_with("POST-"))),
        "{output}"
    );

    // A wrong password is refused by Apache, tried no more than twice, and said as what it is.
    site.run_with("digest", "failed", &[("BASCULE_CONFORMANCE_PASSWORD", "wrong-Password-2!")])?;
    let log = fs::read_to_string(ground.join("error.log"))?;
    let mismatches = log.matches("password mismatch").count();
    ensure!((1..=2).contains(&mismatches), "Apache saw {mismatches} wrong passwords:\n{log}");
    terminate(&mut server)?;
    Ok(3)
}

/// Apache's children end with it only when it is asked to (SIGTERM).
fn terminate(server: &mut Running) -> Result<()> {
    let id = server.child().id().to_string();
    must(Command::new("kill").args(["-TERM", &id]))?;
    crate::process::wait_at_most(server.child(), Duration::from_secs(10)).map(drop)
}
