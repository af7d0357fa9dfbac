//! Rules that are known before anything runs, and whole files from YAML to the end of the run.

use std::collections::BTreeMap;
use std::sync::Arc;

use bascule_run::{Place, Status};
use bascule_workflow::check::check;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan::Workflow;
use bascule_workflow::problem::Look;
use bascule_workflow::signature::{Capability, Field, Function, Param, Plugin, Type};
use serde_json::{Value, json};

use crate::support::{Bench, World};

fn param(name: &str, ty: Type) -> Param {
    Param { name: name.to_owned(), ty }
}

fn optional(ty: Type) -> Type {
    Type::Option(Box::new(ty))
}

fn plugins() -> BTreeMap<String, Plugin> {
    let function = |params: Vec<Param>, result: Type| Function { params, result: Some(result), docs: None };
    let connection = || Type::Capability(Capability::Connection);
    let found = Type::Record {
        name: "found".into(),
        fields: vec![Field { name: "found".into(), ty: Type::Bool, docs: None }],
    };
    let face =
        || vec![param("terminal", connection()), param("fpid", Type::String), param("url", Type::String)];
    let plugin = |name: &str, functions: Vec<(&str, Function)>| {
        let functions = functions.into_iter().map(|(name, function)| (name.to_owned(), function)).collect();
        (name.to_owned(), Plugin { name: name.to_owned(), functions, ..Plugin::default() })
    };
    BTreeMap::from([
        plugin("demo", vec![("echo", function(vec![param("value", optional(Type::Json))], Type::Json))]),
        plugin(
            "supabase",
            vec![(
                "tables.select",
                function(
                    vec![
                        param("database", connection()),
                        param("table", Type::String),
                        param("where", optional(Type::Json)),
                    ],
                    Type::Json,
                ),
            )],
        ),
        plugin(
            "isapi",
            vec![
                ("faces.modify", function(face(), Type::Json)),
                ("faces.create", function(face(), Type::Json)),
                (
                    "faces.find",
                    function(vec![param("terminal", connection()), param("fpid", Type::String)], found),
                ),
            ],
        ),
    ])
}

fn checked(text: &str) -> Arc<Workflow> {
    let (workflow, problems) = check("golden.yaml", text, &plugins(), None);
    assert!(problems.is_empty(), "{}", problems.render(Look::Plain));
    Arc::new(workflow.unwrap())
}

/// What `check` says about a file that it refuses.
fn refused(text: &str) -> String {
    let (workflow, problems) = check("golden.yaml", text, &plugins(), None);
    assert!(workflow.is_none() && problems.has_errors(), "{text} was accepted");
    problems.render(Look::Plain)
}

fn step_with(value: &str) -> String {
    format!(
        "inputs: {{ name: string }}\nsteps:\n  - id: one\n    uses: demo/echo\n    with: {{ value: \"{value}\" }}\n"
    )
}

fn step_where(line: &str) -> String {
    format!("inputs: {{ name: string }}\nsteps:\n  - id: one\n    uses: demo/echo\n    {line}\n")
}

#[test]
fn spec_01_an_undefined_name_is_found_before_anything_runs() {
    for (source, name) in [
        ("${{ inputs.nane }}", "nane"),
        ("${{ steps.nobody.output }}", "nobody"),
        ("${{ nobody }}", "nobody"),
        ("${{ run.nothing }}", "nothing"),
        ("${{ steps.one.output }}", "one"),
    ] {
        let problems = refused(&step_with(source));
        assert!(problems.contains("golden.yaml:5:"), "{problems}");
        assert!(problems.contains(&format!("`{name}`")), "{problems}");
    }
    checked(&step_with("${{ inputs.name | default('nobody') }}"));
}

#[tokio::test(start_paused = true)]
async fn spec_02_a_value_of_exactly_one_expression_keeps_its_type_from_the_file_to_the_call() {
    let workflow = checked(
        "steps:\n  - uses: demo/echo\n    with:\n      value:\n        list: ${{ [1, 2] }}\n        text: no. ${{ 2 * 3 }}\n        plain: 007x\n        literal: $${{ x }}\n",
    );
    let bench = Bench::new(World::answering(|_, call| Ok(call.with.clone())));
    assert_eq!(bench.run(&workflow).await.status, Status::Succeeded);
    let with = bench.world.calls().pop().unwrap().with;
    assert_eq!(
        with["value"],
        json!({ "list": [1, 2], "text": "no. 6", "plain": "007x", "literal": "${{ x }}" })
    );
}

#[test]
fn spec_03_a_half_interpolated_condition_is_refused() {
    for line in [
        "if: ${{ inputs.name }} == 'Ann'",
        "skip-if: { when: \"${{ inputs.name }} == 'Ann'\", reason: no }",
        "poll: { until: \"${{ result }} == 1\" }",
        "verify: { uses: demo/echo, assert: \"${{ result }} == 1\" }",
    ] {
        refused(&step_where(line));
    }
    checked(&step_where("if: inputs.name == 'Ann'"));
    checked(&step_where("if: ${{ inputs.name == 'Ann' }}"));
}

#[test]
fn spec_09_a_schedule_can_be_written_and_its_keys_are_checked() {
    let file = |schedule: &str| format!("triggers:\n  - schedule: {schedule}\nsteps:\n  - uses: demo/echo\n");
    let workflow = checked(&file("{ cron: \"30 2 * * *\", time-zone: Europe/Bucharest, missed: once }"));
    assert_eq!(workflow.triggers[0].kind(), "schedule");
    refused(&file("{ cron: \"61 2 * * *\" }"));
    refused(&file("{ cron: \"30 2 * * *\", catch-up: true }"));
    refused(&file("{ cron: \"30 2 * * *\", missed: sometimes }"));
}

#[test]
fn spec_10_a_webhook_can_be_written_and_its_keys_are_checked() {
    let file = |webhook: &str| format!("triggers:\n  - webhook: {webhook}\nsteps:\n  - uses: demo/echo\n");
    let workflow = checked(&file(
        "{ path: update-photo, auth: { hmac-sha256: { secret: photo-hook } }, respond: result }",
    ));
    assert_eq!(workflow.triggers[0].kind(), "webhook");
    refused(&file("{ auth: none }"));
    refused(&file("{ path: update-photo, auht: none }"));
}

#[test]
fn spec_11_now_is_refused_before_anything_runs() {
    for source in ["${{ now() }}", "${{ now }}", "${{ run.now }}"] {
        refused(&step_with(source));
    }
    checked(&step_with("${{ run.started_at }}"));
}

const FACES: &str = r#"
name: Update one face everywhere
inputs:
  employee_no: { type: string, required: true }
steps:
  - id: terminals
    uses: supabase/tables.select
    with: { database: hr, table: devices, where: { active: is.true } }
  - id: photo
    for-each: ${{ steps.terminals.output }}
    as: device
    key: ${{ device.id }}
    parallel: 2
    keep-going: true
    uses: isapi/faces.modify
    with: &face
      terminal: { connection: terminal, device: "${{ device }}" }
      fpid: ${{ inputs.employee_no }}
      url: https://photos.example/${{ inputs.employee_no }}.jpg
    retry: { attempts: 3, on: [offline, busy, timeout], backoff: { from: 2s, to: 30s } }
    catch:
      - on: [not-found]
        uses: isapi/faces.create
        with: *face
    verify:
      uses: isapi/faces.find
      with: { terminal: { connection: terminal, device: "${{ device }}" }, fpid: "${{ inputs.employee_no }}" }
      assert: result.found
      within: 15s
finally:
  - id: note
    uses: demo/echo
    with: { value: "${{ steps.photo.counts.failed }} of ${{ steps.photo.counts.total }}" }
output:
  summary: ${{ steps.photo.counts }}
  per_device: ${{ steps.photo.items }}
"#;

#[tokio::test(start_paused = true)]
async fn a_face_goes_to_every_terminal_and_each_tells_how_it_went() {
    let world = World::answering(|world, call| {
        let device = call.with["terminal"]["device"]["id"].as_str().unwrap_or_default().to_owned();
        match (call.function.as_str(), device.as_str()) {
            ("supabase/tables.select", _) => {
                Ok(["t1", "t2", "t3", "t4"].map(|id| json!({ "id": id })).into_iter().collect::<Value>())
            }
            ("isapi/faces.modify", "t2") => Err(Failure::new(Kind::NotFound, "no such face")),
            ("isapi/faces.modify", "t3") => Err(Failure::new(Kind::LockedOut, "locked for 29 min")),
            // It says yes and stores nothing.
            ("isapi/faces.modify", "t4") => Ok(json!({})),
            ("isapi/faces.modify" | "isapi/faces.create", _) => {
                world.store(device, call.with["url"].clone());
                Ok(json!({}))
            }
            ("isapi/faces.find", _) => Ok(json!({ "found": world.stored(&device).is_some() })),
            _ => Ok(call.with["value"].clone()),
        }
    });
    let bench = Bench::new(world);
    let workflow = checked(FACES);
    let Value::Object(given) = json!({ "employee_no": "0042" }) else { unreachable!() };
    let inputs = Value::Object(workflow.accept_inputs(given).unwrap());
    let run = bench.start(&workflow, inputs).await;
    let outcome = bench.execute(run, &workflow).await;
    assert_eq!(outcome.status, Status::Failed);
    let statuses: Vec<_> = outcome.output["per_device"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (item["key"].as_str().unwrap(), item["status"].as_str().unwrap(), item["error"]["kind"].as_str())
        })
        .collect();
    assert_eq!(
        statuses,
        [
            ("t1", "succeeded", None),
            ("t2", "recovered", None),
            ("t3", "failed", Some("locked-out")),
            ("t4", "failed", Some("verification-failed")),
        ]
    );
    assert_eq!(bench.world.stored("t1"), Some(json!("https://photos.example/0042.jpg")));
    let note = bench.record(run).await.at(&Place::finally("note")).unwrap().output.clone();
    assert_eq!(note, "2 of 4");
}
