//! `docs/expressions.md` says what the tables of the evaluator say.
//! `UPDATE_GOLDEN=1 cargo test -p bascule-workflow --test expression_reference` writes it anew.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::path::Path;

use bascule_workflow::expression::{self, filter_documentation, test_documentation};

const INTRODUCTION: &str = "# Expressions

`${{ .. }}` holds one expression in the grammar of Jinja: names, `.field`, `[index]`, `[from:to]`, `+ - * / // % **`, `~` (joins texts),
comparison, `and or not`, `in`, `x if c else y`, `[lists]`, `{'maps': 1}`, filters (`value | filter`), tests (`value is test`) and
`range(..)`. No statements, no methods, no clock: `run.started_at` is the time that a run knows.

- A value that is exactly one `${{ }}` keeps its type. In longer text every value becomes text; null, lists and maps are an error there.
- `$${{` stands for the text `${{`.
- A name or field that is not there is an error. `| default(..)` directly behind a path accepts that any part of the path is absent;
  `| default(.., true)` accepts null and what is empty, too. `is defined` asks.
- `<` compares numbers with numbers and texts with texts. `'1' == 1` is false.
- Values that came from outside are never evaluated.

";

fn reference() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("## Filters\n\n| filter | gives |\n|---|---|\n");
    for filter in filter_documentation() {
        let parameters: Vec<String> = filter
            .parameters
            .iter()
            .enumerate()
            .map(|(at, name)| if at < filter.required { (*name).to_owned() } else { format!("[{name}]") })
            .collect();
        let call = if parameters.is_empty() { String::new() } else { format!("({})", parameters.join(", ")) };
        writeln!(text, "| `{}{call}` | {} |", filter.name, filter.summary.replace('|', "\\|")).unwrap();
    }
    text.push_str("\n## Tests\n\n| test | holds if |\n|---|---|\n");
    for test in test_documentation() {
        let call = if test.parameters.is_empty() {
            String::new()
        } else {
            format!(" {}", test.parameters.join(" ").to_uppercase())
        };
        writeln!(text, "| `is {}{call}` | {} |", test.name, test.summary).unwrap();
    }
    writeln!(
        text,
        "\n## Limits\n\nAn expression has at most {} bytes and {} brackets inside each other; its value at most {} MiB; `range` gives at most {} numbers. A list that is written out in YAML is no expression: only its value is bounded.",
        expression::MAX_SOURCE_BYTES,
        expression::MAX_NESTING,
        expression::MAX_RESULT_BYTES >> 20,
        expression::MAX_RANGE
    )
    .unwrap();
    text
}

#[test]
fn the_reference_in_docs_is_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/expressions.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), reference());
}
