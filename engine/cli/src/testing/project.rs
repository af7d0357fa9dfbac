//! The inventory of a case: the site's own, with nothing in it that reaches outside of the test.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bascule_capability::secret::EnvironmentFn;
use bascule_workflow::cases::{Content, Fault, Given};
use bascule_workflow::expression::Template;
use bascule_workflow::project::{Auth, Connection, Project, SecretSource, TokenField};
use serde_json::Value;

/// How long a stand-in that does not answer is waited for.
const SILENCE: Duration = Duration::from_secs(1);

/// What a secret of that name is in every test.
fn invented(name: &str) -> String {
    format!("invented-{name}")
}

/// The inventory with invented secrets, folders of the case's own and no pace.
#[derive(Default)]
pub(super) struct Inventory {
    pub(super) project: Project,
    /// Secrets that the store must hold.
    pub(super) stored: Vec<(String, String)>,
    /// What `{ env: NAME }` gives, where it is not simply invented.
    environment: HashMap<String, String>,
}

impl Inventory {
    /// Of the site's own inventory, for a case.
    pub(super) fn of(site: &Project, given: &Given, folder: &Path) -> Result<Self> {
        let mut inventory = Self { project: site.clone(), ..Self::default() };
        for (name, entry) in &mut inventory.project.connections {
            // Pace is for real peers; it would only make the test slow.
            entry.rate = None;
            entry.gap = None;
            entry.tls = bascule_workflow::project::Tls::default();
            let stubs = given.connections.get(name).map(Vec::as_slice).unwrap_or_default();
            let silent = stubs
                .iter()
                .flat_map(|stub| &stub.answers)
                .any(|answer| answer.fault == Some(Fault::Timeout));
            if silent {
                let timeouts = &mut entry.timeouts;
                for time in [&mut timeouts.normal, &mut timeouts.slow, &mut timeouts.bulk] {
                    *time = (*time).min(SILENCE);
                }
            }
            for source in sources(entry) {
                match source {
                    SecretSource::Stored(template) => match template.literal().and_then(Value::as_str) {
                        Some(name) => inventory.stored.push((name.to_owned(), invented(name))),
                        None => *source = SecretSource::Environment(format!("{name}-secret")),
                    },
                    SecretSource::File(path) => *source = SecretSource::Environment(path.clone()),
                    SecretSource::Environment(_) => {}
                }
            }
        }
        for (name, entry) in &mut inventory.project.folders {
            let path = folder.join("folders").join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
            entry.path = path.display().to_string();
        }
        inventory.project.limits = site.limits.clone();
        Ok(inventory)
    }

    /// The connection goes to a real address on this computer and logs in with these values, in the order of
    /// [`Connection::secrets`]; the last one stands for all that follow.
    pub(super) fn lead_to(
        &mut self,
        name: &str,
        url: Option<&str>,
        user: Option<&str>,
        secrets: &[&str],
    ) -> Result<()> {
        let Some(entry) = self.project.connections.get_mut(name) else { return Ok(()) };
        if let Some(url) = url {
            entry.url = Template::parse(&Value::from(url)).context("the simulator's address")?;
            entry.params.clear();
        }
        // Terminals of the simulator are on this computer.
        if !entry.allow.addresses.is_empty() {
            entry.allow.addresses.push("127.0.0.0/8".to_owned());
        }
        if let (Auth::Basic { user: known, .. } | Auth::Digest { user: known, .. }, Some(user)) =
            (&mut entry.auth, user)
        {
            *known = Template::of_literal(Value::from(user));
        }
        for (index, source) in sources(entry).into_iter().enumerate() {
            let Some(value) = secrets.get(index).or(secrets.last()) else { break };
            let variable = format!("{name}-simulated-{index}");
            *source = SecretSource::Environment(variable.clone());
            self.environment.insert(variable, (*value).to_owned());
        }
        Ok(())
    }

    /// Every variable has an invented value; the site's own environment is not looked at.
    pub(super) fn environment(&self) -> EnvironmentFn {
        let known = self.environment.clone();
        Arc::new(move |name: &str| Some(known.get(name).cloned().unwrap_or_else(|| invented(name))))
    }
}

/// Where the connection's secrets come from.
fn sources(entry: &mut Connection) -> Vec<&mut SecretSource> {
    match &mut entry.auth {
        Auth::None => Vec::new(),
        Auth::Basic { password, .. } | Auth::Digest { password, .. } => vec![password],
        Auth::AkSk { key, secret, .. } => vec![key, secret],
        Auth::Token(exchange) => exchange
            .body
            .iter_mut()
            .filter_map(|(_, field)| match field {
                TokenField::Secret(source) => Some(source),
                TokenField::Text(_) => None,
            })
            .collect(),
        Auth::Headers(headers) => headers.iter_mut().map(|(_, header)| &mut header.secret).collect(),
    }
}

/// The bytes of a body or file and their media type; `beside` is the folder of the test file.
pub(super) fn bytes(content: &Content, beside: &Path) -> Result<(Vec<u8>, &'static str)> {
    Ok(match content {
        Content::Json(value) => (value.to_string().into_bytes(), "application/json"),
        Content::Text(text) => {
            let kind = if text.trim_start().starts_with('<') {
                "application/xml"
            } else {
                "text/plain; charset=utf-8"
            };
            (text.clone().into_bytes(), kind)
        }
        Content::Base64(text) => {
            use base64::Engine as _;
            let plain: String = text.split_whitespace().collect();
            let data = base64::engine::general_purpose::STANDARD
                .decode(plain)
                .context("`base64` cannot be decoded")?;
            let kind = kind_of(&data);
            (data, kind)
        }
        Content::File(name) => {
            let path = beside.join(name);
            let data = std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let kind = kind_of(&data);
            (data, kind)
        }
        Content::Zeros(count) => (vec![0; usize::try_from(*count)?], "application/octet-stream"),
    })
}

fn kind_of(data: &[u8]) -> &'static str {
    match data {
        [0xff, 0xd8, ..] => "image/jpeg",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [b'{' | b'[', ..] => "application/json",
        [b'<', ..] => "application/xml",
        _ => "application/octet-stream",
    }
}
