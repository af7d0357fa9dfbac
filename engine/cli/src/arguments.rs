//! The command line as clap reads it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit;
use crate::paint::When;

/// Automations between access terminals, recorders, HikCentral, Hik-Partner and Supabase.
///
/// A project is a folder with `bascule.yaml` (connections, folders, stores, plugins) and workflows. Start with
/// `bascule init my-site`, then `bascule check` and `bascule run WORKFLOW`.
#[derive(Parser, Debug)]
#[command(name = "bascule", version, after_help = exit::TABLE, propagate_version = true)]
pub(crate) struct Arguments {
    /// The project folder (with bascule.yaml).
    #[arg(short = 'C', long, value_name = "FOLDER", default_value = ".", global = true)]
    pub(crate) project: PathBuf,

    /// Where the journal, stores and encrypted secrets live [default: PROJECT/.bascule].
    #[arg(long, value_name = "FOLDER", env = "BASCULE_DATA", global = true)]
    pub(crate) data: Option<PathBuf>,

    /// The file with the key that opens the secrets [default: ~/.config/bascule/master.key].
    #[arg(long, value_name = "FILE", env = "BASCULE_KEY_FILE", global = true)]
    pub(crate) key_file: Option<PathBuf>,

    /// Where compiled plugins are kept; sealed with the key, so it may be shared [default: DATA/compiled].
    #[arg(long, value_name = "FOLDER", env = "BASCULE_CACHE", global = true)]
    pub(crate) cache: Option<PathBuf>,

    /// A folder with plugins (NAME.wasm) that bascule.yaml does not list [default: PROJECT/plugins].
    #[arg(long, value_name = "FOLDER", env = "BASCULE_PLUGINS", global = true)]
    pub(crate) plugins: Option<PathBuf>,

    /// When to use colour.
    #[arg(long, value_enum, default_value = "auto", global = true)]
    pub(crate) color: When,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Make a new project folder: bascule.yaml, a first workflow, and what to type next.
    Init(Init),
    /// Check workflows and bascule.yaml against the plugins' types; report every problem with its place.
    Check(Check),
    /// Run a workflow and watch it.
    Run(Run),
    /// Run the cases of the test files (NAME.test.yaml) beside the workflows; no device is needed.
    Test(Test),
    /// Serve the project: webhooks, schedules, events, the queue and the HTTP API, until it is told to stop.
    Serve(Serve),
    /// Who may use the server's API.
    #[command(subcommand)]
    Token(Token),
    /// What the server does by itself: list workflows, pause one, let it go on.
    #[command(subcommand)]
    Workflow(Workflow),
    /// What schedules do next.
    #[command(subcommand)]
    Schedule(Schedule),
    /// Look at everything that a site needs: what is wrong, why it matters, what to do.
    Doctor(Doctor),
    /// Take away what is over, as `retention` of bascule.yaml says; the server does it by itself every quarter of an hour.
    Prune(Prune),
    /// Go on with runs that were cut off.
    Resume(Resume),
    /// What ran, how it ended, and why.
    #[command(subcommand)]
    Runs(Runs),
    /// The plugins of this project: functions, types, docs.
    #[command(subcommand)]
    Plugin(Plugin),
    /// The connections of this project: list, test, pin a device's certificate.
    #[command(subcommand)]
    Connection(Connection),
    /// Secrets, encrypted at rest.
    #[command(subcommand)]
    Secret(Secret),
    /// Explain a problem's code, e.g. `bascule explain WF012`.
    Explain(Explain),
    /// Write JSON Schemas, with which editors complete and mark keys, functions and parameters.
    Schema(Schema),
    /// Print a completion script for a shell.
    Completions(Completions),
}

#[derive(Args, Debug)]
pub(crate) struct Init {
    /// The folder to make.
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub(crate) folder: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Workflow files or folders [default: PROJECT/workflows and bascule.yaml].
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// How to print problems.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Treat warnings as errors.
    #[arg(long)]
    pub(crate) strict: bool,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON value.
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Workflows, test files, or folders of them [default: PROJECT/workflows].
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Only cases with this in their name, which is `WORKFLOW: CASE`.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// How to print the outcome.
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
    /// Show steps and requests of cases that passed, too.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The workflow's name (its file's stem in PROJECT/workflows) or a file.
    #[arg(value_name = "WORKFLOW")]
    pub(crate) workflow: String,
    /// An input, e.g. `-i employee_id=…`; repeat for more.
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,
    /// All inputs as a JSON object, `@FILE` to read one, `-` for standard input.
    #[arg(long, value_name = "JSON", conflicts_with = "inputs")]
    pub(crate) inputs_json: Option<String>,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct Show {
    /// Print events and the result as JSON lines.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print only the result.
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print the plugins' log lines too.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8710", env = "BASCULE_LISTEN")]
    pub(crate) listen: std::net::SocketAddr,
    /// How long steps under way may take once it is told to stop, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "8", value_parser = seconds)]
    pub(crate) grace: std::time::Duration,
    /// How to write the log.
    #[arg(long, value_enum, default_value = "text", env = "BASCULE_LOG_FORMAT")]
    pub(crate) log_format: LogFormat,
    /// What to write to the log, e.g. `info` or `info,bascule_server=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "BASCULE_LOG")]
    pub(crate) log: String,
}

fn seconds(text: &str) -> Result<std::time::Duration, std::num::ParseIntError> {
    text.parse().map(std::time::Duration::from_secs)
}

/// So long ago, or an instant.
fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago =
        bascule_workflow::quantity::duration(text).map_err(|error| format!("{error}: {}", error.help))?;
    let ago = jiff::SignedDuration::try_from(ago).map_err(|error| error.to_string())?;
    jiff::Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}

/// How to write the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Token {
    /// Make a token; it is printed once and cannot be shown again.
    Create {
        /// Who or what it is for.
        #[arg(value_name = "NAME")]
        name: String,
        /// What it may do.
        #[arg(long, value_enum, default_value = "viewer")]
        role: TokenRole,
    },
    /// Names and roles, never tokens.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove a token; it is of no use from then on.
    Remove {
        /// Its name or id.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// What a token may do; each may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenRole {
    /// Looks.
    Viewer,
    /// Starts, cancels, pauses, tests.
    Operator,
    /// Sets secrets, pins certificates, prunes, makes and removes tokens.
    Admin,
}

impl std::convert::From<TokenRole> for bascule_server::Role {
    fn from(role: TokenRole) -> Self {
        match role {
            TokenRole::Viewer => Self::Viewer,
            TokenRole::Operator => Self::Operator,
            TokenRole::Admin => Self::Admin,
        }
    }
}

#[derive(Subcommand, Debug)]
pub(crate) enum Workflow {
    /// The workflows: triggers, what waits, what is paused.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Nothing of a workflow begins from now on, also after a restart; what comes in waits.
    Pause {
        /// The workflow.
        #[arg(value_name = "WORKFLOW")]
        name: String,
        /// Why, for whoever wonders later.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// A paused workflow goes on, with what has waited.
    Unpause {
        /// The workflow.
        #[arg(value_name = "WORKFLOW")]
        name: String,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Schedule {
    /// The next runs of schedules, in the site's zone and in the schedule's own.
    Next {
        /// How many.
        #[arg(short = 'n', long, default_value_t = 10, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
        /// Only of this workflow.
        #[arg(long, value_name = "NAME")]
        workflow: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Workflows that an `overdue` trigger watches: when each succeeded last, and when it is overdue.
    Overdue {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// A parameter for connections that want one, e.g. `--param device={"ip":"10.0.0.7","port":80}`.
    #[arg(short, long = "param", value_name = "NAME=JSON")]
    pub(crate) params: Vec<String>,
    /// Ask no peer.
    #[arg(long)]
    pub(crate) offline: bool,
    /// Treat warnings as errors.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Prune {
    /// Only say what would go.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Resume {
    /// The run, or the first characters of its id; without one every run that was cut off.
    #[arg(value_name = "RUN")]
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Runs {
    /// The latest runs.
    List {
        /// Only of this workflow.
        #[arg(long, value_name = "NAME")]
        workflow: Option<String>,
        /// Only with this status, e.g. failed.
        #[arg(long, value_name = "STATUS")]
        status: Option<String>,
        /// Only those that were started since then: `12h` ago, `7d` ago, or an instant (2026-11-21T20:00:00Z).
        #[arg(long, value_name = "TIME", value_parser = since)]
        since: Option<jiff::Timestamp>,
        /// How many.
        #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Cancel a run: nothing new begins, `undo` and `finally` run. Also while another process works on it.
    Cancel {
        /// The run, or the first characters of its id; `last` for the latest.
        #[arg(value_name = "RUN")]
        run: String,
    },
    /// Run again what did not succeed, as the next attempt of the same run; or all of it, as a new run.
    Rerun(Rerun),
    /// One run: its steps, items and attempts in order, errors in full.
    Show {
        /// The run, or the first characters of its id; `last` for the latest.
        #[arg(value_name = "RUN")]
        run: String,
        /// Only this step.
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
        /// Only this item of a `for-each`, by its key.
        #[arg(long, value_name = "KEY")]
        item: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Rerun {
    /// The run, or the first characters of its id; `last` for the latest.
    #[arg(value_name = "RUN")]
    pub(crate) run: String,
    /// Where to begin: at what `failed` (what succeeded is kept), or at the `start` (a new run).
    #[arg(long, value_enum, default_value = "failed")]
    pub(crate) from: From,
    /// By the workflow's present text, not the one that the run began with.
    #[arg(long)]
    pub(crate) latest: bool,
    /// Another value of an input, e.g. `-i floor=3`; repeat for more. The others stay as they were.
    #[arg(short, long = "input", value_name = "NAME=VALUE")]
    pub(crate) inputs: Vec<String>,
    /// Other values as a JSON object, `@FILE` to read one, `-` for standard input.
    #[arg(long, value_name = "JSON", conflicts_with = "inputs")]
    pub(crate) inputs_json: Option<String>,
    #[command(flatten)]
    pub(crate) show: Show,
}

/// Where a rerun begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// What succeeded is kept.
    Failed,
    /// A new run with the same inputs and trigger.
    Start,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Plugin {
    /// The plugins and where they come from.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// A plugin's functions with their types and docs.
    Show {
        /// The plugin, or one function: `isapi` or `isapi/faces.modify`; or a .wasm file.
        #[arg(value_name = "NAME")]
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Connection {
    /// The connections of bascule.yaml.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask a connection's test path once, with its credentials.
    Test {
        /// The connection.
        #[arg(value_name = "NAME")]
        name: String,
        /// A parameter, e.g. `--param device={"ip":"10.0.0.7","port":80}`.
        #[arg(short, long = "param", value_name = "NAME=JSON")]
        params: Vec<String>,
    },
    /// Show a device's certificate fingerprint and, once confirmed, trust exactly that certificate.
    Pin {
        /// The connection.
        #[arg(value_name = "NAME")]
        name: String,
        /// A parameter, e.g. `--param device={"ip":"10.0.0.7","port":443}`.
        #[arg(short, long = "param", value_name = "NAME=JSON")]
        params: Vec<String>,
        /// Pin it only if it is this one (64 hexadecimal digits): no question is asked.
        #[arg(long, value_name = "SHA256")]
        expect: Option<String>,
    },
}

#[derive(Subcommand, Debug)]
pub(crate) enum Secret {
    /// Store a secret; its value is read from standard input, never from the command line.
    Set {
        /// Its name, as bascule.yaml says it.
        #[arg(value_name = "NAME")]
        name: String,
        /// When it stops being good, e.g. 2026-12-31T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        expires: Option<jiff::Timestamp>,
    },
    /// Names and dates, never values.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Forget a secret.
    Remove {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// The code; without one, all codes with their titles.
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// All codes with their explanations, as Markdown.
    #[arg(long, conflicts_with = "code")]
    pub(crate) all: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Again after plugins, connections or workflows came or went: the schema knows their names."
)]
pub(crate) struct Schema {
    /// Print one of them instead of writing files.
    #[arg(long, value_enum, value_name = "WHICH")]
    pub(crate) print: Option<SchemaOf>,
    /// Where the files go [default: PROJECT/schema].
    #[arg(long, value_name = "FOLDER", conflicts_with = "print")]
    pub(crate) folder: Option<PathBuf>,
}

/// What a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SchemaOf {
    /// Of workflow files.
    Workflow,
    /// Of bascule.yaml.
    Inventory,
}

#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}
