//! `bascule connection`

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bascule_capability::http::CallContext;
use bascule_workflow::project::{Auth, Connection as Entry};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use crate::arguments;
use crate::exit::{Exit, coded, coded_with_help};
use crate::live::describe;
use crate::paint;
use crate::serving::Client;
use crate::site::{Places, Site};

/// The longest that a test may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the subcommand.
pub(crate) async fn run(places: Places, command: arguments::Connection) -> Result<Exit> {
    match command {
        arguments::Connection::List { json } => list(&places, json),
        arguments::Connection::Test { name, params } => {
            let params = parse(&params)?;
            if let Some(client) = Client::find(&places).await? {
                let path = format!("/api/v1/connections/{name}/test");
                return tested(&name, &client.post(&path, &json!({ "params": params })).await?);
            }
            let site = Site::open(places).await?;
            let exit = test(&site, &name, &params).await;
            site.close(exit).await
        }
        arguments::Connection::Pin { name, params, expect } => {
            let params = parse(&params)?;
            if let Some(client) = Client::find(&places).await? {
                return pin_beside(&client, &name, &params, expect.as_deref()).await;
            }
            let site = Site::open(places).await?;
            let exit = pin(&site, &name, &params, expect.as_deref()).await;
            site.close(exit).await
        }
    }
}

fn list(places: &Places, as_json: bool) -> Result<Exit> {
    let project = places.inventory()?;
    if as_json {
        let list: Vec<_> = project
            .connections
            .iter()
            .map(|(name, entry)| {
                json!({ "name": name, "description": entry.description, "params": entry.params, "auth": scheme(entry) })
            })
            .collect();
        paint::line(serde_json::to_string_pretty(&list)?);
        return Ok(Exit::Success);
    }
    if project.connections.is_empty() {
        paint::line("bascule.yaml has no connections");
        return Ok(Exit::Success);
    }
    let rows: Vec<Vec<String>> = project
        .connections
        .iter()
        .map(|(name, entry)| {
            vec![
                name.clone(),
                scheme(entry).to_owned(),
                if entry.params.is_empty() { "-".to_owned() } else { entry.params.join(", ") },
                entry.description.clone().unwrap_or_default(),
            ]
        })
        .collect();
    paint::line(paint::table(&["name", "auth", "params", "description"], &rows));
    Ok(Exit::Success)
}

fn scheme(entry: &Entry) -> &'static str {
    match entry.auth {
        Auth::None => "none",
        Auth::Basic { .. } => "basic",
        Auth::Digest { .. } => "digest",
        Auth::AkSk { .. } => "ak-sk",
        Auth::Token(_) => "token",
        Auth::Headers(_) => "headers",
    }
}

/// `NAME=JSON`; what is not JSON is taken as text.
pub(crate) fn parse(params: &[String]) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    for pair in params {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(coded_with_help(
                Exit::Usage,
                format!("`{pair}` is not a parameter"),
                r#"write it as NAME=JSON, e.g. `--param 'device={"ip":"10.0.0.7","port":80}'`"#,
            ));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        map.insert(name.to_owned(), value);
    }
    Ok(map)
}

async fn test(site: &Site, name: &str, params: &Map<String, Value>) -> Result<Exit> {
    let connection = known(site, name, params).await?;
    let context = CallContext {
        cancel: CancellationToken::new(),
        deadline: tokio::time::Instant::now() + LIMIT,
        progress: None,
    };
    match connection.test(&context).await {
        Ok(report) => print_report(
            name,
            &Report {
                origin: connection.origin(),
                status: u64::from(report.status),
                elapsed_ms: i64::try_from(report.elapsed.as_millis()).unwrap_or(i64::MAX),
                login: &report.scheme,
                certificate: report.tls_fingerprint.as_deref(),
                date: report.server_date.as_deref(),
            },
        ),
        Err(failure) => Ok(failed(name, &describe(&failure))),
    }
}

/// What a test found.
struct Report<'r> {
    origin: &'r str,
    status: u64,
    elapsed_ms: i64,
    login: &'r str,
    certificate: Option<&'r str>,
    date: Option<&'r str>,
}

fn print_report(name: &str, report: &Report<'_>) -> Result<Exit> {
    let fine = report.status < 400;
    let word = if fine { paint::good("ok") } else { paint::bad("refused") };
    paint::line(format!(
        "{word} {name}: {} answered {} in {}",
        report.origin,
        report.status,
        paint::span(report.elapsed_ms)
    ));
    paint::line(format!("   login: {}", report.login));
    if let Some(fingerprint) = report.certificate {
        paint::line(format!("   certificate: sha256:{fingerprint}"));
    }
    if let Some(date) = report.date {
        paint::line(format!("   its clock: {date}"));
    }
    Ok(if fine { Exit::Success } else { Exit::Failed })
}

fn failed(name: &str, why: &str) -> Exit {
    paint::line(format!("{} {name}: {why}", paint::bad("failed")));
    Exit::Failed
}

/// What a failure of the server's answer says, if it is one.
fn failure_of(answer: &Value) -> Option<String> {
    let error = answer["error"].as_object()?;
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    Some(format!("{}: {}", text("kind"), text("message")))
}

/// What a running server says about a test.
fn tested(name: &str, answer: &Value) -> Result<Exit> {
    if let Some(why) = failure_of(answer) {
        return Ok(failed(name, &why));
    }
    let text = |key: &str| answer[key].as_str();
    print_report(
        name,
        &Report {
            origin: text("origin").unwrap_or_default(),
            status: answer["status"].as_u64().context("the server's answer has no status")?,
            elapsed_ms: answer["elapsed_ms"].as_i64().unwrap_or_default(),
            login: text("login").unwrap_or_default(),
            certificate: text("tls_fingerprint"),
            date: text("server_date"),
        },
    )
}

async fn known(
    site: &Site,
    name: &str,
    params: &Map<String, Value>,
) -> Result<bascule_capability::http::Connection> {
    let Some(entry) = site.project.connections.get(name) else {
        let names: Vec<&str> = site.project.connections.keys().map(String::as_str).collect();
        return Err(coded_with_help(
            Exit::NotFound,
            format!("there is no connection `{name}`"),
            format!("there is {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
        ));
    };
    if let Some(missing) = entry.params.iter().find(|param| !params.contains_key(*param)) {
        return Err(coded_with_help(
            Exit::Usage,
            format!("connection `{name}` needs `{missing}`"),
            format!(r#"e.g. `--param '{missing}={{"ip":"10.0.0.7","port":80}}'`"#),
        ));
    }
    let capabilities = site.capabilities().await?;
    capabilities.connection(name, params).map_err(|failure| coded(Exit::Unusable, describe(&failure)))
}

async fn pin(site: &Site, name: &str, params: &Map<String, Value>, expect: Option<&str>) -> Result<Exit> {
    let connection = known(site, name, params).await?;
    let capabilities = site.capabilities().await?;
    let found = match capabilities.fetch_fingerprint(name, params).await {
        Ok(found) => found,
        Err(failure) => {
            return Ok(failed(name, &describe(&failure)));
        }
    };
    paint::line(format!("{} shows the certificate sha256:{found}", connection.origin()));
    if !agreed(name, &found, expect)? {
        return Ok(Exit::Failed);
    }
    capabilities
        .store_pin(name, connection.peer(), &found)
        .await
        .map_err(|failure| coded(Exit::Storage, describe(&failure)))?;
    let stored = site.project.connections.get(name).is_some_and(|entry| entry.tls.stored_pin);
    Ok(pinned(name, connection.origin(), if stored { Use::Already } else { Use::NotYet }))
}

/// Whether the connection goes by stored pins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Already,
    NotYet,
}

fn pinned(name: &str, origin: &str, uses: Use) -> Exit {
    paint::line(format!("pinned {origin}"));
    if uses == Use::NotYet {
        paint::line(format!(
            "{}: put `tls: {{ pin: stored }}` into the entry `{name}` of bascule.yaml, or the pin is not used",
            paint::warn("not yet in use")
        ));
    }
    Exit::Success
}

/// Whether exactly this certificate is to be trusted: as expected, or as a person says.
fn agreed(name: &str, found: &str, expect: Option<&str>) -> Result<bool> {
    match expect {
        Some(expected) => {
            let expected: String =
                expected.trim_start_matches("sha256:").chars().filter(|c| *c != ':').collect();
            let same = expected.eq_ignore_ascii_case(found);
            if !same {
                paint::line(paint::bad(
                    "this is another certificate than the expected one: nothing was pinned",
                ));
            }
            Ok(same)
        }
        None if std::io::stdin().is_terminal() => {
            paint::note(
                "compare it with what the device's own page shows. Trust exactly this certificate from now on? [y/N]",
            );
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer).context("cannot read from the terminal")?;
            let yes = matches!(answer.trim(), "y" | "Y" | "yes");
            if !yes {
                paint::line("nothing was pinned");
            }
            Ok(yes)
        }
        None => Err(coded_with_help(
            Exit::Usage,
            "nobody is there to confirm the fingerprint",
            format!("compare it, then run `bascule connection pin {name} --expect {found}`"),
        )),
    }
}

/// Through the server that owns the data folder: it looks, a person agrees, it looks again and pins what was agreed on.
async fn pin_beside(
    client: &Client,
    name: &str,
    params: &Map<String, Value>,
    expect: Option<&str>,
) -> Result<Exit> {
    let path = format!("/api/v1/connections/{name}/pin");
    let seen = client.post(&path, &json!({ "params": params })).await?;
    if let Some(why) = failure_of(&seen) {
        return Ok(failed(name, &why));
    }
    let found = seen["found"].as_str().context("the server named no certificate")?;
    let origin = seen["origin"].as_str().unwrap_or_default();
    paint::line(format!("{origin} shows the certificate sha256:{found}"));
    if !agreed(name, found, expect)? {
        return Ok(Exit::Failed);
    }
    let stored = client.post(&path, &json!({ "params": params, "expect": found })).await?;
    if stored["pinned"] != true {
        return Ok(failed(name, "it showed another certificate this time: nothing was pinned"));
    }
    let uses = if stored["uses_stored_pin"] == true { Use::Already } else { Use::NotYet };
    Ok(pinned(name, origin, uses))
}
