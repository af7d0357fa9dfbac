//! What holds for every text: nothing panics; and for every good workflow: the order of keys does not matter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;

use bascule_workflow::check::{Surroundings, check_among};
use bascule_workflow::problem::{Look, Problems};
use proptest::prelude::*;
use serde_json::Value;

const GOOD: &str = r#"
name: Update one face photo everywhere
description: All active terminals
inputs:
  employee_id: { type: uuid, required: true }
  mode: { type: enum, values: [all, missing], default: all }
connections: { people: hr }
triggers:
  - webhook: { path: update-photo, auth: { hmac-sha256: { secret: photo-hook } }, respond: result }
  - schedule: { cron: "0 3 * * *", time-zone: Europe/Bucharest, inputs: { employee_id: 0192f3a1-7c1e-7b52-9d4e-2f6a8c0b1d3e } }
steps:
  - id: person
    uses: supabase/tables.one
    with:
      database: people
      table: employees
      columns: "*, biometrics(*)"
      where: { id: "eq.${{ inputs.employee_id }}" }
  - id: terminals
    uses: supabase/tables.select
    with: { database: hr, table: devices, where: { active: is.true } }
  - id: photo
    for-each: ${{ steps.terminals.output }}
    as: device
    key: ${{ device.id }}
    parallel: 16
    keep-going: true
    skip-if: { when: inputs.mode == 'missing' and device.has_photo, reason: "${{ device.name }} has one" }
    uses: isapi/faces.modify
    with:
      terminal: { connection: terminal, device: "${{ device }}" }
      fpid: ${{ steps.person.output.biometrics.employee_no }}
      url: ${{ steps.person.output.biometrics.photo_url }}
    retry: { attempts: 3, on: [offline, busy, timeout], backoff: { from: 2s, to: 30s } }
    catch:
      - on: [not-found, conflict, "isapi:deviceUserAlreadyExist"]
        uses: isapi/faces.create
        with:
          terminal: { connection: terminal, device: "${{ device }}" }
          fpid: ${{ steps.person.output.biometrics.employee_no }}
          url: ${{ steps.person.output.biometrics.photo_url }}
    verify:
      uses: isapi/faces.find
      with: { terminal: { connection: terminal, device: "${{ device }}" }, fpid: "${{ steps.person.output.biometrics.employee_no }}" }
      assert: result.found
      within: 15s
  - id: register
    all-or-nothing: true
    steps:
      - uses: isapi/users.create
        with: { terminal: entrance, user: { employee-no: "12", name: Ann, photo: none, doors: [1, 2] } }
        undo: { uses: isapi/users.delete, with: { terminal: entrance, employee-no: "12" } }
finally:
  - uses: supabase/tables.insert
    with: { database: hr, table: log, rows: { counts: "${{ steps.photo.counts }}" } }
output:
  summary: ${{ steps.photo.counts }}
  per_device: ${{ steps.photo.items }}
"#;

fn problems(text: &str) -> Problems {
    let (plugins, project, library) = (fixture::plugins(), fixture::project(), fixture::library());
    let surroundings = Surroundings { plugins: &plugins, project: Some(&project), library: &library };
    check_among("any.yaml", text, surroundings).1
}

/// Whatever comes out can be shown.
fn look_at(text: &str) {
    let problems = problems(text);
    assert_eq!(problems.render(Look::Plain).is_empty(), problems.is_empty());
    assert_eq!(problems.render(Look::Coloured).is_empty(), problems.is_empty());
    serde_json::to_string(&problems).unwrap();
}

/// The same value with the keys of every map in an order of the numbers' making.
fn shuffled(value: &Value, numbers: &mut impl Iterator<Item = usize>) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> =
                map.iter().map(|(key, value)| (key.clone(), shuffled(value, numbers))).collect();
            for index in (1..entries.len()).rev() {
                entries.swap(index, numbers.next().unwrap_or(0) % (index + 1));
            }
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(|item| shuffled(item, numbers)).collect(),
        other => other.clone(),
    }
}

fn json_of(text: &str) -> Value {
    let mut ignored = Problems::new("good.yaml", text);
    bascule_workflow::document::Document::read(text, &mut ignored).unwrap().root.to_json()
}

#[test]
fn the_good_workflow_has_no_problems() {
    let problems = problems(GOOD);
    assert!(problems.is_empty(), "{}", problems.render(Look::Plain));
}

/// Pieces that make YAML, expressions and workflows.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("steps:".to_owned()),
        Just("\n  - ".to_owned()),
        Just("\n    ".to_owned()),
        Just("uses: isapi/device.info".to_owned()),
        Just("with: { terminal: entrance }".to_owned()),
        Just("${{ steps.a.output }}".to_owned()),
        Just("${{".to_owned()),
        Just("}}".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        Just("<<: ".to_owned()),
        Just("\t".to_owned()),
        Just("---\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("|\n".to_owned()),
        Just(">-\n ".to_owned()),
        "[a-z\\-]{1,9}: ",
        "[\"'\\[\\]{}#,:?!%@`|>*&~ ]",
        "[0-9:._]{1,6}",
        "\\PC{0,4}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_checker_panic(text in "(?s).{0,400}") {
        look_at(&text);
    }

    #[test]
    fn no_heap_of_yaml_makes_the_checker_panic(pieces in prop::collection::vec(piece(), 0..60)) {
        look_at(&pieces.concat());
    }

    #[test]
    fn no_mutilated_workflow_makes_the_checker_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..30, piece()), 1..6)
    ) {
        let mut text = GOOD.to_owned();
        for (index, length, piece) in cuts {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let from = index.index(places.len());
            let to = (from + length).min(places.len() - 1);
            text.replace_range(places[from]..places[to], &piece);
        }
        look_at(&text);
    }

    #[test]
    fn a_good_workflow_stays_good_in_any_order_of_keys(numbers in prop::collection::vec(any::<usize>(), 150)) {
        let text = shuffled(&json_of(GOOD), &mut numbers.into_iter()).to_string();
        let problems = problems(&text);
        prop_assert!(problems.is_empty(), "{}\n{}", text, problems.render(Look::Plain));
    }
}
