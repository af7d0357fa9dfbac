//! Requirement R4.6's two workflows: a person looks at a recorder, chooses channels and a time range, and exports that.

use bascule_sim::{Fleet, FleetOptions, Inputs, Kind, RECORDER_PASSWORD, RECORDER_USER, Scenario, Segment};
use serde_json::{Value, json};

use crate::stage::{Said, Stage, root};

async fn set(name: &str) -> (Fleet, Stage) {
    let options =
        FleetOptions { terminals: 0, recorders: 1, scenario: Scenario::Empty, ..FleetOptions::default() };
    let fleet = Fleet::start(options).await.unwrap();
    let stage = Stage::empty(name);
    let inventory = format!(
        r#"connections:
  recorder:
    params: [device]
    url: "http://${{{{ device.ip }}}}:${{{{ device.port }}}}"
    auth: {{ digest: {{ user: {RECORDER_USER}, password: {{ secret: recorder-password }} }} }}
    allow: {{ addresses: [127.0.0.0/8], methods: [GET, POST], paths: [/ISAPI/] }}
folders:
  recordings: {{ path: ./recordings }}
stores:
  exported: {{}}
"#
    );
    std::fs::write(stage.folder.join("bascule.yaml"), inventory).unwrap();
    for workflow in ["recorder-overview", "export-range"] {
        let path = root().join("workflows").join(format!("{workflow}.yaml"));
        stage.workflow(workflow, &std::fs::read_to_string(path).unwrap());
    }
    stage.secret("recorder-password", RECORDER_PASSWORD).await;
    (fleet, stage)
}

async fn run(stage: &Stage, workflow: &str, inputs: &Value) -> Said {
    stage.bascule(&["run", workflow, "--json", "--inputs-json", &inputs.to_string()]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recorder_shows_its_channels_and_disks_and_a_wrong_address_is_said() {
    let (fleet, stage) = set("recorder-overview").await;
    fleet.recorder(0).change(|habits| habits.inputs = Inputs::Analog);
    let port = fleet.recorder(0).port();
    let said = run(&stage, "recorder-overview", &json!({ "ip": "127.0.0.1", "port": port })).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    let channels: Vec<&Value> =
        output["channels"].as_array().unwrap().iter().map(|channel| &channel["id"]).collect();
    assert_eq!(channels, [1, 2, 3], "{output:#}");
    assert!(output["model"].as_str().is_some_and(|model| !model.is_empty()), "{output:#}");
    assert_eq!(output["disks"][0]["capacity_mb"], 1_907_729);

    // An address that the connection does not allow is refused by the host; nothing is asked there.
    let said = run(&stage, "recorder-overview", &json!({ "ip": "192.0.2.9" })).await;
    assert_eq!(said.code, 1);
    assert!(said.result()["error"]["message"].as_str().unwrap().contains("192.0.2.9"), "{}", said.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_chosen_channel_and_range_are_fetched_and_never_twice() {
    let (fleet, stage) = set("export-range").await;
    let recorder = fleet.recorder(0);
    let mut segments: Vec<Segment> =
        recorder.segments().into_iter().filter(|segment| !segment.growing && segment.track == 201).collect();
    segments.sort_by_key(|segment| segment.start);
    let (first, second) = (&segments[1], &segments[2]);
    let inputs = json!({
        "ip": "127.0.0.1", "port": recorder.port(), "channels": [2],
        "begin": (first.start + jiff::SignedDuration::from_secs(1)).to_string(),
        "end": (second.start + jiff::SignedDuration::from_secs(30)).to_string(),
    });
    let said = run(&stage, "export-range", &inputs).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let output = said.result()["output"].clone();
    assert_eq!((&output["found"], &output["counts"]["succeeded"]), (&json!(2), &json!(2)), "{output:#}");
    let mut hashes: Vec<&str> = output["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["output"]["sha256"].as_str().unwrap())
        .collect();
    hashes.sort_unstable();
    let mut expected = [first.sha256(), second.sha256()];
    expected.sort();
    assert_eq!(hashes, expected);
    let name = output["files"][0]["output"]["name"].as_str().unwrap();
    assert!(name.starts_with("range/127.0.0.1/2/"), "{name}");

    let said = run(&stage, "export-range", &inputs).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(fleet.ledger().of(Kind::SegmentSent).len(), 2, "something was fetched again");
    assert_eq!(said.result()["output"]["files"][0]["output"]["downloaded"], false);
}
