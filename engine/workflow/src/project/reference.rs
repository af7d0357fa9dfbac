//! Every key of `bascule.yaml`, once: for the checker and for readers.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// The map it stands in, e.g. `connections.allow`; empty for the file itself. Names of entries are left out.
    pub within: &'static str,
    /// The key.
    pub key: &'static str,
    /// How its value is written.
    pub form: &'static str,
    /// What holds without it; `required` where it must be there.
    pub default: &'static str,
    /// What it does.
    pub summary: &'static str,
}

/// Every key, in reading order.
#[must_use]
pub fn reference() -> &'static [KeyDoc] {
    KEYS
}

/// The keys of one map.
pub(super) fn keys(within: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(move |doc| doc.within == within).map(|doc| doc.key)
}

const fn key(
    within: &'static str,
    key: &'static str,
    form: &'static str,
    default: &'static str,
    summary: &'static str,
) -> KeyDoc {
    KeyDoc { within, key, form, default, summary }
}

const SECRET: &str = "{ secret: NAME } | { env: NAME } | { file: PATH }";

static KEYS: &[KeyDoc] = &[
    key("", "connections", "{ NAME: .. }", "none", "peers that workflows may talk to"),
    key("", "folders", "{ NAME: { path } }", "none", "folders that workflows may read and write"),
    key("", "stores", "{ NAME: {} }", "none", "sets of keys and values that outlive a run"),
    key(
        "",
        "plugins",
        "{ NAME: { file } }",
        "NAME.wasm in the plugins folders",
        "components that workflows may use",
    ),
    key("", "limits", "{ memory, call }", "64 MiB, 5 min", "what one call of a plugin may take"),
    key(
        "",
        "time-zone",
        "IANA name",
        "the computer's",
        "of schedules that name none, e.g. `Europe/Bucharest`",
    ),
    key(
        "",
        "retention",
        "{ runs, failed-runs, deliveries, once, max-size }",
        "90d, 365d, 90d, 730d, 2GiB",
        "how long what is over is kept",
    ),
    key("", "telemetry", "{ otlp: CONNECTION }", "none", "where traces of runs are sent"),
    key("connections", "description", "text", "none", "for people"),
    key(
        "connections",
        "params",
        "[NAME, ..]",
        "none",
        "names that each use supplies and expressions of this entry see",
    ),
    key(
        "connections",
        "url",
        "http(s)://HOST[:PORT][/BASE], with expressions",
        "required",
        "where requests go",
    ),
    key(
        "connections",
        "key",
        "text with expressions",
        "scheme, host, port",
        "one peer for pace, pins and the lock-out guard",
    ),
    key(
        "connections",
        "auth",
        "none | { basic | digest | ak-sk | token | headers: .. }",
        "none",
        "how the host proves who it is",
    ),
    key("connections", "tls", "{ pin } | { ca }", "the system's roots", "whom the host trusts"),
    key(
        "connections",
        "allow",
        "{ addresses, methods, paths }",
        "the named host, every method and path",
        "what may be asked of it",
    ),
    key(
        "connections",
        "timeouts",
        "{ connect, normal, slow, bulk }",
        "5 s, 15 s, 60 s, 60 s",
        "how long the peer may take",
    ),
    key("connections", "parallel", "1 to 1000", "4; 1 for digest", "requests in flight per peer"),
    key("connections", "rate", "5/s, 100/min, 1000/h", "none", "most requests per peer and time"),
    key("connections", "gap", "duration", "none", "least time between two requests to one peer"),
    key("connections", "max-response", "size", "4 MiB", "the largest response that a plugin reads whole"),
    key(
        "connections",
        "min-rate",
        "size",
        "1 KiB",
        "bytes per second over 30 s below which a transfer is ended",
    ),
    key("connections", "headers", "{ NAME: text }", "none", "sent with every request; not secret"),
    key("connections", "test", "path", "/", "what `bascule connection test` asks with GET"),
    key("connections", "redirects", "never | same-origin", "never", "which redirects are followed"),
    key(
        "connections.auth",
        "basic",
        "{ user, password }",
        "-",
        "HTTP Basic: the password goes over the wire",
    ),
    key(
        "connections.auth",
        "digest",
        "{ user, password, nonces }",
        "-",
        "HTTP Digest (RFC 7616), MD5 and SHA-256",
    ),
    key(
        "connections.auth",
        "ak-sk",
        "{ key, secret, content-md5 }",
        "-",
        "signed requests of HikCentral (Artemis)",
    ),
    key(
        "connections.auth",
        "token",
        "{ path, body, token, .. }",
        "-",
        "a bearer token, fetched and refreshed",
    ),
    key("connections.auth", "headers", "{ NAME: { secret, prefix } }", "-", "API keys in fixed headers"),
    key("connections.auth.basic", "user", "text with expressions", "required", "user name"),
    key("connections.auth.basic", "password", SECRET, "required", "password"),
    key("connections.auth.digest", "user", "text with expressions", "required", "user name"),
    key("connections.auth.digest", "password", SECRET, "required", "password"),
    key(
        "connections.auth.digest",
        "nonces",
        "fresh | reuse",
        "fresh",
        "a challenge for each request, or counted reuse",
    ),
    key("connections.auth.ak-sk", "key", SECRET, "required", "AppKey"),
    key("connections.auth.ak-sk", "secret", SECRET, "required", "AppSecret"),
    key(
        "connections.auth.ak-sk",
        "content-md5",
        "true | false",
        "false",
        "send and sign `Content-MD5` for bodies",
    ),
    key("connections.auth.token", "path", "path", "required", "where the token is asked for, with POST"),
    key(
        "connections.auth.token",
        "body",
        "{ NAME: text | secret }",
        "empty",
        "the JSON object that is posted",
    ),
    key(
        "connections.auth.token",
        "token",
        "JSON pointer",
        "required",
        "where the token stands in the answer",
    ),
    key(
        "connections.auth.token",
        "expires",
        "JSON pointer",
        "none",
        "milliseconds since the epoch, or seconds from now",
    ),
    key(
        "connections.auth.token",
        "origin",
        "JSON pointer",
        "none",
        "another origin that later requests go to",
    ),
    key("connections.auth.token", "origins", "[HOST, \"*.DOMAIN\", ..]", "none", "what that origin may be"),
    key(
        "connections.auth.token",
        "header",
        "header name",
        "Authorization",
        "the header that carries the token",
    ),
    key("connections.auth.token", "prefix", "text", "\"Bearer \"", "stands before the token"),
    key(
        "connections.auth.token",
        "refresh-before",
        "duration",
        "5 min",
        "how long before its end a token is renewed",
    ),
    key(
        "connections.auth.token",
        "code",
        "JSON pointer",
        "none",
        "where the peer's own code stands in any answer",
    ),
    key(
        "connections.auth.token",
        "expired",
        "[CODE, ..]",
        "none",
        "in an answer: the token is no longer good; without `code` a text anywhere in it",
    ),
    key(
        "connections.auth.token",
        "denied",
        "[CODE, ..]",
        "any without a token",
        "key or secret are wrong; other codes are `busy` and count as no refused login",
    ),
    key(
        "connections.auth.headers",
        "prefix",
        "text",
        "empty",
        "stands before the secret, e.g. `\"Bearer \"`",
    ),
    key(
        "connections.auth.headers",
        "secret",
        "name with expressions",
        "-",
        "a secret of the encrypted store",
    ),
    key("connections.auth.headers", "env", "NAME", "-", "a secret in an environment variable"),
    key(
        "connections.auth.headers",
        "file",
        "PATH",
        "-",
        "a secret in a file, white space at its end removed",
    ),
    key(
        "connections.tls",
        "pin",
        "stored | sha256:.. | [..]",
        "none",
        "the peer's certificate, by its SHA-256",
    ),
    key("connections.tls", "ca", "FILE (PEM)", "the system's roots", "authorities that are trusted instead"),
    key(
        "connections.allow",
        "addresses",
        "[CIDR, ..]",
        "any of a host that is written out",
        "where the host may be",
    ),
    key("connections.allow", "methods", "[GET, ..]", "all", "methods"),
    key("connections.allow", "paths", "[/PREFIX, ..]", "all", "beginnings of paths, up to a `/`"),
    key("connections.timeouts", "connect", "duration", "5 s", "to connect, TLS included"),
    key("connections.timeouts", "normal", "duration", "15 s", "calls of pace `normal`"),
    key("connections.timeouts", "slow", "duration", "60 s", "calls of pace `slow`"),
    key("connections.timeouts", "bulk", "duration", "60 s", "between the pieces of large bodies"),
    key(
        "telemetry",
        "otlp",
        "the keys of a connection",
        "required",
        "a collector of OpenTelemetry, by OTLP/HTTP with JSON; `/v1/traces` is added to its `url`",
    ),
    key("folders", "path", "PATH", "required", "relative to the project folder, or absolute"),
    key("plugins", "file", "PATH", "required", "relative to the project folder, or absolute"),
    key("plugins", "sha256", "64 hexadecimal digits", "any", "the component's digest; another is refused"),
    key("limits", "memory", "size", "64 MiB", "linear memory of one call"),
    key("limits", "call", "duration", "5 min", "the longest a call may take when the step has no `timeout`"),
    key("limits", "runs", "number", "64", "runs of the server that are under way at the same time"),
    key("limits", "expiry-warning", "duration", "7d", "how long before a secret expires it is told"),
    key("retention", "runs", "duration", "90d", "runs that went well or were cancelled, after their end"),
    key("retention", "failed-runs", "duration", "365d", "every other run, after its end"),
    key(
        "retention",
        "deliveries",
        "duration",
        "90d",
        "deliveries and past occurrences of schedules; the same delivery is known again until then",
    ),
    key("retention", "once", "duration", "730d", "`once` keys; later the step would be done again"),
    key(
        "retention",
        "max-size",
        "size",
        "2GiB",
        "the database; beyond, the oldest ended runs go before their time",
    ),
];
