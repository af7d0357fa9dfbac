//! Pictures of now (`facts/isapi.md` 7.2).

use bascule_sdk::{DownloadOptions, Downloaded, Error, ErrorKind, Files, Pace, Request};

use crate::bindings::exports::bascule::nvr::snapshots::Picture;
use crate::keep::Disk;
use crate::reply;

pub(crate) fn take(
    recorder: &dyn Files,
    disk: &dyn Disk,
    name: &str,
    channel: u32,
) -> Result<Picture, Error> {
    let stream = u64::from(channel) * 100 + 1;
    let paths = [
        format!("/ISAPI/Streaming/channels/{stream}/picture"),
        format!("/ISAPI/ContentMgmt/StreamingProxy/channels/{stream}/picture"),
    ];
    let unfinished = format!("{name}.download");
    let options = DownloadOptions {
        expected_bytes: None,
        answer_prefixes: vec!["<".to_owned()],
        overwrite: true,
        resume: false,
    };
    let mut objection = None;
    for path in paths {
        let request = Request::get(path).pace(Pace::Slow);
        let line = request.line();
        match recorder.download(request, &unfinished, &options)? {
            Downloaded::Stored(transfer) if transfer.head.starts_with(&[0xff, 0xd8, 0xff]) => {
                disk.rename(&unfinished, name)?;
                return Ok(Picture { name: name.to_owned(), bytes: transfer.bytes, sha256: transfer.sha256 });
            }
            Downloaded::Stored(_not_a_jpeg) => {
                disk.delete(&unfinished)?;
                return Err(Error::protocol("what the recorder sent is not a JPEG").code("nvr:not-a-picture"));
            }
            Downloaded::Answered(response) => {
                let error = reply::instead_of_file(&response, &line);
                if !matches!(error.kind, ErrorKind::Unsupported | ErrorKind::InvalidInput) {
                    return Err(error);
                }
                objection.get_or_insert(error);
            }
        }
    }
    Err(objection.unwrap_or_else(|| Error::internal("there is no way to take a picture")))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::testing::{Script, answer};

    use super::*;
    use crate::keep::doubles::Desk;

    const DIRECT: &str = "GET /ISAPI/Streaming/channels/201/picture";
    const PROXY: &str = "GET /ISAPI/ContentMgmt/StreamingProxy/channels/201/picture";

    fn refusal(code: u32, sub: &str) -> String {
        format!(
            "<ResponseStatus><statusCode>{code}</statusCode><subStatusCode>{sub}</subStatusCode></ResponseStatus>"
        )
    }

    #[test]
    fn a_recorder_that_objects_is_asked_by_way_of_its_proxy() {
        let jpeg = [0xff, 0xd8, 0xff, 0xe0, 0, 16];
        let desk = Desk::of(
            Script::new()
                .then(DIRECT, answer(200, refusal(6, "badXmlContent")))
                .then(PROXY, answer(200, jpeg)),
        );
        let picture = take(&desk, &desk, "gate.jpg", 2).unwrap();
        assert_eq!((picture.name.as_str(), picture.bytes), ("gate.jpg", 6));
        assert_eq!(desk.names(), ["gate.jpg"]);
    }

    #[test]
    fn a_fault_of_the_device_is_for_a_retry_and_no_picture_is_no_success() {
        let desk = Desk::of(Script::new().then(DIRECT, answer(200, refusal(3, "deviceError"))));
        assert_eq!(take(&desk, &desk, "gate.jpg", 2).unwrap_err().kind, ErrorKind::Busy);
        let desk = Desk::of(Script::new().then(DIRECT, answer(200, "no picture")));
        assert_eq!(take(&desk, &desk, "gate.jpg", 2).unwrap_err().code.as_deref(), Some("nvr:not-a-picture"));
        assert!(desk.names().is_empty());
    }
}
