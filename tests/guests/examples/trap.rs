//! Panics, which is a trap.

bascule_sdk::plugin! { world: "bascule:attack/plugin@0.1.0", wit: ["wit/attack/plugin.wit"], path: ["../../wit", "wit/attack"], uses: [types] }
bascule_sdk::export!(Guest);

use bascule_sdk::Error;
use bindings::exports::bascule::attack::attack;

struct Guest;

impl attack::Guest for Guest {
    fn run(_: u64) -> Result<String, Error> {
        panic_in_a_function_with_a_name()
    }
}

#[inline(never)]
#[expect(clippy::panic, reason = "it is what this guest is for")]
fn panic_in_a_function_with_a_name() -> Result<String, Error> {
    panic!("on purpose")
}
