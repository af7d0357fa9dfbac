//! `given:`: what stands in for devices, servers and steps.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::reader::Reader;
use super::request::{self, RequestPattern};
use super::{Names, SEES};
use crate::document::{Entry, Node, Span};
use crate::failure::{Effect, Failure, Kind};
use crate::problem::{Problem, codes};

/// What a case starts from.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `now:` the instant at which the run starts.
    pub now: Option<Timestamp>,
    /// `simulator:`
    pub simulator: Option<Simulator>,
    /// `connections:` canned answers; a connection that is not named answers nothing.
    pub connections: BTreeMap<String, Vec<Stub>>,
    /// `steps:` by id or place (`copy[1001]/enrol`).
    pub steps: BTreeMap<String, StepStub>,
    /// `folders:` files that lie there: folder, name, content.
    pub folders: BTreeMap<String, BTreeMap<String, Content>>,
}

/// One kind of request and what it is answered.
#[derive(Clone, Debug)]
pub struct Stub {
    /// Where it stands.
    pub span: Span,
    /// Which requests.
    pub request: RequestPattern,
    /// One after another; the last one stays.
    pub answers: Vec<Answer>,
    /// How many requests it answers; without it any number.
    pub times: Option<u64>,
}

/// What a stub answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers beside `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Content>,
    /// Real time before the answer.
    pub delay: Duration,
    /// Instead of, or in the middle of, the answer.
    pub fault: Option<Fault>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens: the connection is refused.
    Refuse,
    /// The request is read and never answered.
    Timeout,
    /// The connection is closed in the middle of the answer, or before it where there is none.
    Cut,
}

/// The bytes of a body or a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// `json:`
    Json(Value),
    /// `text:`
    Text(String),
    /// `base64:`, not decoded yet.
    Base64(String),
    /// `file:` relative to the test file.
    File(String),
    /// `zeros:` so many bytes.
    Zeros(u64),
}

/// What a step's calls give instead of calling the plugin.
#[derive(Clone, Debug, Default)]
pub struct StepStub {
    /// Where it stands.
    pub span: Span,
    /// Its own call, attempt by attempt; the last one stays. Empty: the plugin is called.
    pub call: Vec<Reply>,
    /// The call of a `catch`.
    pub catch: Vec<Reply>,
    /// The second look.
    pub verify: Vec<Reply>,
    /// The `undo`.
    pub undo: Vec<Reply>,
}

/// What one call gives.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Its output.
    Output(Value),
    /// Why it failed.
    Error(Failure),
}

/// `simulator: { scenario: demo, terminals: 3, connections: { hr: supabase } }`
#[derive(Clone, Debug)]
pub struct Simulator {
    /// Where it stands.
    pub span: Span,
    /// What `bascule-sim --scenario` takes.
    pub scenario: String,
    /// How many terminals.
    pub terminals: u64,
    /// How many recorders.
    pub recorders: u64,
    /// Connection -> system. Connections that are not named are told by their `auth`.
    pub connections: BTreeMap<String, &'static str>,
}

/// What the simulator has.
pub const SYSTEMS: [&str; 4] = ["supabase", "terminals", "recorders", "hikcentral"];
const SCENARIOS: [&str; 5] = ["demo", "calm", "fresh", "empty", "quirks"];
const KEYS: [&str; 5] = ["now", "simulator", "connections", "steps", "folders"];
const ANSWER: [&str; 9] = ["status", "headers", "json", "text", "base64", "file", "zeros", "delay", "fault"];
const CONTENT: [&str; 5] = ["json", "text", "base64", "file", "zeros"];
const REPLY: [&str; 5] = ["output", "error", "catch", "verify", "undo"];
/// The longest `delay`.
const LONGEST: Duration = Duration::from_secs(10);

pub(super) fn read(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Given {
    let mut given = Given::default();
    for Entry { key, value } in reader.known(node, "`given`", &KEYS).unwrap_or_default() {
        match key.text.as_str() {
            "now" => given.now = now(reader, value),
            "simulator" => given.simulator = simulator(reader, value, names),
            "connections" => {
                for entry in reader.entries(value, "`connections`") {
                    if !names.connection(reader, entry) {
                        continue;
                    }
                    let help = "each canned answer begins with `- request: GET /path`";
                    let what = format!("the stubs of `{}`", entry.key.text);
                    let items = reader.items(&entry.value, &what, help);
                    let stubs = items.iter().filter_map(|item| stub(reader, item)).collect();
                    given.connections.insert(entry.key.text.clone(), stubs);
                }
            }
            "steps" => {
                for entry in reader.entries(value, "`steps`") {
                    if names.step(reader, entry) {
                        let stub = step(reader, &entry.value);
                        given.steps.insert(entry.key.text.clone(), StepStub { span: entry.key.span, ..stub });
                    }
                }
            }
            _ => {
                for entry in reader.entries(value, "`folders`") {
                    if !names.folder(reader, entry) {
                        continue;
                    }
                    let mut files = BTreeMap::new();
                    for file in reader.entries(&entry.value, "the files of a folder") {
                        let content = content(reader, &file.value, "a file");
                        files.extend(content.map(|content| (file.key.text.clone(), content)));
                    }
                    given.folders.insert(entry.key.text.clone(), files);
                }
            }
        }
    }
    given
}

fn now(reader: &mut Reader<'_>, node: &Node) -> Option<Timestamp> {
    let text = reader.text_of(node, "`now`")?;
    match text.parse() {
        Ok(now) => Some(now),
        Err(_) => {
            let help = "write a date and time with offset, for example 2026-11-21T08:00:00Z";
            reader.error(codes::BAD_VALUE, node.span, format!("`now`: `{text}` is not an instant"), help);
            None
        }
    }
}

fn simulator(reader: &mut Reader<'_>, node: &Node, names: &Names<'_>) -> Option<Simulator> {
    let mut simulator = Simulator {
        span: node.span,
        scenario: "demo".to_owned(),
        terminals: 5,
        recorders: 0,
        connections: BTreeMap::new(),
    };
    if node.as_scalar().is_some_and(|scalar| scalar.value.is_string()) {
        reader.word(node, "`simulator`", &SCENARIOS)?.clone_into(&mut simulator.scenario);
        return Some(simulator);
    }
    let keys = ["scenario", "terminals", "recorders", "connections"];
    for Entry { key, value } in reader.known(node, "`simulator`", &keys)? {
        match key.text.as_str() {
            "scenario" => {
                reader.word(value, "`scenario`", &SCENARIOS)?.clone_into(&mut simulator.scenario);
            }
            "terminals" => simulator.terminals = reader.number(value, "`terminals`", 0..=1000)?,
            "recorders" => simulator.recorders = reader.number(value, "`recorders`", 0..=100)?,
            _ => {
                for entry in reader.entries(value, "`connections`") {
                    if names.connection(reader, entry)
                        && let Some(system) = reader.word(&entry.value, "a simulated system", &SYSTEMS)
                    {
                        simulator.connections.insert(entry.key.text.clone(), system);
                    }
                }
            }
        }
    }
    Some(simulator)
}

fn stub(reader: &mut Reader<'_>, node: &Node) -> Option<Stub> {
    let keys: Vec<&str> = request::KEYS.into_iter().chain(["respond", "times"]).collect();
    let entries = reader.known(node, "a stub", &keys)?;
    let request = RequestPattern::read(reader, node, &entries, &SEES);
    let mut times = None;
    for entry in entries.iter().filter(|entry| entry.key.text == "times") {
        times = reader.number(&entry.value, "`times`", 1..=1_000_000);
    }
    let Some(respond) = node.get("respond") else {
        if !node.as_map().unwrap_or_default().iter().any(|entry| entry.key.text.starts_with("resp")) {
            reader.missing(node, "a stub", "respond", "for example `respond: { status: 200, json: {} }`");
        }
        return None;
    };
    let answers: Vec<Answer> = match respond.as_list() {
        Some(items) => items.iter().filter_map(|item| answer(reader, item)).collect(),
        None => answer(reader, respond).into_iter().collect(),
    };
    if answers.is_empty() {
        return None;
    }
    let request = request?;
    let refuses = answers.iter().any(|answer| answer.fault == Some(Fault::Refuse));
    if refuses {
        let knows = request.method.is_some()
            || request.path.is_some()
            || request.query.is_some()
            || request.headers.is_some()
            || request.body.is_some();
        if knows || answers.len() > 1 {
            let message =
                "a refused connection has no request, so `fault: refuse` goes with `at` and `times` alone";
            let help =
                "write `- { at: 10.0.0.7, respond: { fault: refuse } }`, with `times: 2` for the first two";
            reader.error(codes::CASE_ANSWER, respond.span, message, help);
            return None;
        }
    } else if request.path.is_none() {
        reader.missing(node, "a stub", "request", "for example `request: GET /ISAPI/System/deviceInfo`");
        return None;
    }
    Some(Stub { span: request.span, request, answers, times })
}

fn answer(reader: &mut Reader<'_>, node: &Node) -> Option<Answer> {
    let mut answer =
        Answer { status: 200, headers: Vec::new(), body: None, delay: Duration::ZERO, fault: None };
    let entries = reader.known(node, "`respond`", &ANSWER)?;
    for entry in &entries {
        let value = &entry.value;
        match entry.key.text.as_str() {
            "status" => {
                answer.status = u16::try_from(reader.number(value, "`status`", 200..=599)?).unwrap_or(200);
            }
            "headers" => {
                for header in reader.entries(value, "`headers`") {
                    let text = reader.text_of(&header.value, "a header")?;
                    let plain = |text: &str| !text.chars().any(char::is_control);
                    if !plain(&text) || !plain(&header.key.text) || header.key.text.contains([':', ' ']) {
                        let message = format!("`{}` cannot be sent as a header", header.key.text);
                        let help = "a header is a name and one line of text";
                        reader.error(codes::BAD_VALUE, header.key.span, message, help);
                        return None;
                    }
                    answer.headers.push((header.key.text.clone(), text));
                }
            }
            "delay" => answer.delay = reader.duration(value, "`delay`", LONGEST)?,
            "fault" => {
                answer.fault = Some(match reader.word(value, "`fault`", &["refuse", "timeout", "cut"])? {
                    "refuse" => Fault::Refuse,
                    "timeout" => Fault::Timeout,
                    _ => Fault::Cut,
                });
            }
            _ => {}
        }
    }
    answer.body = one_content(reader, &entries, "an answer")?;
    if matches!(answer.fault, Some(Fault::Refuse | Fault::Timeout))
        && let Some(entry) = entries
            .iter()
            .find(|entry| entry.key.text == "status" || CONTENT.contains(&entry.key.text.as_str()))
    {
        let message = format!("`{}` has no meaning where nothing is answered", entry.key.text);
        reader.error(codes::CASE_ANSWER, entry.key.span, message, "remove it, or the fault");
        return None;
    }
    Some(answer)
}

/// The one content among the entries; `None` where there is something wrong with it.
fn one_content(reader: &mut Reader<'_>, entries: &[&Entry], what: &str) -> Option<Option<Content>> {
    let mut found = None;
    for entry in entries.iter().filter(|entry| CONTENT.contains(&entry.key.text.as_str())) {
        if found.is_some() {
            let message = format!("{what} has one body, and `{}` is another", entry.key.text);
            let help = "keep one of `json`, `text`, `base64`, `file` and `zeros`";
            reader.error(codes::CASE_ANSWER, entry.key.span, message, help);
            return None;
        }
        let value = &entry.value;
        found = Some(match entry.key.text.as_str() {
            "json" => Content::Json(value.to_json()),
            "text" => Content::Text(reader.text_of(value, "`text`")?),
            "base64" => Content::Base64(reader.text_of(value, "`base64`")?),
            "file" => Content::File(reader.text_of(value, "`file`")?),
            _ => Content::Zeros(reader.number(value, "`zeros`", 0..=1 << 30)?),
        });
    }
    Some(found)
}

fn content(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Content> {
    let entries = reader.known(node, what, &CONTENT)?;
    let content = one_content(reader, &entries, what)?;
    if content.is_none() {
        reader.missing(node, what, "text", "or `base64:`, `file:`, `json:`, `zeros:`");
    }
    content
}

fn step(reader: &mut Reader<'_>, node: &Node) -> StepStub {
    let mut stub = StepStub::default();
    if node.as_list().is_some() {
        stub.call = replies(reader, node);
        return stub;
    }
    for entry in reader.known(node, "the stub of a step", &REPLY).unwrap_or_default() {
        match entry.key.text.as_str() {
            "catch" => stub.catch = replies(reader, &entry.value),
            "verify" => stub.verify = replies(reader, &entry.value),
            "undo" => stub.undo = replies(reader, &entry.value),
            _ if stub.call.is_empty() => stub.call.extend(reply_of(reader, entry)),
            _ => reader.error(
                codes::CASE_ANSWER,
                entry.key.span,
                "a call gives an output or an error, not both",
                "for one after the other write a list: `[{ error: .. }, { output: .. }]`",
            ),
        }
    }
    stub
}

fn replies(reader: &mut Reader<'_>, node: &Node) -> Vec<Reply> {
    let items = node.as_list().map_or_else(|| vec![node], |items| items.iter().collect());
    let mut replies = Vec::new();
    for item in items {
        for entry in reader.known(item, "a reply", &["output", "error"]).unwrap_or_default() {
            replies.extend(reply_of(reader, entry));
        }
    }
    replies
}

fn reply_of(reader: &mut Reader<'_>, entry: &Entry) -> Option<Reply> {
    if entry.key.text == "output" {
        return Some(Reply::Output(entry.value.to_json()));
    }
    let node = &entry.value;
    let keys = ["kind", "code", "message", "effect", "retry-after", "details"];
    let entries = reader.known(node, "`error`", &keys)?;
    let mut failure = Failure::new(Kind::Internal, "a stub's error");
    let kinds: Vec<&'static str> = Kind::ALL.into_iter().map(Kind::name).collect();
    let mut kind = None;
    for Entry { key, value } in entries {
        match key.text.as_str() {
            "kind" => kind = reader.word(value, "`kind`", &kinds).and_then(Kind::from_name),
            "code" => failure.code = reader.text_of(value, "`code`"),
            "message" => failure.message = reader.text_of(value, "`message`")?,
            "effect" => {
                failure.effect = match reader.word(value, "`effect`", &["none", "applied", "unknown"])? {
                    "none" => Effect::None,
                    "applied" => Effect::Applied,
                    _ => Effect::Unknown,
                };
            }
            "retry-after" => {
                let asked = reader.duration(value, "`retry-after`", Duration::from_secs(86_400))?;
                failure = failure.with_retry_after(asked);
            }
            _ => failure.details = Some(value.to_json()).filter(Value::is_object),
        }
    }
    match kind {
        Some(kind) => Some(Reply::Error(Failure { kind, ..failure })),
        None if node.get("kind").is_none() => {
            reader.missing(node, "`error`", "kind", "for example `kind: offline`");
            None
        }
        None => None,
    }
}

impl Given {
    /// This one's own, and what all cases share where it says nothing; of a connection its own stubs come first.
    pub(super) fn over(mut self, shared: &Self) -> Self {
        self.now = self.now.or(shared.now);
        if self.simulator.is_none() {
            self.simulator.clone_from(&shared.simulator);
        }
        for (name, stubs) in &shared.connections {
            self.connections.entry(name.clone()).or_default().extend(stubs.iter().cloned());
        }
        for (name, stub) in &shared.steps {
            self.steps.entry(name.clone()).or_insert_with(|| stub.clone());
        }
        for (folder, files) in &shared.folders {
            let own = self.folders.entry(folder.clone()).or_default();
            for (name, content) in files {
                own.entry(name.clone()).or_insert_with(|| content.clone());
            }
        }
        self
    }
}

/// A map of inputs, or the value of a trigger.
pub(super) fn map(reader: &mut Reader<'_>, node: &Node, what: &str) -> Map<String, Value> {
    reader.entries(node, what);
    match node.to_json() {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

impl Names<'_> {
    fn connection(&self, reader: &mut Reader<'_>, entry: &Entry) -> bool {
        self.known(reader, entry, "connection", self.connections.as_deref())
    }

    pub(super) fn folder(&self, reader: &mut Reader<'_>, entry: &Entry) -> bool {
        self.known(reader, entry, "folder", self.folders.as_deref())
    }

    pub(super) fn asked(&self, reader: &mut Reader<'_>, entry: &Entry) -> bool {
        self.connection(reader, entry)
    }

    fn known(&self, reader: &mut Reader<'_>, entry: &Entry, what: &str, known: Option<&[&str]>) -> bool {
        let name = entry.key.text.as_str();
        let Some(known) = known.filter(|known| !known.contains(&name)) else { return true };
        let message = format!("no {what} is called `{name}` in bascule.yaml");
        let help = crate::expression::suggest::help(name, known.iter().copied(), "there are");
        reader.problems.report(Problem::error(codes::CASE_NAME, entry.key.span, message).help_if(help));
        false
    }

    /// `photo`, `photo[terminal-01]`, `copy[1001]/enrol`, `finally:tidy`
    pub(super) fn step(&self, reader: &mut Reader<'_>, entry: &Entry) -> bool {
        let mut rest = entry.key.text.as_str();
        rest = rest.strip_prefix("finally:").unwrap_or(rest);
        let mut depth = 0_usize;
        let mut plain = String::new();
        for character in rest.chars() {
            match character {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                other if depth == 0 => plain.push(other),
                _ => {}
            }
        }
        for id in plain.split('/') {
            if !self.steps.iter().any(|known| known == id) {
                let message = format!("no step of `{}` has the id `{id}`", self.workflow);
                let help =
                    crate::expression::suggest::help(id, self.steps.iter().map(String::as_str), "there are");
                reader
                    .problems
                    .report(Problem::error(codes::CASE_NAME, entry.key.span, message).help_if(help));
                return false;
            }
        }
        true
    }
}
