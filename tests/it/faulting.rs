//! A disk that fails, and what other programs are told meanwhile. `cargo xtask torture --faults` goes through every call;
//! here stands what it found.

use std::process::Stdio;
use std::time::Duration;

use bascule_sim::Scenario;
use serde_json::Value;

use crate::stage::{Said, Stage, complete, fleet};

/// Runs `bascule` where no file can grow beyond so many blocks: a write beyond is an error, as of a broken disk.
async fn within(stage: &Stage, blocks: u32, arguments: &[&str]) -> Said {
    shell(stage, &format!(r#"trap '' XFSZ; ulimit -f {blocks}; exec "$0" "$@""#), arguments).await
}

async fn shell(stage: &Stage, script: &str, arguments: &[&str]) -> Said {
    let own = stage.command(arguments);
    let own = own.as_std();
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", script]).arg(own.get_program()).args(own.get_args()).stdin(Stdio::null());
    for (name, value) in own.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    let output = shell.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_part_of_the_program_hears_of_a_broken_disk_the_exit_code_is_70() {
    let mut failed = 0;
    for blocks in (8..200).step_by(12) {
        let stage = Stage::empty(&format!("broken-{blocks}"));
        std::fs::write(stage.folder.join("bascule.yaml"), "connections: {}\n").unwrap();
        let said = within(&stage, blocks, &["secret", "list"]).await;
        assert!(matches!(said.code, 0 | 70), "{blocks} blocks: {}: {}", said.code, said.err);
        failed += u32::from(said.code == 70);
        let said = stage.bascule(&["secret", "list"]).await;
        assert_eq!(said.code, 0, "{blocks} blocks, afterwards: {}", said.err);
    }
    assert!(failed > 3, "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_output_cannot_be_written_goes_to_its_end_and_that_is_said() {
    let fleet = fleet(Scenario::Calm, 2).await;
    let stage = Stage::set("output-full", &fleet).await;
    let run = ["run", "update-face-photo", "--json", "-i", &complete(&fleet)];
    let said = shell(&stage, r#"exec "$0" "$@" >/dev/full"#, &run).await;
    assert_eq!(said.code, 70, "{}", said.err);
    assert!(said.err.contains("standard output cannot be written"), "{}", said.err);
    let runs = stage.bascule(&["runs", "list", "--json"]).await.json();
    assert_eq!(runs[0]["status"], "succeeded", "{runs:#}");

    // Whoever has read enough is another matter, and the run is still not less wanted.
    let said = shell(&stage, r#"{ "$0" "$@"; echo "code $?" >&2; } | head -1"#, &run).await;
    assert!(said.err.contains("code 0"), "{}", said.err);
    let runs = stage.bascule(&["runs", "list", "--json"]).await.json();
    assert_eq!((runs.as_array().unwrap().len(), &runs[0]["status"]), (2, &"succeeded".into()), "{runs:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_moment_that_a_server_says_ready_schedules_are_planned_and_other_commands_find_it() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("ready", &fleet).await;
    let text = "triggers:\n  - schedule: { cron: \"0 3 * * *\" }\nsteps:\n  - id: devices\n    uses: supabase/tables.select\n    with: { database: hr, table: devices }\n";
    stage.workflow("nightly", text);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = stage.command(&["serve", "--listen", &format!("127.0.0.1:{port}")]);
    let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let ready = async {
        while !http.get(format!("{url}/ready")).send().await.is_ok_and(|answer| answer.status() == 200) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ready).await.unwrap();
    let file = std::fs::read_to_string(stage.folder.join(".bascule/server.json")).unwrap();
    let found: Value = serde_json::from_str(&file).unwrap();
    let planned = http.get(format!("{url}/api/v1/slots?state=planned"));
    let planned = planned.bearer_auth(found["token"].as_str().unwrap()).send().await.unwrap();
    let planned: Value = serde_json::from_slice(&planned.bytes().await.unwrap()).unwrap();
    assert_eq!(planned.as_array().map(Vec::len), Some(1), "{planned:#}");
    server.kill().await.unwrap();
}
