//! What connections share: secrets, guard and clock for all of them, and for those to one peer its turns, sockets,
//! digest sessions and token.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bascule_database::Database;
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::project;
use tokio::time::Instant;

use super::address::{CheckedResolver, Lookup};
use super::connection::Inner;
use super::detour::Detour;
use super::health::Known;
use super::pins;
use super::politeness::Politeness;
use super::tls::Trust;
use crate::auth::{Scheme, digest, token};
use crate::credential::Source;
use crate::guard::{Clock, Guard};
use crate::secret::{Secret, Secrets};

/// Sockets that rest longer are not used again: devices close them silently after 10 s (facts/isapi.md 1.1).
const IDLE: Duration = Duration::from_secs(5);
/// How long a secret that was read is used without looking again.
const SECRET_KEPT: Duration = Duration::from_secs(10);
/// Peers that are kept although nobody talks to them.
const MOST_PEERS: usize = 4096;
/// Most digest hashes that the redactor is told; they leave this process only inside a hash, and each makes it slower.
const MOST_HA1: usize = 64;

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) secrets: Secrets,
    pub(crate) database: Database,
    pub(crate) guard: Guard,
    pub(crate) clock: Clock,
    pub(crate) lookup: Arc<dyn Lookup>,
    pub(crate) detour: Option<Arc<dyn Detour>>,
    /// The folder of `bascule.yaml`.
    pub(crate) root: PathBuf,
    pub(crate) revealed: Mutex<HashMap<Source, (Instant, Secret)>>,
    /// How often secrets were changed: what was read before is not kept.
    pub(crate) secrets_changed: AtomicU64,
    pub(crate) health: Known,
    pub(crate) ha1_hidden: AtomicUsize,
    pub(crate) peers: Mutex<HashMap<(String, String), Arc<Peer>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) async fn reveal(&self, source: &Source) -> Result<Secret, Failure> {
        let now = Instant::now();
        if let Some((at, secret)) = lock(&self.revealed).get(source)
            && now.duration_since(*at) < SECRET_KEPT
        {
            return Ok(secret.clone());
        }
        let changes = self.secrets_changed.load(Ordering::Acquire);
        let secret = source.reveal(&self.secrets).await?;
        let mut revealed = lock(&self.revealed);
        if self.secrets_changed.load(Ordering::Acquire) != changes {
            return Ok(secret);
        }
        if revealed.len() >= 1024 {
            revealed.retain(|_source, (at, _secret)| now.duration_since(*at) < SECRET_KEPT);
        }
        revealed.insert(source.clone(), (now, secret.clone()));
        Ok(secret)
    }

    /// After a refusal: the operator may be changing the secret right now.
    pub(crate) fn forget_credentials(&self) {
        lock(&self.revealed).clear();
    }

    /// A secret was set or removed: nothing that was made with an earlier one is used for the next request.
    pub(crate) fn secrets_changed(&self) {
        {
            let mut revealed = lock(&self.revealed);
            self.secrets_changed.fetch_add(1, Ordering::Release);
            revealed.clear();
        }
        let peers: Vec<Arc<Peer>> = lock(&self.peers).values().cloned().collect();
        for peer in peers {
            match (peer.token.try_lock(), peer.sessions.try_lock()) {
                (Ok(mut token), Ok(mut sessions)) => {
                    *token = None;
                    sessions.clear();
                }
                // A login is under way, maybe with the earlier secret.
                _ => drop(tokio::spawn(Self::forget_logins(Arc::clone(&peer)))),
            }
        }
    }

    async fn forget_logins(peer: Arc<Peer>) {
        *peer.token.lock().await = None;
        peer.sessions.lock().await.clear();
    }

    pub(crate) fn hide_ha1(&self, ha1: &Secret) {
        if self.ha1_hidden.fetch_add(1, Ordering::Relaxed) < MOST_HA1 {
            self.secrets.redactor().add_ha1(ha1);
        }
    }

    /// Whom the peer was believed to be no longer counts: another certificate was pinned.
    pub(crate) async fn forget_sockets(&self, connection: &str, key: &str) {
        let peer = lock(&self.peers).get(&(connection.to_owned(), key.to_owned())).cloned();
        if let Some(peer) = peer {
            peer.clients.lock().await.clear();
        }
    }

    pub(crate) fn peer(&self, connection: &str, key: &str, entry: &project::Connection) -> Arc<Peer> {
        let mut peers = lock(&self.peers);
        if peers.len() >= MOST_PEERS {
            peers.retain(|_key, peer| Arc::strong_count(peer) > 1);
        }
        let id = (connection.to_owned(), key.to_owned());
        Arc::clone(peers.entry(id).or_insert_with(|| Arc::new(Peer::new(connection, key, entry))))
    }
}

/// What everyone who talks to one peer through one connection shares.
pub(crate) struct Peer {
    connection: String,
    key: String,
    pub(crate) politeness: Politeness,
    /// By scheme, host and port; more than one only where `key` unites several.
    clients: tokio::sync::Mutex<HashMap<String, reqwest::Client>>,
    /// Challenges that are used again, by user.
    pub(crate) sessions: tokio::sync::Mutex<HashMap<String, digest::Session>>,
    pub(crate) token: tokio::sync::Mutex<Option<token::Token>>,
    strongest: AtomicU8,
    challenged: AtomicBool,
    refuses_reuse: AtomicBool,
}

impl Peer {
    fn new(connection: &str, key: &str, entry: &project::Connection) -> Self {
        Self {
            connection: connection.to_owned(),
            key: key.to_owned(),
            politeness: Politeness::new(entry.parallel, entry.rate, entry.gap),
            clients: tokio::sync::Mutex::default(),
            sessions: tokio::sync::Mutex::default(),
            token: tokio::sync::Mutex::default(),
            strongest: AtomicU8::new(0),
            challenged: AtomicBool::new(false),
            refuses_reuse: AtomicBool::new(false),
        }
    }

    /// Notes an algorithm's strength and returns the strongest one before.
    pub(crate) fn remember_strength(&self, strength: u8) -> u8 {
        self.strongest.fetch_max(strength, Ordering::Relaxed)
    }

    pub(crate) fn has_challenged(&self) -> bool {
        self.challenged.load(Ordering::Relaxed)
    }

    pub(crate) fn set_challenged(&self) {
        self.challenged.store(true, Ordering::Relaxed);
    }

    pub(crate) fn refuses_reuse(&self) -> bool {
        self.refuses_reuse.load(Ordering::Relaxed)
    }

    pub(crate) fn set_refuses_reuse(&self) {
        self.refuses_reuse.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn client(&self, shared: &Shared, inner: &Inner) -> Result<reqwest::Client, Failure> {
        let mut clients = self.clients.lock().await;
        if let Some(client) = clients.get(&inner.target.origin) {
            return Ok(client.clone());
        }
        let entry = &inner.entry;
        // A token exchange may lead from here to other hosts, which may be encrypted where this one is not.
        let may_encrypt = inner.target.is_encrypted() || matches!(inner.scheme, Scheme::Token(_));
        let trust = if may_encrypt && shared.detour.is_none() {
            let stored = if entry.tls.stored_pin {
                pins::stored(&shared.database, &self.connection, &self.key).await?
            } else {
                Vec::new()
            };
            Trust::of(&entry.tls, stored, &shared.root, &self.connection).await?
        } else {
            Trust::nobody()?
        };
        let resolver =
            CheckedResolver { policy: Arc::clone(&inner.addresses), lookup: Arc::clone(&shared.lookup) };
        let builder = reqwest::Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .dns_resolver(Arc::new(resolver))
            .connect_timeout(entry.timeouts.connect)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(usize::try_from(entry.parallel).unwrap_or(4).clamp(1, 64))
            .tcp_keepalive(Duration::from_secs(30))
            .tls_info(true);
        let builder = match trust {
            Trust::System => builder,
            Trust::Roots(roots) => builder.tls_certs_only(roots),
            Trust::Config(config) => builder.tls_backend_preconfigured(*config),
        };
        let client = builder.build().map_err(|error| {
            let text = format!("connection `{}` cannot be set up: {}", self.connection, error.without_url());
            Failure::new(Kind::Internal, text)
        })?;
        clients.insert(inner.target.origin.clone(), client.clone());
        Ok(client)
    }
}
