//! One simulated access terminal (persona T of `facts/isapi.md 11.2`): a device with people, faces, an account with a
//! lock, and every habit of [`Quirks`].

mod administration;
mod alarm;
mod answer;
mod cards;
pub(crate) mod extras;
mod faces;
pub(crate) mod library;
mod picture;
pub(crate) mod push;
mod search;
mod stream;
mod system;
mod users;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde::Serialize;

use self::answer::Call;
use self::extras::Extras;
pub use self::extras::{Card, Happening};
pub use self::library::{Face, User};
use self::library::{Library, Snapshot};
use crate::auth::{Guard, Reason};
use crate::fault::{Fault, Faults, html};
use crate::ledger::{Kind, Ledger, Note};
use crate::quirks::{Quirks, Support};
use crate::wire::door::Door;
use crate::wire::tls::Identity;
use crate::wire::{Answer, Peer, Reply, Request};

/// The user of every simulated terminal.
pub const USER: &str = "admin";
/// The password of every simulated terminal. Invented.
pub const PASSWORD: &str = "demo-Terminal-1!";

/// A running terminal, as a test or the control port holds it.
pub struct Terminal {
    pub(crate) device: Arc<Device>,
    pub(crate) door: Door,
    pub(crate) identity: Option<Arc<Identity>>,
}

/// What a terminal looks like from outside.
#[derive(Clone, Debug, Serialize)]
pub struct TerminalState {
    /// The `id` of its row in `devices`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// Whether it accepts connections.
    pub online: bool,
    /// Seconds until the lock opens.
    pub locked_for: Option<u64>,
    /// Requests so far, probes for a challenge included.
    pub requests: u64,
    /// Failed logins so far.
    pub failed_logins: u64,
    /// How many persons it has.
    pub users: usize,
    /// Its faces.
    pub faces: Vec<FaceState>,
    /// The certificate's sha256, with TLS.
    pub fingerprint: Option<String>,
}

/// One face in a [`TerminalState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FaceState {
    /// The person's employee number.
    pub fpid: String,
    /// sha256 of the stored bytes.
    pub sha256: String,
    /// Their length.
    pub bytes: usize,
    /// Where they came from: an address, `multipart`, or `scenario`.
    pub source: String,
}

impl Terminal {
    /// The `id` of its row in `devices`, and its name in the ledger.
    pub fn id(&self) -> &str {
        &self.device.id
    }

    /// Its port on 127.0.0.1; stays the same while it is offline.
    pub fn port(&self) -> u16 {
        self.door.port()
    }

    /// `http://127.0.0.1:PORT`, or `https://..`.
    pub fn url(&self) -> String {
        self.device.origin()
    }

    /// What it looks like now.
    pub async fn state(&self) -> TerminalState {
        let (users, faces) = self.device.inventory();
        TerminalState {
            id: self.device.id.clone(),
            name: self.device.name.clone(),
            port: self.port(),
            url: self.url(),
            online: self.door.is_open().await,
            locked_for: self.device.guard.locked().map(|left| left.as_secs()),
            requests: self.requests(),
            failed_logins: self.failed_logins(),
            users,
            faces,
            fingerprint: self.identity.as_ref().map(|identity| identity.fingerprint()),
        }
    }

    /// Requests so far, probes for a challenge included.
    pub fn requests(&self) -> u64 {
        self.device.requests.load(Ordering::Relaxed)
    }

    /// Failed logins so far.
    pub fn failed_logins(&self) -> u64 {
        self.device.guard.failed_logins()
    }

    /// The stored face of a person.
    pub fn face(&self, fpid: &str) -> Option<Face> {
        self.device.library().face(fpid).cloned()
    }

    /// The persons it has.
    pub fn users(&self) -> Vec<User> {
        self.device.library().users.clone()
    }

    /// Enrols a person as if an administrator had done so.
    pub fn enrol(&self, employee_no: &str, name: &str) {
        self.device.library().enrol(employee_no, name);
    }

    /// Stores a face as if it had always been there.
    pub fn put_face(&self, fpid: &str, picture: Bytes) {
        self.device.library().put_face(fpid, picture, "scenario", Duration::ZERO);
    }

    /// The cards it has.
    pub fn cards(&self) -> Vec<Card> {
        self.device.extras().cards.clone()
    }

    /// Binds a card as if an administrator had done so.
    pub fn put_card(&self, employee_no: &str, card_no: &str) {
        let fields = serde_json::Map::from_iter([("cardType".to_owned(), "normalCard".into())]);
        self.device.extras().cards.push(Card {
            employee_no: employee_no.to_owned(),
            card_no: card_no.to_owned(),
            fields,
        });
    }

    /// Something happens at the terminal now: a line in its log.
    pub fn happen(&self, major: u32, minor: u32, employee_no: Option<&str>) {
        self.happen_at(jiff::Timestamp::now(), major, minor, employee_no);
    }

    /// The same at another time, e.g. while nobody listened.
    pub fn happen_at(&self, at: jiff::Timestamp, major: u32, minor: u32, employee_no: Option<&str>) {
        self.device.extras().happened_at(at, major, minor, employee_no, serde_json::Map::new());
        self.device.news.send_replace(());
    }

    /// An administrator enters, on the terminal's page, the user and password for the receiver of a slot (from 1): digest.
    pub fn sign_in(&self, slot: usize, user: &str, password: &str) {
        self.device.extras().sign_in(slot, user, password);
        self.device.news.send_replace(());
    }

    /// The picture that comes with the event of that number, where pictures come with events.
    pub fn event_picture(serial: u64) -> Bytes {
        alarm::photo(serial)
    }

    /// How many streams of events are open.
    pub fn streams(&self) -> usize {
        self.device.streams.load(Ordering::SeqCst)
    }

    /// Its own log.
    pub fn log(&self) -> Vec<Happening> {
        self.device.extras().log.clone()
    }

    /// Its switches.
    pub fn quirks(&self) -> Quirks {
        Quirks::clone(&self.device.quirks())
    }

    /// Changes switches; they hold from the next request on.
    pub fn change(&self, change: impl FnOnce(&mut Quirks)) {
        let mut quirks = self.quirks();
        change(&mut quirks);
        self.device.set_quirks(quirks);
    }

    /// Orders a mishap.
    pub fn fault(&self, fault: Fault) {
        self.device.faults.order(fault);
    }

    /// Ends all connections and refuses new ones.
    pub async fn offline(&self) -> Result<()> {
        self.device.is_away.store(true, Ordering::SeqCst);
        self.door.shut().await
    }

    /// Accepts connections again.
    pub async fn online(&self) -> Result<()> {
        self.device.is_away.store(false, Ordering::SeqCst);
        self.device.news.send_replace(());
        self.door.unshut().await
    }

    /// Locks the account for `lock_seconds`.
    pub fn lock(&self) {
        self.device.guard.lock(&self.device.quirks());
    }

    /// Opens the account's lock.
    pub fn unlock(&self) {
        self.device.guard.unlock();
    }

    /// A new certificate, with TLS.
    pub fn renew_certificate(&self) -> Result<()> {
        self.identity.as_ref().map_or(Ok(()), |identity| identity.renew())
    }

    /// As the scenario made it: switches, people, faces, lock; orders for mishaps are forgotten.
    pub async fn reset(&self) -> Result<()> {
        let initial = &self.device.initial;
        self.device.faults.clear();
        self.device.guard.forget();
        self.device.set_quirks(initial.quirks.clone());
        *self.device.library() = initial.library.clone();
        *self.device.extras() = Extras::default();
        if initial.locked {
            self.lock();
        }
        if initial.offline { self.offline().await } else { self.online().await }
    }
}

/// The device itself.
pub(crate) struct Device {
    pub(crate) id: String,
    pub(crate) name: String,
    /// From 0.
    pub(crate) number: usize,
    pub(crate) origin: OnceLock<String>,
    quirks: RwLock<Arc<Quirks>>,
    pub(crate) guard: Guard,
    pub(crate) faults: Faults,
    library: Mutex<Library>,
    extras: Mutex<Extras>,
    initial: Snapshot,
    pub(crate) ledger: Ledger,
    requests: AtomicU64,
    /// A face is being modelled.
    pub(crate) modelling: AtomicBool,
    /// For what outlives a request.
    pub(crate) myself: OnceLock<Weak<Self>>,
    /// Something happened, or somebody new is to be told.
    pub(crate) news: tokio::sync::watch::Sender<()>,
    /// Open streams of events.
    pub(crate) streams: AtomicUsize,
    /// It reaches nobody either.
    pub(crate) is_away: AtomicBool,
}

impl Device {
    pub(crate) fn new(number: usize, id: String, name: String, initial: Snapshot, ledger: Ledger) -> Self {
        let realm = hex::encode(format!("{number:06}sim{:03}", number % 1_000).as_bytes());
        Self {
            id,
            name,
            number,
            origin: OnceLock::new(),
            quirks: RwLock::new(Arc::new(initial.quirks.clone())),
            guard: Guard::new(USER, PASSWORD, &realm),
            faults: Faults::default(),
            library: Mutex::new(initial.library.clone()),
            extras: Mutex::default(),
            initial,
            ledger,
            requests: AtomicU64::new(0),
            modelling: AtomicBool::new(false),
            myself: OnceLock::new(),
            news: tokio::sync::watch::Sender::new(()),
            streams: AtomicUsize::new(0),
            is_away: AtomicBool::new(false),
        }
    }

    pub(crate) fn quirks(&self) -> Arc<Quirks> {
        Arc::clone(&self.quirks.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_quirks(&self, quirks: Quirks) {
        *self.quirks.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(quirks);
    }

    pub(crate) fn library(&self) -> MutexGuard<'_, Library> {
        self.library.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where both are held, the lock of the library is taken first.
    pub(crate) fn extras(&self) -> MutexGuard<'_, Extras> {
        self.extras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many persons, and which faces.
    fn inventory(&self) -> (usize, Vec<FaceState>) {
        let library = self.library();
        let faces = library.faces.iter().map(|face| FaceState {
            fpid: face.fpid.clone(),
            sha256: face.sha256.clone(),
            bytes: face.picture.len(),
            source: face.source.clone(),
        });
        (library.users.len(), faces.collect())
    }

    pub(crate) fn origin(&self) -> String {
        self.origin.get().cloned().unwrap_or_default()
    }

    pub(crate) fn note(&self, request: &Request, kind: Kind, credential: &str) -> Note {
        Note {
            device: self.id.clone(),
            kind,
            request: format!("{} {}", request.method, request.target),
            credential: credential.to_owned(),
            subject: None,
            face: None,
            code: None,
            note: None,
        }
    }

    async fn respond(&self, quirks: &Quirks, nth: u64, request: &Request) -> Reply {
        let strikes = |every: u64| every > 0 && nth.is_multiple_of(every);
        if quirks.silent {
            return Reply::Silence;
        }
        if strikes(quirks.reset_every) {
            return Reply::Reset;
        }
        if quirks.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(quirks.delay_ms)).await;
        }
        let mut call = Call { device: self, quirks, request, known: "none".to_owned() };
        if strikes(quirks.busy_every) {
            return Answer { status: 503, ..call.error("deviceBusy", "") }.into();
        }
        match self.guard.check(quirks, request) {
            Err(refusal) => {
                self.note_refusal(request, &refusal.reason, refusal.state.just_locked);
                call.refused(&refusal).into()
            }
            Ok(known) => {
                call.known = known;
                if request.method == "GET"
                    && request.path().eq_ignore_ascii_case("/ISAPI/Event/notification/alertStream")
                {
                    return stream::open(&call);
                }
                let answer = if quirks.html_instead {
                    html(200, "Login")
                } else if quirks.refuse_chunked && request.chunked {
                    html(411, "Length Required")
                } else {
                    call.dispatch().await
                };
                call.dressed(answer).into()
            }
        }
    }

    fn note_refusal(&self, request: &Request, reason: &Reason, just_locked: bool) {
        let (kind, why) = match reason {
            Reason::NoCredentials => return,
            Reason::DeadNonce(why) => (Kind::NonceDead, *why),
            Reason::Wrong(why) => (Kind::LoginFailed, *why),
            Reason::BasicRefused => (Kind::BasicSent, "a password in the clear"),
            Reason::Locked => (Kind::TriedWhileLocked, "the account is locked"),
        };
        self.ledger.write(Note { note: Some(why.to_owned()), ..self.note(request, kind, "refused") });
        if just_locked {
            self.ledger.write(self.note(request, Kind::Locked, "refused"));
        }
    }
}

impl Peer for Device {
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply> {
        async move {
            let nth = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
            let quirks = self.quirks();
            let fault = self.faults.take(&request);
            if let Some(fault) = &fault
                && let Some(reply) = fault.instead().await
            {
                return reply;
            }
            let mut reply = self.respond(&quirks, nth, &request).await;
            if let Reply::Answer(answer) = &mut reply {
                system::sign(&quirks, &request, answer);
            }
            match fault {
                Some(fault) => fault.spoil(reply).await,
                None => reply,
            }
        }
        .boxed()
    }

    fn idle(&self) -> Duration {
        Duration::from_millis(self.quirks().keep_alive_ms)
    }
}

impl Support {
    fn is_missing(self) -> bool {
        self == Self::NotSupport
    }
}
