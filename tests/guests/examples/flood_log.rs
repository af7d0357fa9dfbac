//! Logs `amount` lines of 1 KiB, each trying to forge another, and ends well.

bascule_sdk::plugin! { world: "bascule:attack/plugin@0.1.0", wit: ["wit/attack/plugin.wit"], path: ["../../wit", "wit/attack"], uses: [types] }
bascule_sdk::export!(Guest);

use bascule_sdk::Error;
use bindings::exports::bascule::attack::attack;

struct Guest;

impl attack::Guest for Guest {
    fn run(amount: u64) -> Result<String, Error> {
        let line = format!("\n2026-11-21 ERROR \u{1b}[31mforged{}", "x".repeat(1000));
        for _ in 0..amount {
            bascule_sdk::log::info(&line);
        }
        Ok("done".into())
    }
}
