//! What `concurrency`, `debounce`, `defaults`, `on-failure` and calls of workflows become when nothing is wrong.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod fixture;

use std::time::Duration;

use bascule_workflow::admission::{Collected, Priority, WhenBusy};
use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::failure::Kind;
use bascule_workflow::plan::{Action, OnFailure, Selector, Workflow};
use bascule_workflow::problem::Look;
use bascule_workflow::trigger::Source;
use serde_json::{Map, Value, json};

const STEPS: &str = "steps:\n  - uses: isapi/device.info\n    with: { terminal: entrance }\n";

fn workflow(text: &str) -> Workflow {
    let (plugins, project, library) = (fixture::plugins(), fixture::project(), fixture::library());
    let surroundings = Surroundings { plugins: &plugins, project: Some(&project), library: &library };
    let (workflow, problems) = check_among("nightly.yaml", text, surroundings);
    assert!(problems.is_empty(), "{}", problems.render(Look::Plain));
    workflow.unwrap()
}

fn map(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else { panic!("a map") };
    map
}

#[test]
fn the_group_of_a_run_is_made_of_its_inputs_and_its_trigger() {
    let text = "inputs: { site: string }\nconcurrency: { group: \"export-${{ inputs.site }}-${{ trigger.kind }}\", when-busy: replace }\n";
    let workflow = workflow(&format!("{text}priority: high\n{STEPS}"));
    assert_eq!(workflow.concurrency.as_ref().unwrap().when_busy, WhenBusy::Replace);
    assert_eq!(workflow.priority, Priority::High);
    let inputs = map(json!({ "site": "north" }));
    let key = workflow.concurrency_key(&inputs, &json!({ "kind": "manual" })).unwrap();
    assert_eq!(key.as_deref(), Some("export-north-manual"));
    assert!(workflow.concurrency_key(&inputs, &json!({})).is_err());
    assert_eq!(workflow.debounce_key(&inputs, &json!({})).unwrap(), None);
}

#[test]
fn without_further_words_a_run_waits_its_turn_at_normal_priority() {
    let workflow = workflow(&format!("concurrency: {{ group: 7 }}\n{STEPS}"));
    assert_eq!(workflow.concurrency.as_ref().unwrap().when_busy, WhenBusy::Queue);
    assert_eq!(workflow.priority, Priority::Normal);
    assert_eq!(workflow.concurrency_key(&Map::new(), &Value::Null).unwrap().as_deref(), Some("7"));
    assert!(Priority::Low < Priority::Normal && Priority::Normal < Priority::High);
}

#[test]
fn a_debounce_begins_at_most_ten_waits_late_unless_it_says_otherwise() {
    let short = workflow(&format!("debounce: {{ wait: 3s }}\n{STEPS}"));
    let debounce = short.debounce.as_ref().unwrap();
    assert_eq!((debounce.at_most, debounce.collect), (Duration::from_secs(30), Collected::Last));
    assert_eq!(short.debounce_key(&Map::new(), &Value::Null).unwrap().as_deref(), Some(""));
    let text = "debounce: { key: \"${{ trigger.body.id }}\", wait: 3s, at-most: 1m, collect: all }\n";
    let long = workflow(&format!("{text}{STEPS}"));
    let debounce = long.debounce.as_ref().unwrap();
    assert_eq!((debounce.at_most, debounce.collect), (Duration::from_secs(60), Collected::All));
    let key = long.debounce_key(&Map::new(), &json!({ "body": { "id": 12 } })).unwrap();
    assert_eq!(key.as_deref(), Some("12"));
}

#[test]
fn defaults_are_for_every_call_that_does_not_say_its_own() {
    let workflow = workflow(
        r#"deadline: 2h
defaults:
  timeout: 20s
  retry: { attempts: 4, on: [busy] }
  catch: [{ on: [not-found], output: { found: false } }]
steps:
  - id: plain
    uses: isapi/device.info
    with: { terminal: entrance }
  - id: own
    uses: isapi/device.info
    with: { terminal: entrance }
    timeout: 5s
    retry: none
    catch: []
  - uses: workflow/tidy-up
finally:
  - uses: isapi/users.delete
    with: { terminal: entrance, employee-no: "1" }
    retry: { attempts: 2 }
"#,
    );
    assert_eq!(workflow.deadline, Some(Duration::from_secs(7200)));
    let [plain, own, called] = workflow.steps.as_slice() else { panic!("three steps") };
    assert_eq!(plain.timeout, Some(Duration::from_secs(20)));
    assert_eq!(plain.retry.as_ref().unwrap().on, [Selector::Kind(Kind::Busy)]);
    assert_eq!(plain.catch[0].on, [Selector::Kind(Kind::NotFound)]);
    assert_eq!((own.timeout, own.retry.is_none(), own.catch.len()), (Some(Duration::from_secs(5)), true, 0));
    assert!(called.timeout.is_none() && called.retry.is_none() && called.catch.is_empty());
    let last = &workflow.finally[0];
    assert_eq!((last.retry.as_ref().unwrap().attempts, last.catch.len()), (2, 1));
}

#[test]
fn a_workflow_brings_along_all_that_it_calls() {
    let workflow = workflow(
        "on-failure: tidy-up\nsteps:\n  - id: deep\n    uses: workflow/deep-2\n  - uses: isapi/users.get\n    with: { terminal: entrance, employee-no: \"${{ steps.deep.output.anything.goes }}\" }\n",
    );
    let Action::Workflow(call) = &workflow.steps[0].action else { panic!("a call") };
    assert_eq!(call.workflow, "deep-2");
    let mut depth = 0;
    let mut inner = &workflow;
    while let Some(next) = inner.children.values().find(|child| child.id.starts_with("deep")) {
        (inner, depth) = (next, depth + 1);
    }
    assert_eq!(depth, 7);
    let Some(OnFailure::Workflow(alert)) = &workflow.on_failure else { panic!("a workflow") };
    assert_eq!(alert.id, "tidy-up");
    assert!(workflow.children.contains_key("tidy-up"));
}

#[test]
fn on_failure_steps_see_the_error_and_all_steps() {
    let workflow = workflow(&format!(
        "on-failure:\n  - uses: workflow/ring\n    with: {{ message: \"${{{{ error.kind }}}}: ${{{{ steps.info.status }}}}\" }}\n{}",
        STEPS.replace("- uses", "- id: info\n    uses")
    ));
    let Some(OnFailure::Steps(steps)) = &workflow.on_failure else { panic!("steps") };
    assert_eq!(steps[0].id, "on-failure.step-1");
}

#[test]
fn names_of_the_workflows_own_become_those_of_the_project() {
    let workflow = workflow(
        r#"connections: { door: entrance, device: terminal }
steps:
  - uses: isapi/device.info
    with: { terminal: door }
  - uses: isapi/device.info
    with: { terminal: { connection: device, device: { ip: 192.0.2.9 } } }
  - uses: isapi/device.info
    with: { terminal: entrance }
"#,
    );
    let handed = |index: usize| {
        let Action::Call(call) = &workflow.steps[index].action else { panic!("a call") };
        call.with.evaluate(&bascule_workflow::expression::Scope::new()).unwrap()["terminal"].clone()
    };
    assert_eq!(handed(0), "entrance");
    assert_eq!(handed(1), json!({ "connection": "terminal", "device": { "ip": "192.0.2.9" } }));
    assert_eq!(handed(2), "entrance");
}

#[test]
fn edited_inputs_are_converted_and_the_others_stay_as_they_were() {
    let workflow = workflow(&format!(
        "inputs:\n  wait: {{ type: duration, required: true }}\n  floor: {{ type: integer, default: 1 }}\n{STEPS}"
    ));
    let before = workflow.accept_inputs(map(json!({ "wait": "2m" }))).unwrap();
    assert_eq!(before, map(json!({ "wait": 120, "floor": 1 })));
    let edited = workflow.accept_edited_inputs(&before, map(json!({ "floor": "3" }))).unwrap();
    assert_eq!(edited, map(json!({ "wait": 120, "floor": 3 })));
    assert!(workflow.accept_edited_inputs(&before, map(json!({ "flor": 3 }))).is_err());
}

#[test]
fn a_watch_over_successes_names_workflows_and_a_time() {
    let text = format!("triggers:\n  - overdue: {{ name: tidy-up, no-success-for: 26h }}\n{STEPS}");
    let workflow = workflow(&text);
    let [trigger] = workflow.triggers.as_slice() else { panic!("one trigger") };
    assert_eq!((trigger.id.as_str(), trigger.kind()), ("overdue-1", "overdue"));
    let Source::Overdue(overdue) = &trigger.source else { panic!("{:?}", trigger.source) };
    assert_eq!(
        (overdue.names.as_slice(), overdue.no_success_for),
        (&["tidy-up".to_owned()][..], Duration::from_secs(26 * 3600))
    );
}
