//! Hands the host `amount` bytes in one call.

bascule_sdk::plugin! { world: "bascule:attack/plugin@0.1.0", wit: ["wit/attack/plugin.wit"], path: ["../../wit", "wit/attack"], uses: [types] }
bascule_sdk::export!(Guest);

use bascule_sdk::Error;
use bindings::exports::bascule::attack::attack;

struct Guest;

impl attack::Guest for Guest {
    fn run(amount: u64) -> Result<String, Error> {
        let amount = usize::try_from(amount).map_err(|_| Error::invalid_input("too much"))?;
        bascule_sdk::log::info(&"x".repeat(amount));
        Ok("done".into())
    }
}
