use anyhow::{Context as _, Result};
use bascule_sim::{BusyAs, Kind, PASSWORD, Quirks, Scenario, Sketch, Support, Terminal, USER};
use diqwest::WithDigestAuth as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Said, ask, fleet, one};

async fn write(terminal: &Terminal, call: &str, fpid: &str, url: &str) -> Result<Said> {
    let method = if call == "FaceDataRecord" { Method::POST } else { Method::PUT };
    let body = json!({ "faceURL": url, "faceLibType": "blackFD", "FDID": "1", "FPID": fpid });
    ask(terminal, method, &format!("/ISAPI/Intelligent/FDLib/{call}?format=json"), Some(body)).await
}

async fn upload(terminal: &Terminal, names: (&str, &str), picture: &[u8]) -> Result<Said> {
    let data = json!({ "faceLibType": "blackFD", "FDID": "1", "FPID": "1001" });
    let head = format!(
        "--BOUND\r\nContent-Disposition: form-data; name=\"{}\"\r\nContent-Type: application/json\r\n\r\n{data}\r\n--BOUND\r\n\
         Content-Disposition: form-data; name=\"{}\"; filename=\"face.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n",
        names.0, names.1
    );
    let body = [head.as_bytes(), picture, b"\r\n--BOUND--\r\n"].concat();
    let request = reqwest::Client::new()
        .put(format!("{}/ISAPI/Intelligent/FDLib/FDSetUp?format=json", terminal.url()))
        .header("content-type", "multipart/form-data; boundary=BOUND")
        .body(body);
    Said::from(request.send_digest_auth((USER, PASSWORD)).await?).await
}

async fn find(terminal: &Terminal, fpid: &str) -> Result<Value> {
    let body = json!({ "searchResultPosition": 0, "maxResults": 30, "faceLibType": "blackFD", "FDID": "1", "FPID": fpid });
    ask(terminal, Method::POST, "/ISAPI/Intelligent/FDLib/FDSearch?format=json", Some(body)).await?.json()
}

#[tokio::test]
async fn the_terminal_downloads_the_picture_and_keeps_its_bytes() -> Result<()> {
    let fleet = fleet(1, Scenario::Fresh).await?;
    let terminal = fleet.terminal(0);
    let person = fleet.people().complete().context("nobody complete")?;
    let picture = person.photo.clone().context("no photo")?;
    let url = format!("{}/storage/v1/object/public/photos/faces/0001.jpg", fleet.supabase_url());
    assert_eq!(
        write(terminal, "FDModify", "1001", &url).await?.code()?,
        (400, "faceDataNotExist".to_owned())
    );
    let created = write(terminal, "FaceDataRecord", "1001", &url).await?;
    assert_eq!((created.code()?, created.json()?["FPID"].clone()), ((200, "ok".to_owned()), json!("1001")));
    assert_eq!(
        write(terminal, "FaceDataRecord", "1001", &url).await?.code()?.1,
        "deviceUserAlreadyExistFace"
    );
    assert_eq!(write(terminal, "FDModify", "1001", &url).await?.code()?.1, "ok");
    assert_eq!(terminal.face("1001").map(|face| face.picture), Some(picture.clone()));

    let found = find(terminal, "1001").await?;
    assert_eq!((&found["responseStatusStrg"], &found["totalMatches"]), (&json!("OK"), &json!(1)));
    let face_url = found["MatchList"][0]["faceURL"].as_str().context("no faceURL")?.to_owned();
    let path = face_url.strip_prefix(&terminal.url()).context("another host")?;
    let read = ask(terminal, Method::GET, path, None).await?;
    assert_eq!((read.header("content-type"), &read.body), ("image/jpeg", &picture.to_vec()));

    let writes = fleet.ledger().face_writes(terminal.id(), "1001");
    let faces: Vec<_> = writes.iter().filter_map(|entry| entry.face.clone()).collect();
    let ways: Vec<_> =
        faces.iter().map(|face| (face.way.as_str(), face.how.as_str(), face.nth, face.stored)).collect();
    assert_eq!(ways, [("create", "url", 1, true), ("modify", "url", 2, true)]);
    assert!(faces.iter().all(|face| face.source.as_deref() == Some(&url) && face.bytes == picture.len()));
    Ok(())
}

#[tokio::test]
async fn a_picture_that_cannot_be_downloaded_is_url_download_fail() -> Result<()> {
    let fleet = fleet(1, Scenario::Fresh).await?;
    let terminal = fleet.terminal(0);
    let base = fleet.supabase_url();
    let long = format!("{base}/{}", "a".repeat(300));
    for (url, code) in [
        (format!("{base}/storage/v1/object/public/photos/none.jpg"), "urlDownloadFail"),
        ("http://127.0.0.1:9/a.jpg".to_owned(), "urlDownloadFail"),
        ("http://192.0.2.1/a.jpg".to_owned(), "urlDownloadFail"),
        (String::new(), "faceURLIsEmpty"),
        (long, "badJsonContent"),
    ] {
        assert_eq!(write(terminal, "FaceDataRecord", "1001", &url).await?.code()?.1, code, "{url}");
    }
    let good = format!("{base}/storage/v1/object/public/photos/faces/0001.jpg");
    assert_eq!(write(terminal, "FaceDataRecord", "nobody", &good).await?.code()?.1, "employeeNoNotExist");
    assert!(terminal.face("1001").is_none());
    Ok(())
}

#[tokio::test]
async fn a_picture_can_be_sent_along_and_is_looked_at() -> Result<()> {
    let fleet = fleet(1, Scenario::Fresh).await?;
    let terminal = fleet.terminal(0);
    let picture = Sketch::new(5).draw();
    let names = ("FaceDataRecord", "img");
    assert_eq!(upload(terminal, names, &picture).await?.code()?, (200, "ok".to_owned()));
    assert_eq!(terminal.face("1001").map(|face| face.picture.to_vec()), Some(picture.clone()));
    let large = Sketch { padding: 204_801, ..Sketch::new(6) }.draw();
    assert_eq!(upload(terminal, names, &large).await?.code()?.1, "picSizeExceedError");
    assert_eq!(upload(terminal, names, b"no picture").await?.code()?.1, "picFormatError");
    assert_eq!(upload(terminal, ("data", "img"), &picture).await?.code()?.1, "MessageParametersLack");
    assert_eq!(upload(terminal, ("faceURL", "FaceImage"), &picture).await?.code()?.1, "ok");
    terminal.change(|quirks| quirks.parts = bascule_sim::Parts::Strict);
    assert_eq!(
        upload(terminal, ("faceURL", "FaceImage"), &picture).await?.code()?.1,
        "MessageParametersLack"
    );
    assert_eq!(
        terminal.face("1001").map(|face| face.picture.to_vec()),
        Some(picture),
        "a refused picture leaves the old one"
    );
    Ok(())
}

#[tokio::test]
async fn a_lying_terminal_says_ok_and_stores_nothing() -> Result<()> {
    let fleet = fleet(1, Scenario::Fresh).await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.lying = true);
    let url = format!("{}/storage/v1/object/public/photos/faces/0001.jpg", fleet.supabase_url());
    for call in ["FDModify", "FaceDataRecord"] {
        assert_eq!(write(terminal, call, "1001", &url).await?.code()?, (200, "ok".to_owned()));
    }
    let found = find(terminal, "1001").await?;
    assert_eq!((&found["responseStatusStrg"], found.get("MatchList")), (&json!("NO MATCH"), None));
    assert!(
        fleet
            .ledger()
            .of(Kind::FaceWrite)
            .iter()
            .all(|entry| entry.face.as_ref().is_some_and(|face| !face.stored))
    );
    Ok(())
}

#[tokio::test]
async fn one_face_is_modelled_at_a_time() -> Result<()> {
    let fleet = fleet(1, Scenario::Fresh).await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.modelling_ms = 3_600_000);
    let picture = Sketch::new(5).draw();
    let names = ("FaceDataRecord", "img");
    // Whichever comes second is refused at once, while the first is still being modelled.
    let refused = tokio::select! {
        first = upload(terminal, names, &picture) => first?,
        second = upload(terminal, names, &picture) => second?,
    };
    assert_eq!(refused.code()?, (400, "faceDataModeling".to_owned()));
    terminal.change(|quirks| quirks.busy_as = BusyAs::DeviceBusy);
    assert_eq!(upload(terminal, names, &picture).await?.code()?, (503, "deviceBusy".to_owned()));
    // A power cut ends the modelling.
    terminal.offline().await?;
    terminal.online().await?;
    assert!(terminal.face("1001").is_none());
    terminal.change(|quirks| quirks.modelling_ms = 1);
    assert_eq!(upload(terminal, names, &picture).await?.code()?, (200, "ok".to_owned()));
    Ok(())
}

#[tokio::test]
async fn a_missing_call_a_late_face_and_a_wrong_host() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let terminal = fleet.terminal(0);
    let url = format!("{}/storage/v1/object/public/photos/faces/0001.jpg", fleet.supabase_url());
    terminal.change(|quirks| quirks.modify = Support::NotSupport);
    assert_eq!(write(terminal, "FDModify", "1001", &url).await?.code()?, (403, "notSupport".to_owned()));
    terminal.change(|quirks| *quirks = Quirks { visible_after_ms: 3_600_000, ..Quirks::default() });
    assert_eq!(write(terminal, "FDModify", "1001", &url).await?.status, 200);
    assert_eq!(find(terminal, "1001").await?["totalMatches"], 0);
    terminal.change(|quirks| quirks.face_url_wrong_host = true);
    let found = find(terminal, "1002").await?;
    let told = found["MatchList"][0]["faceURL"].as_str().unwrap_or_default().to_owned();
    let path = told.strip_prefix("http://192.168.1.7:80").context("not the wrong host")?;
    assert_eq!(ask(terminal, Method::GET, path, None).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn libraries_are_listed_counted_edited_and_emptied() -> Result<()> {
    let fleet = fleet(1, Scenario::Calm).await?;
    let terminal = fleet.terminal(0);
    let get = |path: &'static str| async move { ask(terminal, Method::GET, path, None).await?.json() };
    assert_eq!(get("/ISAPI/Intelligent/FDLib?format=json").await?["FDLib"][0]["faceLibType"], "blackFD");
    let count =
        get("/ISAPI/Intelligent/FDLib/Count?format=json").await?["FDRecordDataInfo"][0]["recordDataNumber"]
            .clone();
    assert_eq!(count, 5);
    assert_eq!(
        get("/ISAPI/Intelligent/FDLib/capabilities?format=json").await?["supportFDFunction"],
        "post,delete,put,get,setUp"
    );
    let delete = |list: Value| async move {
        let path = "/ISAPI/Intelligent/FDLib/FDSearch/Delete?format=json&FDID=1&faceLibType=blackFD";
        ask(terminal, Method::PUT, path, Some(json!({ "FPID": list }))).await
    };
    assert_eq!(delete(json!([{ "value": "1001" }])).await?.status, 200);
    assert!(terminal.face("1001").is_none() && terminal.face("1002").is_some());
    let url = format!("{}/storage/v1/object/public/photos/faces/0001.jpg", fleet.supabase_url());
    let path = "/ISAPI/Intelligent/FDLib/FDSearch?format=json&FDID=1&FPID=1002&faceLibType=blackFD";
    assert_eq!(ask(terminal, Method::PUT, path, Some(json!({ "faceURL": url }))).await?.code()?.1, "ok");
    assert_eq!(terminal.face("1002").map(|face| face.source), Some(url));
    assert_eq!(
        ask(terminal, Method::POST, "/ISAPI/Intelligent/FDLib?format=json", Some(json!({}))).await?.code()?.1,
        "notSupport"
    );
    Ok(())
}

#[tokio::test]
async fn an_empty_terminal_finds_nothing() -> Result<()> {
    let fleet = one().await?;
    let found = find(fleet.terminal(0), "1").await?;
    assert_eq!(found["responseStatusStrg"], "NO MATCH");
    Ok(())
}
