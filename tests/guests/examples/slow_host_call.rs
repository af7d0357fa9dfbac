//! Waits in a host call: a request with the given method to a peer that does not answer.

bascule_sdk::plugin! { world: "bascule:device/plugin@0.1.0", wit: ["wit/device/plugin.wit"], path: ["../../wit", "wit/device"] }
bascule_sdk::export!(Guest);

use bascule_sdk::{Connection, Error, Request};
use bindings::exports::bascule::device::device;

struct Guest;

impl device::Guest for Guest {
    /// `how`: `get` or `post` passes the peer's failure on, `get-then-spin` and `post-then-spin` never end.
    fn run(peer: &Connection, how: String) -> Result<Vec<String>, Error> {
        let request = if how.starts_with("post") { Request::post("/slow") } else { Request::get("/slow") };
        let outcome = peer.send(&request);
        while how.ends_with("spin") {
            std::hint::black_box(());
        }
        outcome.map(|response| vec![response.status.to_string()])
    }
}
