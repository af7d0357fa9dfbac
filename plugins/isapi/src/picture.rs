//! Fetching a stored face from the terminal itself (`facts/isapi.md` 4.5).

use bascule_sdk::{Error, ErrorKind, Folder, Peer, Request, log};
use sha2::{Digest, Sha256};

use crate::bindings::exports::bascule::isapi::faces::{Finding, Picture};
use crate::reply;

/// Where a picture is put. A folder is the real one.
pub(crate) trait Shelf {
    fn put(&self, name: &str, data: &[u8]) -> Result<u64, Error>;
}

impl Shelf for Folder {
    fn put(&self, name: &str, data: &[u8]) -> Result<u64, Error> {
        self.write(name, data).map(|entry| entry.bytes)
    }
}

/// sha256 of the picture that was found; none where the terminal keeps or shows none.
pub(crate) fn digest(terminal: &dyn Peer, finding: &Finding) -> Result<Option<String>, Error> {
    let Some(path) = finding.face_path.as_deref().filter(|path| path.starts_with("/LOCALS/pic/")) else {
        return Ok(None);
    };
    match read(terminal, path).and_then(|data| end_of(&data).map(|end| Sha256::digest(&data[..end]))) {
        Ok(digest) => Ok(Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())),
        Err(error) if matches!(error.kind, ErrorKind::Offline | ErrorKind::Timeout | ErrorKind::Busy) => {
            Err(error)
        }
        Err(error) => {
            log::info(&format!("the stored picture cannot be read: {}", error.message));
            Ok(None)
        }
    }
}

/// The bytes at `path` on the terminal's own connection; they begin as a JPEG does.
fn read(terminal: &dyn Peer, path: &str) -> Result<Vec<u8>, Error> {
    let path = reply::path_of(path)
        .filter(|path| path.starts_with("/LOCALS/pic/"))
        .ok_or_else(|| Error::invalid_input("the path of a stored face begins with /LOCALS/pic/"))?;
    let request = Request::get(path);
    let line = request.line();
    let response = terminal.send(request)?;
    if response.status == 404 {
        return Err(Error::not_found("the terminal does not keep the picture").code("isapi:http-404"));
    }
    if !response.is_success() || !response.body.starts_with(&[0xFF, 0xD8, 0xFF]) {
        // Whatever it says instead: an error of its own, or something that is no picture.
        reply::accept(&response, &line)?;
        return Err(reply::unexpected(&line, "a JPEG picture"));
    }
    Ok(response.body)
}

/// Where the picture ends; what may stand behind it is none of it.
fn end_of(data: &[u8]) -> Result<usize, Error> {
    data.windows(2)
        .rposition(|pair| pair == [0xFF, 0xD9])
        .map(|place| place + 2)
        .ok_or_else(|| Error::new(ErrorKind::Protocol, "the terminal's picture is cut short: it has no end"))
}

/// Stores the picture at `path`. The address it came with may name any host; the path is asked for on the terminal's own
/// connection. It is looked at before it is stored, so that no torn picture ever has the file's name.
pub(crate) fn fetch(
    terminal: &dyn Peer,
    path: &str,
    shelf: &dyn Shelf,
    name: &str,
) -> Result<Picture, Error> {
    let data = read(terminal, path)?;
    let end = end_of(&data)?;
    let bytes = shelf.put(name, &data[..end])?;
    Ok(Picture { name: name.to_owned(), bytes, trimmed: (data.len() - end) as u64 })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::cell::RefCell;

    use bascule_sdk::testing::{Script, answer};

    use super::*;

    #[derive(Default)]
    struct Box(RefCell<Vec<(String, Vec<u8>)>>);

    impl Shelf for Box {
        fn put(&self, name: &str, data: &[u8]) -> Result<u64, Error> {
            self.0.borrow_mut().push((name.to_owned(), data.to_vec()));
            Ok(data.len() as u64)
        }
    }

    const PATH: &str = "/LOCALS/pic/enrlFace/0/0000000002.jpg@WEB000000000010";
    const JPEG: [u8; 8] = [0xFF, 0xD8, 0xFF, 0xE0, 1, 2, 0xFF, 0xD9];

    #[test]
    fn the_picture_comes_over_the_terminals_own_connection() {
        let shelf = Box::default();
        let script = Script::new().then(&format!("GET {PATH}"), answer(200, JPEG));
        let address = format!("http://192.168.1.7:80{PATH}");
        let picture = fetch(&script, &address, &shelf, "a.jpg").unwrap();
        assert_eq!((picture.bytes, picture.trimmed), (8, 0));
        assert_eq!(shelf.0.borrow()[0].1, JPEG);
    }

    #[test]
    fn stray_bytes_behind_the_end_are_left_out() {
        let shelf = Box::default();
        let mut data = JPEG.to_vec();
        data.extend([0, 0, 0]);
        let script = Script::new().then(&format!("GET {PATH}"), answer(200, &data));
        assert_eq!(fetch(&script, PATH, &shelf, "a.jpg").unwrap().trimmed, 3);
        assert_eq!(shelf.0.borrow()[0].1, JPEG);
    }

    #[test]
    fn what_is_no_whole_picture_is_not_stored() {
        let cases: [(u16, &[u8], ErrorKind); 5] = [
            (200, &JPEG[..6], ErrorKind::Protocol),
            (200, b"<html>Login</html>", ErrorKind::Protocol),
            (200, b"", ErrorKind::Protocol),
            (404, b"", ErrorKind::NotFound),
            (200, br#"{"statusCode":2,"subStatusCode":"deviceBusy"}"#, ErrorKind::Busy),
        ];
        for (status, body, kind) in cases {
            let shelf = Box::default();
            let script = Script::new().then(&format!("GET {PATH}"), answer(status, body));
            assert_eq!(fetch(&script, PATH, &shelf, "a.jpg").unwrap_err().kind, kind);
            assert!(shelf.0.borrow().is_empty());
        }
        let error = fetch(&Script::new(), "/ISAPI/System/time", &Box::default(), "a").unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidInput);
    }
}
