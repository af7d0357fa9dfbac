//! Secrets that are named somewhere: there, in force, for how long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use bascule_capability::secret::{MasterKey, SecretInfo, Secrets, Term};
use bascule_workflow::expression::Shape;
use bascule_workflow::plan::Workflow;
use bascule_workflow::project::{Project, SecretSource};
use bascule_workflow::trigger::{Source, WebhookAuth};
use jiff::Timestamp;

use super::{Patient, Report};
use crate::site::count;

/// Who uses what.
#[derive(Default)]
struct Named {
    /// Stored secrets.
    stored: BTreeMap<String, BTreeSet<String>>,
    /// Environment variables.
    environment: BTreeMap<String, BTreeSet<String>>,
    /// Files, relative to the project.
    files: BTreeMap<String, BTreeSet<String>>,
}

pub(super) async fn check(
    patient: &Patient<'_>,
    workflows: &[Arc<Workflow>],
    report: &mut Report,
) -> Result<()> {
    let Some(project) = &patient.project else { return Ok(()) };
    let named = named(project, workflows);
    let before = report.findings.len();
    let stored = stored(patient, report).await;
    for (name, users) in &named.stored {
        let users = listed(users);
        match stored.get(name) {
            None => report.error(
                "secrets",
                format!("there is no secret `{name}`"),
                &format!("{users} cannot work without it"),
                format!("`bascule secret set {name}`"),
            ),
            Some(info) => term(info, &users, project, report),
        }
    }
    for info in stored.values().filter(|info| !named.stored.contains_key(&info.name)) {
        term(info, "a name that is made from parameters may use it", project, report);
    }
    for (name, users) in &named.environment {
        if std::env::var_os(name).is_none() {
            report.warn(
                "secrets",
                format!("the environment variable `{name}` is not set here"),
                &format!("{} take a secret from it", listed(users)),
                "set it where the server is started; this shell may have another environment",
            );
        }
    }
    for (path, users) in &named.files {
        if let Err(error) = std::fs::File::open(patient.places.project.join(path)) {
            report.error(
                "secrets",
                format!("the secret file `{path}` cannot be read: {error}"),
                &format!("{} cannot work without it", listed(users)),
                "put it there, readable by the server's user alone",
            );
        }
    }
    if report.findings.len() == before {
        report.ok(
            "secrets",
            format!("{} named, all there and in force", count(named.stored.len(), "stored secret")),
        );
    }
    Ok(())
}

fn term(info: &SecretInfo, users: &str, project: &Project, report: &mut Report) {
    let now = Timestamp::now();
    let Some(at) = info.expires_at else { return };
    let mend = format!("get the new one, then `bascule secret set {} --expires TIME`", info.name);
    match info.term(now, project.limits.expiry_warning) {
        Term::Good => {}
        Term::Expiring => {
            let hours = at.duration_since(now).as_hours();
            let left = if hours >= 48 { format!("{} days", hours / 24) } else { format!("{hours} hours") };
            let what = format!("`{}` expires in {left} ({at})", info.name);
            report.warn("secrets", what, &format!("then it is not used any more: {users}"), mend);
        }
        Term::Expired => {
            let what = format!("`{}` expired at {at}", info.name);
            report.error("secrets", what, &format!("it is not used any more: {users}"), mend);
        }
    }
}

/// What is stored; nothing where it cannot be read, which the checks of key and database have told.
async fn stored(patient: &Patient<'_>, report: &mut Report) -> BTreeMap<String, SecretInfo> {
    let (Some(database), Ok(key)) = (&patient.database, MasterKey::load(&patient.places.key_file)) else {
        return BTreeMap::new();
    };
    let root = patient.places.project.clone();
    let list =
        async { Secrets::open(database.clone(), key, root, Arc::new(|_: &str| None)).await?.list().await };
    match list.await {
        Ok(list) => list.into_iter().map(|info| (info.name.clone(), info)).collect(),
        Err(error) => {
            report.error(
                "secrets",
                format!("they cannot be read: {error}"),
                "connections with a login cannot work",
                "see what is said about key and database",
            );
            BTreeMap::new()
        }
    }
}

fn named(project: &Project, workflows: &[Arc<Workflow>]) -> Named {
    let mut named = Named::default();
    let collector = project.telemetry.iter().map(|telemetry| ("`telemetry`".to_owned(), &telemetry.otlp));
    let connections =
        project.connections.iter().map(|(name, connection)| (format!("connection `{name}`"), connection));
    for (user, connection) in connections.chain(collector) {
        for source in connection.secrets() {
            let (map, key) = match source {
                SecretSource::Stored(template) => match template.shape() {
                    Shape::Literal(value) => match value.as_str() {
                        Some(text) => (&mut named.stored, text.to_owned()),
                        None => continue,
                    },
                    // Made from parameters: which one is known only where it is used.
                    _ => continue,
                },
                SecretSource::Environment(variable) => (&mut named.environment, variable.clone()),
                SecretSource::File(path) => (&mut named.files, path.clone()),
            };
            map.entry(key).or_default().insert(user.clone());
        }
    }
    for workflow in workflows {
        for trigger in &workflow.triggers {
            let Source::Webhook(webhook) = &trigger.source else { continue };
            let secret = match &webhook.auth {
                WebhookAuth::None => continue,
                WebhookAuth::HmacSha256 { secret, .. } | WebhookAuth::Header { secret, .. } => secret,
                WebhookAuth::Basic { password, .. } | WebhookAuth::Digest { password, .. } => password,
            };
            let user = format!("webhook `{}` of `{}`", webhook.path, workflow.id);
            named.stored.entry(secret.clone()).or_default().insert(user);
        }
    }
    named
}

fn listed(users: &BTreeSet<String>) -> String {
    users.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}
