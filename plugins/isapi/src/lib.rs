//! The plugin `isapi`: terminals that speak ISAPI (`wit/plugin.wit` is its documentation).
//!
//! Every other file builds requests and reads answers over `bascule_sdk::Peer`; this one only hands the host's parameters
//! to them. `reply` reads the terminal's verdict, `verdict` turns it into an error.
//! It holds no credentials and knows no addresses.

mod about;
mod cards;
mod civil;
mod clock;
mod decode;
mod device;
mod doors;
mod enrol;
mod events;
mod faces;
mod gallery;
mod hosts;
mod notice;
mod person;
mod picture;
#[cfg(test)]
mod recorded;
mod removal;
mod reply;
mod scan;
mod stream;
mod users;
mod verdict;

use bascule_sdk::events::Sink;
use bascule_sdk::{Connection, Error, Folder, Shelf, call};
use bindings::exports::bascule::isapi::{
    cards as cards_api, device as device_api, doors as doors_api, events as events_api, faces as faces_api,
    hosts as hosts_api, users as users_api,
};

bascule_sdk::plugin! {
    world: "bascule:isapi/plugin@0.1.0",
    wit: ["wit/plugin.wit"],
    path: ["../../wit", "wit"],
    uses: [types, http, storage, events]
}
bascule_sdk::export!(Plugin);

struct Plugin;

/// What a function that waits for a terminal leaves for the rest of its work, in milliseconds.
const RESERVE: u64 = 5_000;
/// The same for one that only listens.
const STREAM_RESERVE: u64 = 400;
/// How far the clock of a terminal may be ahead for its latest events to be found, in seconds.
const AHEAD: i64 = 3_600;

/// This very call may have been sent before: a retry, or the same call after a crash.
fn repeated() -> bool {
    call::attempt() > 1
}

/// The host's clock, in seconds since 1970.
fn now() -> i64 {
    civil::instant(&call::now()).map_or(0, |(seconds, _)| seconds)
}

impl device_api::Guest for Plugin {
    fn info(terminal: &Connection) -> Result<device_api::Description, Error> {
        device::info(terminal)
    }

    fn status(terminal: &Connection) -> Result<device_api::State, Error> {
        about::status(terminal)
    }

    fn capabilities(terminal: &Connection) -> Result<device_api::Abilities, Error> {
        about::capabilities(terminal)
    }

    fn time(terminal: &Connection) -> Result<device_api::Clock, Error> {
        clock::time(terminal, &now)
    }

    fn set_time(
        terminal: &Connection,
        mode: Option<String>,
        local_time: Option<String>,
        time_zone: Option<String>,
    ) -> Result<device_api::Clock, Error> {
        clock::set_time(terminal, clock::Change { mode, local_time, time_zone }, &now)
    }

    fn ntp(terminal: &Connection) -> Result<Vec<device_api::TimeServer>, Error> {
        clock::ntp(terminal)
    }

    fn set_ntp(
        terminal: &Connection,
        host: String,
        port: Option<u16>,
        interval_minutes: Option<u32>,
    ) -> Result<device_api::TimeServer, Error> {
        clock::set_ntp(terminal, &host, port.unwrap_or(123), interval_minutes)
    }

    fn network(terminal: &Connection) -> Result<Vec<device_api::NetworkInterface>, Error> {
        about::network(terminal)
    }
}

impl users_api::Guest for Plugin {
    fn search(
        terminal: &Connection,
        matching: Option<String>,
        employee_nos: Option<Vec<String>>,
        has_face: Option<bool>,
        limit: Option<u32>,
    ) -> Result<Vec<users_api::User>, Error> {
        let wanted = users::Wanted { matching, employee_nos, has_face, limit };
        users::search(terminal, &wanted, &users::seed())
    }

    fn get(terminal: &Connection, employee_no: String) -> Result<users_api::User, Error> {
        users::get(terminal, &employee_no, &users::seed())
    }

    fn count(terminal: &Connection) -> Result<users_api::Counts, Error> {
        users::count(terminal)
    }

    fn employee_nos(terminal: &Connection, has_face: Option<bool>) -> Result<Vec<String>, Error> {
        users::employee_nos(terminal, has_face, &users::seed())
    }

    fn ensure_free(terminal: &Connection, employee_no: String) -> Result<(), Error> {
        enrol::ensure_free(terminal, &employee_no, &users::seed())
    }

    fn create(terminal: &Connection, person: users_api::Person) -> Result<users_api::Enrolled, Error> {
        enrol::create(terminal, person, repeated(), &users::seed())
    }

    fn modify(
        terminal: &Connection,
        employee_no: String,
        name: Option<String>,
        user_type: Option<String>,
        gender: Option<String>,
        valid: Option<users_api::Validity>,
        door_right: Option<String>,
        extra: Option<String>,
    ) -> Result<users_api::Enrolled, Error> {
        let change = person::Change { name, user_type, gender, valid, door_right, plan: None, extra };
        enrol::modify(terminal, &employee_no, change, &users::seed())
    }

    fn set_up(terminal: &Connection, person: users_api::Person) -> Result<users_api::Enrolled, Error> {
        enrol::set_up(terminal, person, &users::seed())
    }

    fn recreate(terminal: &Connection, person: users_api::Person) -> Result<users_api::Enrolled, Error> {
        enrol::recreate(terminal, person, &users::seed())
    }

    fn delete(terminal: &Connection, employee_no: String) -> Result<(), Error> {
        removal::delete(terminal, &[employee_no], &users::seed()).map(|_| ())
    }

    fn delete_listed(terminal: &Connection, employee_nos: Vec<String>) -> Result<u32, Error> {
        removal::delete(terminal, &employee_nos, &users::seed())
    }

    fn delete_with_credentials(terminal: &Connection, employee_nos: Vec<String>) -> Result<u32, Error> {
        removal::delete_with_credentials(terminal, &employee_nos, &users::seed(), &|| {
            call::remaining() > RESERVE && !call::cancelled()
        })
    }
}

impl cards_api::Guest for Plugin {
    fn search(
        terminal: &Connection,
        employee_nos: Option<Vec<String>>,
        card_nos: Option<Vec<String>>,
    ) -> Result<Vec<cards_api::Card>, Error> {
        cards::search(terminal, employee_nos.as_deref(), card_nos.as_deref(), &users::seed())
    }

    fn add(
        terminal: &Connection,
        employee_no: String,
        card_no: String,
        card_type: Option<String>,
    ) -> Result<cards_api::Card, Error> {
        let card = cards_api::Card { employee_no, card_no, card_type };
        cards::add(terminal, card, repeated(), &users::seed())
    }

    fn modify(
        terminal: &Connection,
        employee_no: String,
        card_no: String,
        card_type: String,
    ) -> Result<cards_api::Card, Error> {
        let card = cards_api::Card { employee_no, card_no, card_type: Some(card_type) };
        cards::modify(terminal, &card, &users::seed())
    }

    fn count(terminal: &Connection) -> Result<u32, Error> {
        cards::count(terminal)
    }

    fn delete(terminal: &Connection, card_nos: Vec<String>) -> Result<u32, Error> {
        cards::delete(terminal, &card_nos, &users::seed())
    }
}

impl doors_api::Guest for Plugin {
    fn control(terminal: &Connection, door: u32, command: doors_api::Command) -> Result<(), Error> {
        doors::control(terminal, door, command)
    }

    fn status(terminal: &Connection) -> Result<Vec<doors_api::Door>, Error> {
        doors::status(terminal)
    }
}

impl hosts_api::Guest for Plugin {
    fn search(terminal: &Connection) -> Result<Vec<hosts_api::Host>, Error> {
        hosts::search(terminal)
    }

    fn set(
        terminal: &Connection,
        slot: u32,
        url: String,
        format: Option<String>,
        heartbeat_seconds: Option<u32>,
        minor_events: Option<Vec<u32>>,
        send_pictures: Option<bool>,
    ) -> Result<hosts_api::Host, Error> {
        let pictures =
            if send_pictures == Some(false) { hosts::Pictures::Kept } else { hosts::Pictures::Sent };
        let target =
            hosts::Target { url, format, heartbeat: heartbeat_seconds, minors: minor_events, pictures };
        hosts::set(terminal, slot, &target)
    }

    fn test(terminal: &Connection, slot: u32) -> Result<(), Error> {
        hosts::test(terminal, slot)
    }

    fn clear(terminal: &Connection, slot: u32) -> Result<hosts_api::Host, Error> {
        hosts::clear(terminal, slot)
    }
}

impl events_api::Guest for Plugin {
    fn search(
        terminal: &Connection,
        from: String,
        to: Option<String>,
        major: Option<u32>,
        minor: Option<u32>,
        employee_no: Option<String>,
        limit: Option<u32>,
        device: Option<String>,
    ) -> Result<Vec<events_api::Event>, Error> {
        // A terminal's clock may be ahead.
        let to = to.unwrap_or_else(|| format!("{}Z", civil::Civil::of(now() + AHEAD)));
        let wanted = events::Wanted { from, to, major, minor, employee_no, limit, device };
        events::search(terminal, &wanted, &users::seed())
    }

    fn stream(
        terminal: &Connection,
        sink: &Sink,
        device: Option<String>,
        pictures: Option<&Folder>,
        silence_seconds: Option<u32>,
        skip_history: Option<bool>,
    ) -> Result<(), Error> {
        let origin = terminal.origin();
        let address = origin.split_once("://").map_or(origin.as_str(), |(_, address)| address).to_owned();
        let wanted = stream::Wanted {
            device,
            address,
            album: pictures.map(|folder| folder as _),
            silence_seconds,
            skip_history: skip_history == Some(true),
        };
        let watch = stream::Watch { now: &now, time_left: &|| call::remaining() > STREAM_RESERVE };
        stream::stream(terminal, sink, &wanted, &watch)
    }

    fn decode(
        body: String,
        device: Option<String>,
        files: Option<&Folder>,
    ) -> Result<events_api::Event, Error> {
        decode::decode(&body, device.as_deref(), &|name, most| {
            let folder = files?;
            let fits = folder.stat(name).is_ok_and(|entry| entry.bytes <= most);
            if fits { folder.read(name).ok() } else { None }
        })
    }
}

impl faces_api::Guest for Plugin {
    fn search(
        terminal: &Connection,
        fdid: Option<String>,
        face_lib_type: Option<String>,
        limit: Option<u32>,
    ) -> Result<Vec<faces_api::Listed>, Error> {
        gallery::search(terminal, &faces::Library::new(fdid, face_lib_type), limit)
    }

    fn modify(
        terminal: &Connection,
        fpid: String,
        url: String,
        fdid: Option<String>,
        face_lib_type: Option<String>,
        face_id: Option<String>,
        name: Option<String>,
        gender: Option<String>,
        born_time: Option<String>,
        look_first: Option<bool>,
    ) -> Result<faces_api::Written, Error> {
        let library = faces::Library::new(fdid, face_lib_type);
        let face = faces::Face { library, fpid, face_id, name, gender, born_time };
        faces::looking_first(terminal, look_first, faces_api::Way::Modify, &face, &|way| {
            faces::write_from_url(terminal, way, &face, &url)
        })
    }

    fn create(
        terminal: &Connection,
        fpid: String,
        url: String,
        fdid: Option<String>,
        face_lib_type: Option<String>,
        face_id: Option<String>,
        name: Option<String>,
        gender: Option<String>,
        born_time: Option<String>,
    ) -> Result<faces_api::Written, Error> {
        let library = faces::Library::new(fdid, face_lib_type);
        let face = faces::Face { library, fpid, face_id, name, gender, born_time };
        faces::create_again(terminal, &face, call::attempt(), &|way| {
            faces::write_from_url(terminal, way, &face, &url)
        })
    }

    fn set_up(
        terminal: &Connection,
        fpid: String,
        url: String,
        fdid: Option<String>,
        face_lib_type: Option<String>,
        face_id: Option<String>,
        name: Option<String>,
        gender: Option<String>,
        born_time: Option<String>,
        look_first: Option<bool>,
    ) -> Result<faces_api::Written, Error> {
        let library = faces::Library::new(fdid, face_lib_type);
        let face = faces::Face { library, fpid, face_id, name, gender, born_time };
        faces::looking_first(terminal, look_first, faces_api::Way::SetUp, &face, &|way| {
            faces::write_from_url(terminal, way, &face, &url)
        })
    }

    fn upload(
        terminal: &Connection,
        folder: &Folder,
        file: String,
        fpid: String,
        way: faces_api::Way,
        fdid: Option<String>,
        face_lib_type: Option<String>,
        face_id: Option<String>,
        name: Option<String>,
        gender: Option<String>,
        born_time: Option<String>,
        look_first: Option<bool>,
    ) -> Result<faces_api::Written, Error> {
        let library = faces::Library::new(fdid, face_lib_type);
        let face = faces::Face { library, fpid, face_id, name, gender, born_time };
        let shelf = Shelf { connection: terminal, folder };
        let write = |way| faces::write_from_file(&shelf, way, &face, &file);
        match way {
            faces_api::Way::Create => faces::create_again(terminal, &face, call::attempt(), &write),
            other => faces::looking_first(terminal, look_first, other, &face, &write),
        }
    }

    fn find(
        terminal: &Connection,
        fpid: String,
        fdid: Option<String>,
        face_lib_type: Option<String>,
        picture: Option<bool>,
    ) -> Result<faces_api::Finding, Error> {
        let mut finding = faces::find(terminal, &faces::Library::new(fdid, face_lib_type), &fpid)?;
        if picture == Some(true) {
            finding.sha256 = picture::digest(terminal, &finding)?;
        }
        Ok(finding)
    }

    fn fetch(
        terminal: &Connection,
        face_path: String,
        folder: &Folder,
        file: String,
    ) -> Result<faces_api::Picture, Error> {
        picture::fetch(terminal, &face_path, folder, &file)
    }

    fn delete(
        terminal: &Connection,
        fpid: String,
        fdid: Option<String>,
        face_lib_type: Option<String>,
    ) -> Result<bool, Error> {
        faces::delete(terminal, &faces::Library::new(fdid, face_lib_type), &fpid)
    }
}
