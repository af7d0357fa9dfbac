//! One site: everything that `bascule serve` puts together (`engine/cli/src/commands/serve.rs`), on a clock that is moved by
//! hand. What loops by itself there (schedules, files, what follows other runs, pruning) is stepped here, so that nothing is
//! late and nothing is waited for in real time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bascule_capability::secret::{MasterKey, Secret, Secrets};
use bascule_capability::{Capabilities, Parts as CapabilityParts};
use bascule_database::Database;
use bascule_run::clock::Clock as _;
use bascule_run::journal::SqliteJournal;
use bascule_run::observe::{Broadcast, Observer};
use bascule_run::{Parts, Runner};
use bascule_server::{Inventory, Metrics, Role, Server, ServerParts, Tokens};
use bascule_trigger::after::AfterParts;
use bascule_trigger::event::{Backoff, EventParts};
use bascule_trigger::file::{EVERY, FileParts, FolderPaths};
use bascule_trigger::overdue::WatchParts;
use bascule_trigger::schedule::ScheduleParts;
use bascule_trigger::{
    Admission, After, Book as _, DispatchParts, Dispatcher, Events, Files, Intake, Janitor, Scheduler, Swept,
    Watcher,
};
use bascule_workflow::project::Retention;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::clock::HandClock;
use super::desk::{Desk, Sandbox, Told};
use super::ear::{Ear, Together};
use super::shelf::Shelf;

/// As `bascule serve` has it.
const EVENTS: usize = 4096;
/// The webhooks' key.
const KEY: &str = "invented-key-of-the-soak";
/// Where nothing ends for so long, in real time, something hangs.
const STUCK: Duration = Duration::from_secs(120);

/// What several sites of one process share.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) client: reqwest::Client,
    /// The master key's file.
    pub(crate) key_file: PathBuf,
}

/// A site that serves.
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) ear: Arc<Ear>,
    pub(crate) database: Database,
    shelf: Arc<Shelf>,
    intake: Intake,
    dispatcher: Dispatcher,
    scheduler: Scheduler,
    after: After,
    files: Files,
    janitor: Janitor,
    server: Server,
    told: mpsc::Sender<Told>,
    listening: JoinHandle<()>,
    stop: CancellationToken,
    client: reqwest::Client,
    token: Secret,
    url: String,
}

/// Where the one folder is.
struct Inbox(PathBuf);

impl FolderPaths for Inbox {
    fn path(&self, _folder: &str) -> Option<PathBuf> {
        Some(self.0.clone())
    }
}

/// The file of the database in a site's folder.
pub(crate) fn database_in(folder: &Path) -> PathBuf {
    folder.join("bascule.db")
}

impl Site {
    /// A process begins to serve the folder. It is ready when this returns.
    pub(crate) async fn open(tools: &Tools, folder: &Path, now: Timestamp) -> Result<Self> {
        let inbox = folder.join("inbox");
        std::fs::create_dir_all(&inbox)?;
        let clock = Arc::new(HandClock::at(now));
        let database = Database::open(&database_in(folder)).await?;
        let key = MasterKey::load(&tools.key_file)?;
        let secrets =
            Secrets::open(database.clone(), key, folder.to_owned(), Arc::new(|_: &str| None)).await?;
        secrets.set("hook-key", Secret::new(KEY), None).await?;
        let journal = Arc::new(SqliteJournal::open(database.clone()).await?);
        let project = tools.shelf.project.clone();
        let capabilities = Capabilities::open(CapabilityParts {
            project: project.clone(),
            root: folder.to_owned(),
            database: database.clone(),
            secrets: secrets.clone(),
        })
        .await?;
        let (told, hears) = mpsc::channel(1);
        let desk = Arc::new(Desk::new(Arc::clone(&tools.sandbox), capabilities.clone(), hears));
        let (ear, metrics, events) =
            (Arc::new(Ear::new()), Arc::new(Metrics::default()), Broadcast::new(EVENTS));
        let observers: Vec<Arc<dyn Observer>> =
            vec![Arc::new(events.clone()), Arc::clone(&metrics) as _, Arc::clone(&ear) as _];
        let runner = Runner::with_call_timeout(
            Parts {
                journal: Arc::clone(&journal) as _,
                invoke: Arc::clone(&desk) as _,
                clock: Arc::clone(&clock) as _,
                observer: Arc::new(Together(observers)),
            },
            project.limits.call,
        );
        let intake = Intake::open(database.clone(), &journal, Arc::clone(&clock) as _).await?;
        let dispatcher = Dispatcher::start(DispatchParts {
            runner,
            journal: Arc::clone(&journal) as _,
            intake: intake.clone(),
            book: Arc::clone(&tools.shelf) as _,
            clock: Arc::clone(&clock) as _,
            at_once: usize::try_from(project.limits.runs)?,
        })
        .await?;
        let zone = project.time_zone.as_deref().context("the site has a time zone")?;
        let scheduler = Scheduler::new(ScheduleParts {
            intake: intake.clone(),
            book: Arc::clone(&tools.shelf) as _,
            clock: Arc::clone(&clock) as _,
            zone: TimeZone::get(zone)?,
        });
        let sources = Events::new(EventParts {
            intake: intake.clone(),
            book: Arc::clone(&tools.shelf) as _,
            clock: Arc::clone(&clock) as _,
            sources: desk,
            backoff: Backoff::default(),
        });
        let files = Files::new(FileParts {
            intake: intake.clone(),
            book: Arc::clone(&tools.shelf) as _,
            clock: Arc::clone(&clock) as _,
            folders: Arc::new(Inbox(inbox)),
            every: EVERY,
        });
        let after = After::new(AfterParts {
            intake: intake.clone(),
            book: Arc::clone(&tools.shelf) as _,
            journal: Arc::clone(&journal) as _,
        });
        let janitor = Janitor::new(intake.clone(), Arc::clone(&journal), Arc::clone(&clock) as _);
        let tokens = Tokens::open(database.clone()).await?;
        let token = tokens.lend("this-computer", Role::Admin)?;
        let (_, inventory) =
            watch::channel(Arc::new(Inventory { project, capabilities, refused: Vec::new() }));
        let server = Server::bind(
            SocketAddr::from(([127, 0, 0, 1], 0)),
            ServerParts {
                intake: intake.clone(),
                dispatcher: dispatcher.clone(),
                book: Arc::clone(&tools.shelf) as _,
                reload: Arc::clone(&tools.shelf) as _,
                inventory,
                journal,
                database: database.clone(),
                secrets,
                clock: Arc::clone(&clock) as _,
                events,
                tokens,
                metrics,
                scheduler: scheduler.clone(),
                sources: sources.clone(),
                files: files.clone(),
                janitor: janitor.clone(),
                telemetry: None,
                watcher: Watcher::new(WatchParts {
                    intake: intake.clone(),
                    book: Arc::clone(&tools.shelf) as _,
                    clock: Arc::clone(&clock) as _,
                }),
            },
        )
        .await?;
        let stop = CancellationToken::new();
        let listening = tokio::spawn({
            let stop = stop.clone();
            async move { sources.run(stop).await }
        });
        server.open();
        let url = format!("http://{}", server.address());
        let site = Self {
            folder: folder.to_owned(),
            clock,
            ear,
            database,
            shelf: Arc::clone(&tools.shelf),
            intake,
            dispatcher,
            scheduler,
            after,
            files,
            janitor,
            server,
            told,
            listening,
            stop,
            client: tools.client.clone(),
            token,
            url,
        };
        site.read("/ready").await?;
        Ok(site)
    }

    /// Waits until everything that can end at this instant has ended, and what follows from it too; gives the instant at
    /// which the next thing is due that waits inside the site.
    pub(crate) async fn settle(&self) -> Result<Option<Timestamp>> {
        let (mut changes, mut ends) = (self.ear.changes(), self.dispatcher.ends());
        let mut followed = false;
        loop {
            changes.mark_unchanged();
            ends.mark_unchanged();
            let now = self.clock.now();
            let (open, due, next): (i64, i64, Option<i64>) = sqlx::query_as(
                "SELECT (SELECT count(*) FROM run WHERE status IN ('queued', 'running')),
                        (SELECT count(*) FROM bucket WHERE due_at <= $1),
                        (SELECT min(due_at) FROM bucket)",
            )
            .bind(now.as_microsecond())
            .fetch_one(self.database.readers())
            .await?;
            let (waiting, first) = self.ear.waiting(now);
            if due == 0 && usize::try_from(open)?.max(self.ear.begun()) <= waiting {
                if followed {
                    let next = next.map(Timestamp::from_microsecond).transpose()?;
                    return Ok(next.into_iter().chain(first).min());
                }
                self.after.step().await?;
                followed = true;
                continue;
            }
            followed = false;
            let change = async {
                tokio::select! {
                    _told = changes.changed() => {}
                    _ended = ends.changed() => {}
                }
            };
            if tokio::time::timeout(STUCK, change).await.is_err() {
                bail!(
                    "nothing has ended for {STUCK:?}: at {now} {open} runs are open, {waiting} of them wait for a later \
                     instant, and {due} batches are due; under way: {:?}",
                    self.ear.under_way()
                );
            }
        }
    }

    /// Makes the runs of schedules that are due; gives the instant of the next one.
    pub(crate) async fn schedules(&self) -> Result<Option<Timestamp>> {
        Ok(self.scheduler.step().await?)
    }

    /// Asks for a run past triggers.
    pub(crate) async fn admit(&self, workflow: &str, trigger: Value) -> Result<()> {
        let workflow = self.shelf.current(workflow).context("there is no such workflow")?;
        let admitted = self.intake.admit(Admission::new(workflow, "soak", trigger)).await?;
        ensure!(admitted.run.is_some(), "no run: {admitted:?}");
        Ok(())
    }

    /// Sends a webhook.
    pub(crate) async fn hook(&self, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        let request = self
            .client
            .post(format!("{}/hooks/{path}", self.url))
            .header("X-Key", KEY)
            .header("Content-Type", "application/json")
            .body(body.to_string());
        let answer = request.send().await?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        let value = serde_json::from_slice(&bytes)
            .with_context(|| format!("answered {status}: {}", String::from_utf8_lossy(&bytes)))?;
        Ok((status, value))
    }

    /// A device tells something; it is stored when this returns.
    pub(crate) async fn tell(&self, event: Value) -> Result<()> {
        let (stored, answer) = oneshot::channel();
        self.told.send(Told { event, stored }).await.ok().context("the source has ended")?;
        let answer = tokio::time::timeout(STUCK, answer).await.context("the event is not taken")??;
        answer.map_err(|failure| anyhow::anyhow!("the event was not stored: {failure}"))
    }

    /// Looks at the folder.
    pub(crate) async fn files(&self) -> Result<()> {
        Ok(self.files.step().await?)
    }

    /// Takes away what is over.
    pub(crate) async fn sweep(&self, retention: &Retention) -> Result<Swept> {
        Ok(self.janitor.sweep(retention).await?)
    }

    /// Asks the API; gives how long the answer took.
    pub(crate) async fn read(&self, path: &str) -> Result<Duration> {
        let begun = Instant::now();
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(self.token.expose());
        let answer = request.send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(status.is_success() && !body.is_empty(), "{path} was answered with {status}");
        Ok(begun.elapsed())
    }

    /// Ends in order.
    pub(crate) async fn close(self) -> Result<()> {
        self.server.close_intake();
        let drained = self.dispatcher.drain(STUCK).await;
        ensure!(drained.cut_off == 0, "{} runs were cut off", drained.cut_off);
        self.stop.cancel();
        self.listening.await?;
        self.server.stop(Duration::from_secs(2)).await;
        self.database.close().await;
        Ok(())
    }
}
