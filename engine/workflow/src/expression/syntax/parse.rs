//! Reads the text with minijinja's lexer and parser, after a look at how deep it is.

use minijinja::machinery::{Span, Token, parse_expr, tokenize};

use super::convert::Converter;
use super::{ExpressionError, Node, Range};
use crate::expression::{MAX_NESTING, MAX_SOURCE_BYTES};

/// How many operators, dots, filters and brackets may build on each other.
const MAX_LINKS: usize = 256;

/// Parses and checks an expression.
pub(in crate::expression) fn parse(source: &str) -> Result<Node, ExpressionError> {
    let everything = Range::new(0, source.len());
    if source.len() > MAX_SOURCE_BYTES {
        return Err(ExpressionError::new(
            format!("the expression is {} bytes long, {MAX_SOURCE_BYTES} is the most", source.len()),
            everything,
        )
        .with_help("let an earlier step prepare the value"));
    }
    if source.trim().is_empty() {
        return Err(ExpressionError::new("the expression is empty", everything));
    }
    check_nesting(source)?;
    let tree = parse_expr(source).map_err(|error| syntax_error(source, &error))?;
    Converter::new(source).node(&tree, 0)
}

/// minijinja's parser recurses for brackets, prefix operators and `else`, and dropping its tree recurses for every
/// operator, dot and filter of a chain; enough of them would end the process.
fn check_nesting(source: &str) -> Result<(), ExpressionError> {
    // For each open bracket, what has followed each other there without a comma.
    let mut chains = vec![0_usize];
    let (mut prefixes, mut elses, mut links) = (0_usize, 0_usize, 0_usize);
    for token in tokenize(source, true, Default::default()) {
        // What the lexer refuses, the parser reports.
        let Ok((token, span)) = token else { break };
        let closes = matches!(token, Token::ParenClose | Token::BracketClose | Token::BraceClose);
        let opens = matches!(token, Token::ParenOpen | Token::BracketOpen | Token::BraceOpen);
        if closes && chains.len() > 1 {
            links -= chains.pop().unwrap_or(0);
        }
        if let Some(chain) = chains.last_mut() {
            match token {
                Token::Comma | Token::Colon => links -= std::mem::take(chain),
                Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => {}
                Token::Ident(word) if !matches!(word, "and" | "or" | "not" | "in" | "is" | "if" | "else") => {
                }
                _ if closes => {}
                _ => {
                    *chain += 1;
                    links += 1;
                }
            }
        }
        if opens {
            chains.push(0);
        }
        elses += usize::from(matches!(token, Token::Ident("else")));
        prefixes = if matches!(token, Token::Minus | Token::Ident("not")) { prefixes + 1 } else { 0 };
        if chains.len() > MAX_NESTING + 1
            || prefixes > MAX_NESTING
            || elses > MAX_NESTING
            || links > MAX_LINKS
        {
            return Err(too_deep(range_of(span)));
        }
    }
    Ok(())
}

pub(super) fn too_deep(range: Range) -> ExpressionError {
    ExpressionError::new("the expression is nested too deeply or has too long a chain", range)
        .with_help("let an earlier step prepare part of the value")
}

pub(super) fn range_of(span: Span) -> Range {
    Range::new(span.start_offset as usize, span.end_offset as usize)
}

fn syntax_error(source: &str, error: &minijinja::Error) -> ExpressionError {
    let range = error.range().map_or(Range::new(0, source.len()), |range| {
        let end = range.end.min(source.len());
        Range::new(range.start.min(end), end)
    });
    let message = match error.detail() {
        Some("unexpected input after expression") => {
            "there is something behind the end of the expression".to_owned()
        }
        Some("template exceeds maximum recursion limits") => return too_deep(range),
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    let error = ExpressionError::new(message, range);
    match slip(source) {
        Some(help) => error.with_help(help),
        None => error,
    }
}

/// What people bring along from other languages.
fn slip(source: &str) -> Option<&'static str> {
    if source.contains("{{") {
        return Some("inside an expression there is no `${{`; names stand by themselves");
    }
    if source.contains("{%") {
        return Some("only expressions can stand here, no statements");
    }
    if source.contains("&&") {
        return Some("write `and` for `&&`");
    }
    if source.contains("||") {
        return Some("write `or` for `||`");
    }
    if source.contains('?') {
        return Some("write `a if condition else b`, or `| default(..)` for what may be absent");
    }
    if source.contains('!') && !source.contains("!=") {
        return Some("write `not` for `!`");
    }
    if source.contains('`') || source.contains('\u{201c}') || source.contains('\u{2018}') {
        return Some("text stands in straight quotes: 'text' or \"text\"");
    }
    let mut assigns = source.bytes().enumerate().filter(|(_, byte)| *byte == b'=');
    let bytes = source.as_bytes();
    let single = assigns.any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at)).copied();
        bytes.get(at + 1) != Some(&b'=') && !matches!(before, Some(b'=' | b'!' | b'<' | b'>'))
    });
    single.then_some("to compare, write `==`")
}
