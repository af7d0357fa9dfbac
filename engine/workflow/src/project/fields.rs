//! Reading keys, texts, numbers and templates, with the problems that every key shares.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use serde_json::Value;

use super::reference;
use crate::document::{Entry, Node, Span};
use crate::expression::{Template, suggest};
use crate::problem::{Code, Problem, Problems, codes};
use crate::quantity;

/// Reads nodes and gathers what is wrong with them.
pub(super) struct Reader<'p> {
    text: &'p str,
    problems: &'p mut Problems,
    blots: Vec<Range<usize>>,
    /// The parameters of the connection that is being read.
    params: Vec<String>,
    used: BTreeSet<String>,
    /// Some expression of that connection could not be read, so nobody knows what it uses.
    unread: bool,
}

impl<'p> Reader<'p> {
    pub(super) fn new(text: &'p str, problems: &'p mut Problems) -> Self {
        Self { text, problems, blots: Vec::new(), params: Vec::new(), used: BTreeSet::new(), unread: false }
    }

    pub(super) fn report(&mut self, problem: Problem) {
        self.problems.report(problem);
    }

    pub(super) fn error(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.report(Problem::error(code, span, message).help(help));
    }

    /// Never shows what stands there.
    pub(super) fn blot(&mut self, span: Span) {
        self.blots.push(span.start..span.end);
    }

    pub(super) fn into_blots(self) -> Vec<Range<usize>> {
        self.blots
    }

    pub(super) fn locate(&self, node: &Node, start: usize, end: usize) -> Span {
        node.locate(self.text, start, end)
    }

    fn wrong_shape(&mut self, node: &Node, what: &str, expected: &str, help: &str) {
        let message = format!("{what} must be {expected}, this is {}", node.describe());
        self.error(codes::WRONG_SHAPE, node.span, message, help);
    }

    /// The entries of a map whose keys are those of the reference; unknown ones are reported and left out.
    pub(super) fn known<'n>(&mut self, node: &'n Node, within: &'static str) -> Vec<&'n Entry> {
        let what = title(within);
        let Some(entries) = node.as_map() else {
            let keys: Vec<&str> = reference::keys(within).collect();
            let help = match within {
                "folders" => "write `{ path: ./photos }`".to_owned(),
                "plugins" => "write `{ file: ./plugins/NAME.wasm }`".to_owned(),
                "stores" => "write `{}`: a store has no settings".to_owned(),
                _ => format!("a map with keys such as {}", suggest::listing(&keys)),
            };
            self.wrong_shape(node, &what, "a map", &help);
            return Vec::new();
        };
        let mut known = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = entry.key.text.as_str();
            if reference::keys(within).any(|name| name == key) {
                known.push(entry);
                continue;
            }
            if switches_verification_off(key) {
                self.verification(entry.key.span, key);
                continue;
            }
            let problem =
                Problem::error(codes::UNKNOWN_KEY, entry.key.span, format!("unknown key `{key}` in {what}"));
            let help = match hint(within, key) {
                Some(hint) => Some(hint.to_owned()),
                None => suggest::help(key, reference::keys(within), "the keys here are"),
            };
            self.report(problem.help_if(help));
        }
        known
    }

    pub(super) fn verification(&mut self, span: Span, key: &str) {
        self.error(
            codes::PROJECT_VERIFY_OFF,
            span,
            format!("`{key}`: verification cannot be switched off"),
            "trust the device by its fingerprint: `tls: { pin: stored }` and `bascule connection pin NAME`",
        );
    }

    /// The entries of a map whose keys are names of the operator's own.
    pub(super) fn named<'n>(&mut self, node: &'n Node, within: &str, what: &str) -> Vec<(String, &'n Node)> {
        if node.is_null() {
            return Vec::new();
        }
        let Some(entries) = node.as_map() else {
            let help = match within {
                "stores" => "write `NAME: {}` for each store",
                _ => "write `NAME:` and below it the keys of the entry",
            };
            self.wrong_shape(node, &format!("`{within}`"), "a map", help);
            return Vec::new();
        };
        let mut named = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = entry.key.text.as_str();
            let fits = name.len() <= 64
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            if !fits {
                self.error(
                    codes::PROJECT_NAME,
                    entry.key.span,
                    format!("`{name}` cannot be the name of {what}"),
                    "use letters, digits, `-` and `_`, at most 64, beginning with a letter or digit",
                );
            } else if within == "plugins" && name == "workflow" {
                self.error(
                    codes::PROJECT_NAME,
                    entry.key.span,
                    "`workflow` cannot be the name of a plugin",
                    "`uses: workflow/NAME` calls another workflow; choose another name",
                );
            }
            named.push((name.to_owned(), &entry.value));
        }
        named
    }

    /// Reports that a key is missing.
    pub(super) fn missing(&mut self, node: &Node, within: &str, key: &str, help: &str) {
        // A map is known best by its first line.
        let span =
            node.as_map().and_then(|entries| entries.first()).map_or(node.span, |entry| entry.key.span);
        let message = format!("{} needs `{key}`", title(within));
        self.error(codes::MISSING_KEY, span, message, format!("add `{key}:`, {help}"));
    }

    /// Checks the keys of a map and gives the value of one that must be there.
    pub(super) fn required_entry<'n>(
        &mut self,
        node: &'n Node,
        within: &'static str,
        key: &str,
        help: &str,
    ) -> Option<&'n Node> {
        self.known(node, within);
        node.as_map()?;
        self.required(node, within, key, help)
    }

    /// The value of a key that must be there.
    pub(super) fn required<'n>(
        &mut self,
        node: &'n Node,
        within: &str,
        key: &str,
        help: &str,
    ) -> Option<&'n Node> {
        let value = node.get(key).filter(|value| !value.is_null());
        let Some(entries) = node.as_map().filter(|_| value.is_none()) else {
            return value;
        };
        // A misspelt key has been reported already, with its right name.
        let misspelt = |entry: &Entry| {
            let written = entry.key.text.as_str();
            !reference::keys(within).any(|name| name == written)
                && suggest::nearest(written, reference::keys(within)) == Some(key)
        };
        if !entries.iter().any(misspelt) {
            self.missing(node, within, key, help);
        }
        None
    }

    /// A text that may hold expressions.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let Some(text) = node.as_str() else {
            let help = if node.as_scalar().is_some_and(|scalar| !scalar.value.is_null()) {
                "put it in quotes"
            } else {
                "write one text"
            };
            self.wrong_shape(node, what, "text", help);
            return None;
        };
        if text.trim().is_empty() {
            self.error(
                codes::PROJECT_VALUE,
                node.span,
                format!("{what} is empty"),
                "write a value or remove the key",
            );
            return None;
        }
        Some(text.to_owned())
    }

    /// A text in which `${{` has no meaning and is refused.
    pub(super) fn plain(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = self.text(node, what)?;
        if let Some(at) = text.find("${{") {
            let span = self.locate(node, at, text.len());
            self.error(
                codes::PROJECT_EXPRESSION,
                span,
                format!("{what} takes no expression"),
                "expressions are read in `url`, `key`, `user` and the name of a `secret`",
            );
            return None;
        }
        Some(text)
    }

    /// From now on expressions see the parameters of another connection.
    pub(super) fn begin_params(&mut self, params: Vec<String>) {
        self.params = params;
        self.used.clear();
        self.unread = false;
    }

    /// False where it is certain that no expression uses the parameter.
    pub(super) fn may_use_param(&self, name: &str) -> bool {
        self.unread || self.used.contains(name)
    }

    /// A text with expressions over the connection's parameters.
    pub(super) fn template(&mut self, node: &Node, what: &str) -> Option<Template> {
        let text = self.text(node, what)?;
        let template = match Template::parse_all(&Value::String(text)) {
            Ok(template) => template,
            Err(errors) => {
                self.unread = true;
                for error in errors {
                    let span = self.locate(node, error.range.start, error.range.end);
                    self.report(Problem::error(codes::EXPRESSION, span, error.message).help_if(error.help));
                }
                return None;
            }
        };
        let mut good = true;
        for embedded in template.expressions() {
            for reference in embedded.expression.references() {
                let Some((name, range)) = reference.path.first().zip(reference.ranges.first()) else {
                    continue;
                };
                if self.params.contains(name) {
                    self.used.insert(name.clone());
                    continue;
                }
                (good, self.unread) = (false, true);
                let span = self.locate(node, embedded.offset + range.start, embedded.offset + range.end);
                let help = match suggest::nearest(name, self.params.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "a connection sees only its own `params`; add `params: [{name}]` and supply it in `with:`"
                    ),
                };
                self.error(codes::PROJECT_EXPRESSION, span, format!("there is no parameter `{name}`"), help);
            }
        }
        good.then_some(template)
    }

    /// The path of a file or folder.
    pub(super) fn file_path(&mut self, node: &Node, what: &str) -> Option<String> {
        let path = self.plain(node, what)?;
        if path.chars().any(char::is_control) {
            self.error(
                codes::PROJECT_PATH,
                node.span,
                format!("{what} has a control character in it"),
                "remove it",
            );
            return None;
        }
        Some(path)
    }

    /// The path of a request.
    pub(super) fn request_path(&mut self, node: &Node, what: &str) -> Option<String> {
        let path = self.plain(node, what)?;
        if let Some(fault) = path_fault(&path) {
            self.error(
                codes::PROJECT_PATH,
                node.span,
                format!("{what} {fault}"),
                "for example `/api/status`",
            );
            return None;
        }
        Some(path)
    }

    pub(super) fn duration(
        &mut self,
        node: &Node,
        what: &str,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let Some(scalar) = node.as_scalar().filter(|scalar| !scalar.value.is_null()) else {
            self.wrong_shape(node, what, "a duration", "for example 500ms, 5s, 2m or 1h");
            return None;
        };
        match quantity::duration(&scalar.text) {
            Ok(duration) if (least..=most).contains(&duration) => Some(duration),
            Ok(_) => {
                let (least, most) = (quantity::duration_text(least), quantity::duration_text(most));
                let message = format!("{what} must be from {least} to {most}");
                self.error(codes::PROJECT_VALUE, node.span, message, "for example 500ms, 5s, 2m or 1h");
                None
            }
            Err(error) => {
                self.error(codes::BAD_DURATION, node.span, format!("{what}: {}", error.message), error.help);
                None
            }
        }
    }

    /// Bytes: a number, or a number with a unit.
    pub(super) fn size(&mut self, node: &Node, what: &str, least: u64, most: u64) -> Option<u64> {
        let Some(scalar) = node.as_scalar().filter(|scalar| !scalar.value.is_null()) else {
            self.wrong_shape(node, what, "a size", "for example 4MiB, 200KB or a number of bytes");
            return None;
        };
        let bytes = match scalar.value.as_u64() {
            Some(bytes) => Ok(bytes),
            None => quantity::size(&scalar.text),
        };
        match bytes {
            Ok(bytes) if (least..=most).contains(&bytes) => Some(bytes),
            Ok(_) => {
                let message = format!("{what} must be from {least} to {most} bytes");
                self.error(
                    codes::PROJECT_VALUE,
                    node.span,
                    message,
                    "for example 4MiB, 200KB or a number of bytes",
                );
                None
            }
            Err(error) => {
                self.error(codes::PROJECT_VALUE, node.span, format!("{what}: {}", error.message), error.help);
                None
            }
        }
    }

    pub(super) fn number(&mut self, node: &Node, what: &str, least: u32, most: u32) -> Option<u32> {
        let number = node
            .as_scalar()
            .and_then(|scalar| scalar.value.as_u64())
            .and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Some(number),
            None => {
                let message = format!("{what} must be a whole number from {least} to {most}");
                self.error(codes::PROJECT_VALUE, node.span, message, format!("for example {}", least.max(4)));
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        let value = node.as_scalar().and_then(|scalar| scalar.value.as_bool());
        if value.is_none() {
            self.wrong_shape(node, what, "a boolean", "write `true` or `false`");
        }
        value
    }

    /// One of a few words.
    pub(super) fn word(&mut self, node: &Node, what: &str, words: &[&'static str]) -> Option<&'static str> {
        let text = node.as_str().unwrap_or_default();
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            let message = format!("{what} is {}, not {}", either(words), node.describe());
            let help = suggest::nearest(text, words.iter().copied());
            let help = help
                .map_or_else(|| format!("write {}", either(words)), |near| format!("did you mean `{near}`?"));
            self.error(codes::PROJECT_VALUE, node.span, message, help);
        }
        found
    }

    /// The items of a list; a single text counts as a list of one.
    pub(super) fn items<'n>(&mut self, node: &'n Node, what: &str, example: &str) -> Vec<&'n Node> {
        match node.as_list() {
            Some(items) => items.iter().collect(),
            None if node.as_str().is_some() => vec![node],
            None => {
                self.wrong_shape(node, what, "a list", &format!("for example `{example}`"));
                Vec::new()
            }
        }
    }
}

fn either(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
}

/// How a map is called in messages.
fn title(within: &str) -> String {
    match within {
        "" => "bascule.yaml".to_owned(),
        "connections" => "a connection".to_owned(),
        "folders" => "a folder".to_owned(),
        "stores" => "a store".to_owned(),
        "plugins" => "a plugin".to_owned(),
        "connections.auth.headers" => "a header of `auth`".to_owned(),
        other => format!("`{}`", other.rsplit('.').next().unwrap_or(other)),
    }
}

/// What is wrong with a path of a request.
pub(super) fn path_fault(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("must begin with `/`");
    }
    if path.contains("//") {
        return Some("has an empty segment (`//`)");
    }
    if path.contains(['?', '#']) {
        return Some("must not have a query or a fragment");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Some("has a `.` or `..` segment");
    }
    if path.contains('\\') || path.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("has a blank, a backslash or a control character in it");
    }
    None
}

fn switches_verification_off(key: &str) -> bool {
    let folded = crate::signature::fold_name(key);
    [
        "verify",
        "insecure",
        "skipverify",
        "verification",
        "checkcertificate",
        "rejectunauthorized",
        "allowinvalid",
    ]
    .iter()
    .any(|word| folded.contains(word))
}

/// Keys that people bring along, or put in the wrong place.
fn hint(within: &str, key: &str) -> Option<&'static str> {
    Some(match (within, key) {
        ("", "steps" | "triggers" | "inputs" | "finally" | "output") => {
            "that belongs in a workflow file; bascule.yaml holds what workflows may reach"
        }
        ("", "secrets") => "secrets are stored with `bascule secret set NAME` and named where they are used",
        ("connections", "host" | "address" | "ip" | "port" | "scheme" | "endpoint" | "base-url") => {
            "scheme, host and port stand in `url`, for example `url: http://10.0.0.7:8080`"
        }
        ("connections", "user" | "username" | "password" | "token" | "api-key" | "apikey" | "secret") => {
            "credentials stand in `auth`, for example `auth: { digest: { user: admin, password: { secret: NAME } } }`"
        }
        ("connections", "timeout") => {
            "the key is `timeouts`, a map with `connect`, `normal`, `slow` and `bulk`"
        }
        ("connections", "addresses" | "methods" | "paths") => "that stands in `allow`",
        ("connections", "pin" | "ca" | "cert" | "certificate" | "fingerprint") => "that stands in `tls`",
        ("connections", "retry" | "retries") => "a step says whether it is retried: `retry` in the workflow",
        ("connections", "proxy") => "this version knows no proxies",
        ("connections.auth.basic" | "connections.auth.digest", "username" | "login" | "name") => {
            "the key is `user`"
        }
        ("connections.auth.basic" | "connections.auth.digest", "secret" | "env" | "file") => {
            "that is part of the password: `password: { secret: NAME }`"
        }
        ("connections.tls", "cert" | "certificate" | "key") => {
            "client certificates are not supported by this version"
        }
        ("connections.tls", "fingerprint" | "sha256") => "the key is `pin`",
        ("connections.tls", "roots" | "ca-file" | "cafile") => "the key is `ca`",
        _ => return None,
    })
}
