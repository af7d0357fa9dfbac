//! `bascule test`: the shipped workflows pass theirs, and failures are told so that they can be mended.

use std::collections::BTreeMap;
use std::path::Path;

use bascule_sim::Scenario;

use crate::stage::{Said, Stage, fleet, root};

const INVENTORY: &str = r#"connections:
  door:
    url: https://door.example
    auth: { digest: { user: admin, password: { secret: door-password } } }
    allow: { paths: [/ISAPI/] }
folders:
  notes: { path: ./notes }
"#;

const WORKFLOW: &str = r"name: Look at a door
inputs:
  wanted: { type: string, default: DS-1 }
steps:
  - id: info
    uses: isapi/device.info
    with: { terminal: door }
    retry: { attempts: 3, on: [offline, busy], backoff: { from: 1h, to: 2h } }
    catch: [{ on: [unsupported], output: { model: none } }]
output: { model: '${{ steps.info.output.model }}' }
";

/// What the door says.
const ANSWER: &str = r#"{ text: "<DeviceInfo><deviceName>Door</deviceName><model>DS-1</model><serialNumber>S</serialNumber></DeviceInfo>" }"#;

fn project(name: &str, cases: &str) -> Stage {
    let stage = Stage::empty(name);
    std::fs::write(stage.folder.join("bascule.yaml"), INVENTORY).unwrap();
    stage.workflow("look", WORKFLOW);
    stage.workflow("look.test", &cases.replace("ANSWER", ANSWER));
    stage
}

/// Without times and addresses of this computer, which differ from run to run.
fn plain(said: &Said, stage: &Stage) -> String {
    let text = said.out.replace(&stage.folder.display().to_string(), "PROJECT");
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [rest @ .., number, "ms"] if number.parse::<u64>().is_ok() => rest.join(" "),
            _ => line.to_owned(),
        }
    });
    lines.map(|line| line + "\n").collect()
}

/// Every file below a folder with its content.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shipped_workflow_passes_its_cases() {
    let stage = Stage::empty("testing-shipped");
    let folder = root().join("workflows");
    let said = stage.bascule(&["test", "--format", "json", folder.to_str().unwrap()]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let told = said.json();
    assert_eq!(told["failed"], 0, "{told:#}");
    let tested = told["cases"].as_array().unwrap();
    assert!(tested.len() >= 100, "{} cases", tested.len());
    assert_eq!(told["untested"].as_array().map(Vec::len), Some(0), "every shipped workflow has a test file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_that_fails_says_what_was_expected_what_came_and_where() {
    let stage = project(
        "testing-failing",
        "cases:\n  - name: the model is told\n    given:\n      connections:\n        door:\n          \
         - { request: GET /ISAPI/System/deviceInfo, respond: ANSWER }\n    \
         expect:\n      status: failed\n      output: { model: DS-2 }\n      requests: { door: none }\n",
    );
    let said = stage.bascule(&["test"]).await;
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(
        plain(&said, &stage),
        r#"look PROJECT/workflows/look.test.yaml
  FAIL the model is told
       PROJECT/workflows/look.test.yaml:8:15  status
         expected  "failed"
         came      "succeeded"
       PROJECT/workflows/look.test.yaml:9:24  output.model
         expected  "DS-2"
         came      "DS-1"
       PROJECT/workflows/look.test.yaml:10:19  requests.door
         expected  no request
         came      GET /ISAPI/System/deviceInfo at door.example:443
       the run succeeded
         info succeeded
       requests
         door  door.example:443  GET /ISAPI/System/deviceInfo -> 200
       no case reaches catch of `info` on unsupported
1 case: 0 passed, 1 failed
"#
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_stub_fails_the_case_and_shows_the_nearest_one() {
    // The catch makes up for it, and still it is no success.
    let stage = project(
        "testing-unmatched",
        "cases:\n  - name: the model is told\n    given:\n      connections:\n        door:\n          \
         - { request: GET /ISAPI/System/deviceInfos, query: { format: json }, respond: ANSWER }\n    \
         expect: { status: recovered }\n",
    );
    let said = stage.bascule(&["test"]).await;
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    assert_eq!(
        plain(&said, &stage),
        r#"look PROJECT/workflows/look.test.yaml
  FAIL the model is told
       PROJECT/workflows/look.test.yaml:2:11  no stub of `door` is for the request
         GET /ISAPI/System/deviceInfo at door.example:443
         the nearest stub is PROJECT/workflows/look.test.yaml:6:24  GET /ISAPI/System/deviceInfos query {"format":"json", ..}
           path      expected /ISAPI/System/deviceInfos, came /ISAPI/System/deviceInfo
           query.format expected "json", came nothing
       the run recovered
         info recovered
       requests
         door  door.example:443  GET /ISAPI/System/deviceInfo -> no stub
1 case: 0 passed, 1 failed
"#
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stubs_of_steps_faults_and_hours_of_waiting_work_at_once() {
    let cases = "inputs: { wanted: DS-1 }\ncases:\n\
         \x20 - name: a step's own stub\n    given: { steps: { info: [{ error: { kind: busy, message: later } }, { output: { model: X } }] } }\n    \
         expect: { status: succeeded, output: { exactly: { model: X } }, steps: { info: { attempts: 2 } }, requests: { door: none } }\n\
         \x20 - name: two refused connections\n    given:\n      connections:\n        door:\n          \
         - { at: door.example, times: 2, respond: { fault: refuse } }\n          - { request: GET /ISAPI/System/deviceInfo, respond: ANSWER }\n    \
         expect: { status: succeeded, steps: { info: { attempts: 3 } }, that: '${{ output.model == inputs.wanted }}' }\n\
         \x20 - name: what it cannot do\n    given: { connections: { door: [{ request: ANY /ISAPI/**, respond: { status: 404 } }] } }\n    \
         expect: { status: recovered, output: { model: none } }\n\
         \x20 - name: an answer that breaks off\n    given: { connections: { door: [{ request: GET /ISAPI/System/*, respond: { fault: cut, text: '<a/>' } }] } }\n    \
         expect: { status: failed, error: { kind: offline }, steps: { info: { attempts: 3 } } }\n";
    let stage = project("testing-stubs", cases);
    let begun = std::time::Instant::now();
    let said = stage.bascule(&["test"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.ends_with("4 cases: 4 passed\n"), "{}", said.out);
    // The retries alone are hours apart.
    assert!(begun.elapsed().as_secs() < 600);
    let one = stage.bascule(&["test", "--filter", "look: what it"]).await;
    assert!(one.out.ends_with("1 case: 1 passed, 3 left out by --filter\n"), "{}", one.out);
    assert_eq!(stage.bascule(&["test", "--filter", "nothing"]).await.code, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistake_in_a_test_file_is_shown_with_its_place_before_anything_runs() {
    let stage = project("testing-mistake", "cases:\n  - name: x\n    expekt: { status: failed }\n");
    let said = stage.bascule(&["test"]).await;
    assert_eq!((said.code, said.out.as_str()), (3, ""), "{}", said.err);
    assert!(said.err.contains("look.test.yaml:3:5"), "{}", said.err);
    assert!(said.err.contains("did you mean `expect`?"), "{}", said.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_site_itself_is_not_touched() {
    let stage = project(
        "testing-untouched",
        "cases:\n  - name: a file is read\n    given:\n      folders: { notes: { a.txt: { text: of the test } } }\n      \
         steps: { info: { output: { model: DS-1 } } }\n    expect:\n      status: succeeded\n      \
         files: { notes: { a.txt: { text: of the test }, b.txt: { absent: true } } }\n",
    );
    std::fs::create_dir_all(stage.folder.join("notes")).unwrap();
    std::fs::write(stage.folder.join("notes/b.txt"), "of the site").unwrap();
    stage.secret("door-password", "an invented word").await;
    stage.workflow("untested", "steps:\n  - uses: isapi/device.info\n    with: { terminal: door }\n");
    let before = content(&stage.folder);
    let said = stage.bascule(&["test"]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(
        said.out.ends_with("1 case: 1 passed\n1 workflow without a test file: untested\n"),
        "{}",
        said.out
    );
    assert_eq!(content(&stage.folder), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_case_may_lead_to_the_simulator() {
    let fleet = fleet(Scenario::Demo, 8).await;
    let stage = Stage::set("testing-simulator", &fleet).await;
    // The fleet of this process, started the way in which the simulator's own program would be. It says the fleet's passwords,
    // so it lies where nobody looks for leaks.
    let elsewhere = tempfile::tempdir().unwrap();
    let program = elsewhere.path().join("simulator.sh");
    std::fs::write(&program, format!("#!/bin/sh\ncat <<'READY'\n{}\nREADY\ncat >/dev/null\n", fleet.ready()))
        .unwrap();
    let mut mode = std::fs::metadata(&program).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let inventory = std::fs::read_to_string(root().join("workflows/bascule.yaml")).unwrap();
    std::fs::write(stage.folder.join("bascule.yaml"), inventory).unwrap();
    stage.workflow(
        "update-face-photo.test",
        "cases:\n  - name: everybody who can\n    given: { simulator: { scenario: demo, terminals: 8, connections: { hr: supabase, terminal: terminals } } }\n    \
         inputs: { employee_id: '${{ simulator.employees.complete }}' }\n    \
         expect: { status: failed, output: { summary: { failed: 3 } } }\n",
    );
    let run = |program: &Path| {
        let mut command = stage.command(&["test", "--filter", "update-face-photo: "]);
        command.env("BASCULE_SIM", program);
        command
    };
    let output = run(&program).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));

    let output = run(Path::new("/nowhere/bascule-sim")).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("`/nowhere/bascule-sim` of BASCULE_SIM is not there"), "{text}");
}
