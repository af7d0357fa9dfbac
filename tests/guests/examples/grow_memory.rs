//! Takes memory until there is no more.

bascule_sdk::plugin! { world: "bascule:attack/plugin@0.1.0", wit: ["wit/attack/plugin.wit"], path: ["../../wit", "wit/attack"], uses: [types] }
bascule_sdk::export!(Guest);

use bascule_sdk::Error;
use bindings::exports::bascule::attack::attack;

struct Guest;

impl attack::Guest for Guest {
    fn run(_: u64) -> Result<String, Error> {
        loop {
            std::mem::forget(std::hint::black_box(vec![1_u8; 1024 * 1024]));
        }
    }
}
