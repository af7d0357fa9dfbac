//! The first of two builds of one plugin: it answers `one`.

bascule_sdk::plugin! { world: "bascule:edition/plugin@0.1.0", wit: ["wit/edition-one/plugin.wit"], path: ["../../wit", "wit/edition-one"] }
bascule_sdk::export!(Guest);

use bascule_sdk::{Connection, Error, Request};
use bindings::exports::bascule::edition::words;

struct Guest;

impl words::Guest for Guest {
    fn tell() -> Result<String, Error> {
        Ok("one".to_owned())
    }

    fn ask(peer: &Connection) -> Result<String, Error> {
        let response = peer.send(&Request::get("/"))?;
        Ok(format!("one: {}", String::from_utf8_lossy(&response.body)))
    }

    fn relic() -> Result<String, Error> {
        Ok("a relic of one".to_owned())
    }
}
