//! The recorders' part of the control port.

use serde_json::{Value, json};

use super::Recorder;
use crate::wire::{Answer, Request};

/// Answers what lies below `/recorders`.
pub(crate) async fn act(
    recorders: &[Recorder],
    request: &Request,
    path: &[&str],
) -> Result<Answer, (u16, String)> {
    let find = |id: &str| {
        let number = id.parse::<usize>().ok();
        let mut all = recorders.iter().enumerate();
        all.find(|(place, recorder)| recorder.id() == id || Some(*place) == number)
            .map(|(_, recorder)| recorder)
            .ok_or_else(|| (404, format!("no recorder `{id}`")))
    };
    let broken = |error: anyhow::Error| (500, format!("{error:#}"));
    let body = match (request.method.as_str(), path) {
        ("GET", []) => {
            let mut states = Vec::new();
            for recorder in recorders {
                states.push(state(recorder).await);
            }
            json!(states)
        }
        ("GET", [id]) => state(find(id)?).await,
        ("GET", [id, "habits"]) => json!(find(id)?.habits()),
        ("PUT", [id, "habits"]) => {
            let recorder = find(id)?;
            let change: Value =
                serde_json::from_slice(&request.body).map_err(|error| (400, error.to_string()))?;
            let habits = recorder.habits().changed(&change).map_err(|text| (400, text))?;
            recorder.change(|held| *held = habits);
            json!(recorder.habits())
        }
        ("GET", [id, "segments"]) => json!(find(id)?.segments()),
        ("GET", [id, "segments", name]) => {
            let segment = find(id)?.segment(name).ok_or_else(|| (404, format!("no segment `{name}`")))?;
            json!({ "segment": segment, "sha256": segment.sha256() })
        }
        ("POST", [id, "offline"]) => {
            find(id)?.offline().await.map_err(broken)?;
            json!({})
        }
        ("POST", [id, "online"]) => {
            find(id)?.online().await.map_err(broken)?;
            json!({})
        }
        _ => return Err((404, format!("nothing at {} {}", request.method, request.path()))),
    };
    Ok(Answer::json(200, &body))
}

async fn state(recorder: &Recorder) -> Value {
    json!({
        "id": recorder.id(), "port": recorder.port(), "url": recorder.url(), "online": recorder.door.is_open().await,
        "requests": recorder.requests(), "failed_logins": recorder.failed_logins(),
    })
}
