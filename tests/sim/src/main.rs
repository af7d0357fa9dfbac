//! `bascule-sim`: simulated terminals and a simulated Supabase from the command line.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use bascule_sim::{Fleet, FleetOptions, Scenario};
use clap::{Parser, ValueEnum};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

/// Simulated access terminals and a simulated Supabase, on 127.0.0.1, on free ports.
///
/// Prints one line of JSON with all addresses and (invented) credentials when everything answers, then serves until
/// standard input closes, `POST /shutdown` comes to the control port, or it gets SIGTERM or SIGINT.
#[derive(Parser)]
#[command(version, after_long_help = HELP)]
struct Arguments {
    /// What is in the database and on the terminals, and who misbehaves.
    #[arg(long, value_enum, default_value = "demo")]
    scenario: Choice,
    /// How many terminals.
    #[arg(long, default_value_t = 25)]
    terminals: usize,
    /// How many recorders; with any there are the tables `recorders` and `recordings`.
    #[arg(long, default_value_t = 0)]
    recorders: usize,
    /// Where pictures and ids start; the same number makes the same fleet.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Terminals speak TLS with a self-signed certificate; its sha256 is in the ready line.
    #[arg(long)]
    tls: bool,
    /// Load people, faces and rows from this file if it exists, and write them there at the end.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Further tables for the Supabase, see below.
    #[arg(long, value_name = "FILE")]
    tables: Option<PathBuf>,
    /// Write the ready line to this file too.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Append every ledger entry to this file at once, one JSON line each.
    #[arg(long, value_name = "FILE")]
    write_ledger: Option<PathBuf>,
    /// Go on when standard input closes.
    #[arg(long)]
    detached: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Choice {
    /// Most terminals work; every third has no face yet, every eighth refuses FDModify, one is offline, one is locked, one lies (from five terminals on)
    Demo,
    /// Every terminal works and has an older face of everybody
    Calm,
    /// Every terminal works and has no face yet
    Fresh,
    /// Nobody on the terminals, nothing in the database
    Empty,
    /// Each terminal has another bad habit; `role` in the ready line names it
    Quirks,
}

impl From<Choice> for Scenario {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Demo => Self::Demo,
            Choice::Calm => Self::Calm,
            Choice::Fresh => Self::Fresh,
            Choice::Empty => Self::Empty,
            Choice::Quirks => Self::Quirks,
        }
    }
}

const HELP: &str = r#"Tables of the Supabase: companies, employees, biometrics (one per employee), devices, device_logs; for a gym members, gym_doors,
hik_persons. `devices` has a row per terminal with its port, and an inactive one. Functions: add_them(a, b), echo(value), active_devices(), devices_from(from_port), noop(). Buckets: photos
(public), documents (private). Roles of people are in the ready line: complete, relative_photo, leading_zeros, without_photo,
without_number, without_biometrics.

The Hik-Partner Pro has a site `Gym North` with the devices G10000001 and G10000002; G10000003 (verification code ABCDEF) can be
added. Tokens come from its `url`, everything else is answered at `area`.

Recorders (--recorders N) have channels, recordings of any size that are made while they are downloaded, and the habits of real
ones: PUT /recorders/ID/habits. `recorders` has a row per recorder with its port; `recordings` is for what is exported.

--tables FILE adds tables:
  { "cities": { "columns": { "id": "bigint", "name": "text" }, "primary_key": ["id"], "not_null": ["name"],
                "unique": [["name"]], "defaults": { "id": "identity" },
                "foreign_keys": [{ "column": "company_id", "table": "companies", "to": "id" }],
                "rows": [{ "name": "Iasi" }] } }
Types: text, uuid, bigint, double, boolean, timestamptz, date, jsonb, text[]. Defaults: identity, now, uuid, or a value.

Control port (JSON; a device is named by its id or its number from 0):
  GET    /devices, /devices/ID              state: port, online, locked, requests, failed logins, faces with sha256
  GET    /totals                            requests, users and faces of all terminals together
  GET    /devices/ID/quirks                 all switches; PUT changes those that are given
  POST   /devices/ID/events                 { "employee_no": "1001", "major": 5, "minor": 75, "at": "2026-11-21T08:00:00Z" }: somebody at the
                                              terminal; all keys may be left out
  POST   /devices/ID/offline | online | lock | unlock | reset | certificate
  GET    /recorders, /recorders/ID          state; PUT /recorders/ID/habits changes switches, GET shows them
  GET    /recorders/ID/segments[/NAME]      what is recorded; with a name its sha256
  POST   /recorders/ID/offline | online
  GET    /ledger?since=SEQ&device=ID&kind=KIND
  POST   /faults                            { "device": "terminal-01" | "supabase" | "hikcentral" | "backend" | "hikpartner" | "*", "path": "/ISAPI/", "method": "PUT",
                                              "authorized": true, "skip": 0, "times": 1, "after_effect": false,
                                              "mishap": "reset" | "silence" | "garbage" | "html" | { "status": { "status": 503 } } |
                                                { "cut": { "after": 20 } } | { "slow": { "bytes": 1, "every_ms": 50 } } |
                                                { "length": "short" } | { "delay": { "ms": 500 } } }
  DELETE /faults                            forgets all orders
  GET    /supabase/tables/T                 rows; PUT replaces them (a list) or defines the table (an object as above)
  PUT    /supabase/storage-lie              "forgets" or "halves": what the storage does although it says yes; "none"
  PUT    /supabase/max-rows                 a number: the most rows of one answer
  GET    /backend/jobs/ID                   results and state of a provisioning job; GET and PUT /backend/habits:
                                              { "forgets_results": 2 } says yes to two results and keeps neither
  GET    /hikcentral                        persons, groups, what reached the doors, subscriptions
  GET    /hikcentral/quirks                 all switches of the HikCentral; PUT changes those that are given
  POST   /hikcentral/push                   { "type": 196893, "data": { .. } }: an event push to the subscribers of that type
  GET    /hikpartner                        sites, devices and whom they admit, persons, what waits in the queue
  GET    /hikpartner/quirks                 all switches of the Hik-Partner Pro; PUT changes those that are given
  POST   /hikpartner/pass                   { "device": "G10000001", "employee_no": "G1001" }: an access event; "minor" and "at" too
  POST   /hikpartner/revoke                 no token given so far is good any more
  PUT    /hikpartner/devices/SERIAL/online | offline
  PUT    /hikpartner/devices/SERIAL/persons a list of persons enrolled on the device, for synchronising
  POST   /shutdown"#;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let fleet = Fleet::start(FleetOptions {
        terminals: arguments.terminals,
        recorders: arguments.recorders,
        scenario: arguments.scenario.into(),
        seed: arguments.seed,
        tls: arguments.tls,
        write_ledger: arguments.write_ledger,
        state: arguments.state,
        tables: arguments.tables,
    })
    .await?;
    let ready = fleet.ready().to_string();
    if let Some(path) = arguments.ready_file {
        // Whole or not at all, for whoever waits for the file.
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, &ready)?;
        std::fs::rename(&unfinished, &path)?;
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{ready}")?;
    out.flush()?;
    drop(out);
    tokio::select! {
        () = fleet.asked_to_end() => {}
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
        () = closed_input(), if !arguments.detached => {}
    }
    fleet.stop().await?;
    // The reader of standard input may still be waiting on its own thread; nothing is left to do.
    std::process::exit(0)
}

async fn closed_input() {
    let mut input = tokio::io::stdin();
    let mut ignored = [0_u8; 256];
    while let Ok(1..) = input.read(&mut ignored).await {}
}
