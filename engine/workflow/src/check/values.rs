//! Values under `with:` against the types of a plugin.

use super::Checker;
use super::scope::{Kind, Scope};
use crate::document::{Data, Entry, Node, Scalar, Style};
use crate::expression::suggest;
use crate::inputs::is_instant;
use crate::problem::{Problem, codes};
use crate::signature::{Case, Field, Type, fold_name};

impl<'a> Checker<'a> {
    /// Compares a value with a type, as deep as it is known. `path` is how people write the place: `with.face.fpid`.
    pub(super) fn value(&mut self, node: &Node, ty: &Type, path: &str, scope: &Scope<'a>) {
        if let Type::Capability(capability) = ty {
            self.capability(node, *capability, path, scope);
            return;
        }
        if let Some(shape) = self.shape_of(node, scope) {
            if let Some(kind) = shape.kind()
                && !accepts(ty, kind)
            {
                let mixed = node.as_str().is_some_and(is_mixed);
                let got = if mixed { "text around `${{ }}`".to_owned() } else { kind.name().to_owned() };
                let help = mixed
                    .then(|| "a value keeps its type only if it is exactly one `${{ }}`".to_owned())
                    .or_else(|| {
                        matches!((ty, kind), (Type::String, Kind::Integer | Kind::Number))
                            .then(|| "turn it into text with the filter `| string`".to_owned())
                    });
                self.mismatch(node, ty, path, &got, help);
            }
            return;
        }
        if node.as_str().is_some_and(|text| text.contains("${{") && !text.contains("$${{")) {
            return;
        }
        match ty {
            Type::Option(inner) => {
                if !node.is_null() {
                    self.value(node, inner, path, scope);
                }
            }
            Type::Json | Type::Capability(_) => {}
            Type::List(item) => match node.as_list() {
                Some(items) => {
                    for (index, node) in items.iter().enumerate() {
                        self.value(node, item, &format!("{path}[{index}]"), scope);
                    }
                }
                None => self.mismatch(
                    node,
                    ty,
                    path,
                    &node.describe(),
                    Some("a list has a `-` before each item, or stands in `[ ]`".to_owned()),
                ),
            },
            Type::Tuple(types) => match node.as_list() {
                Some(items) if items.len() == types.len() => {
                    for (index, (node, ty)) in items.iter().zip(types).enumerate() {
                        self.value(node, ty, &format!("{path}[{index}]"), scope);
                    }
                }
                Some(items) => self.mismatch(node, ty, path, &format!("a list of {}", items.len()), None),
                None => self.mismatch(node, ty, path, &node.describe(), None),
            },
            Type::Record { name, fields } => self.record(node, name, fields, path, scope),
            Type::Variant { cases, .. } => self.variant(node, ty, cases, path, scope),
            Type::Enum { cases, .. } => self.choice(node, ty, cases, path),
            Type::Flags { flags, .. } => match node.as_list() {
                Some(items) => {
                    let case = Type::Enum { name: String::new(), cases: flags.clone() };
                    for (index, node) in items.iter().enumerate() {
                        self.choice(node, &case, flags, &format!("{path}[{index}]"));
                    }
                }
                None => self.mismatch(node, ty, path, &node.describe(), None),
            },
            Type::Result(ok, err) => {
                let cases: Vec<Case> = [("ok", ok), ("err", err)]
                    .into_iter()
                    .map(|(name, ty)| Case { name: name.to_owned(), ty: ty.as_deref().cloned(), docs: None })
                    .collect();
                self.variant(node, ty, &cases, path, scope);
            }
            _ => self.scalar(node, ty, path),
        }
    }

    fn scalar(&mut self, node: &Node, ty: &Type, path: &str) {
        let Some(scalar) = node.as_scalar() else {
            self.mismatch(node, ty, path, &node.describe(), None);
            return;
        };
        let value = &scalar.value;
        let (fits, help) = match ty {
            Type::Bool => (value.is_boolean(), boolean_help(scalar)),
            Type::Integer { min, max, .. } => {
                let number = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
                let fits = number.is_some_and(|number| (*min..=*max).contains(&number));
                (fits, number_help(scalar).or_else(|| number.map(|_| format!("it takes {min} to {max}"))))
            }
            Type::Float => (value.is_number(), number_help(scalar)),
            Type::Char => (value.as_str().is_some_and(|text| text.chars().count() == 1), None),
            Type::Instant => (
                value.as_str().is_some_and(is_instant),
                Some("write it with an offset, for example 2026-11-21T03:51:00+02:00".to_owned()),
            ),
            Type::Bytes => (
                value.as_str().is_some_and(is_base64),
                Some("bytes are written as base64; files are handed over as a folder and a name".to_owned()),
            ),
            _ => (value.is_string(), text_help(scalar)),
        };
        if !fits {
            self.mismatch(node, ty, path, &node.describe(), help);
        }
    }

    fn choice(&mut self, node: &Node, ty: &Type, cases: &[String], path: &str) {
        let written = node.as_str().unwrap_or_default();
        if node.as_str().is_some() && one_of(written, cases.iter().map(String::as_str)).is_some() {
            return;
        }
        if written.contains("${{") {
            return;
        }
        let near = suggest::nearest(written, cases.iter().map(String::as_str));
        self.mismatch(node, ty, path, &node.describe(), near.map(|near| format!("did you mean `{near}`?")));
    }

    fn variant(&mut self, node: &Node, ty: &Type, cases: &[Case], path: &str, scope: &Scope<'a>) {
        let names = || cases.iter().map(|case| case.name.as_str());
        let case_of = |written: &str| {
            one_of(written, names()).and_then(|name| cases.iter().find(|case| case.name == name))
        };
        match &node.data {
            Data::Scalar(_) => match node.as_str().map(|text| (text, case_of(text))) {
                Some((_, Some(Case { name, ty: Some(inner), .. }))) => {
                    let help = format!("write `{name}: ..` with {}", type_name(inner));
                    self.mismatch(node, ty, path, &format!("`{name}` without its value"), Some(help));
                }
                Some((_, Some(_))) => {}
                found => {
                    let near = found.and_then(|(text, _)| suggest::nearest(text, names()));
                    self.mismatch(
                        node,
                        ty,
                        path,
                        &node.describe(),
                        near.map(|near| format!("did you mean `{near}`?")),
                    );
                }
            },
            Data::Map(entries) => {
                let [Entry { key, value }] = entries.as_slice() else {
                    let message = format!("a map of {} entries", entries.len());
                    self.mismatch(node, ty, path, &message, Some("write exactly one of them".to_owned()));
                    return;
                };
                match case_of(&key.text) {
                    Some(Case { name, ty: Some(inner), .. }) => {
                        self.value(value, inner, &format!("{path}.{name}"), scope)
                    }
                    Some(_) if value.is_null() => {}
                    Some(Case { name, .. }) => {
                        let message = format!("{path}: `{name}` carries no value, got {}", value.describe());
                        let problem = Problem::error(codes::WRONG_TYPE, value.span, message);
                        self.problems.report(problem.help(format!("write `{name}` alone")));
                    }
                    None => {
                        let message = format!("{path}: unknown case `{}`", key.text);
                        let problem = Problem::error(codes::WRONG_TYPE, key.span, message);
                        self.problems.report(problem.help_if(Self::candidates(&key.text, names())));
                    }
                }
            }
            Data::List(_) => self.mismatch(node, ty, path, "a list", None),
        }
    }

    fn record(&mut self, node: &Node, name: &str, fields: &[Field], path: &str, scope: &Scope<'a>) {
        let Some(entries) = node.as_map() else {
            let ty = Type::Record { name: name.to_owned(), fields: fields.to_vec() };
            let help = format!("write {}", sketch(fields));
            self.mismatch(node, &ty, path, &node.describe(), Some(help));
            return;
        };
        let mut seen: Vec<&str> = Vec::new();
        for entry in entries {
            let written = entry.key.text.as_str();
            match one_of(written, fields.iter().map(|field| field.name.as_str())) {
                Some(known) if seen.contains(&known) => {
                    let message = format!("{path}: `{written}` is given already, in another spelling");
                    self.problems.report(
                        Problem::error(codes::SAME_PARAMETER, entry.key.span, message)
                            .help("keep one of them"),
                    );
                }
                Some(known) => {
                    seen.push(known);
                    if let Some(field) = fields.iter().find(|field| field.name == known) {
                        self.value(&entry.value, &field.ty, &format!("{path}.{written}"), scope);
                    }
                }
                None => {
                    let names = fields.iter().map(|field| field.name.as_str());
                    let message = format!("{path}: unknown field `{written}` of `{name}`");
                    let problem = Problem::error(codes::WRONG_TYPE, entry.key.span, message);
                    self.problems.report(problem.help_if(Self::candidates(written, names)));
                }
            }
        }
        let missing: Vec<&str> = fields
            .iter()
            .filter(|field| !matches!(field.ty, Type::Option(_)) && !seen.contains(&field.name.as_str()))
            .map(|field| field.name.as_str())
            .collect();
        if !missing.is_empty() {
            let message = format!("{path}: {} of `{name}` is missing", suggest::listing(&missing));
            let span = entries.first().map_or(node.span, |entry| entry.key.span);
            self.problems.report(
                Problem::error(codes::WRONG_TYPE, span, message)
                    .help(format!("a `{name}` is {}", sketch(fields))),
            );
        }
    }

    fn mismatch(&mut self, node: &Node, ty: &Type, path: &str, got: &str, help: Option<String>) {
        let message = format!("{path}: expected {}, got {got}", type_name(ty));
        let help = help.unwrap_or_else(|| usual_help(ty, node));
        self.problems.report(Problem::error(codes::WRONG_TYPE, node.span, message).help(help));
    }
}

/// How a value of the type is written.
fn usual_help(ty: &Type, node: &Node) -> String {
    match ty {
        Type::Option(inner) => return usual_help(inner, node),
        Type::Enum { .. } | Type::Variant { .. } => "write one of them, as it stands here",
        Type::List(_) | Type::Tuple(_) | Type::Flags { .. } => {
            "a list has a `-` before each item, or stands in `[ ]`"
        }
        Type::Record { .. } | Type::Result(..) => "a map has one `key: value` per line, or stands in `{ }`",
        Type::Bool => "write true or false",
        Type::Integer { .. } => "write a whole number without quotes, for example 1",
        Type::Float => "write a number without quotes, for example 1.5",
        _ if node.as_list().is_some() => "for several values repeat the step with `for-each`",
        _ if node.is_null() => "write a value; quotes with nothing between them are an empty text",
        _ => "write a text, in quotes where it looks like something else",
    }
    .to_owned()
}

/// The candidate that is meant: itself, or the only one that is the same without regard to case and `-` or `_`.
pub(super) fn one_of<'c>(written: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let folded = fold_name(written);
    let mut found = None;
    let mut several = false;
    for candidate in candidates {
        if candidate == written {
            return Some(candidate);
        }
        if fold_name(candidate) == folded {
            several |= found.is_some();
            found = Some(candidate);
        }
    }
    found.filter(|_| !several)
}

/// A type for messages.
pub(super) fn type_name(ty: &Type) -> String {
    match ty {
        Type::Bool => "boolean".to_owned(),
        Type::Integer { name, .. } => format!("whole number ({name})"),
        Type::Float => "number".to_owned(),
        Type::Char => "one character".to_owned(),
        Type::String => "string".to_owned(),
        Type::Json => "any value".to_owned(),
        Type::Instant => "date and time with offset".to_owned(),
        Type::Bytes => "bytes as base64".to_owned(),
        Type::List(item) => format!("list of {}", type_name(item)),
        Type::Option(inner) => type_name(inner),
        Type::Result(..) => "map with `ok` or `err`".to_owned(),
        Type::Tuple(items) => format!("list of {} values", items.len()),
        Type::Record { name, .. } => format!("map `{name}`"),
        Type::Variant { cases, .. } => {
            let names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
            format!("one of {}", suggest::listing(&names))
        }
        Type::Enum { cases, .. } => {
            let names: Vec<&str> = cases.iter().map(String::as_str).collect();
            format!("one of {}", suggest::listing(&names))
        }
        Type::Flags { flags, .. } => {
            let names: Vec<&str> = flags.iter().map(String::as_str).collect();
            format!("list of {}", suggest::listing(&names))
        }
        Type::Capability(capability) => capability.name().to_owned(),
    }
}

/// `{ employee-no: string, valid? }`
fn sketch(fields: &[Field]) -> String {
    let parts: Vec<String> = fields
        .iter()
        .take(8)
        .map(|field| {
            if matches!(field.ty, Type::Option(_)) {
                return format!("{}?", field.name);
            }
            format!("{}: {}", field.name, type_name(&field.ty))
        })
        .collect();
    let more = if fields.len() > 8 { ", .." } else { "" };
    format!("{{ {}{more} }}", parts.join(", "))
}

/// Whether a value of that kind can be of that type.
fn accepts(ty: &Type, kind: Kind) -> bool {
    match ty {
        Type::Option(inner) => accepts(inner, kind),
        Type::Json | Type::Capability(_) => true,
        Type::Bool => kind == Kind::Boolean,
        Type::Integer { .. } => matches!(kind, Kind::Integer | Kind::Number),
        Type::Float => matches!(kind, Kind::Integer | Kind::Number),
        Type::Char | Type::String | Type::Instant | Type::Bytes | Type::Enum { .. } => kind == Kind::Text,
        Type::List(_) | Type::Tuple(_) | Type::Flags { .. } => kind == Kind::List,
        Type::Record { .. } | Type::Result(..) => kind == Kind::Map,
        Type::Variant { .. } => matches!(kind, Kind::Text | Kind::Map),
    }
}

/// Text with an expression in it that is not the whole of it.
fn is_mixed(text: &str) -> bool {
    let text = text.trim();
    !(text.starts_with("${{") && text.ends_with("}}") && text.matches("${{").count() == 1)
}

fn text_help(scalar: &Scalar) -> Option<String> {
    let plain = scalar.style == Style::Plain && !scalar.value.is_null();
    plain.then(|| format!("quote it: \"{}\"", scalar.text))
}

fn number_help(scalar: &Scalar) -> Option<String> {
    let number = scalar.style != Style::Plain && scalar.text.parse::<f64>().is_ok();
    number.then(|| format!("remove the quotes: {}", scalar.text))
}

fn boolean_help(scalar: &Scalar) -> Option<String> {
    match scalar.text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "1" | "true" => Some("write true".to_owned()),
        "no" | "off" | "0" | "false" => Some("write false".to_owned()),
        _ => None,
    }
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}
