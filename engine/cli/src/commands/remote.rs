//! `run`, `resume`, `runs cancel` and `runs rerun` while a server owns the data folder: it does the work, this command
//! watches.

use std::path::Path;

use anyhow::{Context as _, Result};
use bascule_run::observe::Observer as _;
use bascule_run::{RunId, Status};
use bascule_workflow::failure::{Failure, Kind};
use serde_json::{Map, Value, json};

use crate::arguments::{From, Rerun, Resume, Run, Show};
use crate::commands::run::{End, exit_of, given, print_end, stop_signal};
use crate::exit::{Exit, coded, coded_with_help};
use crate::live::Live;
use crate::paint;
use crate::serving::Client;
use crate::site::{Places, stem};

/// `bascule run`
pub(crate) async fn run(client: &Client, places: &Places, options: &Run) -> Result<Exit> {
    let workflow = served(places, &options.workflow, client)?;
    let inputs = given(&options.inputs, options.inputs_json.as_deref())?;
    up_to_date(client, &workflow).await?;
    let started =
        client.post(&format!("/api/v1/workflows/{workflow}/runs"), &json!({ "inputs": inputs })).await?;
    follow(client, &run_of(&started)?, options.show).await
}

/// What was just edited is to run, and not what was there before because the edit is broken.
async fn up_to_date(client: &Client, workflow: &str) -> Result<()> {
    let project = client.post("/api/v1/project/reload", &json!({})).await?;
    for edit in project["refused_edits"].as_array().into_iter().flatten() {
        let file = edit["file"].as_str().unwrap_or_default();
        if stem(Path::new(file)) == workflow {
            paint::note(edit["problems"].as_str().unwrap_or_default());
            return Err(coded_with_help(
                Exit::Unusable,
                format!("the last edit of `{file}` cannot be used; nothing was started"),
                "the server goes on with what was there before",
            ));
        }
    }
    Ok(())
}

/// A file of the project's own folder is the workflow of that name; another one is not served.
fn served(places: &Places, name: &str, client: &Client) -> Result<String> {
    let path = Path::new(name);
    if path.extension().is_none() || !path.exists() {
        return Ok(name.to_owned());
    }
    let own = places.project.join("workflows").join(path.file_name().unwrap_or_default());
    if path.canonicalize().ok().is_some_and(|path| Some(path) == own.canonicalize().ok()) {
        return Ok(stem(path));
    }
    Err(coded_with_help(
        Exit::InUse,
        format!("the server at {} owns the data folder, and runs only what is in workflows/", client.url()),
        format!("put `{name}` there, or name another data folder with --data"),
    ))
}

/// `bascule resume`: the server has taken up every open run by itself.
pub(crate) async fn resume(client: &Client, options: &Resume) -> Result<Exit> {
    match &options.run {
        Some(run) => {
            let record = client.get(&format!("/api/v1/runs/{run}")).await?;
            let status = record["run"]["status"].as_str().unwrap_or_default();
            if !matches!(status, "queued" | "running") {
                let id = record["run"]["id"].as_str().unwrap_or(run);
                return Err(coded(
                    Exit::Unusable,
                    format!("run {id} has ended `{status}`: there is nothing to go on with"),
                ));
            }
            follow(client, &run_of(&json!({ "run": record["run"]["id"] }))?, options.show).await
        }
        None => {
            let open = client.get("/api/v1/runs?status=queued,running&limit=1000").await?;
            let count = open.as_array().map_or(0, Vec::len);
            paint::line(format!(
                "the server at {} goes on by itself with every run that was cut off: {count} open",
                client.url()
            ));
            Ok(Exit::Success)
        }
    }
}

/// `bascule runs cancel`
pub(crate) async fn cancel(client: &Client, run: &str) -> Result<Exit> {
    let told = client.post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await?;
    match told["outcome"].as_str() {
        Some("ended") => paint::line(format!("run {run} had not begun and is cancelled")),
        Some("asked") => paint::line(format!(
            "the server was asked to cancel run {run}; `bascule runs show {run}` tells how it ends"
        )),
        _ => return Err(coded(Exit::Unusable, format!("run {run} has ended: there is nothing to cancel"))),
    }
    Ok(Exit::Success)
}

/// `bascule runs rerun`
pub(crate) async fn rerun(client: &Client, options: &Rerun) -> Result<Exit> {
    let edits = given(&options.inputs, options.inputs_json.as_deref())?;
    let mut body = json!({
        "what": match options.from { From::Failed => "failed", From::Start => "all" },
        "text": if options.latest { "latest" } else { "as-begun" },
    });
    if !edits.is_empty() {
        let record = client.get(&format!("/api/v1/runs/{}", options.run)).await?;
        let mut inputs = record["inputs"].as_object().cloned().unwrap_or_default();
        inputs.extend(edits);
        body["inputs"] = Value::Object(inputs);
    }
    let started = client.post(&format!("/api/v1/runs/{}/rerun", options.run), &body).await?;
    follow(client, &run_of(&started)?, options.show).await
}

fn run_of(started: &Value) -> Result<RunId> {
    let text = started["run"].as_str().context("the server named no run")?;
    text.parse().context("the server's run id cannot be read")
}

/// Watches the run to its end and prints the result. Ctrl-C cancels it, a second one only stops watching.
async fn follow(client: &Client, run: &RunId, show: Show) -> Result<Exit> {
    let live = Live::new(show);
    let id = run.to_string();
    let heard = client.follow(&id, |view| {
        if let Some(event) = view.into_event() {
            live.event(*run, &event);
        }
    });
    tokio::pin!(heard);
    let mut asked = false;
    loop {
        tokio::select! {
            ended = &mut heard => break ended?,
            signal = stop_signal() => {
                signal?;
                if asked {
                    paint::note(format!("the server goes on with the run; `bascule runs show {id}` tells how it ends"));
                    return Ok(Exit::Stopped);
                }
                asked = true;
                client.post(&format!("/api/v1/runs/{id}/cancel"), &json!({})).await?;
                paint::note("cancelling: running steps end first; once more stops watching");
            }
        }
    }
    let record = client.get(&format!("/api/v1/runs/{id}")).await?;
    let status =
        record["run"]["status"].as_str().and_then(Status::from_name).context("the run has no status")?;
    if status.is_open() {
        paint::note(format!(
            "the server is stopping; the run goes on when it is back: `bascule runs show {id}`"
        ));
        return Ok(Exit::Stopped);
    }
    let failure = record["error"].as_object().map(failure);
    print_end(End { run: *run, status, output: &record["output"], failure: failure.as_ref() }, show)?;
    Ok(exit_of(status))
}

fn failure(map: &Map<String, Value>) -> Failure {
    let known = map.iter().filter(|(_, value)| !value.is_null());
    let map: Map<String, Value> = known.map(|(key, value)| (key.replace('_', "-"), value.clone())).collect();
    serde_json::from_value(Value::Object(map.clone())).unwrap_or_else(|_| {
        let message = map.get("message").and_then(Value::as_str).unwrap_or("it failed");
        Failure::new(Kind::Internal, message)
    })
}
