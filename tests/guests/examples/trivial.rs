//! Adds two numbers: what a call costs is then everything around it (`cargo xtask bench call`).

bascule_sdk::plugin! { world: "bascule:trivial/plugin@0.1.0", wit: ["wit/trivial/plugin.wit"], path: ["../../wit", "wit/trivial"], uses: [types] }
bascule_sdk::export!(Guest);

use bascule_sdk::Error;
use bindings::exports::bascule::trivial::math;

struct Guest;

impl math::Guest for Guest {
    fn add(a: u32, b: u32) -> Result<u32, Error> {
        a.checked_add(b).ok_or_else(|| Error::invalid_input("the sum does not fit into 32 bits"))
    }
}
