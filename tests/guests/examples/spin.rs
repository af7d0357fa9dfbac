//! Says that it begins, and never ends.

bascule_sdk::plugin! { world: "bascule:attack/plugin@0.1.0", wit: ["wit/attack/plugin.wit"], path: ["../../wit", "wit/attack"], uses: [types] }
bascule_sdk::export!(Guest);

use bascule_sdk::Error;
use bindings::exports::bascule::attack::attack;

struct Guest;

impl attack::Guest for Guest {
    fn run(_: u64) -> Result<String, Error> {
        bascule_sdk::log::info("spinning");
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}
