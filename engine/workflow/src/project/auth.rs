//! `auth:` and the places that secrets come from.

use std::time::Duration;

use super::connection::{header_name, header_value};
use super::fields::Reader;
use super::{Auth, HeaderSecret, SecretSource, TokenExchange, TokenField};
use crate::document::{Entry, Node};
use crate::expression::Template;
use crate::problem::codes;

const EXAMPLE: &str = "for example `digest: { user: admin, password: { secret: NAME } }`";
const SECRET: &str = "`{ secret: NAME }`, and `bascule secret set NAME` stores it";

/// Reads `auth`; what is wrong is reported and comes as `none`.
pub(super) fn read(reader: &mut Reader<'_>, node: &Node) -> Auth {
    if node.as_str() == Some("none") || node.is_null() {
        return Auth::None;
    }
    if let Some(text) = node.as_str() {
        let message = format!("`auth: {}` says too little", crate::document::shorten(text));
        reader.error(codes::PROJECT_AUTH, node.span, message, format!("write `none` or a map, {EXAMPLE}"));
        return Auth::None;
    }
    if let Some(entry) = node.entry("type").or_else(|| node.entry("scheme")) {
        let message = format!("`{}` is not how a scheme is named", entry.key.text);
        reader.error(
            codes::PROJECT_AUTH,
            entry.key.span,
            message,
            format!("the scheme is the key, {EXAMPLE}"),
        );
        return Auth::None;
    }
    let entries = reader.known(node, "connections.auth");
    if node.as_map().is_none() {
        return Auth::None;
    }
    let [entry] = entries.as_slice() else {
        if let Some(second) = entries.get(1) {
            reader.error(
                codes::PROJECT_AUTH,
                second.key.span,
                "`auth` has exactly one scheme",
                "the host never tries another one; keep the one that the peer is set to",
            );
        } else if node.as_map().is_some_and(<[Entry]>::is_empty) {
            reader.error(
                codes::PROJECT_AUTH,
                node.span,
                "`auth` names no scheme",
                format!("write `none`, or {EXAMPLE}"),
            );
        }
        return Auth::None;
    };
    let value = &entry.value;
    let auth = match entry.key.text.as_str() {
        "basic" => login(reader, value, "connections.auth.basic")
            .map(|(user, password)| Auth::Basic { user, password }),
        "digest" => digest(reader, value),
        "ak-sk" => ak_sk(reader, value),
        "token" => token(reader, value).map(|exchange| Auth::Token(Box::new(exchange))),
        _ => headers(reader, value),
    };
    auth.unwrap_or(Auth::None)
}

fn login(reader: &mut Reader<'_>, node: &Node, within: &'static str) -> Option<(Template, SecretSource)> {
    reader.known(node, within);
    let user = reader.required(node, within, "user", "the user name")?;
    let user = reader.template(user, "`user`");
    let password = reader.required(node, within, "password", SECRET)?;
    let password = secret(reader, password, "`password`");
    user.zip(password)
}

fn digest(reader: &mut Reader<'_>, node: &Node) -> Option<Auth> {
    let within = "connections.auth.digest";
    let login = login(reader, node, within);
    let nonces = node.get("nonces").map(|nonces| reader.word(nonces, "`nonces`", &["fresh", "reuse"]));
    let (user, password) = login?;
    Some(Auth::Digest { user, password, reuse_nonces: nonces == Some(Some("reuse")) })
}

fn ak_sk(reader: &mut Reader<'_>, node: &Node) -> Option<Auth> {
    let within = "connections.auth.ak-sk";
    reader.known(node, within);
    let key = reader.required(node, within, "key", SECRET).and_then(|node| secret(reader, node, "`key`"));
    let secret =
        reader.required(node, within, "secret", SECRET).and_then(|node| secret(reader, node, "`secret`"));
    let content_md5 =
        node.get("content-md5").and_then(|node| reader.boolean(node, "`content-md5`")).unwrap_or(false);
    let (key, secret) = key.zip(secret)?;
    Some(Auth::AkSk { key, secret, content_md5 })
}

fn headers(reader: &mut Reader<'_>, node: &Node) -> Option<Auth> {
    let example = "for example `apikey: { secret: NAME }`";
    let entries = node.as_map().unwrap_or_default();
    if entries.is_empty() {
        reader.error(
            codes::PROJECT_AUTH,
            node.span,
            "`headers` of `auth` is a map of headers and secrets",
            example,
        );
        return None;
    }
    let mut headers: Vec<(String, HeaderSecret)> = Vec::new();
    for Entry { key, value } in entries {
        if !header_name(reader, &key.text, key.span) {
            continue;
        }
        if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(&key.text)) {
            let message = format!("the header `{}` stands here twice", key.text);
            reader.error(
                codes::PROJECT_HEADER,
                key.span,
                message,
                "names of headers are the same in any case",
            );
        }
        let what = format!("`{}`", key.text);
        if value.as_map().is_some() {
            reader.known(value, "connections.auth.headers");
        }
        let prefix = match value.get("prefix") {
            Some(prefix) => header_value(reader, prefix, "`prefix`").unwrap_or_default(),
            None => String::new(),
        };
        if let Some(secret) = secret(reader, value, &what) {
            headers.push((key.text.clone(), HeaderSecret { prefix, secret }));
        }
    }
    Some(Auth::Headers(headers))
}

fn token(reader: &mut Reader<'_>, node: &Node) -> Option<TokenExchange> {
    let within = "connections.auth.token";
    let entries = reader.known(node, within);
    let path = reader.required(node, within, "path", "where the token is asked for, e.g. `/api/token/get`");
    let path = path.and_then(|path| reader.request_path(path, "`path`"));
    let token =
        reader.required(node, within, "token", "where it stands in the answer, e.g. `/data/accessToken`");
    let token = token.and_then(|token| pointer(reader, token, "`token`"));
    let mut exchange = TokenExchange {
        path: String::new(),
        body: Vec::new(),
        token_pointer: String::new(),
        expires_pointer: None,
        origin_pointer: None,
        origin_allow: Vec::new(),
        header: "Authorization".to_owned(),
        prefix: "Bearer ".to_owned(),
        refresh_before: Duration::from_secs(300),
        code_pointer: None,
        expired: Vec::new(),
        denied: Vec::new(),
    };
    for Entry { key, value } in entries {
        match key.text.as_str() {
            "body" => exchange.body = body(reader, value),
            "expires" => exchange.expires_pointer = pointer(reader, value, "`expires`"),
            "origin" => {
                exchange.origin_pointer = pointer(reader, value, "`origin`");
                if node.get("origins").is_none() {
                    reader.error(
                        codes::PROJECT_AUTH,
                        key.span,
                        "`origin` needs `origins`: the answer must not send the token just anywhere",
                        "for example `origins: [\"*.hik-partner.com\"]`",
                    );
                }
            }
            "origins" => exchange.origin_allow = origins(reader, value),
            "header" => {
                if let Some(name) = reader.plain(value, "`header`")
                    && header_name(reader, &name, value.span)
                {
                    exchange.header = name;
                }
            }
            "prefix" => exchange.prefix = header_value(reader, value, "`prefix`").unwrap_or_default(),
            "refresh-before" => {
                let most = Duration::from_secs(86_400);
                if let Some(time) = reader.duration(value, "`refresh-before`", Duration::ZERO, most) {
                    exchange.refresh_before = time;
                }
            }
            "code" => exchange.code_pointer = pointer(reader, value, "`code`"),
            "expired" => exchange.expired = listed(reader, value, "`expired`", "[LAP500004]"),
            "denied" => {
                exchange.denied = listed(reader, value, "`denied`", "[LAP300001, LAP300002]");
                if node.get("code").is_none() {
                    reader.error(
                        codes::PROJECT_AUTH,
                        key.span,
                        "`denied` needs `code`: where the code stands in the answer",
                        "for example `code: /errorCode`",
                    );
                }
            }
            _ => {}
        }
    }
    (exchange.path, exchange.token_pointer) = path.zip(token)?;
    Some(exchange)
}

/// Words that name a secret wherever they stand.
fn sounds_secret(name: &str) -> bool {
    let folded = crate::signature::fold_name(name);
    ["password", "passwd", "pwd", "secret", "apikey", "token", "privatekey"]
        .iter()
        .any(|word| folded.contains(word))
}

fn body(reader: &mut Reader<'_>, node: &Node) -> Vec<(String, TokenField)> {
    let Some(entries) = node.as_map() else {
        reader.named(node, "body", "a field");
        return Vec::new();
    };
    let mut fields = Vec::with_capacity(entries.len());
    for Entry { key, value } in entries {
        let what = format!("`{}`", key.text);
        let field = if value.as_map().is_some() || (sounds_secret(&key.text) && value.as_scalar().is_some()) {
            secret(reader, value, &what).map(TokenField::Secret)
        } else {
            reader.plain(value, &what).map(TokenField::Text)
        };
        fields.extend(field.map(|field| (key.text.clone(), field)));
    }
    fields
}

/// One text or a list of them; empty ones, which would be found in everything, are left out.
fn listed(reader: &mut Reader<'_>, node: &Node, what: &str, example: &str) -> Vec<String> {
    let items = reader.items(node, what, example);
    items.into_iter().filter_map(|item| reader.plain(item, what)).filter(|text| !text.is_empty()).collect()
}

fn pointer(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<String> {
    let text = reader.plain(node, what)?;
    if text.starts_with('/') {
        return Some(text);
    }
    let help = format!("write `/{}`", text.trim_start_matches(['$', '.', '/']).replace('.', "/"));
    reader.error(
        codes::PROJECT_PATH,
        node.span,
        format!("{what} is a JSON pointer, which begins with `/`"),
        help,
    );
    None
}

fn origins(reader: &mut Reader<'_>, node: &Node) -> Vec<String> {
    let mut origins = Vec::new();
    for item in reader.items(node, "`origins`", "[\"*.hik-partner.com\"]") {
        let Some(text) = reader.plain(item, "an origin") else {
            continue;
        };
        let host = text.strip_prefix("*.").unwrap_or(&text);
        let fits = !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
            && !host.starts_with('.');
        // `*.com` would let the token go to anybody who has a domain.
        if !fits || (text.starts_with("*.") && !host.contains('.')) {
            let message = format!("`{text}` is not a host or `*.` and a domain");
            reader.error(
                codes::PROJECT_AUTH,
                item.span,
                message,
                "for example `*.hik-partner.com`, without scheme and path",
            );
        } else {
            origins.push(text.to_ascii_lowercase());
        }
    }
    origins
}

/// `{ secret: NAME }`, `{ env: NAME }` or `{ file: PATH }`; a plain text is refused and never shown.
fn secret(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<SecretSource> {
    if node.as_scalar().is_some() {
        if node.is_null() {
            reader.error(
                codes::PROJECT_SECRET,
                node.span,
                format!("{what} names no secret"),
                format!("write {SECRET}"),
            );
            return None;
        }
        reader.blot(node.span);
        reader.error(
            codes::PROJECT_PLAIN_SECRET,
            node.span,
            format!("{what} stands here in plain text"),
            "store it with `bascule secret set NAME`, write `{ secret: NAME }` here, and change it: it was readable",
        );
        return None;
    }
    let sources = ["secret", "env", "file"];
    let found: Vec<&Entry> = sources.iter().filter_map(|key| node.entry(key)).collect();
    let [entry] = found.as_slice() else {
        let message = match found.len() {
            0 => format!("{what} names no secret"),
            _ => format!("{what} names more than one secret"),
        };
        let span =
            node.as_map().and_then(|entries| entries.first()).map_or(node.span, |entry| entry.key.span);
        reader.error(
            codes::PROJECT_SECRET,
            span,
            message,
            "write one of `{ secret: NAME }`, `{ env: NAME }`, `{ file: PATH }`",
        );
        return None;
    };
    let is_header = node.get("prefix").is_some();
    for Entry { key, .. } in node.as_map().unwrap_or_default() {
        let known = sources.contains(&key.text.as_str()) || (is_header && key.text == "prefix");
        if !known {
            let message = format!("unknown key `{}` in a secret", key.text);
            reader.error(
                codes::UNKNOWN_KEY,
                key.span,
                message,
                "a secret has one of `secret`, `env` and `file`",
            );
        }
    }
    let value = &entry.value;
    match entry.key.text.as_str() {
        "secret" => {
            let name = reader.template(value, "`secret`")?;
            if let Some(text) = name.literal().and_then(serde_json::Value::as_str)
                && !is_secret_name(text)
            {
                // What is no name is perhaps the secret itself.
                reader.blot(value.span);
                reader.error(
                    codes::PROJECT_SECRET,
                    value.span,
                    "this is not the name of a secret",
                    "names are letters, digits, `-`, `_` and `.`; the secret itself goes to `bascule secret set NAME`",
                );
                return None;
            }
            Some(SecretSource::Stored(name))
        }
        "env" => {
            let name = reader.plain(value, "`env`")?;
            let fits = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !fits {
                reader.blot(value.span);
                reader.error(
                    codes::PROJECT_SECRET,
                    value.span,
                    "this is not the name of an environment variable",
                    "write the name without `$`, for example `HR_KEY`",
                );
                return None;
            }
            Some(SecretSource::Environment(name))
        }
        _ => reader.file_path(value, "`file`").map(SecretSource::File),
    }
}

fn is_secret_name(text: &str) -> bool {
    text.len() <= 128
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
}
