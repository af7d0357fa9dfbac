//! The face library of a terminal (`facts/isapi.md 4`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::answer::Call;
use super::library::Face;
use super::picture as jpeg;
use crate::fault::html;
use crate::ledger::{FaceWrite, Kind, Note};
use crate::quirks::{BusyAs, EmptyDelete};
use crate::wire::{Answer, client, multipart};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Libraries,
    CreateLibrary,
    Capabilities,
    Count,
    Create,
    Modify,
    SetUp,
    Edit,
    Delete,
}

pub(super) async fn act(call: &Call<'_>, action: Action) -> Answer {
    match action {
        Action::Libraries => call.success(&json!({ "FDLib": [
            { "FDID": "1", "faceLibType": "blackFD", "name": "visible light" },
            { "FDID": "2", "faceLibType": "infraredFD", "name": "infrared" },
        ] })),
        Action::CreateLibrary => call.error("notSupport", ""),
        Action::Capabilities => capabilities(call),
        Action::Count => {
            let number = call.device.library().faces.iter().filter(|face| face.is_visible()).count();
            let record = json!({ "FDID": "1", "faceLibType": "blackFD", "name": "visible light", "recordDataNumber": number });
            call.success(&json!({ "FDRecordDataInfo": [record] }))
        }
        Action::Create | Action::Modify | Action::SetUp | Action::Edit => {
            write(call, action).await.unwrap_or_else(|refusal| refusal)
        }
        Action::Delete => delete(call).unwrap_or_else(|refusal| refusal),
    }
}

fn capabilities(call: &Call<'_>) -> Answer {
    let functions = if call.quirks.face_set_up.is_missing() {
        "post,delete,put,get"
    } else {
        "post,delete,put,get,setUp"
    };
    call.success(&json!({
        "FDNameMaxLen": 64, "FDRecordDataMaxNum": call.quirks.face_capacity, "supportFDFunction": functions, "isSuportFDSearch": true,
        "faceURLLen": call.quirks.face_url_max, "facePicFormat": "jpg",
    }))
}

/// A face write, step by step.
struct Draft {
    way: &'static str,
    how: &'static str,
    fpid: String,
    source: String,
    fields: Map<String, Value>,
}

async fn write(call: &Call<'_>, action: Action) -> Result<Answer, Answer> {
    let way = match action {
        Action::Create => "create",
        Action::Modify => "modify",
        Action::SetUp => "set-up",
        _ => "edit",
    };
    let missing = match action {
        Action::Modify | Action::Edit => call.quirks.modify.is_missing(),
        Action::SetUp => call.quirks.face_set_up.is_missing(),
        _ => false,
    };
    if missing {
        return Err(refused(call, None, "notSupport", ""));
    }
    // The modeller takes one picture at a time; this is given back on every way out.
    let Some(_modeller) = Modeller::take(&call.device.modelling) else {
        return Err(match call.quirks.busy_as {
            BusyAs::FaceDataModeling => refused(call, None, "faceDataModeling", ""),
            BusyAs::DeviceBusy => refused(call, None, "deviceBusy", ""),
        });
    };
    let (mut data, attached) = parts(call)?;
    let fpid = match data.get("FPID").and_then(Value::as_str) {
        Some(fpid) => fpid.to_owned(),
        None if action == Action::Edit => call.request.parameter("FPID").unwrap_or_default(),
        None => String::new(),
    };
    if fpid.is_empty() {
        return Err(refused(call, None, "MessageParametersLack", "FPID"));
    }
    check_place(call, action, &data, &fpid)?;
    if action == Action::SetUp && data.get("deleteFP") == Some(&Value::Bool(true)) {
        return Ok(removed(call, &[fpid]));
    }
    let (how, source, bytes) = match attached {
        Some(bytes) => ("multipart", "multipart".to_owned(), bytes),
        None => {
            let address = data.get("faceURL").and_then(Value::as_str).unwrap_or_default().to_owned();
            let bytes = download(call, &fpid, &address).await?;
            ("url", address, bytes)
        }
    };
    if call.quirks.face_checks
        && let Err(flaw) = jpeg::examine(&bytes, call.quirks)
    {
        return Err(refused(call, Some(&fpid), flaw.code, flaw.message));
    }
    if call.quirks.modelling_ms > 0 {
        tokio::time::sleep(Duration::from_millis(call.quirks.modelling_ms)).await;
    }
    for key in ["FPID", "FDID", "faceLibType", "faceURL"] {
        data.shift_remove(key);
    }
    store(call, Draft { way, how, fpid, source, fields: data }, bytes)
}

/// The JSON and, if it was sent along, the picture.
fn parts(call: &Call<'_>) -> Result<(Map<String, Value>, Option<Bytes>), Answer> {
    let kind = call.request.header("content-type").unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("multipart/") {
        return Ok((call.body().map_err(|_| refused(call, None, "badJsonFormat", ""))?, None));
    }
    let form = multipart::parse(kind, &call.request.body)
        .ok_or_else(|| refused(call, None, "badParameters", "multipart"))?;
    let (data, picture) = multipart::face_parts(&form, call.quirks.parts)
        .map_err(|name| refused(call, None, "MessageParametersLack", name))?;
    match serde_json::from_slice(data) {
        Ok(Value::Object(data)) => Ok((data, Some(picture.clone()))),
        _ => Err(refused(call, None, "badJsonFormat", "FaceDataRecord")),
    }
}

/// Whether that library, that person and that way of writing go together.
fn check_place(call: &Call<'_>, action: Action, data: &Map<String, Value>, fpid: &str) -> Result<(), Answer> {
    let told = |name: &str| match data.get(name).and_then(Value::as_str) {
        Some(value) => value.to_owned(),
        None if action == Action::Edit => call.request.parameter(name).unwrap_or_default(),
        None => String::new(),
    };
    if told("FDID") != "1" {
        return Err(refused(call, Some(fpid), "faceLibraryIDError", "FDID"));
    }
    if told("faceLibType") != "blackFD" {
        return Err(refused(call, Some(fpid), "faceLibraryError", "faceLibType"));
    }
    if call.quirks.lying {
        return Ok(());
    }
    let library = call.device.library();
    if library.user(fpid).is_none() {
        return Err(refused(call, Some(fpid), "employeeNoNotExist", "FPID"));
    }
    match (action, library.face(fpid).is_some()) {
        (Action::Create, true) => Err(refused(call, Some(fpid), "deviceUserAlreadyExistFace", "FPID")),
        (Action::Modify | Action::Edit, false) => {
            Err(refused(call, Some(fpid), &call.quirks.absent_face, "FPID"))
        }
        (_, false) if library.faces.len() >= call.quirks.face_capacity => {
            Err(refused(call, Some(fpid), "deviceFaceFull", ""))
        }
        _ => Ok(()),
    }
}

async fn download(call: &Call<'_>, fpid: &str, address: &str) -> Result<Bytes, Answer> {
    if address.is_empty() {
        return Err(refused(call, Some(fpid), "faceURLIsEmpty", "faceURL"));
    }
    if address.len() > call.quirks.face_url_max {
        return Err(refused(call, Some(fpid), "badJsonContent", "faceURL"));
    }
    client::fetch(address, Duration::from_millis(call.quirks.fetch_timeout_ms)).await.map_err(|why| {
        call.device.ledger.write(Note {
            subject: Some(fpid.to_owned()),
            code: Some("urlDownloadFail".to_owned()),
            note: Some(format!("{address}: {why}")),
            ..own(call, Kind::FaceRefused)
        });
        call.error("urlDownloadFail", "faceURL")
    })
}

fn store(call: &Call<'_>, draft: Draft, bytes: Bytes) -> Result<Answer, Answer> {
    let Draft { way, how, fpid, source, fields } = draft;
    let stored = !call.quirks.lying;
    let face = FaceWrite {
        way: way.to_owned(),
        how: how.to_owned(),
        source: (how == "url").then(|| source.clone()),
        sha256: jpeg::sha256(&bytes),
        bytes: bytes.len(),
        stored,
        nth: 0,
    };
    if stored {
        let mut library = call.device.library();
        library.put_face(&fpid, bytes, &source, Duration::from_millis(call.quirks.visible_after_ms));
        if let Some(face) = library.faces.iter_mut().find(|face| face.fpid == fpid) {
            face.fields.extend(fields);
        }
    }
    let note = (!stored).then(|| "not stored: this terminal lies".to_owned());
    call.device.ledger.write(Note {
        subject: Some(fpid.clone()),
        face: Some(face),
        note,
        ..own(call, Kind::FaceWrite)
    });
    Ok(call.success(&json!({ "FPID": fpid })))
}

fn delete(call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    if call.request.parameter("FDID").as_deref() != Some("1") {
        return Err(refused(call, None, "faceLibraryIDError", "FDID"));
    }
    if call.request.parameter("faceLibType").as_deref() != Some("blackFD") {
        return Err(refused(call, None, "faceLibraryError", "faceLibType"));
    }
    let list = body.get("FPID").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if list.is_empty() {
        if call.quirks.empty_delete == EmptyDelete::Refuse {
            return Err(refused(call, None, "MessageParametersLack", "FPID"));
        }
        let gone = std::mem::take(&mut call.device.library().faces).len();
        let note = Some(format!("ALL {gone} FACES were deleted because the list was empty or missing"));
        call.device.ledger.write(Note { note, ..own(call, Kind::WipedEverybody) });
        return Ok(call.success(&Value::Null));
    }
    let fpids: Vec<String> =
        list.iter().filter_map(|item| Some(item.get("value")?.as_str()?.to_owned())).collect();
    if fpids.len() < list.len() {
        return Err(refused(call, None, "badJsonContent", "FPID"));
    }
    Ok(removed(call, &fpids))
}

fn removed(call: &Call<'_>, fpids: &[String]) -> Answer {
    if !call.quirks.lying {
        let mut library = call.device.library();
        for fpid in fpids {
            library.remove_face(fpid);
        }
    }
    call.device.ledger.write(Note { subject: Some(fpids.join(",")), ..own(call, Kind::FaceDelete) });
    call.success(&Value::Null)
}

/// `faceURL` as the device tells it: its own idea of its address.
pub(super) fn face_url(call: &Call<'_>, face: &Face) -> String {
    let origin = if call.quirks.face_url_wrong_host {
        "http://192.168.1.7:80".to_owned()
    } else {
        call.device.origin()
    };
    format!("{origin}{}", face.path())
}

/// GET of a picture under `/LOCALS/pic/`.
pub(super) fn picture(call: &Call<'_>) -> Answer {
    if call.request.method != "GET" {
        return call.error("methodNotAllowed", "");
    }
    let library = call.device.library();
    match library.faces.iter().find(|face| face.is_visible() && face.path() == call.request.path()) {
        Some(face) => Answer::new(200, "image/jpeg", face.picture.clone()),
        None => html(404, "Not Found"),
    }
}

fn own(call: &Call<'_>, kind: Kind) -> Note {
    call.device.note(call.request, kind, &call.known)
}

fn refused(call: &Call<'_>, fpid: Option<&str>, code: &str, message: &str) -> Answer {
    let subject = fpid.map(str::to_owned);
    call.device.ledger.write(Note { subject, code: Some(code.to_owned()), ..own(call, Kind::FaceRefused) });
    call.error(code, message)
}

/// The one modeller of a device, held.
struct Modeller<'a>(&'a AtomicBool);

impl<'a> Modeller<'a> {
    fn take(busy: &'a AtomicBool) -> Option<Self> {
        // Made only when it was free: dropping one gives the modeller back.
        if busy.swap(true, Ordering::AcqRel) { None } else { Some(Self(busy)) }
    }
}

impl Drop for Modeller<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
