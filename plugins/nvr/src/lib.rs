//! The plugin `nvr`: recorders that speak ISAPI (`wit/plugin.wit` is its documentation).
//!
//! The functions of `device`, `search`, `download` and the others build requests and read answers over `bascule_sdk::Peer`, and
//! keep files and small values through the traits of `keep`; this file only hands the host's parameters to them. `reply` reads
//! the recorder's verdict. It holds no credentials and knows no addresses.

mod archive;
mod clock;
mod device;
mod dialect;
mod download;
mod keep;
mod reply;
mod search;
mod snapshot;

use bascule_sdk::{Connection, Error, Folder, Shelf, Store, call};
use bindings::exports::bascule::nvr::{archive as archive_api, device as device_api, recordings, snapshots};

bascule_sdk::plugin! { world: "bascule:nvr/plugin@0.1.0", wit: ["wit/plugin.wit"], path: ["../../wit", "wit"] }
bascule_sdk::export!(Plugin);

struct Plugin;

impl device_api::Guest for Plugin {
    fn info(recorder: &Connection) -> Result<device_api::Description, Error> {
        device::info(recorder)
    }

    fn status(recorder: &Connection) -> Result<device_api::Condition, Error> {
        device::status(recorder)
    }

    fn storage(recorder: &Connection) -> Result<Vec<device_api::Disk>, Error> {
        device::storage(recorder)
    }

    fn channels(recorder: &Connection) -> Result<Vec<device_api::Channel>, Error> {
        device::channels(recorder)
    }
}

impl recordings::Guest for Plugin {
    fn tracks(recorder: &Connection) -> Result<Vec<recordings::Track>, Error> {
        device::tracks(recorder)
    }

    fn days(recorder: &Connection, track: u32, year: u16, month: u8) -> Result<Vec<String>, Error> {
        device::days(recorder, track, year, month)
    }

    fn clock_of(recorder: &Connection, memory: &Store) -> Result<recordings::Clock, Error> {
        search::Searching::new(recorder, memory, seed()).clock().map(|clock| clock.told())
    }

    fn search(
        recorder: &Connection,
        memory: &Store,
        end: String,
        begin: Option<String>,
        hours: Option<u32>,
        channels: Option<Vec<u32>>,
        tracks: Option<Vec<u32>>,
        settle_seconds: Option<u32>,
        not_done: Option<String>,
    ) -> Result<recordings::Found, Error> {
        let wanted = search::Wanted { end, begin, hours, channels, tracks, settle_seconds, not_done };
        search::Searching::new(recorder, memory, seed()).run(&wanted)
    }

    fn download(
        recorder: &Connection,
        memory: &Store,
        folder: &Folder,
        name: String,
        segment: recordings::Segment,
        keep_unknown: Option<bool>,
    ) -> Result<recordings::File, Error> {
        let shelf = Shelf { connection: recorder, folder };
        let order =
            download::Order { name: &name, segment: &segment, keep_unknown: keep_unknown.unwrap_or(false) };
        download::download(&shelf, folder, memory, &order)
    }

    fn mark_done(memory: &Store, recorder_name: String, segment: String, file: String) -> Result<(), Error> {
        search::mark_done(memory, &recorder_name, &segment, &file, &call::now())
    }
}

impl archive_api::Guest for Plugin {
    fn retain(
        folder: &Folder,
        max_bytes: u64,
        below: Option<String>,
    ) -> Result<archive_api::Retained, Error> {
        archive::retain(folder, max_bytes, below.as_deref().unwrap_or_default())
    }
}

impl snapshots::Guest for Plugin {
    fn take(
        recorder: &Connection,
        folder: &Folder,
        name: String,
        channel: u32,
    ) -> Result<snapshots::Picture, Error> {
        snapshot::take(&Shelf { connection: recorder, folder }, folder, &name, channel)
    }
}

/// A seed that differs with every call, also with the retries of one: recorders keep a search under its id.
fn seed() -> String {
    format!("{}/{}/{}", call::idempotency_key(), call::attempt(), call::now())
}
