//! The plugin `hikpartner`: Hik-Partner Pro (`wit/plugin.wit` is its documentation).
//!
//! `envelope` makes calls and reads what comes back, `codes` has the errors in words; `sites`, `devices`, `persons`,
//! `privileges`, `synchronise` and `messages` are the interfaces over `bascule_sdk::Peer`; `event` takes messages apart. This
//! file only hands the host's parameters on. Keys and token stay with the host.

mod codes;
mod devices;
mod envelope;
mod event;
mod messages;
mod persons;
mod privileges;
mod sites;
mod synchronise;

use bascule_sdk::events::Sink;
use bascule_sdk::{Connection, Error, Folder};
use bindings::exports::bascule::hikpartner as api;
use messages::Subscription;

bascule_sdk::plugin! {
    world: "bascule:hikpartner/plugin@0.1.0",
    wit: ["wit/plugin.wit"],
    path: ["../../wit", "wit"],
    uses: [types, http, storage, events]
}
bascule_sdk::export!(Plugin);

struct Plugin;

/// A stored photo in base64.
fn photo_in(folder: &Folder, name: &str) -> Result<String, Error> {
    persons::encoded(&folder.read(name)?)
}

impl api::sites::Guest for Plugin {
    fn search(
        server: &Connection,
        text: Option<String>,
        limit: Option<u32>,
    ) -> Result<Vec<api::sites::Site>, Error> {
        sites::search(server, text.as_deref(), limit)
    }

    fn find(server: &Connection, name: String) -> Result<api::sites::Site, Error> {
        sites::find(server, &name)
    }

    fn add(server: &Connection, site: api::sites::Details) -> Result<api::sites::Site, Error> {
        sites::add(server, &site)
    }

    fn update(server: &Connection, id: String, site: api::sites::Details) -> Result<api::sites::Site, Error> {
        sites::update(server, &id, &site)
    }

    fn delete(server: &Connection, id: String) -> Result<(), Error> {
        sites::delete(server, &id)
    }
}

impl api::devices::Guest for Plugin {
    fn list(
        server: &Connection,
        site: Option<String>,
        limit: Option<u32>,
    ) -> Result<Vec<api::devices::Device>, Error> {
        devices::list(server, site.as_deref(), limit)
    }

    fn find(server: &Connection, serial: String) -> Result<api::devices::Device, Error> {
        devices::find(server, &serial)
    }

    fn add(
        server: &Connection,
        site: String,
        serial: String,
        verification_code: String,
    ) -> Result<api::devices::Device, Error> {
        devices::add(server, &site, &serial, &verification_code)
    }

    fn rename(server: &Connection, serial: String, name: String) -> Result<api::devices::Device, Error> {
        devices::rename(server, &serial, &name)
    }

    fn delete(server: &Connection, serial: String) -> Result<(), Error> {
        devices::delete(server, &serial)
    }
}

impl api::persons::Guest for Plugin {
    fn add(server: &Connection, person: api::persons::Details) -> Result<api::persons::Written, Error> {
        persons::add(server, &person, None)
    }

    fn add_with_photo(
        server: &Connection,
        person: api::persons::Details,
        folder: &Folder,
        photo: String,
    ) -> Result<api::persons::Written, Error> {
        persons::add(server, &person, Some(&photo_in(folder, &photo)?))
    }

    fn update(server: &Connection, id: String, changes: api::persons::Changes) -> Result<(), Error> {
        persons::update(server, &id, &changes, None)
    }

    fn update_with_photo(
        server: &Connection,
        id: String,
        changes: api::persons::Changes,
        folder: &Folder,
        photo: String,
    ) -> Result<(), Error> {
        persons::update(server, &id, &changes, Some(&photo_in(folder, &photo)?))
    }

    fn delete(server: &Connection, id: String) -> Result<(), Error> {
        persons::delete(server, &id)
    }
}

impl api::privileges::Guest for Plugin {
    fn grant(server: &Connection, persons: Vec<String>, devices: Vec<String>) -> Result<(), Error> {
        privileges::change(server, &persons, &devices, privileges::Change::Grant)
    }

    fn revoke(server: &Connection, persons: Vec<String>, devices: Vec<String>) -> Result<(), Error> {
        privileges::change(server, &persons, &devices, privileges::Change::Revoke)
    }

    fn status(server: &Connection, persons: Vec<String>) -> Result<Vec<api::privileges::Application>, Error> {
        privileges::status(server, &persons)
    }

    fn applied(
        server: &Connection,
        persons: Vec<String>,
        devices: Vec<String>,
    ) -> Result<api::privileges::Progress, Error> {
        privileges::applied(server, &persons, &devices)
    }
}

impl api::synchronise::Guest for Plugin {
    fn start(
        server: &Connection,
        device: String,
        employee_nos: Option<Vec<String>>,
    ) -> Result<String, Error> {
        synchronise::start(server, &device, employee_nos.as_deref())
    }

    fn progress(server: &Connection, task: String) -> Result<api::synchronise::Standing, Error> {
        synchronise::progress(server, &task)
    }

    fn succeeded(server: &Connection, task: String) -> Result<Vec<api::synchronise::Person>, Error> {
        synchronise::succeeded(server, &task)
    }

    fn failed(server: &Connection, task: String) -> Result<Vec<api::synchronise::Failure>, Error> {
        synchronise::failed(server, &task)
    }
}

impl api::messages::Guest for Plugin {
    fn subscribe(server: &Connection, devices: Option<Vec<String>>) -> Result<(), Error> {
        messages::subscribe(server, devices.as_deref(), Subscription::On)
    }

    fn unsubscribe(server: &Connection, devices: Option<Vec<String>>) -> Result<(), Error> {
        messages::subscribe(server, devices.as_deref(), Subscription::Off)
    }

    fn poll(server: &Connection) -> Result<api::messages::Batch, Error> {
        messages::poll(server)
    }

    fn confirm(server: &Connection, batch: String) -> Result<(), Error> {
        messages::confirm(server, &batch)
    }

    fn stream(server: &Connection, devices: Option<Vec<String>>, sink: &Sink) -> Result<(), Error> {
        messages::stream(server, devices.as_deref(), &messages::Trigger(sink))
    }

    fn decode(push: String) -> Result<Vec<api::messages::Event>, Error> {
        event::decode(&push)
    }

    fn check_ins(events: String) -> Result<Vec<api::messages::CheckIn>, Error> {
        event::check_ins(&events)
    }
}
