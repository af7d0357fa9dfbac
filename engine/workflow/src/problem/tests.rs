#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn span(start: usize, end: usize, line: u32, column: u32) -> Span {
    Span { start, end, line, column }
}

fn sample() -> Problems {
    let mut problems =
        Problems::new("photo.yaml", "name: x\nsteps:\n  - id: 007\n    usees: isapi/faces.modify\n");
    problems.report(
        Problem::error(codes::UNKNOWN_KEY, span(31, 36, 4, 5), "unknown key `usees`")
            .help("did you mean `uses`?")
            .note("a step has `id`, `uses` and `with`"),
    );
    problems.report(Problem::warning(codes::LEADING_ZEROS, span(23, 26, 3, 9), "`007` is the number 7"));
    problems
}

#[test]
fn problems_are_sorted_and_look_like_those_of_rustc() {
    let expected = "warning[WF007]: `007` is the number 7
 --> photo.yaml:3:9
  |
3 |   - id: 007
  |         ^^^

error[WF012]: unknown key `usees`
 --> photo.yaml:4:5
  |
4 |     usees: isapi/faces.modify
  |     ^^^^^
  |
  = note: a step has `id`, `uses` and `with`
  = help: did you mean `uses`?

";
    assert_eq!(sample().render(Look::Plain), expected);
    assert_eq!(sample().summary(), "1 error, 1 warning");
}

#[test]
fn colours_are_only_there_when_asked_for() {
    assert!(sample().render(Look::Coloured).contains("\u{1b}["));
    assert!(!sample().render(Look::Plain).contains('\u{1b}'));
}

#[test]
fn escape_sequences_of_the_file_do_not_reach_the_terminal() {
    let mut problems = Problems::new("a.yaml", "a: \"\u{1b}[31m\"\n");
    problems.report(Problem::error(codes::UNKNOWN_KEY, span(0, 1, 1, 1), "unknown key `\u{1b}[31m`"));
    assert!(!problems.render(Look::Plain).contains('\u{1b}'));
}

#[test]
fn the_json_form_names_the_code_and_the_place() {
    let json = serde_json::to_value(sample()).unwrap();
    let second = json.get(1).unwrap();
    assert_eq!(second.get("code").unwrap(), "WF012");
    assert_eq!(second.get("severity").unwrap(), "error");
    assert_eq!(second.get("file").unwrap(), "photo.yaml");
    assert_eq!(second.pointer("/span/line").unwrap(), 4);
    assert_eq!(second.pointer("/span/column").unwrap(), 5);
}

#[test]
fn a_problem_of_an_aliased_value_is_kept_once() {
    let mut problems = sample();
    let again = problems.iter().last().unwrap().clone();
    problems.report(again);
    assert_eq!(problems.iter().count(), 2);
}

#[test]
fn an_error_replaces_a_warning_about_how_the_same_value_is_written() {
    let mut problems = sample();
    problems.report(Problem::error(codes::WRONG_TYPE, span(23, 26, 3, 9), "expected text, got number 007"));
    problems.report(Problem::warning(codes::LEADING_ZEROS, span(23, 26, 3, 9), "`007` is the number 7"));
    assert_eq!(problems.warnings(), 0);
    assert_eq!(problems.errors(), 2);
}

#[test]
fn thousands_of_problems_are_counted_but_not_kept() {
    let mut problems = Problems::new("a.yaml", &"x\n".repeat(1000));
    for index in 0..1000 {
        let line = u32::try_from(index).unwrap() + 1;
        problems.report(Problem::error(
            codes::UNKNOWN_KEY,
            span(index * 2, index * 2 + 1, line, 1),
            "unknown key",
        ));
    }
    assert_eq!(problems.iter().count(), 200);
    assert!(problems.render(Look::Plain).ends_with("and 800 more in a.yaml\n\n"));
}

#[test]
fn what_was_blotted_is_not_shown_and_nothing_moves() {
    let text = "a: 1\npassword: \"sécret\"\nb: 2\n";
    let mut problems = Problems::new("a.yaml", text);
    problems.report(Problem::error(codes::UNKNOWN_KEY, span(5, 13, 2, 1), "unknown key `password`"));
    problems.blot(span(15, 24, 2, 11));
    let shown = problems.render(Look::Plain);
    assert!(shown.contains("2 | password: *********\n"), "{shown}");
    assert_eq!(problems.source().len(), text.len());
}
