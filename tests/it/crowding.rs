//! More terminals to listen at than the system lets one process have sockets for.

use bascule_sim::Scenario;
use serde_json::Value;

use crate::served::Served;
use crate::stage::{Stage, fleet};

const TERMINALS: usize = 20;
/// 128 of them are for everything else.
const FILES: u32 = 140;
const PLACES: usize = 12;

fn connected(sources: &Value) -> Vec<String> {
    let all = sources.as_array().unwrap().iter().filter(|source| source["link"] == "connected");
    all.map(|source| source["item"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_beyond_the_limit_of_files_wait_say_why_and_stop_nothing_else() {
    let fleet = fleet(Scenario::Calm, TERMINALS).await;
    let stage = Stage::set("crowding", &fleet).await;
    let items: String = (0..TERMINALS)
        .map(|place| {
            let port = fleet.terminal(place).port();
            format!("        - {{ id: t{place}, ip: 127.0.0.1, port: {port} }}\n")
        })
        .collect();
    stage.workflow(
        "listening",
        &format!(
            "triggers:
  - event:
      for-each:
{items}      as: device
      key: ${{{{ device.id }}}}
      uses: isapi/events.stream
      with: {{ terminal: {{ connection: terminal, device: \"${{{{ device }}}}\" }}, device: \"${{{{ device.id }}}}\" }}
steps:
  - uses: supabase/tables.select
    with: {{ database: hr, table: devices }}
"
        ),
    );
    let server = Served::start_with_files(&stage, FILES).await;
    let all = server.until("/api/v1/sources", |sources| connected(sources).len() == PLACES).await;
    let first = connected(&all);
    assert_eq!(all.as_array().unwrap().len(), TERMINALS);
    let waiting = all.as_array().unwrap().iter().filter(|source| source["link"] != "connected");
    for source in waiting {
        let note = source["note"].as_str().unwrap();
        assert!(
            note.contains("waits for one of 12 places")
                && note.contains("140 files")
                && note.contains("LimitNOFILE"),
            "{source:#}"
        );
    }

    // Events of those that stand become runs as ever: files, plugins and requests have their share.
    let held: usize = first[0][1..].parse().unwrap();
    fleet.terminal(held).happen(5, 75, Some("0017"));
    let runs = "/api/v1/runs?workflow=listening&status=succeeded";
    server.until(runs, |runs| runs.as_array().unwrap().len() == 1).await;

    // A place that becomes free goes to one that waits.
    fleet.terminal(held).offline().await.unwrap();
    server
        .until("/api/v1/sources", |sources| {
            let now = connected(sources);
            now.len() == PLACES && !now.contains(&first[0])
        })
        .await;
    let log = server.stop().await;
    let told = log.matches("12 event sources are held").count();
    assert_eq!(told, 1, "{log}");
}
