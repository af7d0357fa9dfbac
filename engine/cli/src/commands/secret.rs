//! `bascule secret`

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, Result};
use bascule_capability::secret::Secret;
use serde_json::json;

use crate::arguments;
use crate::exit::{Exit, coded, coded_with_help};
use crate::paint;
use crate::site::{Places, Site};

/// Runs the subcommand.
pub(crate) async fn run(places: Places, command: arguments::Secret) -> Result<Exit> {
    let site = Site::open(places).await?;
    let exit = match command {
        arguments::Secret::Set { name, expires } => {
            let value = value(&name)?;
            site.secrets.set(&name, value, expires).await?;
            paint::line(format!("stored {name}"));
            Exit::Success
        }
        arguments::Secret::List { json: false } => {
            let now = jiff::Timestamp::now();
            let rows: Vec<Vec<String>> = site
                .secrets
                .list()
                .await?
                .into_iter()
                .map(|info| {
                    let expires = match info.expires_at {
                        None => "-".to_owned(),
                        Some(at) if info.is_expired(now) => paint::bad(&format!("expired {at}")),
                        Some(at) => at.to_string(),
                    };
                    vec![info.name, info.updated_at.to_string(), expires]
                })
                .collect();
            if rows.is_empty() {
                paint::line("no secrets are stored; `bascule secret set NAME` stores one");
            } else {
                paint::line(paint::table(&["name", "set", "expires"], &rows));
            }
            Exit::Success
        }
        arguments::Secret::List { json: true } => {
            let list: Vec<_> = site
                .secrets
                .list()
                .await?
                .into_iter()
                .map(|info| json!({ "name": info.name, "set": info.updated_at, "expires": info.expires_at }))
                .collect();
            paint::line(serde_json::to_string_pretty(&list)?);
            Exit::Success
        }
        arguments::Secret::Remove { name } => {
            if !site.secrets.remove(&name).await? {
                return Err(coded(Exit::NotFound, format!("there is no secret `{name}`")));
            }
            paint::line(format!("removed {name}"));
            Exit::Success
        }
    };
    site.database.close().await;
    Ok(exit)
}

/// Reads the value from standard input; one line end at its end is not part of it.
fn value(name: &str) -> Result<Secret> {
    let mut text = String::new();
    if std::io::stdin().is_terminal() {
        paint::note(format!("value of `{name}` (not shown while you type; end with Enter):"));
        text = console::Term::stderr().read_secure_line().context("cannot read from the terminal")?;
    } else {
        std::io::stdin().take(1 << 20).read_to_string(&mut text).context("standard input is not text")?;
    }
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(coded_with_help(
            Exit::Usage,
            format!("no value for `{name}` came in on standard input"),
            format!("type it, or pipe it: `bascule secret set {name} < FILE`"),
        ));
    }
    Ok(Secret::new(value))
}
