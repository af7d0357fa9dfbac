//! Makes `amount` host calls.

bascule_sdk::plugin! { world: "bascule:attack/plugin@0.1.0", wit: ["wit/attack/plugin.wit"], path: ["../../wit", "wit/attack"], uses: [types] }
bascule_sdk::export!(Guest);

use bascule_sdk::Error;
use bindings::exports::bascule::attack::attack;

struct Guest;

impl attack::Guest for Guest {
    fn run(amount: u64) -> Result<String, Error> {
        let mut attempts = 0_u64;
        for _ in 0..amount {
            attempts += u64::from(bascule_sdk::call::attempt());
        }
        Ok(attempts.to_string())
    }
}
