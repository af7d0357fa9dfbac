//! `bascule secret`

use std::io::{IsTerminal as _, Read as _};

use anyhow::{Context as _, Result};
use bascule_capability::secret::Secret;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::arguments;
use crate::exit::{Exit, coded, coded_with_help};
use crate::paint;
use crate::serving::Client;
use crate::site::{Places, Site};

/// What is shown of a secret.
#[derive(Deserialize)]
struct Row {
    name: String,
    set: Timestamp,
    expires: Option<Timestamp>,
}

/// Runs the subcommand: through the server where one is running, else in the data folder.
pub(crate) async fn run(places: Places, command: arguments::Secret) -> Result<Exit> {
    if let Some(client) = Client::find(&places).await? {
        return remote(&client, command).await;
    }
    let site = Site::open(places).await?;
    let exit = local(&site, command).await;
    site.close(exit).await
}

async fn local(site: &Site, command: arguments::Secret) -> Result<Exit> {
    match command {
        arguments::Secret::Set { name, expires } => {
            let value = value(&name)?;
            site.secrets.set(&name, value, expires).await?;
            paint::line(format!("stored {name}"));
        }
        arguments::Secret::List { json } => {
            let list = site.secrets.list().await?;
            let row = |info: bascule_capability::secret::SecretInfo| Row {
                name: info.name,
                set: info.updated_at,
                expires: info.expires_at,
            };
            print(list.into_iter().map(row).collect(), json)?;
        }
        arguments::Secret::Remove { name } => {
            if !site.secrets.remove(&name).await? {
                return Err(coded(Exit::NotFound, format!("there is no secret `{name}`")));
            }
            paint::line(format!("removed {name}"));
        }
    }
    Ok(Exit::Success)
}

/// The server's connections use what is set from their next request on.
async fn remote(client: &Client, command: arguments::Secret) -> Result<Exit> {
    let path = |name: &str| {
        let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
        format!("/api/v1/secrets/{}", name.replace('+', "%20"))
    };
    match command {
        arguments::Secret::Set { name, expires } => {
            let value = value(&name)?;
            client.put(&path(&name), &json!({ "value": value.expose(), "expires": expires })).await?;
            paint::line(format!("stored {name}; the server at {} uses it from now on", client.url()));
        }
        arguments::Secret::List { json } => {
            let list = client.get("/api/v1/secrets").await?;
            print(serde_json::from_value(list).context("the server's list cannot be read")?, json)?;
        }
        arguments::Secret::Remove { name } => {
            client.delete(&path(&name)).await?;
            paint::line(format!("removed {name}"));
        }
    }
    Ok(Exit::Success)
}

fn print(list: Vec<Row>, as_json: bool) -> Result<()> {
    if as_json {
        let list: Vec<_> = list
            .into_iter()
            .map(|row| json!({ "name": row.name, "set": row.set, "expires": row.expires }))
            .collect();
        paint::line(serde_json::to_string_pretty(&list)?);
        return Ok(());
    }
    let now = Timestamp::now();
    let rows: Vec<Vec<String>> = list
        .into_iter()
        .map(|row| {
            let expires = match row.expires {
                None => "-".to_owned(),
                Some(at) if at <= now => paint::bad(&format!("expired {at}")),
                Some(at) => at.to_string(),
            };
            vec![row.name, row.set.to_string(), expires]
        })
        .collect();
    if rows.is_empty() {
        paint::line("no secrets are stored; `bascule secret set NAME` stores one");
    } else {
        paint::line(paint::table(&["name", "set", "expires"], &rows));
    }
    Ok(())
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
