//! What goes out: the body of a request, whole or streamed from a stored file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bascule_workflow::failure::{Failure, Kind};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_util::io::ReaderStream;

use super::target::encode_form;
use super::{Body, Part, PartData, ProgressFn};
use crate::storage::Folder;

/// Bodies up to this length are handed over in one piece.
const PIECE_BYTES: usize = 64 << 10;

/// A body, ready to be sent as often as a login needs it.
#[derive(Clone)]
pub(crate) enum Payload {
    Empty,
    Whole(Bytes),
    File(FilePayload),
}

/// A stored file with what stands before and after it.
#[derive(Clone)]
pub(crate) struct FilePayload {
    folder: Folder,
    name: String,
    bytes: u64,
    before: Bytes,
    after: Bytes,
}

/// The file that an upload sends.
pub(crate) struct Upload<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) name: &'a str,
    pub(crate) bytes: u64,
}

/// The moment at which something last moved, for telling a slow peer from a silent one.
#[derive(Clone)]
pub(crate) struct Activity {
    begin: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { begin: Instant::now(), last_ms: Arc::default() }
    }

    fn touch(&self) {
        let passed = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(passed, Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> Instant {
        self.begin + std::time::Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

impl Payload {
    /// The body and its `Content-Type`.
    pub(crate) fn prepare(
        body: Body,
        upload: Option<&Upload<'_>>,
    ) -> Result<(Self, Option<String>), Failure> {
        let wrong = |text: &str| Err(Failure::new(Kind::InvalidInput, text.to_owned()));
        let names_file = match &body {
            Body::File { .. } => 1,
            Body::Multipart(parts) => parts.iter().filter(|part| matches!(part.data, PartData::File)).count(),
            _ => 0,
        };
        match (upload, names_file) {
            (None, 1..) => return wrong("a body that is a stored file can only be sent with `upload`"),
            (Some(_), 0) => return wrong("`upload` needs a body that says where the file goes"),
            (Some(_), 2..) => return wrong("only one part of an upload can be the file"),
            _ => {}
        }
        Ok(match body {
            Body::Empty => (Self::Empty, None),
            Body::Content { content_type, data } => (Self::whole(data), Some(content_type)),
            Body::Form(fields) => (
                Self::whole(encode_form(&fields).into()),
                Some("application/x-www-form-urlencoded".to_owned()),
            ),
            Body::Multipart(parts) => {
                let boundary = boundary()?;
                let content_type = format!("multipart/form-data; boundary={boundary}");
                (multipart(parts, &boundary, upload)?, Some(content_type))
            }
            Body::File { content_type } => match upload {
                Some(upload) => (Self::file(upload, Bytes::new(), Bytes::new()), Some(content_type)),
                None => return wrong("a body that is a stored file can only be sent with `upload`"),
            },
        })
    }

    fn whole(data: Bytes) -> Self {
        if data.is_empty() { Self::Empty } else { Self::Whole(data) }
    }

    fn file(upload: &Upload<'_>, before: Bytes, after: Bytes) -> Self {
        Self::File(FilePayload {
            folder: upload.folder.clone(),
            name: upload.name.to_owned(),
            bytes: upload.bytes,
            before,
            after,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Whole(data) => length(data),
            Self::File(file) => length(&file.before) + file.bytes + length(&file.after),
        }
    }

    /// The bytes, where they are at hand.
    pub(crate) fn at_hand(&self) -> Option<&[u8]> {
        match self {
            Self::Empty => Some(&[]),
            Self::Whole(data) => Some(data),
            Self::File(_) => None,
        }
    }

    /// The body for one request. Longer ones are handed over piece by piece, so that `activity` follows the network.
    pub(crate) async fn open(
        &self,
        activity: &Activity,
        progress: Option<ProgressFn>,
    ) -> Result<Option<reqwest::Body>, Failure> {
        let pieces: BoxStream<'static, std::io::Result<Bytes>> = match self {
            Self::Empty => return Ok(None),
            Self::Whole(data) if data.len() <= PIECE_BYTES => return Ok(Some(data.clone().into())),
            Self::Whole(data) => slices(data.clone()),
            Self::File(file) => {
                let (opened, bytes) = file.folder.open_file(&file.name).await?;
                if bytes != file.bytes {
                    return Err(Failure::new(
                        Kind::Conflict,
                        format!("`{}` changed while it was being sent", file.name),
                    ));
                }
                let stored = ReaderStream::with_capacity(opened.take(bytes), PIECE_BYTES);
                slices(file.before.clone()).chain(stored).chain(slices(file.after.clone())).boxed()
            }
        };
        let (activity, total, mut sent) = (activity.clone(), self.bytes(), 0_u64);
        let watched = pieces.inspect(move |piece| {
            activity.touch();
            if let (Ok(piece), Some(progress)) = (piece, &progress) {
                sent += length(piece);
                progress(sent, Some(total));
            }
        });
        Ok(Some(reqwest::Body::wrap_stream(watched)))
    }
}

fn length(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

fn slices(mut data: Bytes) -> BoxStream<'static, std::io::Result<Bytes>> {
    let pieces = std::iter::from_fn(move || {
        (!data.is_empty()).then(|| Ok(data.split_to(data.len().min(PIECE_BYTES))))
    });
    stream::iter(pieces).boxed()
}

fn boundary() -> Result<String, Failure> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(Kind::Internal, format!("no random numbers: {error}")))?;
    Ok(format!("bascule-{}", hex::encode(random)))
}

/// RFC 7578, with names escaped as the WHATWG has browsers do it.
fn multipart(parts: Vec<Part>, boundary: &str, upload: Option<&Upload<'_>>) -> Result<Payload, Failure> {
    let mut before = BytesMut::new();
    let mut after = BytesMut::new();
    let mut file_seen = false;
    for part in parts {
        let out = if file_seen { &mut after } else { &mut before };
        let mut head =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", escaped(&part.name));
        if let Some(filename) = &part.filename {
            head.push_str(&format!("; filename=\"{}\"", escaped(filename)));
        }
        if let Some(content_type) = &part.content_type {
            if content_type.chars().any(char::is_control) {
                return Err(Failure::new(
                    Kind::Refused,
                    format!(
                        "the media type of the part `{}` has a control character in it",
                        part.name.escape_debug()
                    ),
                )
                .with_code("host:header"));
            }
            head.push_str("\r\nContent-Type: ");
            head.push_str(content_type);
        }
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        match part.data {
            PartData::Bytes(data) => out.extend_from_slice(&data),
            PartData::File => file_seen = true,
        }
        let out = if file_seen { &mut after } else { &mut before };
        out.extend_from_slice(b"\r\n");
    }
    let out = if file_seen { &mut after } else { &mut before };
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok(match upload {
        Some(upload) => Payload::file(upload, before.freeze(), after.freeze()),
        None => Payload::whole(before.freeze()),
    })
}

fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '"' => text.push_str("%22"),
            '\r' => text.push_str("%0D"),
            '\n' => text.push_str("%0A"),
            '\u{0}' => text.push_str("%00"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn part(name: &str, filename: Option<&str>, content_type: Option<&str>, data: &'static str) -> Part {
        Part {
            name: name.to_owned(),
            filename: filename.map(str::to_owned),
            content_type: content_type.map(str::to_owned),
            data: PartData::Bytes(data.into()),
        }
    }

    #[test]
    fn a_multipart_body_is_laid_out_as_rfc_7578_has_it() {
        let parts = vec![
            part("FaceDataRecord", None, Some("application/json"), "{}"),
            part("img\"\r\nX", Some("a.jpg"), Some("image/jpeg"), "JPEG"),
        ];
        let payload = multipart(parts, "B", None).unwrap();
        let text = String::from_utf8(payload.at_hand().unwrap().to_vec()).unwrap();
        assert_eq!(
            text,
            "--B\r\nContent-Disposition: form-data; name=\"FaceDataRecord\"\r\nContent-Type: application/json\r\n\r\n{}\r\n\
             --B\r\nContent-Disposition: form-data; name=\"img%22%0D%0AX\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\nJPEG\r\n\
             --B--\r\n"
        );
        assert_eq!(payload.bytes(), u64::try_from(text.len()).unwrap());
    }

    #[test]
    fn a_media_type_cannot_add_headers() {
        let parts = vec![part("a", None, Some("text/plain\r\nX: y"), "")];
        assert_eq!(multipart(parts, "B", None).err().unwrap().kind, Kind::Refused);
    }

    #[test]
    fn a_file_body_is_for_upload_only() {
        let body = Body::File { content_type: "image/jpeg".to_owned() };
        assert_eq!(Payload::prepare(body, None).err().unwrap().kind, Kind::InvalidInput);
        let part = Part { name: "f".to_owned(), filename: None, content_type: None, data: PartData::File };
        assert!(Payload::prepare(Body::Multipart(vec![part]), None).is_err());
    }
}
