//! The plugin `hikcentral`: HikCentral Professional (`wit/plugin.wit` is its documentation).
//!
//! `envelope` makes calls and reads what comes back, `codes` has the errors in words; `persons`, `photos`, `access`, `doors`,
//! `events` and `probe` are the interfaces over `bascule_sdk::Peer`. This file only hands the host's parameters on. Key
//! and secret stay with the host, which signs.

mod access;
mod codes;
mod doors;
mod envelope;
mod events;
mod persons;
mod photos;
mod probe;

use bascule_sdk::{Connection, Error, Folder, json};
use bindings::exports::bascule::hikcentral as api;

bascule_sdk::plugin! { world: "bascule:hikcentral/plugin@0.1.0", wit: ["wit/plugin.wit"], path: ["../../wit", "wit"] }
bascule_sdk::export!(Plugin);

struct Plugin;

/// A stored photo in base64.
fn photo_in(folder: &Folder, name: &str) -> Result<String, Error> {
    photos::encoded(&folder.read(name)?)
}

impl api::system::Guest for Plugin {
    fn version(server: &Connection) -> Result<api::system::Release, Error> {
        let data = envelope::read(server, "common/v1/version", &serde_json::json!({}))?;
        let version = json::text_of(&data, "softVersion");
        if version.is_empty() {
            return Err(Error::protocol("the platform's answer has no `softVersion`"));
        }
        // The platform's own spelling, and the one it may have one day.
        let product = [json::text_of(&data, "produceName"), json::text_of(&data, "productName")];
        Ok(api::system::Release {
            product: product.into_iter().find(|name| !name.is_empty()).unwrap_or_default(),
            version,
        })
    }
}

impl api::persons::Guest for Plugin {
    fn add(server: &Connection, person: api::persons::Details) -> Result<api::persons::Person, Error> {
        persons::add(server, &person, None)
    }

    fn add_with_photo(
        server: &Connection,
        person: api::persons::Details,
        folder: &Folder,
        photo: String,
    ) -> Result<api::persons::Person, Error> {
        persons::add(server, &person, Some(&photo_in(folder, &photo)?))
    }

    fn update(
        server: &Connection,
        id: String,
        changes: api::persons::Changes,
    ) -> Result<api::persons::Person, Error> {
        persons::update(server, &id, &changes)
    }

    fn delete(server: &Connection, id: String) -> Result<(), Error> {
        persons::delete(server, &id)
    }

    fn by_id(server: &Connection, id: String) -> Result<api::persons::Person, Error> {
        persons::by_id(server, &id)
    }

    fn by_code(server: &Connection, code: String) -> Result<api::persons::Person, Error> {
        persons::by_code(server, &code)
    }

    fn list(
        server: &Connection,
        name: Option<String>,
        organisation: Option<String>,
        limit: Option<u32>,
    ) -> Result<Vec<api::persons::Person>, Error> {
        persons::list(server, name.as_deref(), organisation.as_deref(), limit)
    }

    fn organisations(
        server: &Connection,
        name: Option<String>,
    ) -> Result<Vec<api::persons::Organisation>, Error> {
        persons::organisations(server, name.as_deref())
    }
}

impl api::photos::Guest for Plugin {
    fn set(
        server: &Connection,
        person: String,
        folder: &Folder,
        photo: String,
    ) -> Result<api::photos::Stored, Error> {
        photos::set(server, &person, &folder.read(&photo)?)
    }

    fn read(
        server: &Connection,
        person: String,
        folder: &Folder,
        name: String,
    ) -> Result<api::photos::File, Error> {
        let picture = photos::read(server, &person)?;
        let entry = folder.write(&name, &picture)?;
        Ok(api::photos::File { name: entry.name, bytes: entry.bytes })
    }
}

impl api::access::Guest for Plugin {
    fn groups(
        server: &Connection,
        kind: Option<api::access::Kind>,
    ) -> Result<Vec<api::access::Group>, Error> {
        access::groups(server, kind)
    }

    fn members(
        server: &Connection,
        group: String,
        kind: Option<api::access::Kind>,
    ) -> Result<Vec<String>, Error> {
        access::members(server, &group, kind)
    }

    fn add_persons(
        server: &Connection,
        group: String,
        persons: Vec<String>,
        kind: Option<api::access::Kind>,
    ) -> Result<api::access::Changed, Error> {
        access::change(server, &group, &persons, kind, access::Change::Add)
    }

    fn remove_persons(
        server: &Connection,
        group: String,
        persons: Vec<String>,
        kind: Option<api::access::Kind>,
    ) -> Result<api::access::Changed, Error> {
        access::change(server, &group, &persons, kind, access::Change::Remove)
    }

    fn reapply(
        server: &Connection,
        persons: Vec<String>,
        doors: Option<Vec<String>>,
        failed_too: Option<bool>,
    ) -> Result<(), Error> {
        access::reapply(server, &persons, doors.as_deref(), failed_too != Some(false))
    }

    fn applied(server: &Connection, person: String) -> Result<api::access::Progress, Error> {
        access::applied(server, &person)
    }

    fn results(server: &Connection, kind: Option<api::access::Kind>) -> Result<Vec<String>, Error> {
        access::results(server, kind)
    }

    fn statistics(server: &Connection, kind: Option<api::access::Kind>) -> Result<String, Error> {
        access::statistics(server, kind)
    }
}

impl api::doors::Guest for Plugin {
    fn events(
        server: &Connection,
        since: String,
        until: String,
        event_type: Option<u32>,
        person_name: Option<String>,
        doors: Option<Vec<String>>,
        limit: Option<u32>,
    ) -> Result<Vec<api::doors::Event>, Error> {
        let doors = doors.unwrap_or_default();
        doors::events(server, &doors::Wanted { since, until, event_type, person_name, doors, limit })
    }

    fn control(
        server: &Connection,
        doors: Vec<String>,
        order: api::doors::Order,
        direction: Option<api::doors::Direction>,
    ) -> Result<Vec<api::doors::Obeyed>, Error> {
        doors::control(server, &doors, order, direction)
    }
}

impl api::events::Guest for Plugin {
    fn subscribe(server: &Connection, event_types: Vec<u32>, destination: String) -> Result<(), Error> {
        events::subscribe(server, &event_types, &destination)
    }

    fn unsubscribe(server: &Connection, event_types: Vec<u32>) -> Result<(), Error> {
        events::unsubscribe(server, &event_types)
    }

    fn view(server: &Connection) -> Result<Vec<api::events::Subscription>, Error> {
        events::view(server)
    }

    fn decode(push: String) -> Result<Vec<api::events::Notification>, Error> {
        events::decode(&push)
    }
}

impl api::probe::Guest for Plugin {
    fn methods() -> Result<Vec<api::probe::Method>, Error> {
        Ok(probe::methods())
    }

    fn attempt(
        server: &Connection,
        method: String,
        organisation: Option<String>,
        folder: &Folder,
        photo: String,
    ) -> Result<api::probe::Finding, Error> {
        let face = photo_in(folder, &photo)?;
        probe::attempt(server, &method, organisation.as_deref().unwrap_or("1"), &face)
    }

    fn person_photo(
        server: &Connection,
        person: String,
        folder: &Folder,
        photo: String,
    ) -> Result<(), Error> {
        probe::person_photo(server, &person, &photo_in(folder, &photo)?)
    }
}
