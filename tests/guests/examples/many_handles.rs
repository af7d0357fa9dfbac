//! Opens responses and never drops them.

bascule_sdk::plugin! { world: "bascule:device/plugin@0.1.0", wit: ["wit/device/plugin.wit"], path: ["../../wit", "wit/device"] }
bascule_sdk::export!(Guest);

use bascule_sdk::{Connection, Error, Request};
use bindings::exports::bascule::device::device;

struct Guest;

impl device::Guest for Guest {
    fn run(peer: &Connection, _: String) -> Result<Vec<String>, Error> {
        loop {
            std::mem::forget(peer.open(&Request::get("/"))?);
        }
    }
}
