//! `bascule serve`

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bascule_capability::secret::Secret;
use bascule_run::clock::SystemClock;
use bascule_run::invoke::Invoke;
use bascule_run::observe::{Broadcast, Observer};
use bascule_run::{Parts, Runner};
use bascule_server::{BindError, Metrics, Role, Server, ServerParts, TokenInfo, Tokens};
use bascule_telemetry::Telemetry;
use bascule_trigger::{Book, DispatchParts, Dispatcher, Intake, Janitor, TriggerParts, Triggers};
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::arguments::Serve;
use crate::exit::{Exit, coded_with_help};
use crate::paint;
use crate::serving::{
    Address, Capacity, FolderBook, Folders, PluginSources, RunLog, Together, start_logs, watch_expiry,
    write_private,
};
use crate::site::{Places, Site, count, zone};
use crate::telemetry::{self, LAST_SPANS};

/// Events that a slow listener may be behind.
const EVENTS: usize = 4096;
/// How often it is looked whether the database can still be written.
const LOOK: Duration = Duration::from_millis(200);
/// How long open answers may take once everything else has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Room on the disk for what must still be written when it is full.
const RESERVE_BYTES: u64 = 16 << 20;

/// Why the server ends.
enum Why {
    /// SIGTERM or Ctrl-C.
    Asked,
    /// Writing to disk failed; nothing more can be promised.
    Broken(String),
}

/// Serves until it is told to stop.
pub(crate) async fn run(places: Places, options: Serve) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    raise_file_limit();
    let site = Arc::new(Site::open(places).await?);
    start_logs(options.log_format, &options.log, site.secrets.redactor().clone());
    let served = serve(&site, &options, &mut signals).await;
    Address::remove(&site.places);
    let exit = served?;
    if exit != Exit::Success {
        return Ok(exit);
    }
    let exit = site.close(Ok(exit)).await?;
    paint::note("stopped; runs that had not ended go on with the next start");
    Ok(exit)
}

async fn serve(site: &Arc<Site>, options: &Serve, signals: &mut Signals) -> Result<Exit> {
    let clock = Arc::new(SystemClock);
    site.database.keep_room(RESERVE_BYTES);
    let tokens = Tokens::open(site.database.clone()).await?;
    let first = tokens.is_empty();
    if first {
        first_tokens(site, &tokens).await?;
    }
    let book = Arc::new(FolderBook::open(Arc::clone(site)).await?);
    let (events, metrics) = (Broadcast::new(EVENTS), Arc::new(Metrics::default()));
    let inventory = book.inventory();
    let telemetry = telemetry::start(&site.project, site.secrets.redactor().clone(), move || {
        inventory.borrow().capabilities.collector()
    });
    let mut observers: Vec<Arc<dyn Observer>> =
        vec![Arc::new(events.clone()), Arc::clone(&metrics) as _, Arc::new(RunLog::default())];
    let mut invoke: Arc<dyn Invoke> = book.switch();
    if let Some(telemetry) = &telemetry {
        observers.push(telemetry.observer());
        invoke = telemetry.around(invoke);
    }
    let runner = Runner::with_call_timeout(
        Parts {
            journal: Arc::clone(&site.journal) as _,
            invoke,
            clock: Arc::clone(&clock) as _,
            observer: Arc::new(Together(observers)),
        },
        site.project.limits.call,
    );
    let intake = Intake::open(site.database.clone(), &site.journal, Arc::clone(&clock) as _).await?;
    let dispatcher = Dispatcher::start(DispatchParts {
        runner,
        journal: Arc::clone(&site.journal) as _,
        intake: intake.clone(),
        book: Arc::clone(&book) as _,
        clock: Arc::clone(&clock) as _,
        at_once: usize::try_from(site.project.limits.runs).unwrap_or(usize::MAX),
    })
    .await?;
    let triggers = Triggers::start(TriggerParts {
        intake: intake.clone(),
        dispatcher: dispatcher.clone(),
        journal: Arc::clone(&site.journal) as _,
        book: Arc::clone(&book) as _,
        clock: Arc::clone(&clock) as _,
        zone: zone(&site.project),
        sources: Arc::new(PluginSources {
            steps: book.switch(),
            sources: book.sources(),
            capacity: Capacity::of_this_process(),
            inventory: book.inventory(),
        }),
        folders: Arc::new(Folders { root: site.places.project.clone(), inventory: book.inventory() }),
    });
    let janitor = Janitor::new(intake.clone(), Arc::clone(&site.journal), Arc::clone(&clock) as _);
    let parts = ServerParts {
        intake,
        dispatcher: dispatcher.clone(),
        book: Arc::clone(&book) as _,
        reload: Arc::clone(&book) as _,
        inventory: book.inventory(),
        journal: Arc::clone(&site.journal) as _,
        database: site.database.clone(),
        secrets: site.secrets.clone(),
        clock,
        events,
        tokens: tokens.clone(),
        metrics,
        scheduler: triggers.scheduler.clone(),
        sources: triggers.events.clone(),
        files: triggers.files.clone(),
        watcher: triggers.watcher.clone(),
        janitor: janitor.clone(),
        telemetry: telemetry.as_ref().map(Telemetry::counts),
    };
    let server = Server::bind(options.listen, parts)
        .await
        .map_err(|error| unreachable_address(error, options.listen))?;
    let token = tokens.lend("this-computer", Role::Admin)?;
    site.secrets.redactor().add(&token);
    let url = format!("http://{}", server.address());
    let address = Address { url: url.clone(), pid: std::process::id(), token: token.expose().to_owned() };
    address.write(&site.places)?;
    announce(site, &*book, &server, &url);
    let watching = tokio::spawn({
        let book = Arc::clone(&book);
        async move { book.watch().await }
    });
    let keeping = tokio::spawn({
        let book = Arc::clone(&book);
        async move { book.look_after_kept().await }
    });
    let stop_pruning = CancellationToken::new();
    let pruning = tokio::spawn({
        let (inventory, stop) = (book.inventory(), stop_pruning.clone());
        async move { janitor.run(|| inventory.borrow().project.retention.clone(), stop).await }
    });
    let expiring = tokio::spawn(watch_expiry(site.secrets.clone(), book.inventory()));
    let open = async {
        triggers.scheduler.planned().await;
        server.open();
        let found_by = Address::file(&site.places);
        paint::note(format!("ready: {url} (other commands find it by {})", found_by.display()));
        std::future::pending::<std::convert::Infallible>().await
    };
    let why = tokio::select! {
        () = signals.next() => Why::Asked,
        reason = broken(site) => Why::Broken(reason),
        never = open => match never {},
    };
    watching.abort();
    keeping.abort();
    expiring.abort();
    stop_pruning.cancel();
    if let Err(error) = pruning.await {
        tracing::error!(%error, "pruning ended early");
    }
    match why {
        Why::Broken(reason) => {
            paint::note(format!(
                "the database can no longer be written ({reason}): stopping at once; check the disk"
            ));
            Ok(Exit::Storage)
        }
        Why::Asked => {
            let limit = options.grace;
            paint::note(format!(
                "stopping: steps under way may take {} s more; once more stops at once",
                limit.as_secs()
            ));
            server.close_intake();
            let ending = async {
                let (drained, ()) = tokio::join!(dispatcher.drain(limit), triggers.stop());
                server.stop(LAST_ANSWERS).await;
                if let Some(telemetry) = telemetry {
                    telemetry.stop(LAST_SPANS).await;
                }
                drained
            };
            tokio::select! {
                drained = ending => {
                    if drained.cut_off > 0 {
                        paint::note(format!("{} cut off in the middle of a call", count(drained.cut_off, "run")));
                    }
                    Ok(Exit::Success)
                }
                () = signals.next() => {
                    paint::note("stopped at once; the next start goes on");
                    Ok(Exit::Stopped)
                }
                reason = broken(site) => {
                    paint::note(format!("the database can no longer be written ({reason}); check the disk"));
                    Ok(Exit::Storage)
                }
            }
        }
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Returns why, once the database cannot be written any more.
async fn broken(site: &Site) -> String {
    loop {
        if let Some(reason) = site.database.broken() {
            return reason;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One token for each role, written where only this user can read them.
async fn first_tokens(site: &Site, tokens: &Tokens) -> Result<()> {
    let file = site.places.data.join("tokens");
    let write = |made: &[(TokenInfo, Secret)]| {
        let mut text =
            String::from("# The first tokens of this data folder. Hand them out, then remove this file.\n");
        for (info, secret) in made {
            site.secrets.redactor().add(secret);
            text.push_str(&format!("{} {}\n", info.name, secret.expose()));
        }
        write_private(&file, text.as_bytes())
    };
    tokens.create_first(Timestamp::now(), write).await?;
    paint::note(format!(
        "made a token for each role: {} (they cannot be shown again; `bascule token` makes and removes others)",
        file.display()
    ));
    Ok(())
}

/// Says what is served.
fn announce(site: &Site, book: &dyn Book, server: &Server, url: &str) {
    let workflows = book.all();
    let triggers: usize = workflows.iter().map(|workflow| workflow.triggers.len()).sum();
    paint::note(format!(
        "{} serves {} at {url}: {}, {}, {}",
        paint::strong("bascule"),
        site.places.project.display(),
        count(workflows.len(), "workflow"),
        count(triggers, "trigger"),
        count(server.webhooks(), "webhook"),
    ));
    for workflow in &workflows {
        let names: Vec<&str> = workflow.triggers.iter().map(|trigger| trigger.id.as_str()).collect();
        let names = if names.is_empty() { "by hand only".to_owned() } else { names.join(", ") };
        paint::note(format!("  {} {}", workflow.id, paint::dim(&names)));
    }
    if !server.address().ip().is_loopback() {
        paint::note(format!(
            "{} this address can be reached from the network, and nothing is encrypted: put a TLS proxy in front",
            paint::warn("warning:")
        ));
    }
}

fn unreachable_address(error: BindError, address: SocketAddr) -> anyhow::Error {
    let message = match &error {
        BindError::Address { source, .. } => format!("{error}: {source}"),
        BindError::Random(source) => format!("{error}: {source}"),
    };
    let help = format!("choose another with --listen, e.g. `--listen {}:0` for a free port", address.ip());
    coded_with_help(Exit::Unusable, message, help)
}

/// As many sockets and files as the system lets this process have: a stream for each device takes one.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(error) =
            setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
    {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}
