//! A simulated Supabase: PostgREST on rows in memory, and storage (`facts/hikcentral_hikpartner_supabase.md`, part C).

mod filter;
mod legacy;
mod query;
mod read;
mod refusal;
mod rest;
mod rpc;
mod schema;
mod select;
mod storage;
mod value;
mod write;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use self::refusal::Refusal;
use self::schema::Database;
use self::storage::Shelf;
pub use self::storage::StorageLie;
use crate::fault::{Fault, Faults};
use crate::ledger::{Kind, Ledger, Note};
use crate::wire::{Answer, Peer, Reply, Request};

/// The key that may do everything. Invented.
pub const SERVICE_KEY: &str = "sb_secret_demo0000000000000000000_00000000";
/// The key of a browser: sees no rows (row-level security), may read public files. Invented.
pub const PUBLISHABLE_KEY: &str = "sb_publishable_demo000000000000_00000000";

/// The simulated project.
pub struct Supabase {
    origin: OnceLock<String>,
    database: Mutex<Database>,
    shelf: Mutex<Shelf>,
    pub(crate) faults: Faults,
    ledger: Ledger,
    requests: AtomicU64,
    max_rows: AtomicUsize,
}

/// Whom a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Service,
    Anonymous,
}

impl Supabase {
    pub(crate) fn new(ledger: Ledger) -> Self {
        Self {
            origin: OnceLock::new(),
            database: Mutex::default(),
            shelf: Mutex::new(Shelf::new()),
            faults: Faults::default(),
            ledger,
            requests: AtomicU64::new(0),
            max_rows: AtomicUsize::new(1_000),
        }
    }

    pub(crate) fn set_origin(&self, origin: String) {
        self.origin.get_or_init(|| origin);
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> &str {
        self.origin.get().map_or("", String::as_str)
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The most rows of one answer; 1,000 unless changed.
    pub fn set_max_rows(&self, rows: usize) {
        self.max_rows.store(rows, Ordering::Relaxed);
    }

    /// Orders a mishap.
    pub fn fault(&self, fault: Fault) {
        self.faults.order(fault);
    }

    /// Withdraws every mishap that was ordered.
    pub fn recover(&self) {
        self.faults.clear();
    }

    /// All rows of a table, or `None` if there is no such table.
    pub fn rows(&self, table: &str) -> Option<Vec<Value>> {
        let database = self.database();
        Some(database.table(table)?.rows.iter().cloned().map(Value::Object).collect())
    }

    /// Replaces a table's rows by this list of objects; defaults are filled in, constraints are checked.
    ///
    /// # Errors
    /// A sentence about the first row that does not fit; then nothing has changed.
    pub fn replace_rows(&self, table: &str, rows: Value) -> Result<(), String> {
        let Value::Array(rows) = rows else {
            return Err("rows are a list of objects".to_owned());
        };
        let mut database = self.database();
        let mut changed = database.clone();
        let Some(held) = changed.table_mut(table) else {
            return Err(format!("no table `{table}`"));
        };
        held.rows.clear();
        insert_all(&mut changed, table, rows)?;
        *database = changed;
        Ok(())
    }

    /// Puts a file into a bucket and returns its public path, e.g. `/storage/v1/object/public/photos/a.jpg`.
    pub fn put_object(&self, bucket: &str, name: &str, content_type: &str, body: Bytes) -> String {
        self.shelf().put(bucket, name, content_type, body);
        format!("/storage/v1/object/public/{bucket}/{name}")
    }

    /// A legacy `service_role` key (a JWT) that works until then.
    pub fn legacy_key(&self, until: jiff::Timestamp) -> String {
        legacy::sign("service_role", until)
    }

    /// What the storage does from now on although it says yes.
    pub fn lie(&self, lie: StorageLie) {
        self.shelf().set_lie(lie);
    }

    /// The names of a bucket's files; `None` if there is no such bucket.
    pub fn objects(&self, bucket: &str) -> Option<Vec<String>> {
        self.shelf().names(bucket)
    }

    /// The bytes of a stored file.
    pub fn object(&self, bucket: &str, name: &str) -> Option<Bytes> {
        self.shelf().get(bucket, name)
    }

    pub(crate) fn define_standard(&self) {
        *self.database() = Database::standard();
    }

    /// Adds tables as `bascule-sim --help` describes them.
    ///
    /// # Errors
    /// A sentence about the first thing that does not fit.
    pub fn define_tables(&self, tables: &Value) -> Result<(), String> {
        let Value::Object(tables) = tables else {
            return Err("tables are an object by name".to_owned());
        };
        let mut database = self.database();
        let mut changed = database.clone();
        for (name, table) in tables {
            let rows = changed.define(name, table)?;
            insert_all(&mut changed, name, rows)?;
        }
        *database = changed;
        Ok(())
    }

    pub(crate) fn seed(&self, table: &str, rows: Vec<Value>) -> Result<()> {
        insert_all(&mut self.database(), table, rows).map_err(anyhow::Error::msg)
    }

    pub(crate) fn dump(&self) -> Map<String, Value> {
        let database = self.database();
        let rows = |rows: &[schema::Row]| rows.iter().cloned().map(Value::Object).collect();
        database.tables.iter().map(|table| (table.name.clone(), Value::Array(rows(&table.rows)))).collect()
    }

    fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, request: &Request, kind: Kind, role: &str, subject: Option<String>, note: String) {
        self.ledger.write(Note {
            device: "supabase".to_owned(),
            kind,
            request: format!("{} {}", request.method, request.target),
            credential: role.to_owned(),
            subject,
            face: None,
            code: None,
            note: Some(note),
        });
    }

    fn respond(&self, request: &Request) -> Answer {
        if let Some(path) = request.path().strip_prefix("/storage/v1/") {
            return storage::answer(self, request, path);
        }
        let Some(path) = request.path().strip_prefix("/rest/v1/") else {
            return Answer::json(404, &json!({ "message": "no Route matched with those values" }));
        };
        match self.role(request) {
            Err(answer) => answer,
            Ok(role) => rest::answer(self, request, path, role).unwrap_or_else(Refusal::into_answer),
        }
    }

    /// Whose key came with the request.
    fn role(&self, request: &Request) -> Result<Role, Answer> {
        let key = request.header("apikey").map(str::to_owned).or_else(|| request.parameter("apikey"));
        let Some(key) = key else {
            self.note(request, Kind::KeyRefused, "none", None, "no key".to_owned());
            return Err(Answer::json(
                401,
                &json!({
                    "message": "No API key found in request",
                    "hint": "No `apikey` request header or url param was found.",
                }),
            ));
        };
        let role = match key.as_str() {
            SERVICE_KEY => Role::Service,
            PUBLISHABLE_KEY => Role::Anonymous,
            token => match legacy::read(token) {
                Ok(role) => role,
                Err(legacy::Flaw::Expired) => {
                    self.note(request, Kind::KeyRefused, "none", None, "expired key".to_owned());
                    return Err(Refusal::new(401, "PGRST303", "JWT expired").into_answer());
                }
                Err(_) => {
                    self.note(request, Kind::KeyRefused, "none", None, "wrong key".to_owned());
                    return Err(Answer::json(
                        401,
                        &json!({ "message": "Invalid API key", "hint": "Double check your Supabase `apikey`" }),
                    ));
                }
            },
        };
        let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if bearer.is_some_and(|token| token != key) {
            self.note(request, Kind::KeyRefused, "none", None, "wrong bearer token".to_owned());
            let text = "JWSError (CompactDecodeError Invalid number of parts: Expected 3 parts; got 1)";
            return Err(Refusal::new(401, "PGRST301", text).into_answer());
        }
        let browser = request.header("user-agent").is_some_and(|agent| agent.starts_with("Mozilla/"));
        if key == SERVICE_KEY && browser {
            return Err(Answer::json(
                401,
                &json!({ "message": "Forbidden use of secret API key in browser" }),
            ));
        }
        Ok(role)
    }
}

impl Peer for Supabase {
    fn answer(&self, request: Request) -> BoxFuture<'_, Reply> {
        async move {
            self.requests.fetch_add(1, Ordering::Relaxed);
            let fault = self.faults.take(&request);
            if let Some(fault) = &fault
                && let Some(reply) = fault.instead().await
            {
                return reply;
            }
            let reply = self.respond(&request).into();
            match fault {
                Some(fault) => fault.spoil(reply).await,
                None => reply,
            }
        }
        .boxed()
    }
}

/// Inserts objects with defaults and constraints.
fn insert_all(database: &mut Database, table: &str, rows: Vec<Value>) -> Result<(), String> {
    for row in rows {
        let Value::Object(row) = row else {
            return Err("a row is an object".to_owned());
        };
        database.insert(table, &row, &[]).map_err(|refusal| format!("{table}: {}", refusal.message))?;
    }
    Ok(())
}
