//! The plugin `isapi`: terminals that speak ISAPI (`wit/plugin.wit` is its documentation).
//!
//! The functions of `device`, `users` and `faces` build requests and read answers over `bascule_sdk::Peer`; this file
//! only hands the host's parameters to them. `reply` reads the terminal's verdict, `verdict` turns it into an error.
//! It holds no credentials and knows no addresses.

mod device;
mod faces;
mod reply;
mod users;
mod verdict;

use bascule_sdk::{Connection, Error, Folder, Shelf};
use bindings::exports::bascule::isapi::{device as device_api, faces as faces_api, users as users_api};

bascule_sdk::plugin! { world: "bascule:isapi/plugin@0.1.0", wit: ["wit/plugin.wit"], path: ["../../wit", "wit"] }
bascule_sdk::export!(Plugin);

struct Plugin;

impl device_api::Guest for Plugin {
    fn info(terminal: &Connection) -> Result<device_api::Description, Error> {
        device::info(terminal)
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
        let wanted = users::Wanted {
            matching,
            employee_nos,
            has_face,
            limit,
        };
        users::search(terminal, &wanted, &users::seed())
    }

    fn get(terminal: &Connection, employee_no: String) -> Result<users_api::User, Error> {
        users::get(terminal, &employee_no, &users::seed())
    }

    fn count(terminal: &Connection) -> Result<users_api::Counts, Error> {
        users::count(terminal)
    }
}

impl faces_api::Guest for Plugin {
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
    ) -> Result<faces_api::Written, Error> {
        let library = faces::Library::new(fdid, face_lib_type);
        let face = faces::Face {
            library,
            fpid,
            face_id,
            name,
            gender,
            born_time,
        };
        faces::write_from_url(terminal, faces_api::Way::Modify, &face, &url)
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
        let face = faces::Face {
            library,
            fpid,
            face_id,
            name,
            gender,
            born_time,
        };
        faces::write_from_url(terminal, faces_api::Way::Create, &face, &url)
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
    ) -> Result<faces_api::Written, Error> {
        let library = faces::Library::new(fdid, face_lib_type);
        let face = faces::Face {
            library,
            fpid,
            face_id,
            name,
            gender,
            born_time,
        };
        faces::write_from_url(terminal, faces_api::Way::SetUp, &face, &url)
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
    ) -> Result<faces_api::Written, Error> {
        let library = faces::Library::new(fdid, face_lib_type);
        let face = faces::Face {
            library,
            fpid,
            face_id,
            name,
            gender,
            born_time,
        };
        faces::write_from_file(
            &Shelf {
                connection: terminal,
                folder,
            },
            way,
            &face,
            &file,
        )
    }

    fn find(
        terminal: &Connection,
        fpid: String,
        fdid: Option<String>,
        face_lib_type: Option<String>,
    ) -> Result<faces_api::Finding, Error> {
        faces::find(terminal, &faces::Library::new(fdid, face_lib_type), &fpid)
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
