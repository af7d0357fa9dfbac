//! What `docs/decisions/yaml.md` rests on: serde-saphyr gives up on hostile text after an amount of work that does not
//! depend on how much more of it there is. Bytes and steps are counted, not seconds.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::rc::Rc;

use serde_json::Value;
use serde_saphyr::budget::BudgetReport;

/// Gives its text out in small pieces and counts the bytes that were asked for.
struct Counted<'t> {
    text: &'t [u8],
    given: Rc<Cell<usize>>,
}

impl Read for Counted<'_> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let piece = to.len().min(16);
        let count = self.text.read(to.get_mut(..piece).unwrap_or_default())?;
        self.given.set(self.given.get() + count);
        Ok(count)
    }
}

/// How far reading went.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Work {
    /// Bytes that were looked at, up to a piece more.
    bytes: usize,
    /// Parser events.
    events: usize,
}

/// Reads `text` within a budget like that of the workflow reader.
fn read(text: &str) -> (Result<Value, String>, Work) {
    let report: Rc<RefCell<Option<BudgetReport>>> = Rc::default();
    let keep = Rc::clone(&report);
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_depth: 32,
            flow_nesting_limit: 32,
            max_nodes: 20_000,
            max_events: 60_000,
            max_aliases: 200,
            max_anchors: 200,
            max_documents: 1,
        },
    }
    .with_budget_report(move |report| *keep.borrow_mut() = Some(report));
    let given = Rc::<Cell<usize>>::default();
    let reader = Counted { text: text.as_bytes(), given: Rc::clone(&given) };
    let outcome = serde_saphyr::from_reader_with_options(reader, options).map_err(|error| error.to_string());
    let events = report.borrow().as_ref().map_or(0, |report| report.events);
    (outcome, Work { bytes: given.get(), events })
}

#[test]
fn an_ordinary_text_is_read_and_its_steps_are_counted() {
    let text = "steps:\n  - id: a\n    with: { list: [1, 2, 3] }\n";
    let (outcome, work) = read(text);
    assert_eq!(outcome.unwrap()["steps"][0]["with"]["list"][2], 3);
    assert_eq!(work.bytes, text.len());
    assert!((10..100).contains(&work.events), "{work:?}");
}

#[test]
fn forty_kilobytes_of_brackets_are_refused_after_a_look_at_the_first_two() {
    let (short, little) = read(&"[".repeat(4 << 10));
    let (long, as_little) = read(&"[".repeat(40 << 10));
    let (longer, still_as_little) = read(&"[".repeat(400 << 10));
    for outcome in [short, long, longer] {
        let error = outcome.unwrap_err();
        assert!(error.contains("line 1"), "{error}");
    }
    assert!((33..2048).contains(&little.bytes), "{little:?}");
    assert_eq!((as_little, still_as_little), (little, little));
}

#[test]
fn deep_block_nesting_is_refused_at_the_same_depth() {
    let nested = |depth: usize| "- ".repeat(depth) + "x";
    read(&nested(30)).0.unwrap();
    let (short, little) = read(&nested(2000));
    let (long, as_little) = read(&nested(20_000));
    assert!(short.is_err() && long.is_err());
    assert!((33..2048).contains(&little.bytes) && (10..100).contains(&little.events), "{little:?}");
    assert_eq!(as_little, little);
}

#[test]
fn an_alias_bomb_is_refused_within_the_budget() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let (outcome, work) = read(&bomb);
    assert!(outcome.is_err());
    assert!((100..=60_000).contains(&work.events), "{work:?}");
}

#[test]
fn an_error_has_its_place_and_a_key_given_twice_is_one() {
    let error = read("name: a\nsteps: []\nname: b\n").0.unwrap_err();
    assert!(error.contains("name") && error.contains('3'), "{error}");
}

#[test]
fn the_words_no_and_on_stay_texts() {
    let (outcome, _) = read("country: no\non: off\n");
    assert_eq!(outcome.unwrap(), serde_json::json!({ "country": "no", "on": "off" }));
}

#[test]
fn our_own_reader_refuses_the_same_texts_with_one_problem_each() {
    use bascule_workflow::check::check;

    let aliases = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\n\
         d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\nsteps: [*d, *d, *d, *d, *d, *d, *d, *d, *d]\n";
    let texts =
        ["[".repeat(40 << 10), "a: ".repeat(300), aliases.to_owned(), "name: a\nname: b\n".to_owned()];
    for text in texts {
        let (workflow, problems) = check("bomb.yaml", &text, &Default::default(), None);
        assert!(workflow.is_none());
        assert!(problems.has_errors() && problems.errors() < 10, "{}", problems.errors());
    }
}
