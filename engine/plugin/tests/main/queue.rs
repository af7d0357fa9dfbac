//! The event source of the plugin `hikpartner` against a simulated platform: at least once, and confirmed only after it was
//! stored.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bascule_capability::secret::{MasterKey, Secrets};
use bascule_capability::{Capabilities, Parts};
use bascule_database::Database;
use bascule_plugin::{Call, Context, Host, Limits, Plugin, Sink};
use bascule_sim::{Fleet, FleetOptions, Kind as Happened, PARTNER_KEY, PARTNER_SECRET, Scenario};
use bascule_workflow::failure::{Failure, Kind};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use xtask::components::{Package, build};

use crate::stage::host;

/// Stores events; the one with that number, counted from 0 over all, it cannot.
#[derive(Default)]
struct Events {
    stored: Mutex<Vec<(String, Value)>>,
    failing: Option<usize>,
}

impl Events {
    fn stored(&self) -> Vec<(String, Value)> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Sink for Events {
    async fn emit(&self, event: Value, key: Option<String>) -> Result<(), Failure> {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failing == Some(stored.len()) {
            return Err(Failure::new(Kind::Internal, "the disk is full"));
        }
        stored.push((key.unwrap_or_default(), event));
        Ok(())
    }

    async fn cursor(&self) -> Result<Option<Value>, Failure> {
        Ok(None)
    }

    async fn save_cursor(&self, _cursor: Value) -> Result<(), Failure> {
        Ok(())
    }

    fn state(&self, _connected: bool, _note: &str) {}
}

struct Gym {
    fleet: Fleet,
    host: Host,
    plugin: Plugin,
    capabilities: Capabilities,
    _folder: TempDir,
}

impl Gym {
    async fn open() -> Result<Self> {
        let options = FleetOptions { terminals: 0, scenario: Scenario::Empty, ..FleetOptions::default() };
        let fleet = Fleet::start(options).await?;
        fleet.hikpartner().change(|quirks| quirks.hold_ms = 2_000);
        let components = build(&[Package::Plugin { package: "hikpartner-plugin", component: "hikpartner" }])?;
        let host = host(Limits::default())?;
        let plugin = host.load_file("hikpartner", &components.join("hikpartner.wasm"), None)?;
        let folder = tempfile::tempdir()?;
        let inventory = format!(
            r#"connections:
  hikpartner:
    url: {}
    auth:
      token:
        path: /api/hpcgw/v1/token/get
        body: {{ appKey: {{ env: KEY }}, secretKey: {{ env: SECRET }} }}
        token: /data/accessToken
        expires: /data/expireTime
        origin: /data/areaDomain
        origins: ["127.0.0.1"]
        code: /errorCode
        expired: [LAP500004]
    allow: {{ methods: [POST], paths: [/api/hpcgw/v1/] }}
"#,
            fleet.hikpartner_url()
        );
        let (project, problems) = bascule_workflow::project::check("bascule.yaml", &inventory);
        let project = project.with_context(|| format!("{problems:?}"))?;
        let database = Database::open(&folder.path().join("bascule.db")).await?;
        let key = MasterKey::create(&folder.path().join("key"))?;
        let secret_of = |name: &str| match name {
            "KEY" => Some(PARTNER_KEY.to_owned()),
            "SECRET" => Some(PARTNER_SECRET.to_owned()),
            _ => None,
        };
        let root = folder.path().to_owned();
        let secrets = Secrets::open(database.clone(), key, root.clone(), Arc::new(secret_of)).await?;
        let capabilities = Capabilities::open(Parts { project, root, database, secrets }).await?;
        Ok(Self { fleet, host, plugin, capabilities, _folder: folder })
    }

    async fn stream(&self, events: Arc<Events>, cancel: CancellationToken) -> Result<Value, Failure> {
        let with = json!({ "server": "hikpartner" });
        let context = Context { timeout: Duration::from_secs(60), cancel, ..Context::default() };
        let call = Call::new("messages.stream", &with, context, &self.capabilities).with_sink(events);
        self.host.call(&self.plugin, call).await
    }

    /// Streams until so many batches were confirmed in all.
    async fn stream_until(&self, events: &Arc<Events>, batches: usize) -> Result<()> {
        let cancel = CancellationToken::new();
        let confirmed = self.fleet.ledger().until(|entries| {
            entries.iter().filter(|entry| entry.kind == Happened::BatchConfirmed).count() >= batches
        });
        tokio::select! {
            ended = self.stream(Arc::clone(events), cancel.clone()) => anyhow::bail!("it ended: {ended:?}"),
            () = confirmed => Ok(()),
        }
    }

    fn pass(&self, employee_no: &str) {
        self.fleet.hikpartner().pass("G10000001", employee_no, 75, "2026-11-21T08:00:00Z");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sink_did_not_store_comes_again_under_the_same_key() -> Result<()> {
    let gym = Gym::open().await?;
    let before = Arc::new(Events { failing: Some(2), ..Events::default() });
    let cancel = CancellationToken::new();
    let feeding = async {
        gym.fleet
            .ledger()
            .until(|entries| entries.iter().any(|one| one.kind == Happened::Subscription))
            .await;
        for number in ["G1", "G2", "G3"] {
            gym.pass(number);
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = gym.stream(Arc::clone(&before), cancel) => ended,
        () = feeding => Ok(Value::Null),
    };
    assert_eq!(ended.err().map(|failure| failure.message).as_deref(), Some("the disk is full"));
    assert_eq!(before.stored().len(), 2);
    // A batch may hold one or two of the three; whatever holds the third was not confirmed.
    assert!(gym.fleet.hikpartner().waiting_messages() >= 1, "the offset was sent too early");
    let confirmed = gym.fleet.ledger().of(Happened::BatchConfirmed).len();

    let after = Arc::new(Events::default());
    gym.stream_until(&after, confirmed + 1).await?;
    let third = after.stored();
    assert!(third.iter().any(|(_, event)| event["employee_no"] == "G3"), "{third:?}");
    // What came twice has the same key both times.
    for (key, event) in &third {
        if let Some((earlier, _)) = before.stored().iter().find(|(_, one)| one["serial"] == event["serial"]) {
            assert_eq!(earlier, key);
        }
    }
    let mut keys: Vec<String> = before.stored().into_iter().chain(third).map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert!(gym.fleet.hikpartner().waiting_messages() == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_in_the_middle_is_replaced_and_nothing_is_lost() -> Result<()> {
    let gym = Gym::open().await?;
    let events = Arc::new(Events::default());
    gym.fleet.hikpartner().change(|quirks| {
        quirks.hold_ms = 60_000;
        quirks.batch = 1;
        quirks.uses_of_a_token = 3;
    });
    let feeding = async {
        gym.fleet
            .ledger()
            .until(|entries| entries.iter().any(|one| one.kind == Happened::Subscription))
            .await;
        for number in 1..=6 {
            gym.pass(&format!("G{number}"));
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = gym.stream_until(&events, 6) => done?,
        () = feeding => {}
    }
    let numbers: Vec<String> = events
        .stored()
        .iter()
        .map(|(_, event)| event["employee_no"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(numbers, ["G1", "G2", "G3", "G4", "G5", "G6"]);
    assert!(gym.fleet.ledger().of(Happened::TokenGiven).len() >= 4);
    assert!(gym.fleet.ledger().of(Happened::KeyRefused).is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_reader_is_told_that_the_queue_has_one() -> Result<()> {
    let gym = Gym::open().await?;
    gym.fleet.hikpartner().change(|quirks| quirks.hold_ms = 60_000);
    let (one, two) = (Arc::new(Events::default()), Arc::new(Events::default()));
    let ended = tokio::select! {
        ended = gym.stream(one, CancellationToken::new()) => ended,
        ended = gym.stream(two, CancellationToken::new()) => ended,
    };
    let failure = ended.err().context("it did not fail")?;
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Busy, Some("hikpartner:LAP068001")));
    assert_eq!(failure.retry_after, Some(20_000));
    Ok(())
}
