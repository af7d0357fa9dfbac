//! Tells in the log that secrets expire, before they do.

use std::collections::HashMap;
use std::time::Duration;

use bascule_capability::secret::{SecretInfo, Secrets, Term};
use bascule_server::Inventory;
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use tokio::sync::watch;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(60);
/// The same warning is given once in this time.
const AGAIN: SignedDuration = SignedDuration::from_hours(24);

/// Looks again and again. Never returns.
pub(crate) async fn watch(secrets: Secrets, inventory: watch::Receiver<Arc<Inventory>>) {
    let mut told = HashMap::new();
    loop {
        let warning = inventory.borrow().project.limits.expiry_warning;
        match secrets.list().await {
            Ok(list) => tell(&list, warning, Timestamp::now(), &mut told),
            Err(error) => tracing::warn!(%error, "the secrets cannot be listed"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One line for each that has expired or soon will, unless it was told a short while ago.
fn tell(
    list: &[SecretInfo],
    warning: Duration,
    now: Timestamp,
    told: &mut HashMap<(String, Option<Timestamp>, &'static str), Timestamp>,
) {
    for info in list {
        let term = info.term(now, warning);
        if term == Term::Good {
            continue;
        }
        let key = (info.name.clone(), info.expires_at, term.name());
        if told.get(&key).is_some_and(|at| now.duration_since(*at) < AGAIN) {
            continue;
        }
        told.insert(key, now);
        let secret = info.name.as_str();
        let expires_at = info.expires_at.map(|at| at.to_string());
        match term {
            Term::Expired => tracing::error!(
                secret,
                expires_at,
                "a secret has expired and is not used any more: `bascule secret set {secret}` stores the new one"
            ),
            _ => tracing::warn!(
                secret,
                expires_at,
                "a secret expires soon: `bascule secret set {secret}` stores the new one"
            ),
        }
    }
}
