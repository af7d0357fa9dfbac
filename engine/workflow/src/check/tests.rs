#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::expression::Scope as Names;
use crate::failure::Kind;
use crate::plan::{Action, InputType, Selector, Step};
use crate::problem::Look;
use crate::signature::{Field, Function, Param, Type};
use crate::trigger::{Missed, Respond, Source, WebhookAuth};

/// A plugin `p` with `things.get(at: connection, some-key: string, count: option<u8>) -> { first-name, rows: list<row> }`,
/// `things.put(at, value: json)` and the event source `things.watch(at, sink)`.
fn plugins() -> BTreeMap<String, Plugin> {
    let param = |name: &str, ty: Type| Param { name: name.to_owned(), ty };
    let field = |name: &str, ty: Type| Field { name: name.to_owned(), ty, docs: None };
    let record = |name: &str, fields: Vec<Field>| Type::Record { name: name.to_owned(), fields };
    let at = || param("at", Type::Capability(Capability::Connection));
    let row = record("row", vec![field("id", Type::String), field("is-new", Type::Bool)]);
    let thing =
        record("thing", vec![field("first-name", Type::String), field("rows", Type::List(Box::new(row)))]);
    let count = Type::Integer { name: "u8", min: 0, max: 255 };
    let function = |params: Vec<Param>, result: Option<Type>| Function { params, result, docs: None };
    let functions = BTreeMap::from([
        (
            "things.get".to_owned(),
            function(
                vec![at(), param("some-key", Type::String), param("count", Type::Option(Box::new(count)))],
                Some(thing),
            ),
        ),
        ("things.put".to_owned(), function(vec![at(), param("value", Type::Json)], None)),
        (
            "things.watch".to_owned(),
            function(vec![at(), param("sink", Type::Capability(Capability::Sink))], None),
        ),
    ]);
    BTreeMap::from([("p".to_owned(), Plugin { name: "p".to_owned(), functions, ..Plugin::default() })])
}

fn problems(text: &str) -> Problems {
    check("folder/some-flow.yaml", text, &plugins(), None).1
}

fn messages(text: &str) -> Vec<String> {
    problems(text).iter().map(|problem| format!("{} {}", problem.code, problem.message)).collect()
}

fn workflow(text: &str) -> Workflow {
    let (plugins, mut library) = (plugins(), Library::default());
    library.insert("folder/nightly.yaml", "steps: []");
    let surroundings = Surroundings { plugins: &plugins, project: None, library: &library };
    let (workflow, problems) = check_among("folder/some-flow.yaml", text, surroundings);
    match workflow {
        Some(workflow) if problems.is_empty() => workflow,
        _ => panic!("{}", problems.render(Look::Plain)),
    }
}

fn step(text: &str) -> Step {
    workflow(&format!("steps:\n{text}")).steps.remove(0)
}

#[test]
fn a_workflow_is_known_by_its_file_and_keeps_its_text() {
    let text = "steps:\n  - { uses: p/things.put, with: { at: here, value: 1 } }\n";
    let workflow = workflow(text);
    assert_eq!((workflow.id.as_str(), workflow.name.as_str()), ("some-flow", "some-flow"));
    assert_eq!(&*workflow.text, text);
    assert_eq!(workflow.digest, hex::encode(Sha256::digest(text)));
    assert_eq!(workflow.steps.first().unwrap().id, "step-1");
}

#[test]
fn defaults_are_those_of_the_plan() {
    let step = step("  - { uses: p/things.get, with: { at: here, some-key: a }, retry: { attempts: 2 } }\n");
    let retry = step.retry.unwrap();
    assert_eq!(retry.on, [Kind::Offline, Kind::Busy, Kind::Timeout].map(Selector::Kind));
    assert_eq!((retry.from, retry.to), (Duration::from_secs(1), Duration::from_secs(60)));
    assert!(!step.never_repeat && !step.keep_going && step.timeout.is_none() && step.for_each.is_none());
}

#[test]
fn names_of_parameters_become_those_of_the_plugin() {
    for key in ["some-key", "some_key", "someKey"] {
        let step = step(&format!(
            "  - {{ uses: p/things.get, with: {{ at: here, {key}: \"${{{{ run.id }}}}\" }} }}\n"
        ));
        let Action::Call(call) = step.action else { panic!("not a call") };
        assert_eq!((call.plugin.as_str(), call.function.as_str()), ("p", "things.get"));
        let mut names = Names::new();
        names.set("run", json!({"id": "r1"}));
        assert_eq!(call.with.evaluate(&names).unwrap(), json!({"at": "here", "some-key": "r1"}));
    }
}

#[test]
fn every_keyword_of_a_step_reaches_the_plan() {
    let step = step(
        "  - id: one
    name: The one
    if: run.attempt == 1
    for-each: ${{ [1, 2] }}
    as: number
    key: ${{ number }}
    parallel: 7
    keep-going: true
    skip-if: { when: number == 2, reason: \"no ${{ number }}, ${{ number_index }}\" }
    uses: p/things.get
    with: { at: here, some-key: a, count: \"${{ number }}\" }
    retry: { attempts: 3, on: [any, not-found, \"p:full\"], backoff: { from: 2s, to: 30s } }
    timeout: 90s
    once: a-${{ number }}
    poll: { until: result.rows | length > 0, within: 5m }
    catch:
      - { on: conflict, output: { why: \"${{ error.message }}\" } }
      - { on: [unauthorized], uses: p/things.put, with: { at: here, value: \"${{ error }}\" } }
    verify: { uses: p/things.get, with: { at: here, some-key: b }, assert: result.first_name == 'x' and output != none, within: 15s }
",
    );
    let each = step.for_each.unwrap();
    assert_eq!((each.variable.as_str(), each.parallel, each.key.is_some()), ("number", 7, true));
    assert_eq!((step.id.as_str(), step.name.as_deref(), step.line), ("one", Some("The one"), 2));
    assert!(step.keep_going && step.condition.is_some() && step.once.is_some());
    assert!(step.skip_if.unwrap().reason.is_some());
    assert_eq!(step.timeout, Some(Duration::from_secs(90)));
    let retry = step.retry.unwrap();
    assert_eq!(
        retry.on,
        [Selector::Any, Selector::Kind(Kind::NotFound), Selector::Code("p:full".to_owned())]
    );
    assert_eq!((retry.attempts, retry.from, retry.to), (3, Duration::from_secs(2), Duration::from_secs(30)));
    let poll = step.poll.unwrap();
    assert_eq!((poll.every, poll.within), (Duration::from_secs(5), Duration::from_secs(300)));
    let verify = step.verify.unwrap();
    assert_eq!((verify.every, verify.within), (Duration::from_secs(1), Duration::from_secs(15)));
    assert_eq!(step.catch.len(), 2);
    assert!(step.catch.first().unwrap().output.is_some() && step.catch.last().unwrap().call.is_some());
}

#[test]
fn blocks_hold_steps_that_can_be_undone() {
    let step = step(
        "  - id: both
    all-or-nothing: true
    steps:
      - { id: first, uses: p/things.get, with: { at: here, some-key: a }, undo: { uses: p/things.put, with: { at: here, value: \"${{ output.first_name }}\" } } }
      - { uses: p/things.put, with: { at: here, value: \"${{ steps.first.output.rows[0].is_new }}\" }, repeat: never, undo: { uses: p/things.put, with: { at: here, value: 2 } } }
",
    );
    let Action::Block { steps, all_or_nothing } = step.action else { panic!("not a block") };
    assert!(all_or_nothing && steps.iter().all(|step| step.undo.is_some()));
    assert_eq!(steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(), ["first", "both.step-2"]);
    assert!(steps.last().unwrap().never_repeat);
}

#[test]
fn later_places_see_what_ran_before() {
    workflow(
        "inputs: { floor: integer, days: duration, all: json }
steps:
  - { id: one, uses: p/things.get, with: { at: here, some-key: \"${{ inputs.floor | string }}\" } }
  - id: block
    steps:
      - { id: two, uses: p/things.get, with: { at: here, some-key: \"${{ steps.one.output.first_name }}\" } }
  - id: each
    for-each: ${{ steps.two.output.rows }}
    as: row
    key: ${{ row.id }}
    steps:
      - { id: three, uses: p/things.put, with: { at: here, value: \"${{ row.is_new }} ${{ row_index }} ${{ inputs.all.x.y }}\" } }
      - { if: steps.three.status == 'succeeded', uses: p/things.get, with: { at: here, some-key: \"${{ row.id }}\" } }
finally:
  - { id: last, uses: p/things.put, with: { at: here, value: \"${{ steps.each.counts.failed }}\" } }
  - { if: steps.last.error.kind is defined, uses: p/things.put, with: { at: here, value: \"${{ steps.block.output.two.first_name }}\" } }
output:
  items: ${{ steps.each.items[0].output.three }}
  reason: ${{ steps.block.reason | default('-') }}
  later: ${{ run.started_at }} ${{ trigger.body.x }}
",
    );
}

#[test]
fn what_is_known_of_a_value_is_used_everywhere() {
    let text = "steps:
  - { id: one, uses: p/things.get, with: { at: here, some-key: a } }
  - for-each: steps.one.output.rows
    as: row
    key: ${{ row.idd }}
    uses: p/things.get
    with: { at: here, some-key: \"${{ row.is_new }}\", count: \"${{ steps.one.output.rows }}\" }
    catch: [{ on: any, output: \"${{ error.massage }}\" }]
    verify: { uses: p/things.get, with: { at: here, some-key: a }, assert: result.rows }
output: ${{ steps.one.output.rows[0].nmae }} ${{ run.started }}
";
    assert_eq!(
        messages(text),
        [
            "WF066 `row` has no field `idd`",
            "WF045 with.some-key: expected string, got true or false",
            "WF045 with.count: expected whole number (u8), got a list",
            "WF066 `error` has no field `massage`",
            "WF068 `assert` must be true or false, `result.rows` is a list",
            "WF066 `steps.one.output.rows[0]` has no field `nmae`",
            "WF066 `run` has no field `started`",
        ]
    );
}

#[test]
fn a_catch_with_another_call_makes_the_output_unknown() {
    let with = |catch: &str| {
        format!(
            "steps:\n  - id: one\n    uses: p/things.get\n    with: {{ at: here, some-key: a }}\n    catch: [{catch}]\noutput: ${{{{ steps.one.output.other }}}}\n"
        )
    };
    assert!(messages(&with("{ on: any, output: { other: 1 } }")).is_empty());
    assert!(messages(&with("{ on: any, uses: p/things.put, with: { at: here, value: 1 } }")).is_empty());
    assert_eq!(
        messages(&with("{ on: any, uses: p/things.get, with: { at: there, some-key: a } }")),
        ["WF066 `steps.one.output` has no field `other`"]
    );
}

#[test]
fn guarded_references_may_be_absent_but_not_misspelt_steps_and_inputs() {
    let text = |expression: &str| {
        format!(
            "steps:\n  - {{ id: one, uses: p/things.get, with: {{ at: here, some-key: a }} }}\noutput: ${{{{ {expression} }}}}\n"
        )
    };
    for allowed in
        ["item | default('x')", "steps.one.output.other | default(1)", "result is defined", "trigger.a.b"]
    {
        assert!(messages(&text(allowed)).is_empty(), "{allowed}");
    }
    for refused in ["inputs.x | default(1)", "steps.two.output | default(1)", "steps.one.output.other"] {
        assert_eq!(messages(&text(refused)).len(), 1, "{refused}");
    }
}

#[test]
fn inputs_are_declared_in_short_and_in_full() {
    let workflow = workflow(
        "inputs:
  a: uuid
  b: { type: enum, values: [x, y], default: y, description: One of two }
  c: { type: string, required: true, pattern: '[a-z]+' }
  d: { type: duration, default: 5m }
steps:
  - { uses: p/things.put, with: { at: here, value: \"${{ inputs }}\" } }
",
    );
    let types: Vec<&InputType> = workflow.inputs.iter().map(|input| &input.ty).collect();
    let choice = InputType::Enum(vec!["x".to_owned(), "y".to_owned()]);
    assert_eq!(types, [&InputType::Uuid, &choice, &InputType::String, &InputType::Duration]);
    let given = serde_json::Map::from_iter([("c".to_owned(), json!("abc"))]);
    let accepted = workflow.accept_inputs(given).unwrap();
    assert_eq!(serde_json::Value::Object(accepted), json!({"a": null, "b": "y", "c": "abc", "d": 300}));
}

#[test]
fn triggers_of_every_kind_are_read() {
    let workflow = workflow(
        "inputs: { who: { type: string, required: true } }
folders: { inbox: incoming }
triggers:
  - schedule: { cron: \"0 3 * * MON-FRI\", time-zone: Europe/Bucharest, missed: { run: once, within: 6h }, jitter: 5m, inputs: { who: night } }
  - webhook:
      id: photo
      path: /photo/{who}
      method: [POST, PUT]
      auth: { hmac-sha256: { secret: photo-hook, timestamp-header: X-Time, tolerance: 2m } }
      addresses: [192.0.2.0/24]
      dedupe: ${{ trigger.body.id }}
      body: json
      max-body: 2MiB
      respond: result
      within: 20s
      if: trigger.body.kind == 'photo'
      inputs: { who: \"${{ trigger.path.who }}\" }
  - event: { uses: p/things.watch, with: { at: here }, dedupe: \"${{ trigger.event.serial }}\", collect: { up-to: 100, within: 2s }, inputs: { who: door } }
  - event:
      for-each: [here, there]
      as: place
      key: ${{ place }}
      uses: p/things.watch
      with: { at: { connection: any, place: \"${{ place }}\" } }
      catch-up: { uses: p/things.get, with: { at: here, some-key: \"${{ trigger.since }}\" } }
      inputs: { who: door }
  - workflow: { name: nightly, status: [failed, interrupted], inputs: { who: x } }
  - file: { folder: inbox, pattern: \"*.csv\", settle: 5s, inputs: { who: \"${{ trigger.name }}\" } }
steps:
  - { uses: p/things.put, with: { at: here, value: 1 } }
",
    );
    let ids: Vec<&str> = workflow.triggers.iter().map(|trigger| trigger.id.as_str()).collect();
    assert_eq!(ids, ["schedule-1", "photo", "event-1", "event-2", "workflow-1", "file-1"]);
    let sources: Vec<&Source> = workflow.triggers.iter().map(|trigger| &trigger.source).collect();
    let [
        Source::Schedule(schedule),
        Source::Webhook(webhook),
        Source::Event(_),
        Source::Event(event),
        Source::Workflow(after),
        Source::File(file),
    ] = sources.as_slice()
    else {
        panic!("other kinds");
    };
    assert_eq!(
        (schedule.missed, schedule.missed_within),
        (Missed::Once, Some(Duration::from_secs(6 * 3600)))
    );
    assert_eq!(schedule.time_zone.as_deref(), Some("Europe/Bucharest"));
    assert!(schedule.description.contains("03:00"), "{}", schedule.description);
    assert_eq!((webhook.path.as_str(), webhook.max_body_bytes), ("photo/{who}", 2 << 20));
    assert_eq!(webhook.respond, Respond::Result { within: Duration::from_secs(20) });
    assert!(
        matches!(&webhook.auth, WebhookAuth::HmacSha256 { tolerance, .. } if *tolerance == Duration::from_secs(120))
    );
    assert!(event.catch_up.is_some() && event.for_each.is_some());
    assert_eq!(after.statuses, ["failed", "interrupted"]);
    assert_eq!((file.pattern.as_str(), file.settle), ("*.csv", Duration::from_secs(5)));
}

#[test]
fn a_list_that_is_written_out_may_be_longer_than_an_expression() {
    let items: String = (0..2_000)
        .map(|number| format!("        - {{ id: {number}, ip: 192.0.2.1, note: \"a 'b' \\\\ {{{{ c\" }}\n"))
        .collect();
    assert!(items.len() > 20 * crate::expression::MAX_SOURCE_BYTES);
    let text = format!(
        "triggers:
  - event:
      for-each:
{items}      as: place
      key: ${{{{ place.id }}}}
      uses: p/things.watch
      with: {{ at: {{ connection: any, place: \"${{{{ place }}}}\" }} }}
steps:
  - {{ uses: p/things.put, with: {{ at: here, value: 1 }} }}
"
    );
    let workflow = workflow(&text);
    let Source::Event(event) = &workflow.triggers[0].source else { panic!("no event") };
    let items = event.for_each.as_ref().unwrap().items.evaluate(&Names::new()).unwrap();
    let items = items.as_array().unwrap();
    assert_eq!(items.len(), 2_000);
    assert_eq!(items[1_999], json!({ "id": 1_999, "ip": "192.0.2.1", "note": "a 'b' \\ {{ c" }));
}

#[test]
fn an_expression_keeps_its_cap_where_a_written_list_has_none() {
    let list = vec!["'entrance'"; 500].join(", ");
    let text = format!(
        "steps:\n  - for-each: \"${{{{ [{list}] }}}}\"\n    key: ${{{{ item }}}}\n    uses: p/things.put\n    with: {{ at: here, value: 1 }}\n"
    );
    let found = messages(&text);
    assert!(
        matches!(found.as_slice(), [only] if only.starts_with("WF060") && only.contains("4096 is the most")),
        "{found:?}"
    );
    // 150 times 40 KB through one anchor: a small file, a large value.
    let long = "x".repeat(40_000);
    let again = vec!["*long"; 150].join(", ");
    let text = format!(
        "steps:\n  - for-each: [&long {long}, {again}]\n    key: ${{{{ item_index }}}}\n    uses: p/things.put\n    with: {{ at: here, value: 1 }}\n"
    );
    assert_eq!(messages(&text), ["WF060 the value is larger than 4 MiB"]);
}

#[test]
fn aliases_report_their_mistake_once() {
    let text = "steps:
  - { uses: p/things.get, with: &w { at: here, some-key: 1 } }
  - { uses: p/things.get, with: *w }
";
    assert_eq!(messages(text), ["WF045 with.some-key: expected string, got number 1"]);
}

#[test]
fn a_misspelt_key_is_one_problem_only() {
    let text = "steps:
  - { uses: p/things.get, wth: { at: here, some-key: a } }
  - { uses: p/things.get, with: { at: here, some-kei: a } }
";
    assert_eq!(
        messages(text),
        ["WF012 unknown key `wth` in a step", "WF043 `things.get` has no parameter `some-kei`"]
    );
}

#[test]
fn a_workflow_of_400_lines_is_checked_in_milliseconds() {
    let mut text = "inputs: { all: json }\nsteps:\n".to_owned();
    for index in 0..57 {
        text.push_str(&format!(
            "  - id: step_{index}
    for-each: ${{{{ inputs.all }}}}
    key: ${{{{ item.id }}}}
    uses: p/things.get
    with: {{ at: here, some-key: \"a ${{{{ item.name }}}} b\", count: 3 }}
    retry: {{ attempts: 3, on: [offline, busy] }}
    skip-if: item.name == '' or item.id in ['a', 'b']
"
        ));
    }
    assert!(text.lines().count() >= 400);
    let once = || {
        let begun = std::time::Instant::now();
        assert!(problems(&text).is_empty());
        begun.elapsed()
    };
    // The best of several, as other tests run beside it, and without optimisation.
    let best = (0..20).map(|_| once()).min().unwrap();
    assert!(best < Duration::from_millis(100), "{best:?}");
}

#[test]
fn a_checked_workflow_says_which_components_its_text_was_held_against() {
    let text = "triggers:\n  - event: { uses: q/things.watch, with: { at: { connection: here } } }\nsteps:\n  - uses: p/things.put\n    with: { at: here, value: 1 }\n";
    let mut plugins = plugins();
    let other = plugins["p"].clone();
    plugins.insert(
        "q".to_owned(),
        Plugin { name: "q".to_owned(), sha256: Some("22".repeat(32)), ..other.clone() },
    );
    plugins.insert("r".to_owned(), Plugin { name: "r".to_owned(), sha256: Some("33".repeat(32)), ..other });
    let (workflow, problems) = check("some-flow.yaml", text, &plugins, None);
    let workflow = workflow.unwrap_or_else(|| panic!("{}", problems.render(Look::Plain)));
    // `p` has no component behind it, `r` is not named.
    assert_eq!(workflow.plugins, BTreeMap::from([("q".to_owned(), "22".repeat(32))]));
}

#[test]
fn a_run_that_has_begun_does_not_depend_on_the_workflows_that_its_triggers_name() {
    let text = "triggers:
  - workflow: { name: gone }
  - overdue: { name: gone, no-success-for: 26h }
steps:
  - { uses: p/things.put, with: { at: here, value: 1 } }
";
    let told = messages(text);
    assert_eq!(told, ["WF052 there is no workflow `gone`", "WF052 there is no workflow `gone`"]);
    let (plugins, library) = (plugins(), Library::default().of_begun_run());
    let surroundings = Surroundings { plugins: &plugins, project: None, library: &library };
    let (workflow, problems) = check_among("folder/some-flow.yaml", text, surroundings);
    assert!(workflow.is_some(), "{}", problems.render(Look::Plain));
}
