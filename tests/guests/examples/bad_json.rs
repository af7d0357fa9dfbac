//! Returns text that is not JSON where its type says JSON, and an error with hostile text.

bascule_sdk::plugin! { world: "bascule:probe/plugin@0.1.0", wit: ["wit/probe/plugin.wit"], path: ["../../wit", "wit/probe"], uses: [types, http, storage, events] }
bascule_sdk::export!(Guest);

use bascule_sdk::{Connection, Effect, Error, ErrorKind, Folder, Store, events::Sink};
use bindings::exports::bascule::probe::{info, lent, values};

struct Guest;

impl values::Guest for Guest {
    fn echo(value: values::Everything) -> Result<values::Everything, Error> {
        Ok(values::Everything { when: "half past nine".into(), ..value })
    }

    fn echo_json(_: String) -> Result<String, Error> {
        Ok("{\"unfinished\": ".into())
    }

    fn join(_: String, _: Option<String>) -> Result<String, Error> {
        Ok("a\u{1b}[31mb".into())
    }

    fn fail(
        _: ErrorKind,
        _: Option<String>,
        _: String,
        _: Effect,
        _: Option<u64>,
        _: Option<String>,
    ) -> Result<(), Error> {
        let mut error = Error::internal(format!("line one\nline two \u{1b}[2J{}", "x".repeat(100_000)));
        error.code = Some("y".repeat(100_000));
        error.details = Some("[".repeat(100_000));
        Err(error)
    }

    fn nan() -> Result<f64, Error> {
        Ok(f64::NAN)
    }
}

impl info::Guest for Guest {
    fn call() -> Result<info::Seen, Error> {
        Err(Error::unsupported("not here"))
    }

    fn say(_: Vec<String>) -> Result<(), Error> {
        Err(Error::unsupported("not here"))
    }

    fn until_cancelled() -> Result<String, Error> {
        Err(Error::unsupported("not here"))
    }
}

impl lent::Guest for Guest {
    fn describe(_: &Connection) -> Result<String, Error> {
        Err(Error::unsupported("not here"))
    }

    fn get(_: &Connection, _: String) -> Result<lent::Answer, Error> {
        Err(Error::unsupported("not here"))
    }

    fn files(_: &Folder, _: String, _: Vec<u8>) -> Result<Vec<String>, Error> {
        Err(Error::unsupported("not here"))
    }

    fn remember(_: &Store, _: String, _: String) -> Result<(String, u64), Error> {
        Err(Error::unsupported("not here"))
    }

    fn count_up(_: &Sink, _: u32) -> Result<(), Error> {
        Err(Error::unsupported("not here"))
    }
}
