//! `bascule check`, `explain`, `init`, and what is said about wrong use.

use bascule_sim::Scenario;
use bascule_workflow::document::Document;
use bascule_workflow::problem::Problems;

use crate::stage::{Stage, complete, fleet, root};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shipped_workflows_have_nothing_to_report() {
    let stage = Stage::empty("check-shipped");
    let workflows = root().join("workflows");
    let said = stage.elsewhere(&workflows, &["check", "--strict", workflows.to_str().unwrap()]).await;
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(said.err, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_project_checks_clean_and_its_next_steps_are_said() {
    let stage = Stage::empty("init");
    let site = stage.folder.join("my-site");
    let folder = site.to_str().unwrap();
    let said = stage.bascule(&["init", folder]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("secret set terminal-password"), "{}", said.out);
    let said = stage.elsewhere(&site, &["check", "--strict"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{}", said.out);
    let again = stage.bascule(&["init", folder]).await;
    assert_eq!(again.code, 3);
    assert!(again.err.contains("is there already"), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_workflow_is_refused_with_its_place_before_anything_runs() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("check-broken", &fleet).await;
    stage.workflow(
        "broken",
        "name: Broken\nsteps:\n  - id: info\n    uses: isapi/device.inof\n    with: { terminal: { connection: terminal, device: {} } }\n",
    );
    let said = stage.bascule(&["check"]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("broken.yaml:4:17"), "{}", said.err);
    assert!(said.err.contains("did you mean `device.info`"), "{}", said.err);

    let json = stage.bascule(&["check", "--format", "json"]).await.json();
    let problem = &json[0];
    assert_eq!((problem["span"]["line"].as_u64(), problem["span"]["column"].as_u64()), (Some(4), Some(17)));
    let code = problem["code"].as_str().unwrap();
    let explained = stage.bascule(&["explain", code]).await;
    assert_eq!(explained.code, 0);
    assert!(explained.out.contains("Right:"), "{}", explained.out);

    let said = stage.bascule(&["run", "broken"]).await;
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("nothing was started"), "{}", said.err);
    assert_eq!(stage.bascule(&["runs", "list", "--json"]).await.json(), serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_use_is_answered_with_what_where_and_how_to_mend_it() {
    let fleet = fleet(Scenario::Calm, 1).await;
    let stage = Stage::set("wrong-use", &fleet).await;
    let cases: [(&[&str], i32, &str); 9] = [
        (&["run", "update-face-foto"], 6, "`update-face-photo`"),
        (&["run", "update-face-photo"], 3, "employee_id"),
        (&["run", "update-face-photo", "-i", "employee_id=17"], 3, "uuid"),
        (&["run", "update-face-photo", "-i", "employe_id=17"], 3, "did you mean `employee_id`"),
        (&["run", "update-face-photo", "-i", "employee_id"], 2, "NAME=VALUE"),
        (&["runs", "show", "0000"], 6, "there is no run `0000`"),
        (&["explain", "WF999"], 6, "lists all of them"),
        (&["secret", "remove", "nope"], 6, "there is no secret `nope`"),
        (&["connection", "test", "terminal"], 2, "--param"),
    ];
    for (arguments, code, says) in cases {
        let said = stage.bascule(arguments).await;
        assert_eq!(said.code, code, "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(says), "{arguments:?}: {}", said.err);
    }
    let said = stage.elsewhere("/nonexistent".as_ref(), &["run", "x", "-i", &complete(&fleet)]).await;
    assert_eq!(said.code, 6, "{}", said.err);
}

/// The corpus of broken workflows through the binary and with the real plugins' types. Its texts are golden in
/// `engine/workflow`, where the types are fixed; here at least sixty files must be refused for the reason they are there for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_broken_workflows_is_reported_at_once() {
    let stage = Stage::empty("check-corpus");
    let corpus = root().join("tests/fixtures/broken");
    let said = stage.bascule(&["check", "--format", "json", corpus.to_str().unwrap()]).await;
    assert_eq!(said.code, 1, "{}", said.err);
    let mut right = std::collections::BTreeSet::new();
    for problem in said.json().as_array().unwrap() {
        let file = std::path::Path::new(problem["file"].as_str().unwrap());
        let golden = std::fs::read_to_string(file.with_extension("txt")).unwrap();
        assert!(
            problem["span"]["line"].is_u64() && !problem["message"].as_str().unwrap().is_empty(),
            "{problem}"
        );
        if golden.contains(&format!("[{}]", problem["code"].as_str().unwrap())) {
            right.insert(file.to_owned());
        }
    }
    assert!(right.len() >= 60, "{}", right.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shipped_workflow_fits_the_schema_that_editors_are_given() {
    let stage = Stage::empty("schema");
    let workflows = root().join("workflows");
    let said = stage.elsewhere(&workflows, &["schema", "--print", "workflow"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let of_workflows = jsonschema::draft7::new(&said.json()).unwrap();
    let of_inventory = stage.elsewhere(&workflows, &["schema", "--print", "inventory"]).await.json();
    let of_inventory = jsonschema::draft7::new(&of_inventory).unwrap();
    let json_of = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).unwrap();
        let document = Document::read(&text, &mut Problems::new("x.yaml", &text)).unwrap();
        document.root.to_json()
    };
    let mut count = 0;
    for entry in std::fs::read_dir(&workflows).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".yaml") || name.ends_with(".test.yaml") {
            continue;
        }
        let schema = if name == "bascule.yaml" { &of_inventory } else { &of_workflows };
        if let Err(error) = schema.validate(&json_of(&path)) {
            panic!("{name}: {error} at {}", error.instance_path());
        }
        count += 1;
    }
    assert!(count > 20, "{count}");
    // The parameters of the plugins as they are.
    let wrong =
        serde_json::json!({ "steps": [{ "uses": "isapi/device.info", "with": { "treminal": "terminal" } }] });
    assert!(!of_workflows.is_valid(&wrong));

    let site = stage.folder.join("site");
    assert_eq!(stage.bascule(&["init", site.to_str().unwrap()]).await.code, 0);
    let said = stage.elsewhere(&site, &["schema"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("# yaml-language-server: $schema=../schema/workflow.json"), "{}", said.out);
    for file in ["schema/workflow.json", "schema/bascule.json"] {
        let text = std::fs::read_to_string(site.join(file)).unwrap();
        jsonschema::draft7::new(&serde_json::from_str(&text).unwrap()).unwrap();
    }
}
