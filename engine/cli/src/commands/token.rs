//! `bascule token`

use anyhow::Result;
use bascule_database::{Database, OpenError};
use bascule_server::{Role, TokenError, Tokens};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::arguments;
use crate::exit::{Exit, coded};
use crate::paint;
use crate::serving::Client;
use crate::site::Places;

/// Makes, lists and removes tokens: through the server where one is running, else in the data folder.
pub(crate) async fn run(places: Places, command: arguments::Token) -> Result<Exit> {
    if let Some(client) = Client::find(&places).await? {
        return remote(&client, command).await;
    }
    let database = Database::open(&places.database()).await.map_err(|error| match error {
        OpenError::InUse { .. } => anyhow::Error::from(error),
        other => other.into(),
    })?;
    let tokens = Tokens::open(database.clone()).await?;
    let exit = local(&tokens, command).await;
    database.close().await;
    exit
}

async fn local(tokens: &Tokens, command: arguments::Token) -> Result<Exit> {
    match command {
        arguments::Token::Create { name, role } => {
            let made = tokens.create(&name, role.into(), Timestamp::now()).await;
            let (_, secret) = made.map_err(|error| match error {
                TokenError::Database(error) => anyhow::Error::from(error),
                other => coded(Exit::Usage, other.to_string()),
            })?;
            paint::line(secret.expose());
            paint::note("it is not stored and cannot be shown again");
            Ok(Exit::Success)
        }
        arguments::Token::List { json } => print(&serde_json::to_value(tokens.list().await?)?, json),
        arguments::Token::Remove { name } => {
            if tokens.remove(&name).await? {
                paint::line(format!("removed {name}"));
                return Ok(Exit::Success);
            }
            Err(coded(Exit::NotFound, format!("there is no token `{name}`")))
        }
    }
}

async fn remote(client: &Client, command: arguments::Token) -> Result<Exit> {
    match command {
        arguments::Token::Create { name, role } => {
            let role = Role::from(role).name();
            let made = client.post("/api/v1/tokens", &json!({ "name": name, "role": role })).await?;
            paint::line(made["token"].as_str().unwrap_or_default());
            paint::note("it is not stored and cannot be shown again");
            Ok(Exit::Success)
        }
        arguments::Token::List { json } => print(&client.get("/api/v1/tokens").await?, json),
        arguments::Token::Remove { name } => {
            client.delete(&format!("/api/v1/tokens/{name}")).await?;
            paint::line(format!("removed {name}"));
            Ok(Exit::Success)
        }
    }
}

fn print(list: &Value, as_json: bool) -> Result<Exit> {
    if as_json {
        paint::line(serde_json::to_string_pretty(list)?);
        return Ok(Exit::Success);
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = list
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| vec![text(&one["id"]), text(&one["name"]), text(&one["role"]), text(&one["created_at"])])
        .collect();
    if rows.is_empty() {
        paint::line("no tokens; the first start of `bascule serve` makes one for each role");
        return Ok(Exit::Success);
    }
    paint::line(paint::table(&["id", "name", "role", "made"], &rows));
    Ok(Exit::Success)
}
