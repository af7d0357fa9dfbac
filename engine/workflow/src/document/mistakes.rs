//! What the YAML parser stumbles over, in the words of somebody who wants to mend it.

use granit_parser::{ErrorKind, ScanError};

use super::{LIMITS, Span, locate};
use crate::problem::{Problem, codes};

/// The problem for a parser's error.
pub(super) fn explain(source: &str, error: &ScanError) -> Problem {
    let at = locate::floor(source, error.marker().byte_offset().unwrap_or_default());
    let place = Place::new(source, at);
    if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
        let message = format!("lists and maps are nested more than {} deep", LIMITS.depth);
        return Problem::error(codes::TOO_LARGE, place.here(), message)
            .help("nothing in a workflow needs that depth");
    }
    if let Some(problem) = unquoted_expression(error.kind(), &place) {
        return problem;
    }
    let (span, message, help) = describe(error.kind(), &place);
    Problem::error(codes::SYNTAX, span, message).help(help)
}

/// The line where the parser gave up.
struct Place<'s> {
    source: &'s str,
    at: usize,
    line_start: usize,
    line: &'s str,
}

impl<'s> Place<'s> {
    fn new(source: &'s str, at: usize) -> Self {
        let line_start = source.get(..at).and_then(|text| text.rfind('\n')).map_or(0, |newline| newline + 1);
        let line = source.get(line_start..).and_then(|text| text.lines().next()).unwrap_or_default();
        Self { source, at, line_start, line }
    }

    /// The character itself.
    fn here(&self) -> Span {
        let width = self.source.get(self.at..).and_then(|text| text.chars().next()).map_or(0, char::len_utf8);
        locate::span(self.source, self.at, self.at + width)
    }

    /// From the character to the end of its line, without a comment.
    fn rest(&self) -> Span {
        let rest = self.source.get(self.at..).and_then(|text| text.lines().next()).unwrap_or_default();
        let rest = rest.split(" #").next().unwrap_or_default().trim_end();
        locate::span(self.source, self.at, self.at + rest.len())
    }

    /// The line without indentation.
    fn whole_line(&self) -> Span {
        let indentation = self.line.len() - self.line.trim_start().len();
        let start = self.line_start + indentation;
        locate::span(self.source, start, start + self.line.trim().len())
    }

    /// The innermost bracket before the place that is still open, as far as a look without YAML's rules can tell.
    fn open_bracket(&self) -> Option<(usize, char)> {
        let mut open = Vec::new();
        let mut quote = None;
        let mut before = ' ';
        let mut comment = false;
        for (at, character) in self.source.get(..self.at)?.char_indices() {
            match (character, quote) {
                ('\n', _) => comment = false,
                _ if comment => {}
                (_, Some(open)) if open == character => quote = None,
                (_, Some(_)) => {}
                ('#', None) if before.is_whitespace() => comment = true,
                ('"' | '\'', None) if !before.is_alphanumeric() => quote = Some(character),
                ('[' | '{', None) if !open.is_empty() || before.is_whitespace() => open.push((at, character)),
                (']' | '}', None) => {
                    open.pop();
                }
                _ => {}
            }
            before = character;
        }
        open.pop()
    }

    /// The text that begins at the place: to the end of the line, between brackets to the next `,` or bracket.
    fn written(&self) -> Span {
        let rest = self.rest();
        let text = self.source.get(rest.start..rest.end).unwrap_or_default();
        let end = match self.open_bracket() {
            Some(_) => text.find([',', '}', ']']).unwrap_or(text.len()),
            None => text.len(),
        };
        let text = text.get(..end).unwrap_or_default().trim_end();
        locate::span(self.source, rest.start, rest.start + text.len())
    }

    /// The line before, if there is one that is not empty.
    fn line_before(&self) -> Option<(usize, &'s str)> {
        let before = self.source.get(..self.line_start)?.trim_end_matches(['\n', '\r', ' ', '\t']);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        before.get(start..).filter(|line| !line.trim().is_empty()).map(|line| (start, line))
    }
}

/// `{ device: ${{ device }} }`: a brace ends the text where it should not.
fn unquoted_expression(kind: &ErrorKind, place: &Place<'_>) -> Option<Problem> {
    if matches!(kind, ErrorKind::UnclosedQuotedScalar | ErrorKind::UnknownQuotedScalarEscape) {
        return None;
    }
    let brace = place.line.find("{{")?;
    let dollar = brace > 0 && place.line.as_bytes().get(brace - 1) == Some(&b'$');
    let start = if dollar { brace - 1 } else { brace };
    let before = place.line.get(..start)?;
    let quoted = before.bytes().filter(|byte| *byte == b'"').count() % 2 == 1
        || before.bytes().filter(|byte| *byte == b'\'').count() % 2 == 1;
    if quoted {
        return None;
    }
    let length = place.line.get(start..)?.find("}}").map_or(place.line.len() - start, |end| end + 2);
    let written = place.line.get(start..start + length)?;
    let inner = written.trim_start_matches(['$', '{']).trim_end_matches('}').trim();
    let from = place.line_start + start;
    let span = locate::span(place.source, from, from + length);
    let quotes = if inner.contains('"') { '\'' } else { '"' };
    let message = if inner.contains(": ") || inner.contains(" #") {
        "an expression that holds `: ` or ` #` must be quoted"
    } else {
        "an expression inside `{ }` or `[ ]` must be quoted"
    };
    Some(
        Problem::error(codes::BRACES, span, message)
            .help(format!("write {quotes}${{{{ {} }}}}{quotes}", super::shorten(inner))),
    )
}

type Description = (Span, String, String);

fn describe(kind: &ErrorKind, place: &Place<'_>) -> Description {
    let of = |span: Span, message: &str, help: &str| (span, message.to_owned(), help.to_owned());
    match kind {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabAtBlockScalarStart
        | ErrorKind::TabInPlainScalar => {
            let at = place.line.find('\t').map_or(place.at, |tab| place.line_start + tab);
            of(
                locate::span(place.source, at, at + 1),
                "a tab stands where YAML allows spaces only",
                "indent with spaces; most editors do it for you with \"insert spaces\"",
            )
        }
        ErrorKind::MappingValueNotAllowed => value_not_allowed(place),
        ErrorKind::SimpleKeyExpected => missing_colon(place, place.whole_line()),
        ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::InvalidIndentation => indentation(place),
        ErrorKind::ExpectedDocumentStart => of(
            place.whole_line(),
            "this line is indented less than the one the file began with",
            "entries of one map begin in the same column: indent them alike",
        ),
        ErrorKind::UnclosedFlowCollection { open } => {
            let close = if *open == '[' { ']' } else { '}' };
            (place.here(), format!("`{open}` is never closed"), format!("add the `{close}` that ends it"))
        }
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            let wanted = if *open == '[' { ']' } else { '}' };
            (place.here(), format!("`{open}` is closed by `{close}`"), format!("write `{wanted}`"))
        }
        ErrorKind::MisplacedFlowCollectionEnd => of(
            place.here(),
            "this bracket closes nothing",
            "remove it, or quote the text if it is meant as a character",
        ),
        ErrorKind::ExpectedFlowMappingSeparator
        | ErrorKind::ExpectedFlowSequenceSeparator
        | ErrorKind::InvalidColonPlacement
            if place.open_bracket().is_some_and(|(at, _)| at < place.line_start) =>
        {
            let (at, bracket) = place.open_bracket().unwrap_or((place.at, '{'));
            let close = if bracket == '[' { ']' } else { '}' };
            let help = format!("add the `{close}` that ends it");
            (locate::span(place.source, at, at + 1), format!("`{bracket}` is never closed"), help)
        }
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator => of(
            place.here(),
            "a `,` or the closing bracket is missing before this",
            "entries between brackets are separated by commas; quote texts that hold `{`, `}`, `[`, `]` or `,`",
        ),
        ErrorKind::UnclosedQuotedScalar
        | ErrorKind::InvalidQuotedScalarIndent
        | ErrorKind::DocumentIndicatorInQuotedScalar => unclosed_quote(place),
        ErrorKind::InvalidTrailingSingleQuotedScalar => of(
            place.rest(),
            "text follows after the closing quote",
            "write a quote inside single quotes twice ('it''s'), or use double quotes",
        ),
        ErrorKind::InvalidTrailingDoubleQuotedScalar => of(
            place.rest(),
            "text follows after the closing quote",
            "quote the whole text; a double quote inside double quotes is written \\\"",
        ),
        ErrorKind::UnknownQuotedScalarEscape
        | ErrorKind::InvalidQuotedScalarHexEscape
        | ErrorKind::InvalidUnicodeEscape => of(
            place.rest(),
            "double quotes hold an unknown escape `\\`",
            "use single quotes for texts with backslashes, or write each as \\\\",
        ),
        ErrorKind::UnknownAnchor => {
            let name = word(place);
            (
                locate::span(place.source, place.at, place.at + name.len()),
                format!("no anchor for the alias `{name}`"),
                format!(
                    "mark the value with `&{}` before this line, or quote the text if it is meant to begin with `*`",
                    name.trim_start_matches('*')
                ),
            )
        }
        ErrorKind::MissingAnchorOrAliasName => {
            let rest = place.written();
            let written = place.source.get(rest.start..rest.end).unwrap_or_default();
            let first = written.chars().next().unwrap_or('*');
            (
                rest,
                format!("a text that begins with `{first}` must be quoted"),
                format!("write \"{}\"", super::shorten(written)),
            )
        }
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => {
            of(place.here(), "a control character stands here", "save the file as plain UTF-8 text")
        }
        ErrorKind::UnexpectedCharacter { character } => {
            let rest = place.written();
            let written = place.source.get(rest.start..rest.end).unwrap_or_default();
            (
                rest,
                format!("a text cannot begin with `{character}` unless it is quoted"),
                format!("write \"{}\"", super::shorten(written)),
            )
        }
        ErrorKind::CommentInterceptedScalar | ErrorKind::CommentNotSeparated => of(
            place.rest(),
            "a `#` begins a comment here, in the middle of a text",
            "quote the text if the `#` belongs to it",
        ),
        ErrorKind::DirectiveDisallowed => {
            of(place.rest(), "YAML directives (`%YAML`, `%TAG`) are not used here", "remove the line")
        }
        ErrorKind::BlockEntryInFlowCollection | ErrorKind::BlockSequenceEntryNotAllowed => of(
            place.here(),
            "a `-` entry cannot begin here",
            "put each `-` on a line of its own below the key; between brackets use commas",
        ),
        ErrorKind::InvalidSimpleKey | ErrorKind::InvalidColonPlacement => of(
            place.here(),
            "a `:` stands where none is expected",
            "is a bracket, brace or quote left open on a line above?",
        ),
        ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::UnexpectedEofImplicitFlowMapping
        | ErrorKind::UnexpectedEofBlockSequence
        | ErrorKind::UnexpectedEofBlockMapping
        | ErrorKind::UnexpectedEof => {
            of(place.here(), "the file ends too early", "is a bracket, brace or quote left open?")
        }
        other => (
            place.here(),
            format!("this is not YAML: {other}"),
            "check brackets, quotes and indentation of this line and the one above".to_owned(),
        ),
    }
}

/// `name: Update: photos`, or a line above that lost its colon.
fn value_not_allowed(place: &Place<'_>) -> Description {
    let before = place.source.get(place.line_start..place.at).unwrap_or_default();
    if let Some(colon) = before.find(": ") {
        let start =
            colon + 2 + before.get(colon + 2..).map_or(0, |text| text.len() - text.trim_start().len());
        let value = place.line.get(start..).unwrap_or_default().trim_end();
        let from = place.line_start + start;
        return (
            locate::span(place.source, from, from + value.len()),
            "a text that holds `: ` must be quoted".to_owned(),
            format!("write \"{}\"", super::shorten(value)),
        );
    }
    if let Some((start, line)) = place.line_before() {
        let text = line.trim();
        let indentation = line.len() - line.trim_start().len();
        let span = locate::span(place.source, start + indentation, start + indentation + text.len());
        if !text.contains(": ") && !text.ends_with(':') {
            return missing_colon(place, span);
        }
        let own = place.line.len() - place.line.trim_start().len();
        if own > indentation {
            let message = "this line is indented under a text".to_owned();
            let help = "indent it like the line above, or end the line above with `:` to begin a map";
            return (place.whole_line(), message, help.to_owned());
        }
    }
    (
        place.here(),
        "a `:` stands where none is expected".to_owned(),
        "quote the text that holds it".to_owned(),
    )
}

fn missing_colon(place: &Place<'_>, span: Span) -> Description {
    let text = place.source.get(span.start..span.end).unwrap_or_default();
    let text = text.trim_start_matches("- ");
    let (key, value) = text.split_once([' ', ':']).unwrap_or((text, ""));
    let help = if value.trim().is_empty() {
        format!("write `{}:`", super::shorten(key))
    } else {
        format!("write `{}: {}`, with a colon and a space", super::shorten(key), super::shorten(value))
    };
    let message = if text.contains(':') {
        "a space is missing after the `:`"
    } else {
        "a `:` is missing after the key"
    };
    (span, message.to_owned(), help)
}

fn indentation(place: &Place<'_>) -> Description {
    let own = place.line.len() - place.line.trim_start().len();
    let mut help = "entries of one map begin in the same column, and so do the `-` of one list".to_owned();
    if let Some((_, line)) = place.line_before() {
        let trimmed = line.trim_start();
        let mut column = line.len() - trimmed.len();
        if !place.line.trim_start().starts_with('-') {
            while let Some(rest) = line.get(column..).and_then(|rest| rest.strip_prefix("- ")) {
                column += 2 + rest.len() - rest.trim_start().len();
            }
        }
        if column != own {
            help = format!(
                "{help}: this line begins in column {}, the one above in column {}",
                own + 1,
                column + 1
            );
        }
    }
    (place.whole_line(), "this line is not indented like those it belongs to".to_owned(), help)
}

/// The opening quote that has no partner: the last line above with an odd number of them.
fn unclosed_quote(place: &Place<'_>) -> Description {
    let above = place.source.get(..place.line_start + place.line.len()).unwrap_or_default();
    let mut lines = Vec::new();
    let mut start = 0;
    for line in above.split_inclusive('\n') {
        lines.push((start, line.trim_end()));
        start += line.len();
    }
    for (start, line) in lines.into_iter().rev() {
        for quote in ['"', '\''] {
            if line.matches(quote).count() % 2 == 1
                && let Some(at) = line.rfind(quote)
            {
                let help = format!("add the {quote} that ends the text");
                let span = locate::span(place.source, start + at, start + line.len());
                return (span, "this quote is never closed".to_owned(), help);
            }
        }
    }
    (place.here(), "a quote is never closed".to_owned(), "add the quote that ends the text".to_owned())
}

/// The word that begins at the place.
fn word<'s>(place: &Place<'s>) -> &'s str {
    let rest = place.source.get(place.at..).unwrap_or_default();
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, ',' | '}' | ']')).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}
