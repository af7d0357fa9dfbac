//! `expect:`: what must have happened.

use serde_json::Value;

use super::matcher::{Difference, Matcher, join};
use super::reader::Reader;
use super::request::{self, RequestPattern};
use super::{Names, SEES};
use crate::document::{Entry, Node, Span};
use crate::expression::{Scope, suggest};
use crate::problem::codes;

/// What must have happened.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// Where it stands.
    pub span: Span,
    /// Parts of the result, each with its path: `status`, `steps.photo.attempts`.
    parts: Vec<(String, Matcher)>,
    /// Per connection.
    requests: Vec<Requests>,
    /// Conditions over the whole result.
    conditions: Vec<Matcher>,
}

/// What must have been asked of one connection.
#[derive(Clone, Debug)]
struct Requests {
    span: Span,
    connection: String,
    order: Order,
    wanted: Vec<Wanted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Each of these, among others.
    Any,
    /// These one after another, among others.
    Following,
    /// These one after another, and no others.
    Exactly,
}

#[derive(Clone, Debug)]
struct Wanted {
    pattern: RequestPattern,
    count: Option<u64>,
}

const KEYS: [&str; 8] = ["status", "output", "error", "steps", "requests", "undo", "files", "that"];
/// How a case's run may end; `not-started` where the trigger's `if` is false.
const STATUSES: [&str; 8] = [
    "succeeded",
    "recovered",
    "failed",
    "cancelled",
    "skipped",
    "interrupted",
    "rolled-back",
    "rollback-incomplete",
];
const RUN: [&str; 9] = [
    "succeeded",
    "recovered",
    "failed",
    "cancelled",
    "skipped",
    "interrupted",
    "rolled-back",
    "rollback-incomplete",
    "not-started",
];
const STEP: [&str; 9] =
    ["status", "output", "reason", "error", "counts", "items", "attempts", "with", "undo"];
const ITEM: [&str; 6] = ["status", "output", "reason", "error", "attempts", "undo"];
const COUNTS: [&str; 9] = [
    "succeeded",
    "recovered",
    "skipped",
    "failed",
    "cancelled",
    "interrupted",
    "rolled_back",
    "rollback_incomplete",
    "total",
];
const UNDO: [&str; 3] = ["undone", "failed", "registered"];

pub(super) fn read(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Expect {
    let mut expect = Expect { span: node.span, ..Expect::default() };
    for Entry { key, value } in reader.known(node, "`expect`", &KEYS).unwrap_or_default() {
        match key.text.as_str() {
            "status" => status(reader, value, "status", &RUN, &mut expect.parts),
            "error" => error(reader, value, "error", &mut expect.parts),
            "output" => {
                let matcher = Matcher::read(reader, value, &SEES);
                expect.parts.extend(matcher.map(|matcher| ("output".to_owned(), matcher)));
            }
            "steps" => {
                for entry in reader.entries(value, "`steps`") {
                    if names.step(reader, entry) {
                        let path = join("steps", &entry.key.text);
                        step(reader, &entry.value, &path, &STEP, &mut expect.parts);
                    }
                }
            }
            "requests" => {
                for entry in reader.entries(value, "`requests`") {
                    if names.asked(reader, entry) {
                        expect.requests.extend(requests(reader, entry));
                    }
                }
            }
            "undo" => {
                for entry in reader.entries(value, "`undo`") {
                    if names.step(reader, entry) && reader.word(&entry.value, "`undo`", &UNDO).is_some() {
                        let matcher = Matcher::read(reader, &entry.value, &SEES);
                        expect.parts.extend(matcher.map(|matcher| (join("undo", &entry.key.text), matcher)));
                    }
                }
            }
            "files" => {
                for entry in reader.entries(value, "`files`") {
                    if !names.folder(reader, entry) {
                        continue;
                    }
                    for file in reader.entries(&entry.value, "the files of a folder") {
                        let path = join(&join("files", &entry.key.text), &file.key.text);
                        let matcher = Matcher::read(reader, &file.value, &SEES);
                        expect.parts.extend(matcher.map(|matcher| (path, matcher)));
                    }
                }
            }
            _ => {
                let nodes = value.as_list().map_or_else(|| vec![value], |items| items.iter().collect());
                for node in nodes {
                    if node.as_str().is_none_or(|text| !text.trim_start().starts_with("${{")) {
                        let help = "for example `that: ${{ output.count > 3 }}`";
                        reader.wrong_shape(node, "`that`", "an expression in `${{ }}`", help);
                        continue;
                    }
                    expect.conditions.extend(Matcher::read(reader, node, &SEES));
                }
            }
        }
    }
    expect
}

fn status(
    reader: &mut Reader<'_>,
    node: &Node,
    path: &str,
    words: &[&'static str],
    parts: &mut Vec<(String, Matcher)>,
) {
    // A matcher such as `one-of` may stand here as well.
    if node.as_map().is_none() && reader.word(node, "`status`", words).is_none() {
        return;
    }
    parts.extend(Matcher::read(reader, node, &SEES).map(|matcher| (path.to_owned(), matcher)));
}

/// `{ kind, code, message, contains }`
fn error(reader: &mut Reader<'_>, node: &Node, path: &str, parts: &mut Vec<(String, Matcher)>) {
    if node.is_null() {
        parts.extend(Matcher::read(reader, node, &SEES).map(|matcher| (path.to_owned(), matcher)));
        return;
    }
    let keys = ["kind", "code", "message", "contains", "effect", "details"];
    let kinds: Vec<&'static str> =
        crate::failure::Kind::ALL.into_iter().map(crate::failure::Kind::name).collect();
    for entry in reader.known(node, "`error`", &keys).unwrap_or_default() {
        let Entry { key, value } = entry;
        let key = key.text.as_str();
        if key == "kind" && value.as_map().is_none() && reader.word(value, "`kind`", &kinds).is_none() {
            continue;
        }
        let (key, matcher) = if key == "contains" {
            // The same as `message: { contains: .. }`.
            let only = Node { span: value.span, data: crate::document::Data::Map(vec![entry.clone()]) };
            ("message", Matcher::read(reader, &only, &SEES))
        } else {
            (key, Matcher::read(reader, value, &SEES))
        };
        parts.extend(matcher.map(|matcher| (join(path, key), matcher)));
    }
}

fn step(reader: &mut Reader<'_>, node: &Node, path: &str, keys: &[&str], parts: &mut Vec<(String, Matcher)>) {
    if node.as_scalar().is_some() {
        return status(reader, node, &join(path, "status"), &STATUSES, parts);
    }
    let what =
        if keys.len() == ITEM.len() { "what is expected of an item" } else { "what is expected of a step" };
    for Entry { key, value } in reader.known(node, what, keys).unwrap_or_default() {
        let inner = join(path, &key.text);
        match key.text.as_str() {
            "status" => status(reader, value, &inner, &STATUSES, parts),
            "error" => error(reader, value, &inner, parts),
            "items" => {
                for item in reader.entries(value, "`items`") {
                    step(reader, &item.value, &join(&inner, &item.key.text), &ITEM, parts);
                }
            }
            "counts" => {
                for count in reader.known(value, "`counts`", &COUNTS).unwrap_or_default() {
                    let matcher = Matcher::read(reader, &count.value, &SEES);
                    parts.extend(matcher.map(|matcher| (join(&inner, &count.key.text), matcher)));
                }
            }
            _ => parts.extend(Matcher::read(reader, value, &SEES).map(|matcher| (inner, matcher))),
        }
    }
}

fn requests(reader: &mut Reader<'_>, entry: &Entry) -> Option<Requests> {
    let node = &entry.value;
    let connection = entry.key.text.clone();
    let of = |order, wanted| Requests { span: entry.key.span, connection: connection.clone(), order, wanted };
    if node.as_scalar().is_some() {
        reader.word(node, "what is expected of a connection", &["none"])?;
        return Some(of(Order::Exactly, Vec::new()));
    }
    if let Some(items) = node.as_list() {
        return Some(of(Order::Any, wanted(reader, items)));
    }
    let keys = ["in-order", "exactly"];
    let known = reader.known(node, "what is expected of a connection", &keys)?;
    let [only] = known.as_slice() else {
        if known.len() > 1 {
            let help = "`exactly` is in order too: keep one of them";
            reader.error(
                codes::KEYS_DO_NOT_FIT,
                node.span,
                "`in-order` and `exactly` exclude each other",
                help,
            );
        }
        return None;
    };
    let order = if only.key.text == "exactly" { Order::Exactly } else { Order::Following };
    let items = reader.items(&only.value, "the expected requests", "each begins with `- request: GET /path`");
    Some(of(order, wanted(reader, items)))
}

fn wanted(reader: &mut Reader<'_>, items: &[Node]) -> Vec<Wanted> {
    let keys: Vec<&str> = request::KEYS.into_iter().chain(["count"]).collect();
    let mut all = Vec::new();
    for node in items {
        // `- GET /path` alone is enough.
        let short;
        let node = if node.as_str().is_some() {
            let key = crate::document::Key { text: "request".to_owned(), span: node.span };
            let entry = Entry { key, value: node.clone() };
            short = Node { span: node.span, data: crate::document::Data::Map(vec![entry]) };
            &short
        } else {
            node
        };
        let Some(entries) = reader.known(node, "an expected request", &keys) else { continue };
        let pattern = RequestPattern::read(reader, node, &entries, &SEES);
        let count = entries.iter().find(|entry| entry.key.text == "count");
        let count = match count {
            Some(entry) => match reader.number(&entry.value, "`count`", 0..=1_000_000) {
                Some(count) => Some(count),
                None => continue,
            },
            None => None,
        };
        all.extend(pattern.map(|pattern| Wanted { pattern, count }));
    }
    all
}

impl Expect {
    /// Everything in which a result differs. `result` is a map with `status`, `output`, `error`, `steps`, `undo`, `files`;
    /// `scope` holds the same names and more for expressions; `asked` gives the requests of a connection in order.
    pub fn differences(
        &self,
        result: &Value,
        asked: &dyn Fn(&str) -> Vec<Value>,
        scope: &Scope,
    ) -> Vec<Difference> {
        let mut found = Vec::new();
        for (path, matcher) in &self.parts {
            let (value, reached) = descend(result, path);
            match value {
                None if !reached.is_empty() => {
                    let before = found.len();
                    matcher.compare(None, path, scope, &mut found);
                    for difference in &mut found[before..] {
                        difference.came = format!("nothing{reached}");
                    }
                }
                value => matcher.compare(value, path, scope, &mut found),
            }
        }
        for requests in &self.requests {
            requests.compare(&asked(&requests.connection), scope, &mut found);
        }
        for condition in &self.conditions {
            condition.compare(Some(&Value::Bool(true)), "that", scope, &mut found);
            for difference in found.iter_mut().filter(|difference| difference.path == "that") {
                if difference.came == "true" {
                    "it is false".clone_into(&mut difference.came);
                }
            }
        }
        found
    }
}

/// The value at a path made by `join`, and where there is none what is there instead.
fn descend<'v>(result: &'v Value, path: &str) -> (Option<&'v Value>, String) {
    let mut at = result;
    let mut rest = path;
    while !rest.is_empty() {
        let (key, after) = match rest.strip_prefix("[\"") {
            Some(quoted) => match quoted.split_once("\"]") {
                Some((key, after)) => (key, after),
                None => return (None, String::new()),
            },
            None => {
                let plain = rest.strip_prefix('.').unwrap_or(rest);
                let end = plain.find(['.', '[']).unwrap_or(plain.len());
                plain.split_at(end)
            }
        };
        match at.get(key) {
            Some(inner) => at = inner,
            None => {
                let there: Vec<&str> =
                    at.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default();
                let hint = if there.is_empty() || there.contains(&"status") {
                    String::new()
                } else {
                    format!("; there is {}", suggest::listing(&there))
                };
                return (None, hint);
            }
        }
        rest = after;
    }
    (Some(at), String::new())
}

impl Requests {
    fn compare(&self, asked: &[Value], scope: &Scope, found: &mut Vec<Difference>) {
        let path = join("requests", &self.connection);
        let differs = |span: Span, expected: String, came: String| Difference {
            span,
            path: path.clone(),
            expected,
            came,
        };
        let fits = |wanted: &Wanted, request: &Value| wanted.pattern.differences(request, scope).is_empty();
        let none = "no request".to_owned();
        match self.order {
            Order::Any => {
                for wanted in &self.wanted {
                    let number = asked.iter().filter(|request| fits(wanted, request)).count() as u64;
                    let good = wanted.count.map_or(number > 0, |count| count == number);
                    if !good {
                        let expected = match wanted.count {
                            None => wanted.pattern.words(),
                            Some(count) => format!("{} {}", times(count), wanted.pattern.words()),
                        };
                        let came = match (number, nearest(&wanted.pattern, asked, scope)) {
                            (0, Some(near)) if wanted.count != Some(0) => near,
                            (0, _) => "no such request".to_owned(),
                            (number, _) => times(number),
                        };
                        found.push(differs(wanted.pattern.span, expected, came));
                    }
                }
            }
            Order::Following => {
                let mut rest = asked.iter();
                for wanted in &self.wanted {
                    for _ in 0..wanted.count.unwrap_or(1) {
                        if !rest.any(|request| fits(wanted, request)) {
                            let elsewhere = asked.iter().any(|request| fits(wanted, request));
                            let came = if elsewhere {
                                "it came, but not after those before it".to_owned()
                            } else {
                                nearest(&wanted.pattern, asked, scope).unwrap_or_else(|| none.clone())
                            };
                            found.push(differs(wanted.pattern.span, wanted.pattern.words(), came));
                            return;
                        }
                    }
                }
            }
            Order::Exactly => {
                let mut rest = asked.iter();
                for wanted in &self.wanted {
                    for _ in 0..wanted.count.unwrap_or(1) {
                        let request = rest.next();
                        if request.is_none_or(|request| !fits(wanted, request)) {
                            let came = request.map_or_else(|| none.clone(), line);
                            found.push(differs(wanted.pattern.span, wanted.pattern.words(), came));
                            return;
                        }
                    }
                }
                if let Some(more) = rest.next() {
                    let left = rest.count();
                    let others = if left == 0 { String::new() } else { format!(" and {left} more") };
                    let expected =
                        if self.wanted.is_empty() { none } else { "no further request".to_owned() };
                    found.push(differs(self.span, expected, format!("{}{others}", line(more))));
                }
            }
        }
    }
}

/// The request that comes nearest, and in what it differs.
fn nearest(pattern: &RequestPattern, asked: &[Value], scope: &Scope) -> Option<String> {
    let near = asked.iter().min_by_key(|request| pattern.distance(request, scope))?;
    let differences: Vec<String> = pattern
        .differences(near, scope)
        .iter()
        .filter(|difference| !matches!(difference.path.as_str(), "method" | "path"))
        .map(|difference| format!("{} is {}", difference.path, difference.came))
        .collect();
    let but =
        if differences.is_empty() { String::new() } else { format!(", whose {}", differences.join(", ")) };
    Some(format!("no such request; the nearest is {}{but}", line(near)))
}

/// `PUT /ISAPI/.. at 10.0.0.7:80`
fn line(request: &Value) -> String {
    let text = |key: &str| request.get(key).and_then(Value::as_str).unwrap_or_default();
    format!("{} {} at {}", text("method"), text("path"), text("at"))
}

fn times(count: u64) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        more => format!("{more} times"),
    }
}
