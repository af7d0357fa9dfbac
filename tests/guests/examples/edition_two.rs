//! The second of two builds of one plugin: it answers `two`, and has one function less.

bascule_sdk::plugin! { world: "bascule:edition/plugin@0.2.0", wit: ["wit/edition-two/plugin.wit"], path: ["../../wit", "wit/edition-two"] }
bascule_sdk::export!(Guest);

use bascule_sdk::{Connection, Error, Request};
use bindings::exports::bascule::edition::words;

struct Guest;

impl words::Guest for Guest {
    fn tell() -> Result<String, Error> {
        Ok("two".to_owned())
    }

    fn ask(peer: &Connection) -> Result<String, Error> {
        let response = peer.send(&Request::get("/"))?;
        Ok(format!("two: {}", String::from_utf8_lossy(&response.body)))
    }
}
