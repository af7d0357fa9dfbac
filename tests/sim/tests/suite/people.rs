use anyhow::Result;
use bascule_sim::{EmptyDelete, Kind, OverMax, OverlongName, Position, Quirks, SetUp, Terminal};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{Said, ask, one};

const SEARCH: &str = "/ISAPI/AccessControl/UserInfo/Search?format=json";

async fn write(terminal: &Terminal, call: &str, user: Value) -> Result<Said> {
    let method = if call == "Record" { Method::POST } else { Method::PUT };
    let path = format!("/ISAPI/AccessControl/UserInfo/{call}?format=json");
    ask(terminal, method, &path, Some(json!({ "UserInfo": user }))).await
}

fn user(number: &str) -> Value {
    json!({ "employeeNo": number, "name": format!("Person {number}"), "userType": "normal", "doorRight": "1" })
}

async fn search(terminal: &Terminal, position: usize, most: usize, more: Value) -> Result<Value> {
    let mut condition = json!({ "searchID": "s", "searchResultPosition": position, "maxResults": most });
    if let (Some(condition), Some(more)) = (condition.as_object_mut(), more.as_object()) {
        condition.extend(more.clone());
    }
    ask(terminal, Method::POST, SEARCH, Some(json!({ "UserInfoSearchCond": condition }))).await?.json()
}

#[tokio::test]
async fn eighty_seven_persons_come_in_pages_of_thirty() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    (0..87).for_each(|number| terminal.enrol(&format!("{number:03}"), "N"));
    let mut pages = Vec::new();
    for position in [0, 30, 60, 87] {
        let page = search(terminal, position, 100, json!({})).await?;
        let page = &page["UserInfoSearch"];
        assert_eq!(page["totalMatches"], 87);
        pages.push((
            page["numOfMatches"].as_u64(),
            page["responseStatusStrg"].as_str().map(str::to_owned),
            page.get("UserInfo").is_some(),
        ));
    }
    let page = |number, word: &str, list| (Some(number), Some(word.to_owned()), list);
    assert_eq!(
        pages,
        [page(30, "MORE", true), page(30, "MORE", true), page(27, "OK", true), page(0, "NO MATCH", false)]
    );
    Ok(())
}

#[tokio::test]
async fn paging_has_its_bad_habits() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    (0..40).for_each(|number| terminal.enrol(&format!("{number:03}"), "N"));
    terminal.change(|quirks| quirks.position = Position::Ignored);
    let again = search(terminal, 30, 30, json!({})).await?;
    assert_eq!(again["UserInfoSearch"]["UserInfo"][0]["employeeNo"], "000");
    terminal.change(|quirks| *quirks = Quirks { over_max_results: OverMax::Reject, ..Quirks::default() });
    assert_eq!(search(terminal, 0, 31, json!({})).await?["subStatusCode"], "badJsonContent");
    terminal.change(|quirks| {
        quirks.no_match = "NOMATCH".to_owned();
        quirks.status_key = "responseSearchStatusStrg".to_owned();
    });
    let none = search(terminal, 0, 30, json!({ "EmployeeNoList": [{ "employeeNo": "nobody" }] })).await?;
    assert_eq!(
        none,
        json!({ "UserInfoSearch": {
        "searchID": "s", "responseSearchStatusStrg": "NOMATCH", "numOfMatches": 0, "totalMatches": 0,
    } })
    );
    Ok(())
}

#[tokio::test]
async fn searches_narrow_by_number_text_and_face() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    for (number, name) in [("1", "Ana"), ("2", "Ion"), ("12", "Anca")] {
        terminal.enrol(number, name);
    }
    terminal.put_face("2", bascule_sim::Sketch::new(1).draw().into());
    for (more, numbers) in [
        (json!({ "EmployeeNoList": [{ "employeeNo": "2" }, { "employeeNo": "12" }] }), vec!["2", "12"]),
        (json!({ "EmployeeNoList": [] }), vec!["1", "2", "12"]),
        (json!({ "fuzzySearch": "An" }), vec!["1", "12"]),
        (json!({ "fuzzySearch": "2" }), vec!["2", "12"]),
        (json!({ "hasFace": true }), vec!["2"]),
        (json!({ "hasFace": false }), vec!["1", "12"]),
    ] {
        let found = search(terminal, 0, 30, more.clone()).await?;
        let found = found["UserInfoSearch"]["UserInfo"].as_array().cloned().unwrap_or_default();
        let found: Vec<&str> = found.iter().filter_map(|user| user["employeeNo"].as_str()).collect();
        assert_eq!(found, numbers, "{more}");
    }
    let one = search(terminal, 0, 30, json!({ "hasFace": true })).await?;
    let one = &one["UserInfoSearch"]["UserInfo"][0];
    assert_eq!(one["numOfFace"], 1);
    assert!(
        one["faceURL"].as_str().is_some_and(|url| url.contains("/LOCALS/pic/enrlFace/0/0000000001.jpg@WEB"))
    );
    Ok(())
}

#[tokio::test]
async fn writes_of_persons_answer_as_devices_do() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    let code = |said: Said| said.code();
    assert_eq!(code(write(terminal, "Modify", user("1")).await?)?, (400, "employeeNoNotExist".to_owned()));
    let first = write(terminal, "Record", user("1")).await?;
    assert_eq!(
        first.json()?,
        json!({ "statusCode": 1, "statusString": "OK", "subStatusCode": "ok", "errorCode": 1, "errorMsg": "ok" })
    );
    let again = write(terminal, "Record", user("1")).await?;
    assert_eq!(again.json()?["errorCode"], 0x6000_6020);
    assert_eq!(code(again)?, (400, "employeeNoAlreadyExist".to_owned()));
    assert_eq!(code(write(terminal, "SetUp", user("2")).await?)?, (200, "ok".to_owned()));
    terminal.change(|quirks| {
        quirks.set_up = SetUp::NotExist;
        quirks.errors_as_200 = true;
        quirks.success_error_code = false;
    });
    assert_eq!(code(write(terminal, "SetUp", user("3")).await?)?, (200, "employeeNoNotExist".to_owned()));
    let short = write(terminal, "Modify", json!({ "employeeNo": "1", "name": "New" })).await?;
    assert_eq!(short.json()?, json!({ "statusCode": 1, "statusString": "OK", "subStatusCode": "ok" }));
    let users = terminal.users();
    let numbers: Vec<&str> = users.iter().map(|user| user.employee_no.as_str()).collect();
    assert_eq!(numbers, ["1", "2"]);
    assert_eq!(users.first().map(|user| user.name.clone()), Some(b"New".to_vec()));
    assert_eq!(users.first().and_then(|user| user.fields.get("doorRight").cloned()), Some(json!("1")));
    Ok(())
}

#[tokio::test]
async fn an_overlong_name_is_refused_or_cut_inside_a_letter() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    terminal.change(|quirks| quirks.name_limit = 4);
    let long = json!({ "employeeNo": "1", "name": "abcășț", "userType": "normal" });
    assert_eq!(write(terminal, "Record", long.clone()).await?.code()?.1, "nameIsOverlong");
    terminal.change(|quirks| quirks.overlong_name = OverlongName::Cut);
    assert_eq!(write(terminal, "Record", long).await?.status, 200);
    let condition =
        json!({ "UserInfoSearchCond": { "searchID": "s", "searchResultPosition": 0, "maxResults": 1 } });
    let said = ask(terminal, Method::POST, SEARCH, Some(condition)).await?;
    let cut = b"\"name\":\t\"abc\xc4\"".iter().copied().filter(|byte| *byte != b'\t').collect::<Vec<u8>>();
    let body: Vec<u8> = said.body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    assert!(body.windows(cut.len()).any(|part| part == cut), "{}", said.text());
    Ok(())
}

#[tokio::test]
async fn a_delete_without_a_list_deletes_everybody_and_the_ledger_shouts() -> Result<()> {
    let fleet = one().await?;
    let terminal = fleet.terminal(0);
    ["1", "2", "3"].iter().for_each(|number| terminal.enrol(number, "N"));
    terminal.put_face("1", bascule_sim::Sketch::new(1).draw().into());
    let delete = |list: Value| async move {
        let path = "/ISAPI/AccessControl/UserInfo/Delete?format=json";
        ask(terminal, Method::PUT, path, Some(json!({ "UserInfoDelCond": { "EmployeeNoList": list } }))).await
    };
    assert_eq!(delete(json!([{ "employeeNo": "1" }, { "employeeNo": "unknown" }])).await?.status, 200);
    assert_eq!((terminal.users().len(), terminal.face("1").is_none()), (2, true));
    terminal.change(|quirks| quirks.empty_delete = EmptyDelete::Refuse);
    assert_eq!(delete(json!([])).await?.code()?.1, "MessageParametersLack");
    terminal.change(|quirks| quirks.empty_delete = EmptyDelete::Wipe);
    assert_eq!(delete(json!([])).await?.status, 200);
    assert!(terminal.users().is_empty());
    let wiped = fleet.ledger().of(Kind::WipedEverybody);
    assert_eq!(wiped.len(), 1);
    assert!(
        wiped
            .first()
            .and_then(|entry| entry.note.as_deref())
            .is_some_and(|note| note.contains("EVERYBODY (2 persons)"))
    );
    Ok(())
}
