//! Every reader against what real terminals wrote, as `facts/isapi.md` has it. Names are invented, nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bascule_sdk::testing::{Script, answer};
use bascule_sdk::{Effect, ErrorKind};

use crate::bindings::exports::bascule::isapi::events::EventKind;
use crate::{clock, events, hosts, removal, reply, users};

/// 5.1, key order and all: a terminal of 2022 at +06:00. Doors stand between people and name nobody.
#[test]
fn a_page_of_the_log() {
    let body = r#"{"AcsEvent":{"searchID":"1","totalMatches":101,"responseStatusStrg":"OK","numOfMatches":3,"InfoList":[
        {"major":5,"minor":76,"time":"2022-02-03T14:49:15+06:00","cardReaderNo":1,"doorNo":1,"type":0,"serialNo":25,"currentVerifyMode":"cardOrFaceOrFp","mask":"no","pictureURL":"http://192.168.1.64/LOCALS/pic/acsLinkCap/202202_00/03_144915_30076_0.jpeg@WEB000000000061","picturesNumber":1},
        {"major":5,"minor":1,"time":"2022-02-03T13:03:19+06:00","cardType":1,"cardNo":"00058561930892349","name":"Ana","cardReaderNo":1,"doorNo":1,"employeeNoString":"17","type":0,"serialNo":26,"userType":"normal","currentVerifyMode":"cardOrFaceOrFp","mask":"no"},
        {"major":5,"minor":22,"time":"2022-02-03T14:49:24+06:00","doorNo":1,"type":0,"serialNo":27,"currentVerifyMode":"invalid"}]}}"#;
    let wanted = events::Wanted {
        from: "2022-02-03T00:00:00+06:00".into(),
        to: "2022-02-03T23:59:59+06:00".into(),
        major: None,
        minor: None,
        employee_no: None,
        limit: None,
        device: None,
    };
    let script = Script::new().then("POST /ISAPI/AccessControl/AcsEvent?format=json", answer(200, body));
    let found = events::search(&script, &wanted, "s").unwrap();
    let serials: Vec<_> = found.iter().map(|event| event.serial).collect();
    assert_eq!(serials, [Some(25), Some(26), Some(27)], "the clock was set back; the numbers count");
    assert_eq!((found[0].granted, found[1].granted, found[2].granted), (Some(false), Some(true), None));
    assert_eq!(found[1].card_no.as_deref(), Some("00058561930892349"));
    assert!(found[0].picture_path.as_deref().unwrap().ends_with("30076_0.jpeg@WEB000000000061"));
    assert!(found.iter().all(|event| event.kind == EventKind::Access));
    assert_eq!((found[2].verify_mode.as_deref(), found[2].employee_no.as_deref()), (None, None));
}

/// 3.2: an empty result has no list at all.
#[test]
fn nobody() {
    let body = r#"{"UserInfoSearch":{"searchID":"1","responseStatusStrg":"NO MATCH","numOfMatches":0,"totalMatches":0}}"#;
    let script =
        Script::new().then("POST /ISAPI/AccessControl/UserInfo/Search?format=json", answer(200, body));
    let wanted = users::Wanted { matching: None, employee_nos: None, has_face: None, limit: None };
    assert!(users::search(&script, &wanted, "s").unwrap().is_empty());
}

/// 3.1, 4.5: a person with a face, on a terminal with its own idea of its address.
#[test]
fn somebody_with_a_face() {
    let body = r#"{"UserInfoSearch":{"searchID":"1","responseStatusStrg":"OK","numOfMatches":1,"totalMatches":1,"UserInfo":[{"employeeNo":"2","name":"Ana","userType":"normal","closeDelayEnabled":false,"Valid":{"enable":true,"beginTime":"2022-01-01T00:00:00","endTime":"2037-12-31T23:59:59","timeType":"local"},"belongGroup":"","password":"","doorRight":"1","RightPlan":[{"doorNo":1,"planTemplateNo":"1"}],"maxOpenDoorTime":0,"openDoorTime":0,"roomNumber":0,"floorNumber":0,"localUIRight":false,"gender":"unknown","numOfCard":0,"numOfFP":1,"numOfFace":1,"faceURL":"http://192.168.1.7:80/LOCALS/pic/enrlFace/0/0000000002.jpg@WEB000000000010"}]}}"#;
    let script =
        Script::new().then("POST /ISAPI/AccessControl/UserInfo/Search?format=json", answer(200, body));
    let person = users::get(&script, "2", "s").unwrap();
    assert_eq!((person.faces, person.fingerprints, person.cards), (Some(1), Some(1), Some(0)));
    assert_eq!(person.door_right.as_deref(), Some("1"));
    assert_eq!(person.face_path.as_deref(), Some("/LOCALS/pic/enrlFace/0/0000000002.jpg@WEB000000000010"));
    assert!(person.valid.unwrap().enabled);
}

/// 3.2: 87 people of whom one has a face.
#[test]
fn a_count() {
    let body = r#"{"UserInfoCount":{"userNumber":87,"bindFaceUserNumber":1,"bindFingerprintUserNumber":81,"bindCardUserNumber":0}}"#;
    let script = Script::new().then("GET /ISAPI/AccessControl/UserInfo/Count?format=json", answer(200, body));
    let counts = users::count(&script).unwrap();
    assert_eq!(
        (counts.users, counts.with_face, counts.with_fingerprint, counts.with_card),
        (87, Some(1), Some(81), Some(0))
    );
}

/// 2.4: two hours east of Greenwich, in summer three.
#[test]
fn a_clock_with_summer_time() {
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Time version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\">\n<timeMode>NTP</timeMode>\n\
        <localTime>2026-07-01T13:00:00+03:00</localTime>\n<timeZone>CST-2:00:00DST01:00:00,M4.1.0/02:00:00,M10.5.0/02:00:00</timeZone>\n</Time>";
    let script = Script::new().then("GET /ISAPI/System/time?format=json", answer(200, body));
    // 2026-07-01T10:00:00Z
    let clock = clock::time(&script, &|| 1_782_900_000).unwrap();
    assert_eq!((clock.mode.as_str(), clock.drift_seconds), ("NTP", Some(0)));
}

/// 5.4: two slots that point nowhere.
#[test]
fn unused_receivers() {
    let slot = |id: u32| {
        format!(
            "<HttpHostNotification><id>{id}</id><url></url><protocolType>EHome</protocolType><parameterFormatType></parameterFormatType>\
             <addressingFormatType>ipaddress</addressingFormatType><ipAddress>0.0.0.0</ipAddress><portNo>0</portNo>\
             <httpAuthenticationMethod>none</httpAuthenticationMethod></HttpHostNotification>"
        )
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<HttpHostNotificationList version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\">{}{}</HttpHostNotificationList>",
        slot(1),
        slot(2)
    );
    let script = Script::new().then("GET /ISAPI/Event/notification/httpHosts", answer(200, body));
    let found = hosts::search(&script).unwrap();
    assert!(found.len() == 2 && found.iter().all(|slot| !slot.used && slot.host.is_none()));
}

/// 1.5 and 8: refusals as they came.
#[test]
fn refusals() {
    let read = |status, body: &str| reply::accept_write(&answer(status, body), "PUT /ISAPI/x").unwrap_err();
    let limits = read(
        400,
        r#"{"statusCode":6,"statusString":"Invalid Content","subStatusCode":"badJsonContent","errorCode":1610612759,"errorMsg":"beginTime and endTime"}"#,
    );
    assert_eq!((limits.kind, limits.effect), (ErrorKind::InvalidInput, Effect::None));
    assert!(
        limits.message.contains("beginTime and endTime") && limits.details.unwrap().contains("1610612759")
    );
    let locked = read(
        403,
        "<userCheck version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\"><statusValue>401</statusValue><statusString>Unauthorized</statusString><lockStatus>lock</lockStatus><unlockTime>1795</unlockTime><retryLoginTime>0</retryLoginTime></userCheck>",
    );
    assert_eq!((locked.kind, locked.retry_after), (ErrorKind::LockedOut, Some(1_795_000)));
    let listeners = read(
        403,
        "<ResponseStatus version=\"1.0\" xmlns=\"urn:psialliance-org\"><requestURL>null</requestURL><statusCode>4</statusCode><statusString>Invalid Operation</statusString><subStatusCode>invalidOperation</subStatusCode></ResponseStatus>",
    );
    assert_eq!(listeners.code.as_deref(), Some("isapi:invalidOperation"));
}

/// 3.2: a deletion of everything a person has, in the background.
#[test]
fn a_deletion_that_failed() {
    let started = r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok"}"#;
    let failed = r#"{"UserInfoDetailDeleteProcess":{"status":"failed","percent":40}}"#;
    let script = Script::new()
        .then("PUT /ISAPI/AccessControl/UserInfoDetail/Delete?format=json", answer(200, started))
        .then("GET /ISAPI/AccessControl/UserInfoDetail/DeleteProcess?format=json", answer(200, failed));
    let error = removal::delete_with_credentials(&script, &["17".to_owned()], "s", &|| true).unwrap_err();
    assert_ne!(error.effect, Effect::None, "{error:?}");
}
