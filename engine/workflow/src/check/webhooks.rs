//! `webhook:`: who may call, with what, and what is answered.

use std::net::IpAddr;
use std::time::Duration;

use super::Checker;
use super::fields::Fields;
use super::scope::Scope;
use crate::document::{Entry, Node};
use crate::problem::{Problem, codes};
use crate::quantity;
use crate::signature::Capability;
use crate::trigger::{Body, Respond, Source, Trigger, Webhook, WebhookAuth};
use crate::vocabulary::{ANSWERS, BASIC, BODIES, BODY, DIGEST, ENCODINGS, HEADER, HMAC, METHODS, MULTIPART};

impl<'a> Checker<'a> {
    pub(super) fn webhook(&mut self, fields: &Fields<'_>, scope: &Scope<'a>) -> Option<Webhook> {
        let path = self
            .required(fields, "path", "what stands behind `/hooks/`")
            .and_then(|node| self.webhook_path(node));
        let methods = match fields.get("method") {
            Some(node) => Self::one_or_more(node)
                .into_iter()
                .filter_map(|node| self.word(node, "method", &METHODS).map(str::to_owned))
                .collect(),
            None => vec!["POST".to_owned()],
        };
        let auth = match fields.get("auth") {
            Some(node) => self.webhook_auth(node),
            None => {
                let message = "`webhook` needs `auth`: who may call it?";
                self.problems.report(Problem::error(codes::WEBHOOK_AUTH, fields.start(), message).help(
                    "for example `auth: { hmac-sha256: { secret: NAME } }`; `auth: none` lets anybody in",
                ));
                None
            }
        };
        let addresses = fields.get("addresses").map(|node| self.addresses(node)).unwrap_or_default();
        let dedupe = fields.get("dedupe").and_then(|node| self.template(node, scope));
        let body = match fields.get("body") {
            Some(node) => self.body(node),
            None => Some(Body::Json),
        };
        let max_body_bytes =
            fields.get("max-body").and_then(|node| self.size(node, "max-body")).unwrap_or(1 << 20);
        let timeout = fields
            .get("timeout")
            .and_then(|node| self.duration(node, "timeout"))
            .unwrap_or(Duration::from_secs(10));
        let within = fields.get("within").and_then(|node| self.duration(node, "within"));
        let word = fields.get("respond").and_then(|node| self.word(node, "respond", &ANSWERS));
        let respond = match word {
            Some("result") => Respond::Result { within: within.unwrap_or(Duration::from_secs(30)) },
            Some("empty") => Respond::Empty,
            _ => Respond::Accepted,
        };
        if word != Some("result") {
            self.keys_exclude(
                fields,
                &["within"],
                "without `respond: result`",
                "it says how long the caller waits for the result",
            );
        }
        Some(Webhook {
            path: path?,
            methods,
            auth: auth?,
            addresses,
            dedupe,
            body: body?,
            max_body_bytes,
            timeout,
            respond,
        })
    }

    fn webhook_path(&mut self, node: &Node) -> Option<String> {
        let text = self.text_of(node, "path")?;
        let path = text.trim_start_matches('/');
        let plain = |part: &str| {
            !part.is_empty()
                && !matches!(part, "." | "..")
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        let part_fits = |part: &str| {
            part.strip_prefix('{')
                .and_then(|part| part.strip_suffix('}'))
                .map_or_else(|| plain(part), super::names::is_name)
        };
        if !path.is_empty() && path.split('/').all(part_fits) {
            return Some(path.to_owned());
        }
        let help = if text.contains("://") {
            "write only what follows after `/hooks/`, for example update-photo"
        } else {
            "letters, digits, `-`, `_`, `.` and `/`; `{name}` for a part that changes"
        };
        self.problems.report(
            Problem::error(
                codes::WEBHOOK_PATH,
                node.span,
                format!("`{text}` cannot be the path of a webhook"),
            )
            .help(help),
        );
        None
    }

    /// Two webhooks of one workflow that could not be told apart.
    pub(super) fn same_path(&mut self, earlier: &[Trigger], trigger: &Trigger, entry: &Entry) {
        let Source::Webhook(own) = &trigger.source else {
            return;
        };
        for other in earlier {
            let Source::Webhook(webhook) = &other.source else {
                continue;
            };
            if webhook.path == own.path && webhook.methods.iter().any(|method| own.methods.contains(method)) {
                let span = entry.value.get("path").map_or(entry.key.span, |node| node.span);
                let message =
                    format!("the path `{}` is taken by the webhook on line {}", own.path, other.line);
                self.problems.report(
                    Problem::error(codes::WEBHOOK_PATH, span, message)
                        .help("give each its own path or method"),
                );
            }
        }
    }

    fn webhook_auth(&mut self, node: &Node) -> Option<WebhookAuth> {
        let kinds = ["hmac-sha256", "header", "basic", "digest"];
        if let Some(text) = node.as_str() {
            if text == "none" {
                return Some(WebhookAuth::None);
            }
            let help = if kinds.contains(&text) {
                format!("write `auth: {{ {text}: {{ .. }} }}` with the name of a secret")
            } else {
                "write `none`, or a map with one of `hmac-sha256`, `header`, `basic`, `digest`".to_owned()
            };
            self.problems.report(
                Problem::error(codes::WEBHOOK_AUTH, node.span, format!("`auth` cannot be `{text}`"))
                    .help(help),
            );
            return None;
        }
        let entries = node.as_map().unwrap_or_default();
        let [Entry { key, value }] = entries else {
            let message = if entries.is_empty() {
                format!("`auth` needs a way to tell who calls, this is {}", node.describe())
            } else {
                "`auth` takes exactly one way to tell who calls".to_owned()
            };
            let help = "for example `auth: { hmac-sha256: { secret: NAME } }`, or `auth: none`";
            self.problems.report(Problem::error(codes::WEBHOOK_AUTH, node.span, message).help(help));
            return None;
        };
        match key.text.as_str() {
            "hmac-sha256" => {
                let fields = self.map(value, &HMAC)?;
                let secret = self.secret(&fields, "secret");
                let mut text = |key: &str| fields.get(key).and_then(|node| self.text_of(node, key));
                let (header, timestamp_header, prefix) =
                    (text("header"), text("timestamp-header"), text("prefix"));
                let tolerance = fields.get("tolerance").and_then(|node| self.duration(node, "tolerance"));
                let encoding =
                    fields.get("encoding").and_then(|node| self.word(node, "encoding", &ENCODINGS));
                if timestamp_header.is_none() {
                    self.keys_exclude(
                        &fields,
                        &["tolerance"],
                        "without `timestamp-header`",
                        "there is no time to compare with",
                    );
                }
                Some(WebhookAuth::HmacSha256 {
                    secret: secret?,
                    header: header.unwrap_or_else(|| "X-Signature-256".to_owned()),
                    timestamp_header,
                    tolerance: tolerance.unwrap_or(Duration::from_secs(300)),
                    prefix: prefix.unwrap_or_default(),
                    base64: encoding == Some("base64"),
                })
            }
            "header" => {
                let fields = self.map(value, &HEADER)?;
                let name = self
                    .required(&fields, "name", "the header's name")
                    .and_then(|node| self.text_of(node, "name"));
                let secret = self.secret(&fields, "secret");
                Some(WebhookAuth::Header { name: name?, secret: secret? })
            }
            kind @ ("basic" | "digest") => {
                let map = if kind == "basic" { &BASIC } else { &DIGEST };
                let fields = self.map(value, map)?;
                let user = self
                    .required(&fields, "user", "the user's name")
                    .and_then(|node| self.text_of(node, "user"));
                let (user, password) = (user?, self.secret(&fields, "password")?);
                Some(if kind == "basic" {
                    WebhookAuth::Basic { user, password }
                } else {
                    WebhookAuth::Digest { user, password }
                })
            }
            other => {
                let help = Self::candidates(other, kinds);
                let message = format!("`{other}` is not a way to tell who calls");
                self.problems.report(Problem::error(codes::WEBHOOK_AUTH, key.span, message).help_if(help));
                None
            }
        }
    }

    /// The name of a secret; what looks like the secret itself is refused.
    fn secret(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        let node = self.required(fields, key, "the name of a secret (`bascule secret set NAME`)")?;
        if let Some(entry) = node.entry("secret") {
            return self.text_of(&entry.value, "secret");
        }
        let name = self.text_of(node, key)?;
        let fits = name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if fits {
            return Some(name);
        }
        self.problems.blot(node.span);
        self.problems.report(
            Problem::error(codes::WEBHOOK_AUTH, node.span, format!("`{key}` must be the name of a secret"))
                .help("never write a secret into a workflow: store it with `bascule secret set NAME` and write NAME here"),
        );
        None
    }

    fn addresses(&mut self, node: &Node) -> Vec<String> {
        let mut addresses = Vec::new();
        for node in Self::one_or_more(node) {
            let Some(text) = self.text_of(node, "addresses") else {
                continue;
            };
            if is_range(&text) {
                addresses.push(text);
            } else {
                let message = format!("`{text}` is not an address range");
                self.problems.report(
                    Problem::error(codes::ADDRESS, node.span, message)
                        .help("for example 192.0.2.0/24, 192.0.2.7 or 2001:db8::/32"),
                );
            }
        }
        addresses
    }

    fn body(&mut self, node: &Node) -> Option<Body> {
        if node.as_map().is_none() {
            return match self.word(node, "body", &BODIES)? {
                "form" => Some(Body::Form),
                "xml" => Some(Body::Xml),
                "text" => Some(Body::Text),
                "multipart" => {
                    let message = "`body: multipart` needs a folder for the files";
                    let help = "write `body: { multipart: { folder: NAME } }`";
                    self.problems.report(Problem::error(codes::MISSING_KEY, node.span, message).help(help));
                    None
                }
                _ => Some(Body::Json),
            };
        }
        let fields = self.map(node, &BODY)?;
        let multipart = self.required(&fields, "multipart", "with the folder for the files")?;
        let fields = self.map(multipart, &MULTIPART)?;
        let folder = self.required(&fields, "folder", "the name of a folder of `bascule.yaml`")?;
        let name = self.text_of(folder, "folder")?;
        self.capability_name(folder, &name, Capability::Folder, "folder")?;
        Some(Body::Multipart { folder: name })
    }

    fn size(&mut self, node: &Node, key: &str) -> Option<u64> {
        let text = node.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
        match quantity::size(text) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let message = format!("`{key}`: {}", error.message);
                self.problems.report(Problem::error(codes::BAD_VALUE, node.span, message).help(error.help));
                None
            }
        }
    }
}

/// `192.0.2.0/24`, `192.0.2.7`, `2001:db8::/32`
fn is_range(text: &str) -> bool {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= longest))
}
