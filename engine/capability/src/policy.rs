//! What a request of a plugin may look like: methods, paths and headers. Addresses are checked in `http::address`.

use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project::Allow;

use crate::http::Method;

/// Longest path, in bytes.
const MAX_PATH_BYTES: usize = 8 << 10;
/// Most headers of one request that come from a plugin.
const MAX_HEADERS: usize = 64;
/// Longest header value, in bytes.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// How often a path may be percent-encoded over itself before it is called senseless.
const MAX_DECODE_LEVELS: usize = 4;

/// Headers that only the host writes, compared in lower case.
const HOST_HEADERS: &[&str] = &[
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Headers by which some servers take another method or path than the one that was checked.
const OVERRIDES: &[&str] = &[
    "x-forwarded-host",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-override-url",
    "x-rewrite-url",
];

/// Headers of a response that stay in the host, beside `proxy-*`.
const HIDDEN_RESPONSE_HEADERS: &[&str] =
    &["authentication-info", "authorization", "set-cookie", "set-cookie2", "www-authenticate"];

/// Checks method and path against the connection's `allow`.
pub(crate) fn check(connection: &str, allow: &Allow, method: Method, path: &str) -> Result<(), Failure> {
    check_path(path).map_err(|fault| {
        Failure::new(Kind::Refused, format!("connection `{connection}`: {fault}")).with_code("host:path")
    })?;
    if !allow.methods.is_empty() && !allow.methods.iter().any(|allowed| allowed == method.name()) {
        let name = method.name();
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "connection `{connection}` does not allow {name}: add it to allow.methods \
                 (`allow: {{ methods: [{}] }}` under `{connection}` in bascule.yaml)",
                list(&allow.methods, name)
            ),
        )
        .with_code("host:method"));
    }
    if !allow.paths.is_empty() && !allow.paths.iter().any(|prefix| is_below(path, prefix)) {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "connection `{connection}` does not allow the path `{path}`: add it to allow.paths \
                 (`allow: {{ paths: [{}] }}` under `{connection}` in bascule.yaml)",
                list(&allow.paths, path)
            ),
        )
        .with_code("host:path"));
    }
    Ok(())
}

fn list(present: &[String], added: &str) -> String {
    present.iter().map(String::as_str).chain([added]).collect::<Vec<_>>().join(", ")
}

/// True where `path` is `prefix` or lies below it at a `/`.
fn is_below(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

/// Why a text is not a plain path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathFault {
    #[error("a path must start with one `/`: a plugin names a path, never a host")]
    NotAbsolute,
    #[error("the path has an empty segment (`//`)")]
    EmptySegment,
    #[error("the path has a `.` or `..` segment")]
    DotSegment,
    #[error("the path has a `?` or `#`: the query goes into `query`")]
    Query,
    #[error("the path has a backslash")]
    Backslash,
    #[error("the path has a control character")]
    Control,
    #[error("the path has an encoded `/`")]
    EncodedSlash,
    #[error("the path has a `%` without two hexadecimal digits")]
    BadEscape,
    #[error("the path has a character that must be percent-encoded")]
    NotEncoded,
    #[error("the path is percent-encoded over itself too often")]
    EncodedOften,
    #[error("the path is longer than 8 KiB")]
    TooLong,
}

/// Accepts exactly what RFC 3986 calls `path-absolute`, and of that only what every server reads alike: no empty and
/// no dot segments (however often encoded, with or without `;parameters`), no encoded `/`, `\` or control characters.
pub(crate) fn check_path(path: &str) -> Result<(), PathFault> {
    if path.len() > MAX_PATH_BYTES {
        return Err(PathFault::TooLong);
    }
    if path.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(PathFault::Control);
    }
    if !path.starts_with('/') {
        return Err(PathFault::NotAbsolute);
    }
    if path.contains("//") {
        return Err(if path.starts_with("//") { PathFault::NotAbsolute } else { PathFault::EmptySegment });
    }
    for byte in path.bytes() {
        match byte {
            b'?' | b'#' => return Err(PathFault::Query),
            b'\\' => return Err(PathFault::Backslash),
            b'/' | b'%' => {}
            _ if is_pchar(byte) => {}
            _ => return Err(PathFault::NotEncoded),
        }
    }
    check_segments(path.as_bytes())?;
    let mut current = path.as_bytes().to_vec();
    for level in 0..MAX_DECODE_LEVELS {
        let (decoded, changed) = decode(&current, Strictness::of_level(level))?;
        if !changed {
            return Ok(());
        }
        // What a further decoding brings to light, a server that decodes twice would act on.
        check_decoded(&current, &decoded)?;
        current = decoded;
    }
    Err(PathFault::EncodedOften)
}

fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

fn check_decoded(before: &[u8], decoded: &[u8]) -> Result<(), PathFault> {
    if decoded.iter().any(u8::is_ascii_control) {
        return Err(PathFault::Control);
    }
    if decoded.contains(&b'\\') {
        return Err(PathFault::Backslash);
    }
    let slashes = |text: &[u8]| text.iter().filter(|byte| **byte == b'/').count();
    if slashes(decoded) != slashes(before) {
        return Err(PathFault::EncodedSlash);
    }
    check_segments(decoded)
}

fn check_segments(path: &[u8]) -> Result<(), PathFault> {
    for segment in path.split(|byte| *byte == b'/') {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or(segment);
        // Blanks at the ends are cut off by some servers.
        if matches!(name.trim_ascii(), b"." | b"..") {
            return Err(PathFault::DotSegment);
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Strictness {
    /// The path itself: a stray `%` is a fault.
    Strict,
    /// What came out of a decoding: a stray `%` is just that.
    Lenient,
}

impl Strictness {
    fn of_level(level: usize) -> Self {
        if level == 0 { Self::Strict } else { Self::Lenient }
    }
}

fn decode(text: &[u8], strictness: Strictness) -> Result<(Vec<u8>, bool), PathFault> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut changed = false;
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = match tail {
                [high, low, ..] => hex_digit(*high).zip(hex_digit(*low)),
                _ => None,
            };
            if let Some((high, low)) = digits {
                decoded.push(high << 4 | low);
                changed = true;
                rest = tail.get(2..).unwrap_or_default();
                continue;
            }
            if strictness == Strictness::Strict {
                return Err(PathFault::BadEscape);
            }
        }
        decoded.push(*first);
        rest = tail;
    }
    Ok((decoded, changed))
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Checks the headers of a plugin's request. `reserved` are those that the connection's scheme or its own `headers:`
/// write, in lower case.
pub(crate) fn check_headers(
    connection: &str,
    headers: &[(String, String)],
    reserved: &[String],
) -> Result<(), Failure> {
    let refuse = |message: String| {
        Err(Failure::new(Kind::Refused, format!("connection `{connection}`: {message}"))
            .with_code("host:header"))
    };
    if headers.len() > MAX_HEADERS {
        return refuse(format!("more than {MAX_HEADERS} headers"));
    }
    for (name, value) in headers {
        if name.is_empty() || name.len() > 128 || !name.bytes().all(is_token) {
            return refuse(format!("`{}` is not a header name", name.escape_debug()));
        }
        let lower = name.to_ascii_lowercase();
        if is_host_header(&lower) || reserved.contains(&lower) {
            return refuse(format!("the header `{name}` is written by the host"));
        }
        if value.len() > MAX_HEADER_BYTES {
            return refuse(format!("the header `{name}` is longer than 8 KiB"));
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            return refuse(format!("the header `{name}` has a control character in its value"));
        }
    }
    Ok(())
}

/// True for the headers of a request that only the host writes; `name` is in lower case.
pub(crate) fn is_host_header(name: &str) -> bool {
    HOST_HEADERS.contains(&name) || OVERRIDES.contains(&name) || name.starts_with("proxy-")
}

/// True for the headers of a response that no plugin sees; `name` is in lower case.
pub(crate) fn is_hidden_response_header(name: &str) -> bool {
    HIDDEN_RESPONSE_HEADERS.contains(&name) || name.starts_with("proxy-")
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(methods: &[&str], paths: &[&str]) -> Allow {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Allow { addresses: Vec::new(), methods: own(methods), paths: own(paths) }
    }

    #[test]
    fn plain_paths_are_accepted() {
        for path in [
            "/",
            "/ISAPI/System/deviceInfo",
            "/rest/v1/employees",
            "/storage/v1/object/photos/Ana%20N%C3%BA%C3%B1ez.jpg",
            "/a.b/..c/...",
            "/artemis/api/x;v=1",
            "/100%25",
            "/a/",
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn hundreds_of_smuggling_paths_are_refused() {
        let dots = [
            "..",
            ".",
            "%2e%2e",
            "%2E%2e",
            ".%2e",
            "%2e.",
            "%2e",
            "%252e%252e",
            "%25252e%25252e",
            "..;",
            "..;x=1",
            "%2e%2e;x",
            ".;",
            "..%20",
            "%20..",
            "..%3bx",
        ];
        let mut paths = Vec::new();
        for dot in dots {
            for around in
                ["/{}", "/{}/", "/a/{}", "/a/{}/b", "/ISAPI/System/{}/{}/Security/users", "/a/b/{}/c"]
            {
                paths.push(around.replace("{}", dot));
            }
        }
        let slashes =
            ["//", "%2f", "%2F", "%5c", "%5C", "\\", "%252f", "%255c", "%25252F", "/\\", "\\/", "/%2f"];
        for slash in slashes {
            for around in ["/a{}b", "/{}evil.example/x", "/a{}..{}b", "/a{}"] {
                paths.push(around.replace("{}", slash));
            }
        }
        for control in 0_u8..0x20 {
            paths.push(format!("/a{}b", char::from(control)));
            paths.push(format!("/a%{control:02x}b"));
            paths.push(format!("/a%25{control:02x}b"));
            paths.push(format!("{}/a", char::from(control)));
        }
        for host in
            ["evil.example", "169.254.169.254", "[::1]", "0x7f000001", "127.0.0.1:80", "user@evil.example"]
        {
            for form in [
                "http://{}/",
                "https://{}/x",
                "//{}/",
                "///{}/",
                "/\\{}/",
                "\\\\{}\\",
                "{}",
                "@{}/",
                ":{}",
                "?{}",
                "#{}",
                "ftp://{}",
                "javascript:{}",
                "HTTP://{}",
                "http:{}",
                "/http://{}/",
                "//user:pass@{}/",
            ] {
                paths.push(form.replace("{}", host));
            }
        }
        for other in [
            "",
            " ",
            "a",
            "/a b",
            "/a?b",
            "/a#b",
            "/a%",
            "/a%2",
            "/a%zz",
            "/ä",
            "/\u{202e}",
            "/a\u{0}",
            "/a|b",
            "/a\"b",
            "/a<b",
            "/a>b",
            "/a{b}",
            "/a[b]",
            "/a^b",
            "/a`b",
            "*",
            "/a HTTP/1.1\r\nX: y",
            "/\u{ff0e}\u{ff0e}/",
            "/%25252525252525252e",
        ] {
            paths.push(other.to_owned());
        }
        assert!(paths.len() > 300, "{}", paths.len());
        for path in paths {
            assert!(check_path(&path).is_err(), "{}", path.escape_debug());
        }
    }

    #[test]
    fn a_prefix_matches_only_at_a_slash() {
        let allow = allow(&[], &["/ISAPI/System", "/pic/"]);
        for good in ["/ISAPI/System", "/ISAPI/System/deviceInfo", "/pic/1.jpg", "/pic/"] {
            assert_eq!(check("terminal", &allow, Method::Get, good), Ok(()), "{good}");
        }
        for bad in ["/ISAPI/SystemX", "/ISAPI", "/ISAPI/System;x", "/isapi/system", "/pic", "/picture"] {
            assert!(check("terminal", &allow, Method::Get, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_says_which_line_to_add() -> Result<(), String> {
        let Err(failure) = check("terminal", &allow(&["GET"], &[]), Method::Put, "/x") else {
            return Err("PUT was allowed".to_owned());
        };
        assert_eq!(failure.kind, Kind::Refused);
        assert!(
            failure.message.starts_with("connection `terminal` does not allow PUT: add it to allow.methods"),
            "{failure}"
        );
        assert!(failure.message.contains("methods: [GET, PUT]"), "{failure}");
        Ok(())
    }

    #[test]
    fn headers_of_the_host_and_overrides_are_refused() {
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        for name in [
            "Authorization",
            "HOST",
            "content-length",
            "Cookie",
            "Transfer-Encoding",
            "Connection",
            "Proxy-Authorization",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "Accept-Encoding",
            "apikey",
            "bad name",
            "",
            "a:b",
            "a\r\nb",
        ] {
            assert!(check_headers("c", &header(name, "1"), &["apikey".to_owned()]).is_err(), "{name}");
        }
        for value in ["a\r\nX: y", "a\nb", "a\u{0}", "\u{7f}"] {
            assert!(check_headers("c", &header("X-A", value), &[]).is_err(), "{}", value.escape_debug());
        }
        assert_eq!(check_headers("c", &header("Prefer", "return=minimal"), &["apikey".to_owned()]), Ok(()));
    }
}
