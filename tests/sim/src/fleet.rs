//! Many terminals, one Supabase and a control port, in one process.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::{BACKEND_KEY, Backend};
use crate::control::Control;
use crate::hikcentral::{APP_KEY, APP_SECRET, HikCentral};
use crate::hikpartner::{self, HikPartner, PARTNER_KEY, PARTNER_SECRET};
use crate::ledger::Ledger;
use crate::recorder::{self, Machine, RECORDER_PASSWORD, RECORDER_USER, Recorder};
use crate::scenario::{self, People, Scenario};
use crate::state;
use crate::supabase::{PUBLISHABLE_KEY, SERVICE_KEY, Supabase};
use crate::terminal::{Device, PASSWORD, Terminal, USER, push};
use crate::wire::door::Door;
use crate::wire::tls::Identity;

/// What to start.
#[derive(Clone, Debug)]
pub struct FleetOptions {
    /// How many terminals.
    pub terminals: usize,
    /// How many recorders; with any there are the tables `recorders` and `recordings`.
    pub recorders: usize,
    /// What they and the database hold, and how they behave.
    pub scenario: Scenario,
    /// Where pictures and ids start; the same number makes the same fleet.
    pub seed: u64,
    /// Terminals speak TLS with a self-signed certificate.
    pub tls: bool,
    /// Every ledger entry is appended to this file at once.
    pub write_ledger: Option<PathBuf>,
    /// People, faces and rows are loaded from this file if it exists, and written there by [`Fleet::stop`].
    pub state: Option<PathBuf>,
    /// Further tables for the database, a JSON file: see `bascule-sim --help`.
    pub tables: Option<PathBuf>,
}

impl Default for FleetOptions {
    /// Two terminals of the scenario [`Scenario::Calm`], seed 7, plain HTTP, no files.
    fn default() -> Self {
        Self {
            terminals: 2,
            recorders: 0,
            scenario: Scenario::Calm,
            seed: 7,
            tls: false,
            write_ledger: None,
            state: None,
            tables: None,
        }
    }
}

/// A running fleet. Dropping it ends everything it started; [`Fleet::stop`] also waits for that.
pub struct Fleet {
    shared: Arc<Shared>,
    supabase_door: Door,
    hikcentral_door: Door,
    backend_door: Door,
    hikpartner_doors: [Door; 2],
    control_door: Door,
    tasks: TaskTracker,
    ended: CancellationToken,
    state: Option<PathBuf>,
}

/// What the fleet and its control port both hold.
pub(crate) struct Shared {
    pub(crate) terminals: Vec<Terminal>,
    pub(crate) recorders: Vec<Recorder>,
    pub(crate) supabase: Arc<Supabase>,
    pub(crate) hikcentral: Arc<HikCentral>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) hikpartner: Arc<HikPartner>,
    pub(crate) ledger: Ledger,
    pub(crate) people: People,
    pub(crate) roles: Vec<String>,
    /// Somebody asked for the end over the control port.
    pub(crate) asked_to_end: CancellationToken,
}

impl Fleet {
    /// Starts everything and returns when all ports answer.
    ///
    /// # Errors
    /// A port cannot be bound, or a file cannot be read or written.
    pub async fn start(options: FleetOptions) -> Result<Self> {
        raise_file_limit();
        let ledger = Ledger::open(options.write_ledger.as_deref())?;
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let identity = options.tls.then(Identity::new).transpose()?.map(Arc::new);
        let cast = scenario::cast(options.scenario, options.terminals, options.seed);

        let supabase = Arc::new(Supabase::new(ledger.clone()));
        let supabase_door =
            Door::open(Arc::clone(&supabase) as _, None, tasks.clone(), ended.clone()).await?;
        supabase.set_origin(format!("http://127.0.0.1:{}", supabase_door.port()));

        let hikcentral = Arc::new(HikCentral::new(ledger.clone()));
        let hikcentral_door =
            Door::open(Arc::clone(&hikcentral) as _, None, tasks.clone(), ended.clone()).await?;

        let backend = Arc::new(Backend::new(ledger.clone()));
        let backend_door = Door::open(Arc::clone(&backend) as _, None, tasks.clone(), ended.clone()).await?;

        let hikpartner = Arc::new(HikPartner::new(ledger.clone()));
        let front = Arc::new(hikpartner::Front(Arc::clone(&hikpartner)));
        let front = Door::open(front, None, tasks.clone(), ended.clone()).await?;
        let area = Arc::new(hikpartner::Area(Arc::clone(&hikpartner)));
        let area = Door::open(area, None, tasks.clone(), ended.clone()).await?;
        hikpartner.set_area(format!("http://127.0.0.1:{}", area.port()));

        let mut terminals = Vec::with_capacity(cast.terminals.len());
        let mut roles = Vec::with_capacity(cast.terminals.len());
        let mut absent = Vec::new();
        for (number, made) in cast.terminals.into_iter().enumerate() {
            let (offline, locked) = (made.initial.offline, made.initial.locked);
            let device = Arc::new(Device::new(number, made.id, made.name, made.initial, ledger.clone()));
            device.myself.get_or_init(|| Arc::downgrade(&device));
            for slot in 0..2 {
                tasks.spawn(push::serve(Arc::clone(&device), slot, ended.clone()));
            }
            let door =
                Door::open(Arc::clone(&device) as _, identity.clone(), tasks.clone(), ended.clone()).await?;
            let scheme = if options.tls { "https" } else { "http" };
            let origin = device.origin.get_or_init(|| format!("{scheme}://127.0.0.1:{}", door.port()));
            debug_assert!(origin.ends_with(&door.port().to_string()));
            let terminal = Terminal { device, door, identity: identity.clone() };
            if locked {
                terminal.lock();
            }
            if offline {
                absent.push(number);
            }
            roles.push(made.role);
            terminals.push(terminal);
        }

        let mut recorders = Vec::with_capacity(options.recorders);
        for number in 0..options.recorders {
            let machine = Arc::new(Machine::new(number, options.seed, ledger.clone()));
            let door = Door::open(Arc::clone(&machine) as _, None, tasks.clone(), ended.clone()).await?;
            recorders.push(Recorder { machine, door });
        }

        scenario::fill(&supabase, &cast.people, &terminals, options.seed)?;
        scenario::order(&backend, &cast.people, &terminals);
        supabase.define_tables(&hikpartner::tables()).map_err(anyhow::Error::msg)?;
        if !recorders.is_empty() {
            supabase.define_tables(&recorder::tables()).map_err(anyhow::Error::msg)?;
            supabase.seed("recorders", recorders.iter().map(Recorder::row).collect())?;
        }
        if let Some(path) = &options.tables {
            let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let tables: Value =
                serde_json::from_slice(&text).with_context(|| format!("in {}", path.display()))?;
            supabase
                .define_tables(&tables)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("in {}", path.display()))?;
        }
        if let Some(path) = options.state.as_deref().filter(|path| path.exists()) {
            state::load(path, &terminals, &supabase)?;
        }
        for number in absent {
            if let Some(terminal) = terminals.get(number) {
                terminal.offline().await?;
            }
        }

        let asked_to_end = CancellationToken::new();
        let shared = Arc::new(Shared {
            terminals,
            recorders,
            supabase,
            hikcentral,
            backend,
            hikpartner,
            ledger,
            people: cast.people,
            roles,
            asked_to_end,
        });
        let control = Arc::new(Control(Arc::clone(&shared)));
        let control_door = Door::open(control, None, tasks.clone(), ended.clone()).await?;
        Ok(Self {
            shared,
            supabase_door,
            hikcentral_door,
            backend_door,
            hikpartner_doors: [front, area],
            control_door,
            tasks,
            ended,
            state: options.state,
        })
    }

    /// `http://127.0.0.1:PORT` of the Supabase.
    pub fn supabase_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.supabase_door.port())
    }

    /// `http://127.0.0.1:PORT` of the HikCentral.
    pub fn hikcentral_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.hikcentral_door.port())
    }

    /// `http://127.0.0.1:PORT` of the school's backend.
    pub fn backend_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.backend_door.port())
    }

    /// The backend itself: jobs, results, logs.
    pub fn backend(&self) -> &Backend {
        &self.shared.backend
    }

    /// The HikCentral itself: persons, groups, switches.
    pub fn hikcentral(&self) -> &HikCentral {
        &self.shared.hikcentral
    }

    /// `http://127.0.0.1:PORT` of the Hik-Partner's front door, where tokens are given.
    pub fn hikpartner_url(&self) -> String {
        let [front, _area] = &self.hikpartner_doors;
        format!("http://127.0.0.1:{}", front.port())
    }

    /// The Hik-Partner itself: sites, devices, persons, messages, switches.
    pub fn hikpartner(&self) -> &HikPartner {
        &self.shared.hikpartner
    }

    /// `http://127.0.0.1:PORT` of the control port.
    pub fn control_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.control_door.port())
    }

    /// The Supabase itself: rows, faults, objects.
    pub fn supabase(&self) -> &Supabase {
        &self.shared.supabase
    }

    /// Terminal number `index`, from 0.
    ///
    /// # Panics
    /// There are not so many.
    pub fn terminal(&self, index: usize) -> &Terminal {
        &self.shared.terminals[index]
    }

    /// The terminal with that id.
    pub fn terminal_by_id(&self, id: &str) -> Option<&Terminal> {
        self.shared.terminals.iter().find(|terminal| terminal.id() == id)
    }

    /// All terminals.
    pub fn terminals(&self) -> &[Terminal] {
        &self.shared.terminals
    }

    /// Recorder number `index`, from 0.
    ///
    /// # Panics
    /// There are not so many.
    pub fn recorder(&self, index: usize) -> &Recorder {
        &self.shared.recorders[index]
    }

    /// All recorders.
    pub fn recorders(&self) -> &[Recorder] {
        &self.shared.recorders
    }

    /// What each terminal is in the scenario, e.g. `offline`, in their order.
    pub fn roles(&self) -> &[String] {
        &self.shared.roles
    }

    /// The people of the scenario.
    pub fn people(&self) -> &People {
        &self.shared.people
    }

    /// What was asked of terminals and database so far.
    pub fn ledger(&self) -> &Ledger {
        &self.shared.ledger
    }

    /// Addresses and credentials, as the binary prints them when it is ready.
    pub fn ready(&self) -> Value {
        let list: Vec<Value> = self.shared.terminals.iter().zip(&self.shared.roles).map(|(terminal, role)| {
            json!({ "id": terminal.id(), "port": terminal.port(), "url": terminal.url(), "role": role })
        }).collect();
        let fingerprint = self.shared.terminals.first().and_then(|terminal| terminal.identity.as_ref());
        let mut ready = json!({
            "supabase": {
                "url": self.supabase_url(), "service_key": SERVICE_KEY, "publishable_key": PUBLISHABLE_KEY,
            },
            "hikcentral": {
                "url": self.hikcentral_url(), "app_key": APP_KEY, "app_secret": APP_SECRET,
            },
            "backend": { "url": self.backend_url(), "key": BACKEND_KEY, "job": scenario::JOB },
            "hikpartner": {
                "url": self.hikpartner_url(), "area": self.hikpartner().area_url(), "app_key": PARTNER_KEY,
                "secret_key": PARTNER_SECRET,
            },
            "terminals": {
                "user": USER, "password": PASSWORD, "count": list.len(),
                "fingerprint": fingerprint.map(|identity| identity.fingerprint()), "list": list,
            },
            "control": self.control_url(),
            "employees": self.shared.people.ready(),
        });
        if !self.shared.recorders.is_empty() {
            let list: Vec<Value> = self
                .shared
                .recorders
                .iter()
                .map(
                    |recorder| json!({ "id": recorder.id(), "port": recorder.port(), "url": recorder.url() }),
                )
                .collect();
            ready["recorders"] = json!({
                "user": RECORDER_USER, "password": RECORDER_PASSWORD, "count": list.len(), "list": list,
            });
        }
        ready
    }

    /// Waits until somebody asks for the end over the control port.
    pub async fn asked_to_end(&self) {
        self.shared.asked_to_end.cancelled().await;
    }

    /// Ends everything, waits for it, and writes the state file if there is one.
    ///
    /// # Errors
    /// The state file cannot be written.
    pub async fn stop(self) -> Result<()> {
        self.ended.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        match &self.state {
            Some(path) => state::save(path, &self.shared.terminals, &self.shared.supabase),
            None => Ok(()),
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// A listener and some connections for each of a thousand terminals are more than the usual 1,024 files.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        // If it is refused, fewer terminals fit, and binding the first too many says so.
        let _refused =
            setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).err();
    }
}
