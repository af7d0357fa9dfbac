//! Simulated systems that Bascule talks to: access terminals that speak ISAPI, recorders, a HikCentral, a Hik-Partner Pro, a Supabase, and a collector of traces. They check what they are
//! sent, misbehave on request, and keep a ledger of what they were really asked to change.
//!
//! Nothing here is shared with the client: the digest is recomputed, multipart and JPEG are read, HTTP is written by this
//! crate's own code, so that a mistake on one side is not repeated on the other. Everything listens on 127.0.0.1 only, on
//! ports that were free. Credentials, people and pictures are invented.
//!
//! Start with [`Fleet`], which runs terminals and a Supabase in this process, and [`Quirks`], which says how one
//! terminal behaves. The binary `bascule-sim` is the same with a command line.
//!
//! ```
//! # async fn example() -> anyhow::Result<()> {
//! use bascule_sim::{Fleet, FleetOptions, Scenario};
//!
//! let options = FleetOptions { terminals: 3, scenario: Scenario::Calm, ..FleetOptions::default() };
//! let fleet = Fleet::start(options).await?;
//! fleet.terminal(1).change(|quirks| quirks.lying = true);
//! assert!(fleet.terminal(1).url().starts_with("http://127.0.0.1:"));
//! fleet.stop().await
//! # }
//! ```

mod auth;
mod backend;
mod collector;
mod control;
mod fault;
mod fleet;
mod hikcentral;
mod hikpartner;
mod ledger;
mod photo;
mod quirks;
mod recorder;
mod scenario;
mod state;
mod supabase;
mod switches;
mod terminal;
mod wire;

pub use auth::{Algorithm, Parts as DigestParts, digest_response};
pub use backend::{BACKEND_KEY, Backend, BackendHabits, BackendResult};
pub use collector::{COLLECTOR_KEY, CollectedSpan, Collector};
pub use fault::{Fault, Mishap};
pub use fleet::{Fleet, FleetOptions};
pub use hikcentral::{
    APP_KEY, APP_SECRET, FullDatabase, HikCentral, HikCentralPerson, HikCentralQuirks, UnknownPath,
};
pub use hikpartner::{
    HikPartner, HikPartnerDevice, HikPartnerPerson, HikPartnerQuirks, PARTNER_KEY, PARTNER_SECRET,
};
pub use ledger::{Entry, FaceWrite, Kind, Ledger};
pub use photo::{Sampling, Sketch};
pub use quirks::{
    Algorithms, Basic, BusyAs, ChallengeForm, DeadNonce, Drip, EmptyDelete, EventHabits, Length, LockBody,
    Namespace, OverMax, OverlongName, Oversize, Parts, Position, Quirks, SetUp, Support, XmlVersion,
};
pub use recorder::{
    Container, DownloadMethod, Empty, Inputs, PositionName, RECORDER_PASSWORD, RECORDER_USER, RangeAnswer,
    Recorder, RecorderHabits, SearchId, SearchTime, Segment, Snapshot, TrackList, WrongPosition,
};
pub use scenario::{People, Person, Role, Scenario};
pub use supabase::{PUBLISHABLE_KEY, SERVICE_KEY, StorageLie, Supabase};
pub use terminal::{Card, Face, FaceState, Happening, PASSWORD, Terminal, TerminalState, USER, User};
