#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use serde_json::json;

use super::*;

enum Next {
    Bytes(Vec<u8>),
    /// Nothing for so many seconds.
    Silence(i64),
    Fails(ErrorKind),
}

/// A terminal and a trigger in one, on a clock that only its own silence moves.
#[derive(Default)]
struct Room {
    line: RefCell<VecDeque<Next>>,
    clock: Cell<i64>,
    emitted: RefCell<Vec<(Value, String)>>,
    states: RefCell<Vec<String>>,
    album: RefCell<Vec<(String, usize)>>,
}

impl Line for Room {
    fn read(&self, wait: u32) -> Result<Option<Vec<u8>>, Error> {
        let seconds = i64::from(wait).div_euclid(1_000);
        let timeout = || Error::new(ErrorKind::Timeout, "silence");
        let mut line = self.line.borrow_mut();
        match line.pop_front() {
            Some(Next::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Next::Silence(left)) => {
                self.clock.set(self.clock.get() + seconds.max(1).min(left));
                if left > seconds.max(1) {
                    line.push_front(Next::Silence(left - seconds.max(1)));
                }
                Err(timeout())
            }
            Some(Next::Fails(kind)) => Err(Error::new(kind, "the line")),
            None => Ok(None),
        }
    }
}

impl Outlet for Room {
    fn emit(&self, event: &Value, key: &str) -> Result<(), Error> {
        self.emitted.borrow_mut().push((event.clone(), key.to_owned()));
        Ok(())
    }

    fn state(&self, connected: bool, note: &str) {
        self.states.borrow_mut().push(format!("{connected} {note}"));
    }
}

impl Album for Room {
    fn put(&self, name: &str, data: &[u8]) -> Result<(), Error> {
        self.album.borrow_mut().push((name.to_owned(), data.len()));
        Ok(())
    }
}

impl Room {
    fn with(line: Vec<Next>) -> Self {
        Self { line: RefCell::new(line.into()), ..Self::default() }
    }

    fn listen(&self, change: impl FnOnce(&mut Wanted<'_>)) -> Result<(), Error> {
        let mut wanted = Wanted {
            device: None,
            address: "10.0.0.7:80".into(),
            album: None,
            silence_seconds: None,
            skip_history: false,
        };
        change(&mut wanted);
        listen(self, self, &wanted, &Watch { now: &|| self.clock.get(), time_left: &|| true })
    }

    fn keys(&self) -> Vec<String> {
        self.emitted.borrow().iter().map(|(_, key)| key.clone()).collect()
    }
}

fn part(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!("--MIME_boundary\r\nContent-Type: application/json; charset=\"UTF-8\"\r\nContent-Length: {}\r\n\r\n{body}\r\n", body.len())
        .into_bytes()
}

fn event(serial: u64, pictures: Option<u32>, current: bool) -> Value {
    let mut inner = json!({ "majorEventType": 5, "subEventType": 75, "employeeNoString": "17", "serialNo": serial, "currentEvent": current });
    if let Some(pictures) = pictures {
        inner["picturesNumber"] = pictures.into();
    }
    json!({ "macAddress": "ac:b9:2f:00:00:01", "dateTime": "2026-08-02T10:15:30-04:00", "eventType": "AccessControllerEvent",
        "eventState": "active", "AccessControllerEvent": inner })
}

fn heartbeat() -> Vec<u8> {
    part(
        &json!({ "dateTime": "2026-08-02T10:15:40-04:00", "eventType": "videoloss", "eventState": "inactive" }),
    )
}

const JPEG: &[u8] = b"\xFF\xD8\xFF\xE0 picture \xFF\xD9";

fn picture() -> Vec<u8> {
    let head = format!(
        "--MIME_boundary\r\nContent-Disposition: form-data; name=\"Picture\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
        JPEG.len()
    );
    [head.as_bytes(), JPEG, b"\r\n"].concat()
}

#[test]
fn events_go_out_with_the_terminal_serial_and_time_as_their_key() {
    let room = Room::with(vec![
        Next::Bytes([part(&event(1, None, false)), part(&event(2, None, true))].concat()),
        Next::Bytes(heartbeat()),
    ]);
    let error = room.listen(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Offline, Some("isapi:stream-ended")));
    assert_eq!(
        room.keys(),
        ["ac:b9:2f:00:00:01/1/2026-08-02T10:15:30", "ac:b9:2f:00:00:01/2/2026-08-02T10:15:30"]
    );
    let emitted = room.emitted.borrow();
    assert_eq!((&emitted[0].0["current"], &emitted[1].0["current"]), (&json!(false), &json!(true)));
    assert!(room.states.borrow().iter().any(|state| state == "true heartbeat at 2026-08-02T10:15:40-04:00"));
}

#[test]
fn history_is_left_out_where_told_and_the_callers_name_counts() {
    let room =
        Room::with(vec![Next::Bytes([part(&event(1, None, false)), part(&event(2, None, true))].concat())]);
    room.listen(|wanted| {
        wanted.skip_history = true;
        wanted.device = Some("gate-1".into());
    })
    .unwrap_err();
    assert_eq!(room.keys(), ["gate-1/2/2026-08-02T10:15:30"]);
}

#[test]
fn pictures_belong_to_the_event_before_them() {
    let stream =
        [part(&event(1, Some(1), true)), picture(), part(&event(2, None, true)), picture(), heartbeat()]
            .concat();
    let pieces = stream.chunks(11).map(|piece| Next::Bytes(piece.to_vec())).collect();
    let room = Room::with(pieces);
    room.listen(|_| ()).unwrap_err();
    for (event, _) in room.emitted.borrow().iter() {
        let pictures = event["pictures"].as_array().unwrap();
        assert_eq!(pictures.len(), 1);
        assert_eq!(pictures[0]["sha256"], sha256(JPEG));
        assert_eq!((&pictures[0]["name"], &pictures[0]["file"]), (&json!("Picture"), &Value::Null));
    }
    assert_eq!(room.keys().len(), 2);
}

#[test]
fn pictures_are_kept_where_a_folder_was_handed_over() {
    let room = Room::with(vec![Next::Bytes([part(&event(1, Some(2), true)), picture(), picture()].concat())]);
    let album = Room::default();
    let wanted = Wanted {
        device: Some("../gate 1".into()),
        address: String::new(),
        album: Some(&album),
        silence_seconds: None,
        skip_history: false,
    };
    listen(&room, &room, &wanted, &Watch { now: &|| 0, time_left: &|| true }).unwrap_err();
    let names: Vec<String> = album.album.borrow().iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(
        names,
        [
            "---gate-1/2026-08-02/1-2026-08-02T10-15-30-1.jpg",
            "---gate-1/2026-08-02/1-2026-08-02T10-15-30-2.jpg"
        ]
    );
    assert_eq!(room.emitted.borrow()[0].0["pictures"][1]["file"], json!(names[1]));
}

#[test]
fn an_event_whose_pictures_do_not_come_is_not_kept_for_long() {
    let room = Room::with(vec![
        Next::Bytes(part(&event(1, Some(1), true))),
        Next::Silence(1),
        Next::Fails(ErrorKind::Cancelled),
    ]);
    assert_eq!(room.listen(|_| ()).unwrap_err().kind, ErrorKind::Cancelled);
    assert_eq!(room.keys().len(), 1);
}

#[test]
fn silence_is_noticed_although_the_line_stands() {
    let room = Room::with(vec![
        Next::Bytes(heartbeat()),
        Next::Silence(80),
        Next::Bytes(heartbeat()),
        Next::Silence(80),
        // Bytes that never become anything are no sign of life.
        Next::Bytes(b"--MIME_boundary\r\n".to_vec()),
        Next::Silence(500),
    ]);
    let error = room.listen(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Timeout, Some("isapi:stream-silent")));
    assert_eq!(room.clock.get(), 170);
}

#[test]
fn a_bad_part_is_a_bad_part_and_not_the_end() {
    let bad = b"--MIME_boundary\r\nContent-Type: application/xml\r\n\r\n<EventNotificationAlert><activePostCount/></Oops>\r\n".to_vec();
    let room = Room::with(vec![Next::Bytes(
        [bad, part(&json!({ "a": 1 })), picture(), part(&event(3, None, true))].concat(),
    )]);
    assert_eq!(room.listen(|_| ()).unwrap_err().kind, ErrorKind::Offline);
    assert_eq!(room.keys().len(), 1);
}

#[test]
fn a_refusal_inside_the_stream_is_the_terminals_own_word() {
    let refusal = "<ResponseStatus><statusCode>2</statusCode><statusString>Device Busy</statusString><subStatusCode>deviceBusy</subStatusCode></ResponseStatus>";
    let room = Room::with(vec![Next::Bytes(refusal.as_bytes().to_vec())]);
    let error = room.listen(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.code.as_deref()), (ErrorKind::Busy, Some("isapi:deviceBusy")));
}

#[test]
fn too_many_listeners_is_a_reason_to_wait() {
    let body = "<ResponseStatus><statusCode>4</statusCode><statusString>Invalid Operation</statusString><subStatusCode>invalidOperation</subStatusCode></ResponseStatus>";
    let answer = |status| Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() };
    let error = refusal(&answer(403), "GET x");
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Busy, Some(120_000)));
    assert_ne!(refusal(&answer(400), "GET x").kind, ErrorKind::Busy);
    let other = Response { status: 200, headers: Vec::new(), body: b"<html></html>".to_vec() };
    assert_eq!(refusal(&other, "GET x").kind, ErrorKind::Protocol);
}

#[test]
fn a_stream_ends_in_order_before_its_call_runs_out_of_host_calls() {
    let forever = (0..MAX_HOST_CALLS).map(|_| Next::Bytes(heartbeat())).collect();
    let room = Room::with(forever);
    assert_eq!(room.listen(|_| ()), Ok(()));
}
