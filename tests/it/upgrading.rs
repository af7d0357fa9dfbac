//! A run goes on with what it began with, whatever has been put in its place meanwhile: plugins, and the program itself.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use bascule_database::Database;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::filling::start;
use crate::served::{Served, body};
use crate::stage::{Said, Stage};

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says which build answers before the gate, at it, and behind it.
const SPEAK: &str = "steps:
  - id: before
    uses: edition/words.tell
  - id: gate
    uses: edition/words.ask
    with: { peer: peer }
  - id: after
    uses: edition/words.tell
output: { said: \"${{ steps.before.output }}, ${{ steps.gate.output }}, ${{ steps.after.output }}\" }
";

/// Names a function that only the first build has.
const RELIC: &str = "steps:
  - id: gate
    uses: edition/words.ask
    with: { peer: peer }
  - id: relic
    uses: edition/words.relic
output: { said: \"${{ steps.gate.output }}, ${{ steps.relic.output }}\" }
";

/// The journal of a version that has made many more changes to its tables.
static LATER: [&str; 100] = ["SELECT 1"; 100];

/// A peer that answers when it is told to.
struct Gate {
    port: u16,
    open: watch::Sender<bool>,
    asked: watch::Receiver<usize>,
}

impl Gate {
    async fn closed() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = watch::channel(false);
        let (ask, asked) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, is_open.clone(), ask.clone()));
            }
        });
        Self { port, open, asked }
    }

    /// Waits for the request with that number.
    async fn asked(&self, number: usize) {
        let mut asked = self.asked.clone();
        tokio::time::timeout(PATIENCE, asked.wait_for(|count| *count >= number)).await.unwrap().unwrap();
    }

    fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn answer(mut stream: TcpStream, mut is_open: watch::Receiver<bool>, ask: watch::Sender<usize>) {
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&piece[..count]),
        }
    }
    assert!(request.starts_with(b"GET / HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&request));
    ask.send_modify(|count| *count += 1);
    is_open.wait_for(|open| *open).await.unwrap();
    let _gone =
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone").await;
}

fn build(name: &str) -> PathBuf {
    static GUESTS: OnceLock<PathBuf> = OnceLock::new();
    GUESTS.get_or_init(|| xtask::components::guests().unwrap()).join(format!("edition_{name}.wasm"))
}

fn sha256(file: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(file).unwrap()))
}

/// Puts that build in the place of the plugin, at once as installers do.
fn install(stage: &Stage, name: &str) {
    let folder = stage.folder.join("plugins");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(build(name), folder.join("edition.new")).unwrap();
    std::fs::rename(folder.join("edition.new"), folder.join("edition.wasm")).unwrap();
}

/// A project with the first build.
async fn set(name: &str) -> (Stage, Gate) {
    let gate = Gate::closed().await;
    let stage = Stage::empty(name);
    let inventory =
        format!("connections:\n  peer: {{ url: \"http://127.0.0.1:{}\", auth: none }}\n", gate.port);
    std::fs::write(stage.folder.join("bascule.yaml"), inventory).unwrap();
    stage.workflow("speak", SPEAK);
    install(&stage, "one");
    (stage, gate)
}

/// The copy that is kept for runs that began with that build.
fn kept(stage: &Stage, name: &str) -> PathBuf {
    stage.folder.join(format!(".bascule/plugins/{}.wasm", sha256(&build(name))))
}

async fn show(stage: &Stage, run: &str) -> Value {
    let said = stage.bascule(&["runs", "show", run, "--json"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    said.json()
}

/// Begins a run and kills its process while it waits at the gate; gives its id.
async fn cut_off(stage: &Stage, gate: &Gate, workflow: &str) -> String {
    let mut child = stage.start(&["run", workflow]);
    gate.asked(1).await;
    child.kill().await.unwrap();
    show(stage, "last").await["header"]["id"].as_str().unwrap().to_owned()
}

fn said(result: &Said) -> Value {
    result.result()["output"]["said"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_killed_goes_on_with_its_own_build_and_a_new_one_takes_the_new_build() {
    let (stage, gate) = set("upgrade-killed").await;
    let run = cut_off(&stage, &gate, "speak").await;
    assert_eq!(sha256(&kept(&stage, "one")), sha256(&build("one")));
    install(&stage, "two");
    gate.open();
    let resumed = stage.bascule(&["resume", &run, "--json"]).await;
    assert_eq!(resumed.code, 0, "{}", resumed.err);
    assert_eq!(said(&resumed), "one, one: done, one");
    let record = show(&stage, &run).await;
    assert_eq!(record["plugins"], json!({ "edition": sha256(&build("one")) }));
    let text = stage.bascule(&["runs", "show", &run]).await.out;
    assert!(text.contains(&format!("plugin   edition sha256:{}", sha256(&build("one")))), "{text}");

    let new = stage.bascule(&["run", "speak", "--json"]).await;
    assert_eq!(said(&new), "two, two: done, two");
    // Done again from its start, the first one is a run that begins now.
    let again = stage.bascule(&["runs", "rerun", &run, "--from", "start", "--json"]).await;
    assert_eq!(said(&again), "two, two: done, two", "{}", again.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_the_new_build_does_not_fit_any_more_is_checked_against_its_own() {
    let (stage, gate) = set("upgrade-relic").await;
    stage.workflow("relic", RELIC);
    let run = cut_off(&stage, &gate, "relic").await;
    install(&stage, "two");
    gate.open();
    let refused = stage.bascule(&["run", "relic"]).await;
    assert_eq!(refused.code, 3, "{}", refused.out);
    assert!(refused.err.contains("plugin `edition` has no function `words.relic`"), "{}", refused.err);
    let resumed = stage.bascule(&["resume", &run, "--json"]).await;
    assert_eq!(said(&resumed), "one: done, a relic of one", "{}", resumed.err);
    let latest = stage.bascule(&["runs", "rerun", &run, "--latest"]).await;
    assert_eq!(latest.code, 3, "{}", latest.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_damaged_copy_holds_the_run_with_a_reason_until_it_is_back() {
    let (stage, gate) = set("upgrade-missing").await;
    let run = cut_off(&stage, &gate, "speak").await;
    install(&stage, "two");
    gate.open();
    let copy = kept(&stage, "one");
    let name = copy.display().to_string();
    let before = show(&stage, &run).await;
    for damage in ["missing", "damaged"] {
        match damage {
            "missing" => std::fs::remove_file(&copy).unwrap(),
            // Another component, not just other bytes: the name alone decides nothing.
            _ => drop(std::fs::copy(build("two"), &copy).unwrap()),
        }
        let refused = stage.bascule(&["resume", "--json"]).await;
        assert_eq!(refused.code, 3, "{damage}: {}", refused.out);
        for part in [name.as_str(), &sha256(&build("one")), "bascule runs rerun RUN --latest"] {
            assert!(refused.err.contains(part), "{damage}: `{part}` is not in: {}", refused.err);
        }
        let record = show(&stage, &run).await;
        let reason = record["held"]["reason"].as_str().unwrap();
        assert!(reason.contains(&name), "{reason}");
        assert_eq!(record["header"]["status"], "running");
        assert_eq!(record["steps"], before["steps"], "nothing was called");
        let text = stage.bascule(&["runs", "show", &run]).await.out;
        assert!(text.contains("held     since") && text.contains(&name), "{text}");
        let doctor = stage.bascule(&["doctor", "--offline"]).await;
        assert!(doctor.out.contains("cannot go on") && doctor.out.contains(&name), "{}", doctor.out);
    }
    std::fs::copy(build("one"), &copy).unwrap();
    let resumed = stage.bascule(&["resume", &run, "--json"]).await;
    assert_eq!(said(&resumed), "one, one: done, one", "{}", resumed.err);
    assert_eq!(show(&stage, &run).await["held"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_build_is_lost_for_good_can_be_cancelled_and_goes_on_with_the_present_one() {
    let (stage, gate) = set("upgrade-lost").await;
    let run = cut_off(&stage, &gate, "speak").await;
    install(&stage, "two");
    gate.open();
    std::fs::remove_file(kept(&stage, "one")).unwrap();
    let cancelled = stage.bascule(&["runs", "cancel", &run]).await;
    assert_eq!(cancelled.code, 0, "{}", cancelled.err);
    let record = show(&stage, &run).await;
    assert_eq!(record["header"]["status"], "interrupted");
    let problem = record["header"]["problem"].as_str().unwrap();
    assert!(problem.ends_with("nothing was undone"), "{problem}");
    let as_begun = stage.bascule(&["runs", "rerun", &run]).await;
    assert_eq!(as_begun.code, 3, "{}", as_begun.out);
    assert!(as_begun.err.contains(&sha256(&build("one"))), "{}", as_begun.err);
    let latest = stage.bascule(&["runs", "rerun", &run, "--latest", "--json"]).await;
    assert_eq!(said(&latest), "one, two: done, two", "what had succeeded stays: {}", latest.err);
    assert_eq!(show(&stage, &run).await["plugins"], json!({ "edition": sha256(&build("two")) }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_under_way_in_a_server_keeps_its_build_while_new_runs_take_the_new_one() {
    let (stage, gate) = set("upgrade-serving").await;
    stage.workflow(
        "tell",
        "steps:\n  - id: now\n    uses: edition/words.tell\noutput: { said: \"${{ steps.now.output }}\" }\n",
    );
    let server = Served::start(&stage).await;
    let first = body(start(&server, "speak").await).await["run"].as_str().unwrap().to_owned();
    gate.asked(1).await;
    install(&stage, "two");
    let reload = server.api(Method::POST, "/api/v1/project/reload", "admin");
    assert_eq!(reload.send().await.unwrap().status(), 200);
    let second = body(start(&server, "tell").await).await["run"].as_str().unwrap().to_owned();
    let run = server.until(&format!("/api/v1/runs/{second}"), |run| run["output"].is_object()).await;
    assert_eq!(
        (&run["output"]["said"], &run["plugins"]["edition"]),
        (&json!("two"), &json!(sha256(&build("two"))))
    );
    gate.open();
    let path = format!("/api/v1/runs/{first}");
    let run = server.until(&path, |run| run["run"]["status"] == "succeeded").await;
    assert_eq!(run["output"]["said"], "one, one: done, one", "{run:#}");
    assert_eq!(run["plugins"]["edition"], sha256(&build("one")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_holds_a_run_whose_build_is_missing_and_goes_on_by_itself_when_it_is_back() {
    let (stage, gate) = set("upgrade-serving-missing").await;
    let server = Served::start(&stage).await;
    let run = body(start(&server, "speak").await).await["run"].as_str().unwrap().to_owned();
    gate.asked(1).await;
    server.kill().await;
    install(&stage, "two");
    let copy = kept(&stage, "one");
    std::fs::remove_file(&copy).unwrap();
    gate.open();
    let server = Served::start(&stage).await;
    let path = format!("/api/v1/runs/{run}");
    let held = server.until(&path, |run| run["held"].is_object()).await;
    let reason = held["held"]["reason"].as_str().unwrap();
    assert!(reason.contains(&copy.display().to_string()), "{reason}");
    assert_eq!(held["run"]["status"], "running");
    let metrics = server.text("/metrics").await;
    assert!(metrics.contains("\nbascule_runs_held 1"), "{metrics}");
    // A new run does not mind.
    let other = body(start(&server, "speak").await).await["run"].as_str().unwrap().to_owned();
    let other = server.until(&format!("/api/v1/runs/{other}"), |run| run["output"].is_object()).await;
    assert_eq!(other["output"]["said"], "two, two: done, two");

    std::fs::copy(build("one"), &copy).unwrap();
    let run = server.until(&path, |run| run["run"]["status"] == "succeeded").await;
    assert_eq!(run["output"]["said"], "one, one: done, one", "{run:#}");
    assert_eq!(run["held"], Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_no_run_needs_any_more_go() {
    let (stage, gate) = set("upgrade-sweep").await;
    gate.open();
    assert_eq!(stage.bascule(&["run", "speak"]).await.code, 0);
    install(&stage, "two");
    let (one, two) = (kept(&stage, "one"), kept(&stage, "two"));
    let age = |file: &Path| {
        let file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(7200)).unwrap();
    };
    assert_eq!(stage.bascule(&["run", "speak"]).await.code, 0);
    assert!(one.exists() && two.exists(), "what was used a moment ago stays");
    age(&one);
    age(&two);
    assert_eq!(stage.bascule(&["run", "speak"]).await.code, 0);
    assert!(!one.exists() && two.exists(), "what is loaded stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_a_later_version_is_refused_and_that_version_goes_on_with_it() {
    let (stage, gate) = set("upgrade-newer-database").await;
    gate.open();
    assert_eq!(stage.bascule(&["run", "speak"]).await.code, 0);
    let file = stage.folder.join(".bascule/bascule.db");
    let database = Database::open(&file).await.unwrap();
    database.migrate("journal", &LATER).await.unwrap();
    database.close().await;
    for arguments in
        [&["run", "speak"][..], &["resume"], &["serve", "--listen", "127.0.0.1:0"], &["runs", "list"]]
    {
        let refused = stage.bascule(arguments).await;
        assert_eq!(refused.code, 70, "{arguments:?}: {}{}", refused.out, refused.err);
        assert!(
            refused.err.contains("the database is newer than this program"),
            "{arguments:?}: {}",
            refused.err
        );
    }
    // The later version finds it as it was: every step is still noted.
    let database = Database::open(&file).await.unwrap();
    database.migrate("journal", &LATER).await.unwrap();
    database.migrate("journal", &LATER[..99]).await.unwrap_err();
    database.close().await;
    assert_eq!(gate.asked.borrow().to_owned(), 1, "nothing was called");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_called_workflow_goes_on_inside_after_kill_9_and_what_had_ended_there_is_not_done_again() {
    let (stage, gate) = set("upgrade-called").await;
    let ledger = Gate::closed().await;
    ledger.open();
    let mut inventory = std::fs::read_to_string(stage.folder.join("bascule.yaml")).unwrap();
    inventory.push_str(&format!("  ledger: {{ url: \"http://127.0.0.1:{}\", auth: none }}\n", ledger.port));
    std::fs::write(stage.folder.join("bascule.yaml"), inventory).unwrap();
    let step = |id: &str, peer: &str| {
        format!("  - id: {id}\n    uses: edition/words.ask\n    with: {{ peer: {peer} }}\n")
    };
    let child = format!(
        "inputs: {{ name: {{ type: string, required: true }} }}\nsteps:\n{}{}{}output: \"${{{{ inputs.name }}}}: ${{{{ steps.last.output }}}}\"\n",
        step("first", "ledger"),
        step("gate", "peer"),
        step("last", "ledger")
    );
    stage.workflow("child", &child);
    stage.workflow(
        "parent",
        &format!(
            "steps:\n{}  - id: each\n    for-each: \"${{{{ ['a', 'b'] }}}}\"\n    key: ${{{{ item }}}}\n    parallel: 2\n    uses: workflow/child\n    with: {{ name: \"${{{{ item }}}}\" }}\noutput: {{ said: \"${{{{ steps.each.output | join(', ') }}}}\" }}\n",
            step("before", "ledger")
        ),
    );
    let mut child = stage.start(&["run", "parent"]);
    gate.asked(2).await;
    child.kill().await.unwrap();
    assert_eq!(*ledger.asked.borrow(), 3, "`before`, and `first` of both");

    // The called text and its plugin are exchanged as well: what was begun goes by its own.
    stage.workflow("child", "inputs: { name: { type: string } }\nsteps: []\n");
    install(&stage, "two");
    gate.open();
    let resumed = stage.bascule(&["resume", "--json"]).await;
    assert_eq!(said(&resumed), "a: one: done, b: one: done", "{}", resumed.err);
    assert_eq!(*gate.asked.borrow(), 4, "both were cut off there, and ask again");
    assert_eq!(*ledger.asked.borrow(), 5, "only `last` of both was left");
    let record = show(&stage, "last").await;
    for item in record["steps"][1]["inner"].as_array().unwrap() {
        let attempts = |index: usize| item["inner"][index]["attempts"].as_array().unwrap().len();
        assert_eq!([attempts(0), attempts(1), attempts(2)], [1, 2, 1], "{item:#}");
    }
}
