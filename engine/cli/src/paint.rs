//! What goes to the terminal: colour only where it is wanted, one shape for errors.

use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Coded;

static COLOUR: AtomicBool = AtomicBool::new(false);

/// `--color`
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum When {
    /// On a terminal that is not `NO_COLOR`.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Decides once whether to use colour.
pub(crate) fn choose(when: When) {
    let colour = match when {
        When::Always => true,
        When::Never => false,
        When::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    COLOUR.store(colour, Ordering::Relaxed);
}

/// Whether to use colour.
pub(crate) fn colour() -> bool {
    COLOUR.load(Ordering::Relaxed)
}

/// Wraps `text` in an ANSI style where colour is on.
fn styled(code: &str, text: &str) -> String {
    if colour() { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Green.
pub(crate) fn good(text: &str) -> String {
    styled("32", text)
}

/// Yellow.
pub(crate) fn warn(text: &str) -> String {
    styled("33", text)
}

/// Bold red.
pub(crate) fn bad(text: &str) -> String {
    styled("1;31", text)
}

/// Dim.
pub(crate) fn dim(text: &str) -> String {
    styled("2", text)
}

/// Bold.
pub(crate) fn strong(text: &str) -> String {
    styled("1", text)
}

/// A status word in its colour.
pub(crate) fn status(status: &str) -> String {
    match status {
        "succeeded" => good(status),
        "recovered" | "skipped" | "queued" | "running" | "rolled-back" => warn(status),
        _ => bad(status),
    }
}

/// Why standard output takes nothing more.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

/// Writes a line to standard output. Where that fails, it and what follows is dropped, and the command goes on: what it
/// does is not less wanted because nobody reads of it.
pub(crate) fn line(text: impl AsRef<str>) {
    if LOST.get().is_some() {
        return;
    }
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{}", text.as_ref()) {
        // Only the first one says why.
        let _others = LOST.set(error);
    }
}

/// Why what was written to standard output is not complete, if so. That its reader has gone, as `head` does, is its own
/// wish and no error.
pub(crate) fn lost() -> Option<&'static std::io::Error> {
    LOST.get().filter(|error| error.kind() != std::io::ErrorKind::BrokenPipe)
}

/// Writes a line to standard error.
pub(crate) fn note(text: impl AsRef<str>) {
    // Nobody is left to tell when standard error is closed.
    drop(writeln!(std::io::stderr().lock(), "{}", text.as_ref()));
}

/// Writes an error with its causes and its help.
pub(crate) fn error(error: &anyhow::Error) {
    let mut text = format!("{} {error}", bad("error:"));
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    if let Some(Coded { help: Some(help), .. }) = error.downcast_ref::<Coded>() {
        text.push_str(&format!("\n  help: {help}"));
    }
    note(text);
}

/// A table with a header; columns as wide as their widest cell. Widths count characters, styles excluded.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| {
        let mut count = 0;
        let mut escape = false;
        for c in text.chars() {
            match (escape, c) {
                (false, '\u{1b}') => escape = true,
                (true, 'm') => escape = false,
                (true, _) => {}
                (false, _) => count += 1,
            }
        }
        count
    };
    let mut widths: Vec<usize> = header.iter().map(|cell| width(cell)).collect();
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            widths[index] = widths[index].max(width(cell));
        }
    }
    let render = |cells: Vec<String>| {
        let mut text = String::new();
        let last = cells.len().saturating_sub(1);
        for (index, cell) in cells.into_iter().enumerate() {
            let pad = if index == last { 0 } else { widths[index].saturating_sub(width(&cell)) + 2 };
            text.push_str(&cell);
            text.push_str(&" ".repeat(pad));
        }
        text
    };
    let mut text = dim(&render(header.iter().map(|cell| (*cell).to_owned()).collect()));
    for row in rows {
        text.push('\n');
        text.push_str(&render(row.clone()));
    }
    text
}

/// A time span for people: `850 ms`, `12.3 s`, `4 min 10 s`.
pub(crate) fn span(millis: i64) -> String {
    match millis {
        ..1_000 => format!("{} ms", millis.max(0)),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_cells_hold() {
        let text = table(&["a", "bb"], &[vec!["long".into(), "x".into()], vec!["s".into(), "y".into()]]);
        assert_eq!(text, "a     bb\nlong  x\ns     y");
    }

    #[test]
    fn spans_use_the_unit_that_people_would() {
        assert_eq!(span(850), "850 ms");
        assert_eq!(span(12_345), "12.3 s");
        assert_eq!(span(250_000), "4 min 10 s");
    }
}
