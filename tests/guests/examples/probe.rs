//! Does what it is told, and tells what it sees.

bascule_sdk::plugin! { world: "bascule:probe/plugin@0.1.0", wit: ["wit/probe/plugin.wit"], path: ["../../wit", "wit/probe"], uses: [types, http, storage, events] }
bascule_sdk::export!(Guest);

use bascule_sdk::{Connection, Effect, Error, ErrorKind, Folder, Request, Store, call, events::Sink};
use bindings::exports::bascule::probe::{info, lent, values};

struct Guest;

impl values::Guest for Guest {
    fn echo(value: values::Everything) -> Result<values::Everything, Error> {
        Ok(value)
    }

    fn echo_json(value: String) -> Result<String, Error> {
        Ok(value)
    }

    fn join(first_word: String, second_word: Option<String>) -> Result<String, Error> {
        Ok(format!("{first_word} {}", second_word.as_deref().unwrap_or("nothing")))
    }

    fn fail(
        kind: ErrorKind,
        code: Option<String>,
        message: String,
        effect: Effect,
        retry_after: Option<u64>,
        details: Option<String>,
    ) -> Result<(), Error> {
        Err(Error { kind, code, message, effect, retry_after, details })
    }

    fn nan() -> Result<f64, Error> {
        Ok(f64::NAN)
    }
}

impl info::Guest for Guest {
    fn call() -> Result<info::Seen, Error> {
        Ok(info::Seen {
            attempt: call::attempt(),
            idempotency_key: call::idempotency_key(),
            remaining: call::remaining(),
            cancelled: call::cancelled(),
            now: call::now(),
        })
    }

    fn say(lines: Vec<String>) -> Result<(), Error> {
        let total = lines.len() as u64;
        for (index, line) in lines.iter().enumerate() {
            bascule_sdk::log::info(line);
            bascule_sdk::log::progress(index as u64 + 1, Some(total), "lines");
        }
        Ok(())
    }

    fn until_cancelled() -> Result<String, Error> {
        bascule_sdk::log::info("waiting");
        while !call::cancelled() {
            // Slow enough not to use up its host calls, fast enough to notice.
            for turn in 0..100_000_u32 {
                std::hint::black_box(turn);
            }
        }
        Ok("ended in order".into())
    }
}

impl lent::Guest for Guest {
    fn describe(peer: &Connection) -> Result<String, Error> {
        Ok(format!("{} at {}", peer.name(), peer.origin()))
    }

    fn get(peer: &Connection, path: String) -> Result<lent::Answer, Error> {
        let response = peer.send(&Request::get(path))?;
        Ok(lent::Answer {
            status: response.status,
            headers: response.headers.into_iter().map(|field| (field.name, field.value)).collect(),
            body: String::from_utf8_lossy(&response.body).into_owned(),
        })
    }

    fn files(folder: &Folder, name: String, data: Vec<u8>) -> Result<Vec<String>, Error> {
        let written = folder.write(&name, &data)?;
        let read = folder.read(&name)?;
        let mut seen = vec![format!("{} {} {}", written.name, written.bytes, read == data)];
        seen.extend(folder.list("")?.into_iter().map(|entry| entry.name));
        folder.delete(&name)?;
        Ok(seen)
    }

    fn remember(store: &Store, key: String, value: String) -> Result<(String, u64), Error> {
        store.put(&key, &value, None)?;
        let stored = store.get(&key)?.ok_or_else(|| Error::internal("what was stored is not there"))?;
        Ok((stored.value, stored.version))
    }

    fn count_up(sink: &Sink, count: u32) -> Result<(), Error> {
        let from: u32 = sink.cursor().and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        sink.state(true, "counting");
        for number in from..from + count {
            sink.emit(&format!("{{\"number\":{number}}}"), Some(&number.to_string()))?;
        }
        sink.save_cursor(&(from + count).to_string())
    }
}
