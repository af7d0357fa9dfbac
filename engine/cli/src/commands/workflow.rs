//! `bascule workflow`

use anyhow::Result;
use serde_json::{Value, json};

use super::schedule::{server, workflows};
use crate::arguments;
use crate::exit::Exit;
use crate::paint;
use crate::serving::Client;
use crate::site::Places;

/// Runs the subcommand.
pub(crate) async fn run(places: Places, command: arguments::Workflow) -> Result<Exit> {
    match command {
        arguments::Workflow::List { json } => {
            let list = match Client::find(&places).await? {
                Some(client) => client.get("/api/v1/workflows").await?,
                None => of_folder(&places)?,
            };
            print(&list, json)
        }
        arguments::Workflow::Pause { name, reason } => {
            let client = server(&places, "pause").await?;
            let body = match reason {
                Some(reason) => json!({ "reason": reason }),
                None => json!({}),
            };
            let now = client.post(&format!("/api/v1/workflows/{name}/pause"), &body).await?;
            let waiting = now["queued"].as_u64().unwrap_or(0);
            paint::line(format!(
                "{name} is paused, also after a restart: nothing of it begins, what comes in waits ({waiting} now)"
            ));
            paint::note(format!("runs under way end; `bascule workflow unpause {name}` goes on"));
            Ok(Exit::Success)
        }
        arguments::Workflow::Unpause { name } => {
            let client = server(&places, "unpause").await?;
            let now = client.post(&format!("/api/v1/workflows/{name}/unpause"), &json!({})).await?;
            let waiting = now["queued"].as_u64().unwrap_or(0) + now["running"].as_u64().unwrap_or(0);
            paint::line(format!("{name} goes on; {waiting} waited"));
            Ok(Exit::Success)
        }
    }
}

/// What can be said without a server.
fn of_folder(places: &Places) -> Result<Value> {
    let list = workflows(places)?;
    let list = list.iter().map(|workflow| {
        json!({
            "id": workflow.id, "name": workflow.name, "description": workflow.description,
            "digest": workflow.digest,
            "triggers": workflow.triggers.iter().map(|trigger| &trigger.id).collect::<Vec<_>>(),
        })
    });
    Ok(list.collect())
}

fn print(list: &Value, as_json: bool) -> Result<Exit> {
    if as_json {
        paint::line(serde_json::to_string_pretty(list)?);
        return Ok(Exit::Success);
    }
    let mut rows = Vec::new();
    for workflow in list.as_array().into_iter().flatten() {
        let triggers: Vec<&str> =
            workflow["triggers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let number = |key: &str| workflow[key].as_u64().map_or_else(|| "-".to_owned(), |n| n.to_string());
        let paused = &workflow["paused"];
        let state = match (paused["since"].as_str(), paused["reason"].as_str()) {
            (Some(since), reason) => {
                paint::warn(&format!("paused since {since}: {}", reason.unwrap_or_default()))
            }
            _ if workflow["queued"].is_u64() => "on".to_owned(),
            _ => "no server runs".to_owned(),
        };
        rows.push(vec![
            workflow["id"].as_str().unwrap_or_default().to_owned(),
            if triggers.is_empty() { "by hand only".to_owned() } else { triggers.join(", ") },
            number("queued"),
            number("running"),
            state,
        ]);
    }
    if rows.is_empty() {
        paint::line("there are no workflows");
        return Ok(Exit::Success);
    }
    paint::line(paint::table(&["workflow", "triggers", "queued", "running", "state"], &rows));
    Ok(Exit::Success)
}
