//! Doors (`facts/isapi.md` 6).

use bascule_sdk::{Error, Peer, Request, json};
use serde_json::Value;

use crate::bindings::exports::bascule::isapi::doors::{Command, Door};
use crate::reply;

/// Moves one door, once.
pub(crate) fn control(terminal: &dyn Peer, door: u32, command: Command) -> Result<(), Error> {
    if !(1..=256).contains(&door) {
        return Err(Error::invalid_input(format!(
            "there is no door {door}; doors are numbered from 1 to 256"
        )));
    }
    let word = match command {
        Command::Open => "open",
        Command::Close => "close",
        Command::AlwaysOpen => "alwaysOpen",
        Command::AlwaysClose => "alwaysClose",
        Command::Resume => "resume",
    };
    let request = Request::put(format!("/ISAPI/AccessControl/RemoteControl/door/{door}")).xml(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<RemoteControlDoor version=\"2.0\" \
         xmlns=\"http://www.isapi.org/ver20/XMLSchema\">\n<cmd>{word}</cmd>\n</RemoteControlDoor>\n"
    ));
    let line = request.line();
    reply::accept_write(&terminal.send(request)?, &line).map(|_| ())
}

/// How the doors are: one list for each property, in the order of the doors.
pub(crate) fn status(terminal: &dyn Peer) -> Result<Vec<Door>, Error> {
    let request = Request::get("/ISAPI/AccessControl/AcsWorkStatus").query("format", "json");
    let line = request.line();
    let document = reply::accept(&terminal.send(request)?, &line)?;
    let unexpected = || reply::unexpected(&line, "an AcsWorkStatus");
    let value = document.json().ok_or_else(unexpected)?;
    let status = json::field(value, "AcsWorkStatus").ok_or_else(unexpected)?;
    let column = |name: &str| -> Vec<Option<u32>> {
        let numbers = json::field(status, name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        numbers.iter().map(|n| json::as_integer(n).and_then(|n| u32::try_from(n).ok())).collect()
    };
    let (locks, states, contacts) =
        (column("doorLockStatus"), column("doorStatus"), column("magneticStatus"));
    let count = locks.len().max(states.len()).max(contacts.len());
    let at = |column: &[Option<u32>], index: usize| column.get(index).copied().flatten();
    let doors = (0..count).map(|index| Door {
        number: u32::try_from(index + 1).unwrap_or(u32::MAX),
        lock: at(&locks, index),
        state: at(&states, index),
        contact: at(&contacts, index),
    });
    Ok(doors.collect())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};
    use bascule_sdk::{Effect, ErrorKind};

    use super::*;

    const DOOR: &str = "PUT /ISAPI/AccessControl/RemoteControl/door/1";
    const OK: &str = "<ResponseStatus version=\"1.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><requestURL>/ISAPI/AccessControl/RemoteControl/door/1</requestURL><statusCode>1</statusCode><statusString>OK</statusString><subStatusCode>ok</subStatusCode></ResponseStatus>";

    #[test]
    fn each_command_has_its_word() {
        for (command, word) in [
            (Command::Open, "open"),
            (Command::Close, "close"),
            (Command::AlwaysOpen, "alwaysOpen"),
            (Command::AlwaysClose, "alwaysClose"),
            (Command::Resume, "resume"),
        ] {
            let script = Script::new().then(DOOR, answer(200, OK));
            control(&script, 1, command).unwrap();
            assert!(script.body(0).contains(&format!("<cmd>{word}</cmd>")));
        }
    }

    #[test]
    fn every_door_at_once_cannot_be_said() {
        for door in [0, 257, 65_535] {
            let error = control(&Script::new(), door, Command::Open).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_yes_without_a_status_is_of_unknown_effect() {
        let error = control(&Script::new().then(DOOR, answer(200, "")), 1, Command::Open).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Protocol, Effect::Unknown));
    }

    #[test]
    fn the_state_of_each_door_is_read_from_the_lists() {
        let body = r#"{"AcsWorkStatus":{"doorLockStatus":[0,1],"doorStatus":[4,"2"],"magneticStatus":[0]}}"#;
        let script =
            Script::new().then("GET /ISAPI/AccessControl/AcsWorkStatus?format=json", answer(200, body));
        let doors = status(&script).unwrap();
        assert_eq!(doors.len(), 2);
        assert_eq!(
            (doors[1].number, doors[1].lock, doors[1].state, doors[1].contact),
            (2, Some(1), Some(2), None)
        );
    }
}
