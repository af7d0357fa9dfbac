//! A connection that is edited while event sources hold streams over it.

use std::time::{Duration, Instant};

use bascule_sim::{Fleet, PASSWORD, Scenario, USER};
use serde_json::Value;

use crate::served::Served;
use crate::stage::{Stage, fleet, inventory};

const PATIENCE: Duration = Duration::from_secs(60);

const LISTEN: &str = "triggers:
  - event: { id: gate, uses: isapi/events.stream, with: { terminal: gate }, inputs: { from: gate } }
  - event: { id: yard, uses: isapi/events.stream, with: { terminal: yard }, inputs: { from: yard } }
inputs: { from: { type: string, required: true } }
steps:
  - id: devices
    uses: supabase/tables.select
    with: { database: hr, table: devices }
";

/// The inventory in which `gate` is the terminal of that number; `yard` is the second one.
fn write(stage: &Stage, fleet: &Fleet, gate: usize) {
    let entry = |name: &str, terminal: usize| {
        format!(
            "  {name}:\n    url: {}\n    auth: {{ digest: {{ user: {USER}, password: {{ secret: terminal-password }} }} }}\n    parallel: 4\n",
            fleet.terminal(terminal).url()
        )
    };
    let text = inventory(fleet)
        .replace("connections:\n", &format!("connections:\n{}{}", entry("gate", gate), entry("yard", 1)));
    std::fs::write(stage.folder.join("bascule.yaml"), text).unwrap();
}

async fn until(what: &str, fits: impl Fn() -> bool) {
    let begun = Instant::now();
    while !fits() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn source<'s>(sources: &'s Value, trigger: &str) -> &'s Value {
    sources.as_array().unwrap().iter().find(|one| one["trigger"] == trigger).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_follows_its_connection_to_another_device_and_no_other_source_is_disturbed() {
    let fleet = fleet(Scenario::Empty, 3).await;
    let stage = Stage::set("rewiring", &fleet).await;
    stage.secret("terminal-password", PASSWORD).await;
    for terminal in fleet.terminals() {
        terminal.change(|quirks| quirks.events.heartbeat_ms = 200);
    }
    write(&stage, &fleet, 0);
    stage.workflow("listen", LISTEN);
    let served = Served::start(&stage).await;
    let stand = |sources: &Value| {
        let sources = sources.as_array().unwrap();
        sources.len() == 2 && sources.iter().all(|one| one["link"] == "connected")
    };
    let before = served.until("/api/v1/sources", stand).await;
    assert_eq!([0, 1, 2].map(|number| fleet.terminal(number).streams()), [1, 1, 0]);

    write(&stage, &fleet, 2);
    until("the new device is listened to", || fleet.terminal(2).streams() == 1).await;
    until("the old one is let go", || fleet.terminal(0).streams() == 0).await;
    let after = served.until("/api/v1/sources", stand).await;
    assert_eq!(source(&after, "yard")["since"], source(&before, "yard")["since"]);
    assert_eq!((fleet.terminal(1).streams(), &source(&after, "yard")["restarts"]), (1, &Value::from(0)));

    // What happens there becomes runs, and what happens at the old one is nobody's any more.
    fleet.terminal(0).happen(5, 75, None);
    fleet.terminal(2).happen(5, 75, None);
    let ended = |runs: &Value| {
        let runs = runs.as_array().unwrap();
        !runs.is_empty() && runs.iter().all(|run| run["status"] == "succeeded")
    };
    let runs = served.until("/api/v1/runs?workflow=listen", ended).await;
    assert_eq!(runs.as_array().unwrap().len(), 1, "{runs:#}");
    served.stop().await;
}
