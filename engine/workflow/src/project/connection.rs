//! One entry of `connections:`.

use std::time::Duration;

use super::address::{self, Address};
use super::fields::{Reader, path_fault};
use super::{Allow, Auth, Connection, Rate, Timeouts, Tls, auth, tls};
use crate::document::{Entry, Node};
use crate::expression::suggest;
use crate::problem::{Problem, codes};
use crate::quantity;

const WITHIN: &str = "connections";
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Names that mean something inside expressions.
const RESERVED: [&str; 13] =
    ["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "null", "range", "default"];
/// Headers that only the host writes.
const HOST_HEADERS: [&str; 14] = [
    "host",
    "content-length",
    "content-encoding",
    "accept-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "forwarded",
    "via",
    "proxy-connection",
];
/// Headers that carry credentials.
const SECRET_HEADERS: [&str; 10] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "apikey",
    "api-key",
    "x-api-key",
    "x-auth-token",
    "x-access-token",
    "x-ca-key",
    "access-token",
];

pub(super) fn read(reader: &mut Reader<'_>, name: &str, node: &Node) -> Option<Connection> {
    let entries = reader.known(node, WITHIN);
    node.as_map()?;
    let params = node.get("params").map(|params| read_params(reader, params)).unwrap_or_default();
    reader.begin_params(params.iter().map(|(param, _)| param.clone()).collect());

    let url_node = reader.required(node, WITHIN, "url", "for example `url: https://hr.example`");
    let url = url_node.and_then(|node| reader.template(node, "`url`"));
    let address = url_node.zip(url.as_ref()).and_then(|(node, url)| address::check(reader, node, url));

    let mut connection = Connection {
        description: None,
        params: params.iter().map(|(param, _)| param.clone()).collect(),
        url: url.unwrap_or_else(|| crate::expression::Template::of_literal(serde_json::Value::Null)),
        key: None,
        auth: Auth::None,
        tls: Tls::default(),
        allow: Allow { addresses: Vec::new(), methods: Vec::new(), paths: Vec::new() },
        timeouts: Timeouts::default(),
        parallel: 0,
        rate: None,
        gap: None,
        max_response_bytes: 4 << 20,
        min_bytes_per_second: 1 << 10,
        headers: std::collections::BTreeMap::new(),
        test_path: None,
        redirects_same_origin: false,
    };
    for Entry { key, value } in entries {
        match key.text.as_str() {
            "description" => connection.description = reader.text(value, "`description`"),
            "key" => connection.key = reader.template(value, "`key`"),
            "auth" => connection.auth = auth::read(reader, value),
            "tls" => connection.tls = tls::read(reader, value, address.as_ref()),
            "allow" => connection.allow = read_allow(reader, value, address.as_ref()),
            "timeouts" => connection.timeouts = read_timeouts(reader, value),
            "parallel" => connection.parallel = reader.number(value, "`parallel`", 1, 1000).unwrap_or(0),
            "rate" => connection.rate = read_rate(reader, value),
            "gap" => {
                connection.gap = reader.duration(value, "`gap`", Duration::ZERO, Duration::from_secs(3600))
            }
            "max-response" => {
                if let Some(bytes) = reader.size(value, "`max-response`", 1, 256 << 20) {
                    connection.max_response_bytes = bytes;
                }
            }
            "min-rate" => {
                if let Some(bytes) = reader.size(value, "`min-rate`", 0, 1 << 30) {
                    connection.min_bytes_per_second = bytes;
                }
            }
            "headers" => read_headers(reader, value, &mut connection),
            "test" => connection.test_path = reader.request_path(value, "`test`"),
            "redirects" => {
                let word = reader.word(value, "`redirects`", &["never", "same-origin"]);
                connection.redirects_same_origin = word == Some("same-origin");
            }
            _ => {}
        }
    }
    if connection.parallel == 0 {
        connection.parallel = if matches!(connection.auth, Auth::Digest { .. }) { 1 } else { 4 };
    }
    for (param, node) in params {
        if !reader.may_use_param(&param) {
            let message = format!("nothing in connection `{name}` uses the parameter `{param}`");
            reader.report(
                Problem::warning(codes::PROJECT_PARAM_UNUSED, node.span, message).help(
                    "remove it, or use it in an expression such as `${{ NAME }}`".replace("NAME", &param),
                ),
            );
        }
    }
    if let (Some(address), Some(url_node)) = (address, url_node) {
        check_reach(reader, node, url_node, &connection, &address);
    }
    Some(connection)
}

/// What follows from address, ranges and auth together.
fn check_reach(reader: &mut Reader<'_>, node: &Node, url: &Node, connection: &Connection, address: &Address) {
    if !address.fixed && node.get("allow").and_then(|allow| allow.get("addresses")).is_none() {
        reader.error(
            codes::PROJECT_ADDRESSES,
            url.span,
            "the host comes from a parameter, so `allow.addresses` has to say where it may be",
            "add `allow: { addresses: [10.20.0.0/16] }` with the range of your devices",
        );
    }
    let sends_secret = match connection.auth {
        Auth::Basic { .. } => "the password travels",
        Auth::Token(_) => "the token travels",
        Auth::Headers(_) => "the API key travels",
        Auth::None | Auth::Digest { .. } | Auth::AkSk { .. } => return,
    };
    if address.encrypted != Some(false) {
        return;
    }
    let public = match &address.host {
        Some(host) => address::is_public(host),
        None => connection.allow.addresses.iter().any(|range| address::is_public_range(range)),
    };
    if public {
        let message = format!("{sends_secret} unencrypted to a host that is not on a private network");
        reader.report(
            Problem::warning(codes::PROJECT_IN_CLEAR, url.span, message)
                .help("write `https:`; where the peer cannot, use `digest` or a private address"),
        );
    }
}

fn read_params<'n>(reader: &mut Reader<'_>, node: &'n Node) -> Vec<(String, &'n Node)> {
    let mut params: Vec<(String, &Node)> = Vec::new();
    for item in reader.items(node, "`params`", "[device]") {
        let Some(name) = reader.text(item, "a parameter") else {
            continue;
        };
        let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !RESERVED.contains(&name.as_str());
        if !fits {
            reader.error(
                codes::PROJECT_NAME,
                item.span,
                format!("`{name}` cannot be the name of a parameter"),
                "use letters, digits and `_`: expressions say the name",
            );
        } else if params.iter().any(|(other, _)| *other == name) {
            reader.error(
                codes::PROJECT_NAME,
                item.span,
                format!("`{name}` stands in `params` twice"),
                "remove one",
            );
        } else {
            params.push((name, item));
        }
    }
    params
}

fn read_allow(reader: &mut Reader<'_>, node: &Node, address: Option<&Address>) -> Allow {
    let mut allow = Allow { addresses: Vec::new(), methods: Vec::new(), paths: Vec::new() };
    for Entry { key, value } in reader.known(node, "connections.allow") {
        match key.text.as_str() {
            "addresses" => allow.addresses = address::read_ranges(reader, value, address),
            "methods" => {
                for item in reader.items(value, "`methods`", "[GET, POST]") {
                    let Some(text) = reader.plain(item, "a method") else {
                        continue;
                    };
                    let method = text.to_ascii_uppercase();
                    if METHODS.contains(&method.as_str()) {
                        allow.methods.push(method);
                        continue;
                    }
                    let help = match suggest::nearest(&method, METHODS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("methods are {}", suggest::listing(&METHODS)),
                    };
                    reader.error(
                        codes::PROJECT_ALLOW,
                        item.span,
                        format!("there is no method `{text}`"),
                        help,
                    );
                }
            }
            _ => {
                for item in reader.items(value, "`paths`", "[/ISAPI/]") {
                    let Some(path) = reader.plain(item, "a path") else {
                        continue;
                    };
                    if path.contains('*') {
                        reader.error(
                            codes::PROJECT_ALLOW,
                            item.span,
                            "`*` has no meaning in a path",
                            "a path allows everything below it: write `/ISAPI/` for `/ISAPI/*`",
                        );
                    } else if let Some(fault) = path_fault(&path) {
                        reader.error(
                            codes::PROJECT_ALLOW,
                            item.span,
                            format!("the path {fault}"),
                            "for example `/ISAPI/`",
                        );
                    } else {
                        allow.paths.push(path);
                    }
                }
            }
        }
    }
    allow
}

fn read_timeouts(reader: &mut Reader<'_>, node: &Node) -> Timeouts {
    let mut timeouts = Timeouts::default();
    for Entry { key, value } in reader.known(node, "connections.timeouts") {
        let what = format!("`{}`", key.text);
        let Some(time) = reader.duration(value, &what, Duration::from_millis(1), Duration::from_secs(3600))
        else {
            continue;
        };
        match key.text.as_str() {
            "connect" => timeouts.connect = time,
            "normal" => timeouts.normal = time,
            "slow" => timeouts.slow = time,
            _ => timeouts.bulk = time,
        }
    }
    timeouts
}

fn read_rate(reader: &mut Reader<'_>, node: &Node) -> Option<Rate> {
    let text = node.as_scalar().map(|scalar| scalar.text.clone()).unwrap_or_default();
    let rate = text.split_once('/').and_then(|(count, per)| {
        let count = count.trim().parse::<u32>().ok().filter(|count| (1..=100_000).contains(count))?;
        let per = match per.trim() {
            "s" | "sec" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            other => quantity::duration(other)
                .ok()
                .filter(|per| !per.is_zero() && *per <= Duration::from_secs(86_400))?,
        };
        Some(Rate { count, per })
    });
    if rate.is_none() {
        let message = format!("`rate` is not a rate: {}", node.describe());
        reader.error(codes::PROJECT_VALUE, node.span, message, "write 5/s, 100/min or 1000/h");
    }
    rate
}

fn read_headers(reader: &mut Reader<'_>, node: &Node, connection: &mut Connection) {
    let Some(entries) = node.as_map() else {
        reader.named(node, "headers", "a header");
        return;
    };
    for Entry { key, value } in entries {
        let name = key.text.as_str();
        if !header_name(reader, name, key.span) {
            continue;
        }
        if SECRET_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            reader.blot(value.span);
            reader.error(
                codes::PROJECT_PLAIN_SECRET,
                key.span,
                format!("the header `{name}` carries a credential"),
                format!(
                    "`bascule secret set NAME`, and `auth: {{ headers: {{ {name}: {{ secret: NAME }} }} }}`"
                ),
            );
            continue;
        }
        if let Some(text) = header_value(reader, value, "a header's value") {
            connection.headers.insert(name.to_owned(), text);
        }
    }
}

/// True if a header of that name can be sent; else it is reported.
pub(super) fn header_name(reader: &mut Reader<'_>, name: &str, span: crate::document::Span) -> bool {
    let token = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if !token {
        let message = format!("`{name}` is not the name of a header");
        reader.error(codes::PROJECT_HEADER, span, message, "for example `X-Client-Info`");
        return false;
    }
    if HOST_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
        let message = format!("the header `{name}` is written by the host alone");
        reader.error(codes::PROJECT_HEADER, span, message, "remove it");
        return false;
    }
    true
}

/// One line of text, which may be empty or have blanks at its end.
pub(super) fn header_value(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<String> {
    if node.as_str().is_some_and(|text| text.trim().is_empty()) {
        return node.as_str().map(str::to_owned);
    }
    let text = reader.plain(node, what)?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        reader.error(
            codes::PROJECT_HEADER,
            node.span,
            format!("{what} has a control character in it"),
            "write one line",
        );
        return None;
    }
    Some(text)
}
