//! `bascule explain`

use anyhow::Result;
use bascule_workflow::problem::catalog::{self, Entry};

use crate::arguments::Explain;
use crate::exit::{Exit, coded_with_help};
use crate::paint;

/// Prints one explanation, or the list.
pub(crate) fn run(options: &Explain) -> Result<Exit> {
    if options.all {
        for code in catalog::all() {
            paint::line(markdown(code.entry()));
        }
        return Ok(Exit::Success);
    }
    let Some(code) = &options.code else {
        let rows: Vec<Vec<String>> = catalog::all()
            .into_iter()
            .map(|code| vec![code.name().to_owned(), code.entry().title.to_owned()])
            .collect();
        paint::line(paint::table(&["code", "what"], &rows));
        return Ok(Exit::Success);
    };
    let Some(entry) = catalog::explain(code) else {
        return Err(coded_with_help(
            Exit::NotFound,
            format!("there is no code `{code}`"),
            "`bascule explain` lists all of them",
        ));
    };
    paint::line(format!("{}: {}\n\n{}", paint::strong(entry.code), entry.title, entry.explanation.trim()));
    for (title, example) in [("Wrong:", entry.wrong), ("Right:", entry.right)] {
        paint::line(format!("\n{title}\n"));
        for line in example.trim_matches('\n').lines() {
            paint::line(format!("    {line}"));
        }
    }
    Ok(Exit::Success)
}

fn markdown(entry: &Entry) -> String {
    format!(
        "## {}: {}\n\n{}\n\nWrong:\n\n```yaml\n{}\n```\n\nRight:\n\n```yaml\n{}\n```\n",
        entry.code,
        entry.title,
        entry.explanation.trim(),
        entry.wrong.trim_matches('\n'),
        entry.right.trim_matches('\n')
    )
}
