//! Calls itself without end.

bascule_sdk::plugin! { world: "bascule:attack/plugin@0.1.0", wit: ["wit/attack/plugin.wit"], path: ["../../wit", "wit/attack"], uses: [types] }
bascule_sdk::export!(Guest);

use bascule_sdk::Error;
use bindings::exports::bascule::attack::attack;

struct Guest;

impl attack::Guest for Guest {
    fn run(amount: u64) -> Result<String, Error> {
        Ok(deeper(amount).to_string())
    }
}

#[inline(never)]
fn deeper(depth: u64) -> u64 {
    let below = if std::hint::black_box(true) { deeper(std::hint::black_box(depth + 1)) } else { 0 };
    std::hint::black_box(below) + depth
}
