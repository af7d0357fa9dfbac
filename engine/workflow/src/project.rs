//! `bascule.yaml`: the operator's inventory of connections, folders, stores and plugins. Parsed and checked here,
//! brought to life by `bascule-capability`.
//!
//! [`check`] reads the file and reports every problem at once; [`reference()`] is the table of all keys, from which the
//! checker takes the names that it knows.
//!
//! ```
//! let text = "connections:\n  hr:\n    url: https://hr.example\n    auth: { headers: { apikey: { secret: hr-key } } }\n";
//! let (project, problems) = bascule_workflow::project::check("bascule.yaml", text);
//! assert!(problems.is_empty());
//! assert_eq!(project.unwrap().connections["hr"].parallel, 4);
//!
//! let (project, problems) = bascule_workflow::project::check("bascule.yaml", "connections:\n  hr: { ulr: https://hr.example }\n");
//! assert!(project.is_none());
//! assert_eq!(problems.iter().next().unwrap().help.as_deref(), Some("did you mean `url`?"));
//! ```

mod address;
mod auth;
mod blots;
mod connection;
mod fields;
mod reference;
mod retention;
mod telemetry;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::document::{Document, Entry, Node};
use crate::expression::{Shape, Template, TextPart};
use crate::problem::{Problem, Problems, codes};
use fields::Reader;
pub use reference::{KeyDoc, reference};

/// Reads `bascule.yaml`. The project is there where no problem is an error; an empty file is an empty project.
/// `file` is shown in the problems. A secret that stands in the file in plain text is blotted out in them.
#[must_use]
pub fn check(file: &str, text: &str) -> (Option<Project>, Problems) {
    let mut problems = Problems::new(file, text);
    let mut blots = blots::likely(text);
    let mut project = None;
    if let Some(document) = Document::read(text, &mut problems) {
        let mut reader = Reader::new(text, &mut problems);
        project = Some(read(&mut reader, &document.root));
        blots.extend(reader.into_blots());
    }
    if !blots.is_empty() {
        problems = blots::apply(file, text, &problems, &blots);
    }
    (project.filter(|_| !problems.has_errors()), problems)
}

fn read(reader: &mut Reader<'_>, root: &Node) -> Project {
    let mut project = Project::default();
    if root.is_null() {
        return project;
    }
    for Entry { key, value } in reader.known(root, "") {
        match key.text.as_str() {
            "connections" => {
                for (name, node) in reader.named(value, "connections", "a connection") {
                    let connection = connection::read(reader, &name, node);
                    project.connections.extend(connection.map(|connection| (name, connection)));
                }
            }
            "folders" => {
                for (name, node) in reader.named(value, "folders", "a folder") {
                    let path =
                        reader.required_entry(node, "folders", "path", "for example `{ path: ./photos }`");
                    let path = path.and_then(|path| reader.file_path(path, "`path`"));
                    project.folders.extend(path.map(|path| (name, Folder { path })));
                }
            }
            "stores" => {
                for (name, node) in reader.named(value, "stores", "a store") {
                    if !node.is_null() {
                        reader.known(node, "stores");
                    }
                    project.stores.insert(name, Store {});
                }
            }
            "plugins" => {
                for (name, node) in reader.named(value, "plugins", "a plugin") {
                    let source = plugin(reader, node);
                    project.plugins.extend(source.map(|source| (name, source)));
                }
            }
            "retention" => retention::read(reader, value, &mut project.retention),
            "time-zone" => project.time_zone = time_zone(reader, value),
            "telemetry" => project.telemetry = telemetry::read(reader, value),
            _ => limits(reader, value, &mut project.limits),
        }
    }
    project
}

fn plugin(reader: &mut Reader<'_>, node: &Node) -> Option<PluginSource> {
    let file =
        reader.required_entry(node, "plugins", "file", "for example `{ file: ./plugins/isapi.wasm }`")?;
    let file = reader.file_path(file, "`file`")?;
    let mut sha256 = None;
    if let Some(node) = node.get("sha256")
        && let Some(text) = reader.plain(node, "`sha256`")
    {
        let digits = text.strip_prefix("sha256:").unwrap_or(&text).to_ascii_lowercase();
        if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            sha256 = Some(digits);
        } else {
            reader.report(
                Problem::error(codes::PROJECT_DIGEST, node.span, "`sha256` is 64 hexadecimal digits")
                    .help("`sha256sum FILE` prints it"),
            );
        }
    }
    Some(PluginSource { file, sha256 })
}

fn time_zone(reader: &mut Reader<'_>, node: &Node) -> Option<String> {
    let name = reader.plain(node, "`time-zone`")?;
    let Some(help) = crate::check::unknown_zone(&name) else { return Some(name) };
    reader.error(codes::TIME_ZONE, node.span, format!("`{name}` is not a time zone"), help);
    None
}

fn limits(reader: &mut Reader<'_>, node: &Node, limits: &mut Limits) {
    for Entry { key, value } in reader.known(node, "limits") {
        match key.text.as_str() {
            "memory" => {
                limits.memory_bytes =
                    reader.size(value, "`memory`", 1 << 20, 4 << 30).unwrap_or(limits.memory_bytes);
            }
            "runs" => limits.runs = reader.number(value, "`runs`", 1, 100_000).unwrap_or(limits.runs),
            "expiry-warning" => {
                let (least, most) = (Duration::from_secs(60), Duration::from_secs(366 * 86_400));
                limits.expiry_warning =
                    reader.duration(value, "`expiry-warning`", least, most).unwrap_or(limits.expiry_warning);
            }
            _ => {
                let longest = Duration::from_secs(24 * 3600);
                limits.call = reader
                    .duration(value, "`call`", Duration::from_millis(1), longest)
                    .unwrap_or(limits.call);
            }
        }
    }
}

/// The checked inventory.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// `connections:`
    pub connections: BTreeMap<String, Connection>,
    /// `folders:` name -> path, relative to the project folder.
    pub folders: BTreeMap<String, Folder>,
    /// `stores:` names; a store needs nothing but a name.
    pub stores: BTreeMap<String, Store>,
    /// `plugins:` name -> where from.
    pub plugins: BTreeMap<String, PluginSource>,
    /// `limits:`
    pub limits: Limits,
    /// `retention:`
    pub retention: Retention,
    /// `time-zone:` the IANA name of the zone of schedules without one; the computer's where there is none.
    pub time_zone: Option<String>,
    /// `telemetry:`
    pub telemetry: Option<Telemetry>,
}

/// `telemetry: { otlp: { url: http://127.0.0.1:4318 } }`
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// `otlp:` the collector that traces are sent to, with the keys of a connection; has no `params`.
    pub otlp: Connection,
}

/// `folders: { exports: { path: ./exports } }`
#[derive(Clone, Debug)]
pub struct Folder {
    /// Relative to the project folder, or absolute.
    pub path: String,
}

/// `stores: { exported: {} }`
#[derive(Clone, Debug, Default)]
pub struct Store {}

/// `plugins: { isapi: { file: ./plugins/isapi.wasm, sha256: .. } }`
#[derive(Clone, Debug)]
pub struct PluginSource {
    /// Relative to the project folder, or absolute.
    pub file: String,
    /// Lower-case hexadecimal; a component with another digest is refused.
    pub sha256: Option<String>,
}

/// `limits:` for every call of a plugin, and for the server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `memory:` bytes of linear memory of one call. By default 64 MiB.
    pub memory_bytes: u64,
    /// `call:` the longest a call may take when the step has no `timeout`. By default 5 min.
    pub call: Duration,
    /// `runs:` how many runs are under way at the same time in the server. By default 64.
    pub runs: u32,
    /// `expiry-warning:` how long before a secret expires it is told. By default 7 days.
    pub expiry_warning: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 << 20,
            call: Duration::from_secs(300),
            runs: 64,
            expiry_warning: Duration::from_secs(7 * 86_400),
        }
    }
}

/// `retention: { runs: 90d, failed-runs: 365d, deliveries: 90d, once: 730d, max-size: 2GiB }`: how long the data folder
/// keeps what is over. What has not ended is kept, however old it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `runs:` after the end of a run that is `succeeded`, `recovered`, `skipped` or `cancelled`. By default 90 days.
    pub runs: Duration,
    /// `failed-runs:` after the end of every other run, which somebody may want to rerun. By default 365 days.
    pub failed_runs: Duration,
    /// `deliveries:` after a delivery came last, and after an occurrence of a schedule. Until then the same delivery is
    /// known again. By default 90 days.
    pub deliveries: Duration,
    /// `once:` after a `once` key was done; later the step would be done again. By default 730 days.
    pub once: Duration,
    /// `max-size:` bytes of the database in use; beyond, the oldest ended runs go before their time. By default 2 GiB.
    pub max_size_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self {
            runs: days(90),
            failed_runs: days(365),
            deliveries: days(90),
            once: days(730),
            max_size_bytes: 2 << 30,
        }
    }
}

/// One entry of `connections:`.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `description:`
    pub description: Option<String>,
    /// `params:` names that each use supplies, e.g. `[device]`. Templates of this entry see them.
    pub params: Vec<String>,
    /// `url:` scheme, host, port and optionally a base path; a template where there are `params`.
    pub url: Template,
    /// `key:` what identifies one peer for pacing and the lock-out guard; by default scheme, host and port.
    pub key: Option<Template>,
    /// `auth:`
    pub auth: Auth,
    /// `tls:`
    pub tls: Tls,
    /// `allow:`
    pub allow: Allow,
    /// `timeouts:`
    pub timeouts: Timeouts,
    /// `parallel:` requests in flight per peer. By default 4; 1 for `digest`.
    pub parallel: u32,
    /// `rate:` e.g. `5/s`, `100/min`: most requests per peer and time.
    pub rate: Option<Rate>,
    /// `gap:` least time between two requests to one peer.
    pub gap: Option<Duration>,
    /// `max-response:` bytes of a response that a plugin reads whole. By default 4 MiB.
    pub max_response_bytes: u64,
    /// `min-rate:` bytes per second over 30 s below which a transfer is ended. By default 1 KiB.
    pub min_bytes_per_second: u64,
    /// `headers:` sent with every request (not secret), e.g. `X-Client-Info`.
    pub headers: BTreeMap<String, String>,
    /// `test:` the path that `bascule connection test` asks with GET, e.g. `/ISAPI/System/deviceInfo`. By default `/`.
    pub test_path: Option<String>,
    /// `redirects: same-origin`
    pub redirects_same_origin: bool,
}

impl Connection {
    /// True if scheme, host and port are written out in `url`, so that no parameter can say where requests go. Where it
    /// is false, `allow.addresses` is not empty.
    #[must_use]
    pub fn has_fixed_host(&self) -> bool {
        match self.url.shape() {
            Shape::Literal(_) => true,
            Shape::Text(parts) => match parts.first() {
                Some(TextPart::Literal(text)) => {
                    text.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Where the secrets of `auth` come from.
    #[must_use]
    pub fn secrets(&self) -> Vec<&SecretSource> {
        match &self.auth {
            Auth::None => Vec::new(),
            Auth::Basic { password, .. } | Auth::Digest { password, .. } => vec![password],
            Auth::AkSk { key, secret, .. } => vec![key, secret],
            Auth::Token(exchange) => exchange
                .body
                .iter()
                .filter_map(|(_, field)| match field {
                    TokenField::Secret(source) => Some(source),
                    TokenField::Text(_) => None,
                })
                .collect(),
            Auth::Headers(headers) => headers.iter().map(|(_, header)| &header.secret).collect(),
        }
    }
}

/// `rate:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests ..
    pub count: u32,
    /// .. in this time.
    pub per: Duration,
}

/// How the host proves who it is.
#[derive(Clone, Debug)]
pub enum Auth {
    /// `auth: none`
    None,
    /// `auth: { basic: { user, password } }`
    Basic {
        /// User name, a template.
        user: Template,
        /// Password.
        password: SecretSource,
    },
    /// `auth: { digest: { user, password, nonces: fresh | reuse } }`
    Digest {
        /// User name, a template.
        user: Template,
        /// Password.
        password: SecretSource,
        /// `nonces: reuse`: keep a challenge and count `nc`; by default every request takes a fresh challenge.
        reuse_nonces: bool,
    },
    /// `auth: { ak-sk: { key, secret } }` (HikCentral Artemis)
    AkSk {
        /// AppKey.
        key: SecretSource,
        /// AppSecret.
        secret: SecretSource,
        /// `content-md5: true`: send and sign `Content-MD5` for bodies.
        content_md5: bool,
    },
    /// `auth: { token: { .. } }`: a bearer token that is fetched and refreshed by a declared exchange.
    Token(Box<TokenExchange>),
    /// `auth: { headers: { apikey: { secret: .. } } }`: fixed headers whose values are secrets.
    Headers(Vec<(String, HeaderSecret)>),
}

/// A header whose value is `prefix` and a secret.
#[derive(Clone, Debug)]
pub struct HeaderSecret {
    /// Put before the secret, e.g. `Bearer `.
    pub prefix: String,
    /// The secret.
    pub secret: SecretSource,
}

/// `auth: { token: { request: .., response: .. } }`
#[derive(Clone, Debug)]
pub struct TokenExchange {
    /// `path:` POSTed to, on the connection's own origin.
    pub path: String,
    /// `body:` a JSON object; values are texts or secrets.
    pub body: Vec<(String, TokenField)>,
    /// `token:` JSON pointer to the token in the answer, e.g. `/data/accessToken`.
    pub token_pointer: String,
    /// `expires:` JSON pointer to the expiry; milliseconds since the epoch, or seconds from now when below 10^10.
    pub expires_pointer: Option<String>,
    /// `origin:` JSON pointer to another origin that later requests go to (Hik-Partner's `areaDomain`).
    pub origin_pointer: Option<String>,
    /// `origins:` what that origin may be: host names, `*.hik-partner.com` allowed.
    pub origin_allow: Vec<String>,
    /// `header:` by default `Authorization`.
    pub header: String,
    /// `prefix:` by default `Bearer `.
    pub prefix: String,
    /// `refresh-before:` how long before expiry a new one is fetched. By default 5 min.
    pub refresh_before: Duration,
    /// `code:` JSON pointer to the peer's own code in any answer, e.g. `/errorCode`.
    pub code_pointer: Option<String>,
    /// `expired:` codes of an answer that mean the token is no longer good, e.g. `LAP500004`. Without `code`, texts anywhere in it.
    pub expired: Vec<String>,
    /// `denied:` codes of the exchange's own answer that mean key or secret are wrong. Where there are some, an answer without a
    /// token and with another code is `busy` and no refused login.
    pub denied: Vec<String>,
}

/// A value of the token request's body.
#[derive(Clone, Debug)]
pub enum TokenField {
    /// As it stands.
    Text(String),
    /// A secret.
    Secret(SecretSource),
}

/// Where a secret comes from. The text itself never stands in a workflow or in `bascule.yaml`.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// `{ secret: NAME }` in the encrypted store; the name may be a template over `params`.
    Stored(Template),
    /// `{ env: NAME }`
    Environment(String),
    /// `{ file: PATH }`, white space at the end removed; relative to the project folder.
    File(String),
}

/// `tls:`
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// `pin: sha256:<64 hex>`: the SHA-256 of the peer's certificate (DER); nothing else is then checked.
    pub pins: Vec<String>,
    /// `pin: stored`: the pin that `bascule connection pin NAME` keeps in the data folder, per peer.
    pub stored_pin: bool,
    /// `ca: FILE` (PEM), used instead of the system's roots.
    pub ca_file: Option<String>,
}

/// `allow:`; what is not named is not allowed, and the defaults are the narrowest that work.
#[derive(Clone, Debug)]
pub struct Allow {
    /// `addresses:` CIDR ranges that the host may resolve to. Empty: any address of the named host where the host is
    /// written out; required where the host comes from `params`.
    pub addresses: Vec<String>,
    /// `methods:` upper case. Empty: all.
    pub methods: Vec<String>,
    /// `paths:` prefixes, matched at `/` boundaries. Empty: all.
    pub paths: Vec<String>,
}

/// `timeouts:`
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// `connect:` by default 5 s.
    pub connect: Duration,
    /// `normal:` by default 15 s.
    pub normal: Duration,
    /// `slow:` by default 60 s.
    pub slow: Duration,
    /// `bulk:` between pieces, by default 60 s.
    pub bulk: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            normal: Duration::from_secs(15),
            slow: Duration::from_secs(60),
            bulk: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests;
