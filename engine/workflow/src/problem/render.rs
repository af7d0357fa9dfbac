//! A problem in the look of rustc.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::{Look, Problem, Severity};

pub(super) fn problem(problem: &Problem, source: &str, look: Look) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let line = Line::of(problem, source);
    let snippet = Snippet::source(line.text)
        .line_start(problem.span.line as usize)
        .path(&*problem.file)
        .annotation(AnnotationKind::Primary.span(line.start..line.end));
    let mut group = level.primary_title(problem.message.as_str()).id(problem.code.name()).element(snippet);
    for note in &problem.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    if let Some(help) = &problem.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = match look {
        Look::Plain => Renderer::plain(),
        Look::Coloured => Renderer::styled(),
    };
    renderer.render(&[group])
}

/// The line on which the problem begins, and the part of it that is meant.
struct Line<'s> {
    text: &'s str,
    start: usize,
    end: usize,
}

impl<'s> Line<'s> {
    fn of(problem: &Problem, source: &'s str) -> Self {
        let begin = problem.span.start.min(source.len());
        let from = source.get(..begin).and_then(|text| text.rfind('\n')).map_or(0, |newline| newline + 1);
        let text = source.get(from..).and_then(|text| text.lines().next()).unwrap_or_default();
        let bom = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let text = text.get(bom..).unwrap_or_default();
        let start = begin.saturating_sub(from + bom).min(text.len());
        let end = problem.span.end.saturating_sub(from + bom).min(text.trim_end().len()).max(start);
        Self { text, start, end }
    }
}
