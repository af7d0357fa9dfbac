//! Traces of the binary, read by OpenTelemetry's own Python types (`opentelemetry-proto` of PyPI).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Site;
use crate::process::{Running, must, root, say};

/// Nobody listens on the port that it names, so that there is a failure to tell as well.
const WORKFLOW: &str = "steps:
  - id: doors
    for-each: ${{ ['7', '8'] }}
    as: door
    key: ${{ door }}
    keep-going: true
    uses: web/requests.get
    with: { server: nobody, path: \"/${{ door }}\" }
";

/// Runs the checks; returns how many passed.
pub(super) fn check(ground: &Path, binaries: &Path) -> Result<u32> {
    let types = ground.join("python");
    super::install("python3", &["python3"])?;
    super::install("pip3", &["python3-pip"])?;
    if !types.join("opentelemetry").exists() {
        must(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
                .arg(&types)
                .arg("opentelemetry-proto"),
        )?;
    }
    let script = root().join("tests/fixtures/conformance/collector.py");
    let mut collector =
        Running::start(Command::new("python3").arg(script).env("PYTHONPATH", &types).stdout(Stdio::piped()))?;
    let stdout = collector.child().stdout.take().context("the collector has no standard output")?;
    let mut lines = BufReader::new(stdout).lines();
    let port: u16 = lines.next().context("the collector ended")??.trim().parse()?;
    let closed = super::free_port()?;
    let inventory = format!(
        "connections:\n  nobody: {{ url: \"http://127.0.0.1:{closed}\" }}\ntelemetry:\n  otlp: {{ url: \"http://127.0.0.1:{port}\" }}\n"
    );
    let site = Site::new(&ground.join("site"), binaries, &inventory, &[("look", WORKFLOW)])?;
    site.run_with("look", "failed", &[("OTEL_SERVICE_NAME", "north gate")])?;
    let spans = read(&mut lines)?;
    let names: BTreeMap<&str, &Value> =
        spans.iter().filter_map(|span| Some((span["id"].as_str()?, span))).collect();
    ensure!(names.len() == spans.len(), "ids come twice: {spans:#?}");
    for span in &spans {
        let parent = span["parent"].as_str().unwrap_or_default();
        ensure!(parent.is_empty() == (span["name"] == "look"), "only the run has no parent: {span:#}");
        ensure!(parent.is_empty() || names.contains_key(parent), "nobody has sent its parent: {span:#}");
        ensure!(span["service"] == "north gate" && span["trace"] == spans[0]["trace"], "{span:#}");
        ensure!(span["status"] == "STATUS_CODE_ERROR" && span["nanoseconds"].as_i64() >= Some(0), "{span:#}");
        let client = span["name"] == "web/requests.get";
        let kind = if client { "SPAN_KIND_CLIENT" } else { "SPAN_KIND_INTERNAL" };
        ensure!(span["kind"] == kind, "{span:#}");
    }
    say(&format!("traces: OpenTelemetry's own types read {} spans as they were meant: ok", spans.len()));
    Ok(1)
}

/// The spans of one run: the run itself comes last.
fn read(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<Vec<Value>> {
    let mut spans: Vec<Value> = Vec::new();
    loop {
        let line = lines.next().context("the collector ended")??;
        let span: Value = serde_json::from_str(&line)?;
        ensure!(span["error"].is_null(), "the collector did not take it: {span}");
        let last = span["parent"] == "";
        spans.push(span);
        if last {
            return Ok(spans);
        }
    }
}
