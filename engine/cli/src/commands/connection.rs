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
use crate::site::{Places, Site};

/// The longest that a test may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs the subcommand.
pub(crate) async fn run(places: Places, command: arguments::Connection) -> Result<Exit> {
    match command {
        arguments::Connection::List { json } => list(&places, json),
        arguments::Connection::Test { name, params } => {
            let site = Site::open(places).await?;
            let exit = test(&site, &name, &parse(&params)?).await;
            site.database.close().await;
            exit
        }
        arguments::Connection::Pin { name, params, expect } => {
            let site = Site::open(places).await?;
            let exit = pin(&site, &name, &parse(&params)?, expect.as_deref()).await;
            site.database.close().await;
            exit
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
fn parse(params: &[String]) -> Result<Map<String, Value>> {
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
        Ok(report) => {
            let fine = report.status < 400;
            let word = if fine { paint::good("ok") } else { paint::bad("refused") };
            let millis = i64::try_from(report.elapsed.as_millis()).unwrap_or(i64::MAX);
            paint::line(format!(
                "{word} {name}: {} answered {} in {}",
                connection.origin(),
                report.status,
                paint::span(millis)
            ));
            paint::line(format!("   login: {}", report.scheme));
            if let Some(fingerprint) = &report.tls_fingerprint {
                paint::line(format!("   certificate: sha256:{fingerprint}"));
            }
            if let Some(date) = &report.server_date {
                paint::line(format!("   its clock: {date}"));
            }
            Ok(if fine { Exit::Success } else { Exit::Failed })
        }
        Err(failure) => {
            paint::line(format!("{} {name}: {}", paint::bad("failed"), describe(&failure)));
            Ok(Exit::Failed)
        }
    }
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
            paint::line(format!("{} {name}: {}", paint::bad("failed"), describe(&failure)));
            return Ok(Exit::Failed);
        }
    };
    paint::line(format!("{} shows the certificate sha256:{found}", connection.origin()));
    let agreed = match expect {
        Some(expected) => {
            let expected: String =
                expected.trim_start_matches("sha256:").chars().filter(|c| *c != ':').collect();
            if expected.eq_ignore_ascii_case(&found) {
                true
            } else {
                paint::line(paint::bad(
                    "this is another certificate than the expected one: nothing was pinned",
                ));
                return Ok(Exit::Failed);
            }
        }
        None if std::io::stdin().is_terminal() => {
            paint::note(
                "compare it with what the device's own page shows. Trust exactly this certificate from now on? [y/N]",
            );
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer).context("cannot read from the terminal")?;
            matches!(answer.trim(), "y" | "Y" | "yes")
        }
        None => {
            return Err(coded_with_help(
                Exit::Usage,
                "nobody is there to confirm the fingerprint",
                format!("compare it, then run `bascule connection pin {name} --expect {found}`"),
            ));
        }
    };
    if !agreed {
        paint::line("nothing was pinned");
        return Ok(Exit::Failed);
    }
    capabilities
        .store_pin(name, connection.peer(), &found)
        .await
        .map_err(|failure| coded(Exit::Storage, describe(&failure)))?;
    let stored = site.project.connections.get(name).is_some_and(|entry| entry.tls.stored_pin);
    paint::line(format!("pinned {}", connection.origin()));
    if !stored {
        paint::line(format!(
            "{}: put `tls: {{ pin: stored }}` into the entry `{name}` of bascule.yaml, or the pin is not used",
            paint::warn("not yet in use")
        ));
    }
    Ok(Exit::Success)
}
