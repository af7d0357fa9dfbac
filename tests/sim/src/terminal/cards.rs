//! Cards on a terminal (`facts/isapi.md 3.3`), and deleting people with all they have.

use serde_json::{Map, Value, json};

use super::answer::Call;
use super::extras::Card;
use super::search::Page;
use crate::ledger::{Kind, Note};
use crate::quirks::EmptyDelete;
use crate::wire::Answer;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Count,
    Record,
    Modify,
    Search,
    Delete,
    DeletePeople,
    DeleteProcess,
}

/// How many a person may have.
const PER_PERSON: usize = 5;

pub(super) fn act(call: &Call<'_>, action: Action) -> Answer {
    let answer = match action {
        Action::Count => {
            let number = call.device.extras().cards.len();
            Ok(call.json(200, &json!({ "CardInfoCount": { "cardNumber": number } })))
        }
        Action::Record => record(call),
        Action::Modify => modify(call),
        Action::Search => search(call),
        Action::Delete => delete(call),
        Action::DeletePeople => delete_people(call),
        Action::DeleteProcess => Ok(delete_process(call)),
    };
    answer.unwrap_or_else(|refusal| refusal)
}

fn record(call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    let Some(Value::Object(given)) = body.get("CardInfo") else {
        return Err(call.error("badJsonContent", "CardInfo"));
    };
    let text = |name: &str| given.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (employee_no, card_no) = (text("employeeNo"), text("cardNo"));
    if employee_no.is_empty() || card_no.is_empty() {
        return Err(call.error("MessageParametersLack", "employeeNo and cardNo"));
    }
    if call.device.library().user(&employee_no).is_none() {
        return Err(call.error("employeeNoNotExist", "employeeNo"));
    }
    let mut extras = call.device.extras();
    if extras.cards.iter().any(|card| card.card_no == card_no) {
        return Err(call.error("cardNoAlreadyExist", "cardNo"));
    }
    if extras.cards.iter().filter(|card| card.employee_no == employee_no).count() >= PER_PERSON {
        return Err(call.error("cardFullPerUser", "cardNo"));
    }
    let mut fields = given.clone();
    fields.shift_remove("employeeNo");
    fields.shift_remove("cardNo");
    if !call.quirks.lying {
        extras.cards.push(Card { employee_no: employee_no.clone(), card_no: card_no.clone(), fields });
    }
    drop(extras);
    write(call, Kind::CardWrite, &format!("{employee_no}/{card_no}"));
    Ok(call.success(&Value::Null))
}

fn modify(call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    let Some(Value::Object(given)) = body.get("CardInfo") else {
        return Err(call.error("badJsonContent", "CardInfo"));
    };
    let text = |name: &str| given.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (employee_no, card_no) = (text("employeeNo"), text("cardNo"));
    let mut extras = call.device.extras();
    let Some(card) = extras.cards.iter_mut().find(|card| card.card_no == card_no) else {
        return Err(call.error("cardNoNotExist", "cardNo"));
    };
    if !call.quirks.lying {
        card.employee_no.clone_from(&employee_no);
        card.fields.extend(given.clone());
        card.fields.shift_remove("employeeNo");
        card.fields.shift_remove("cardNo");
    }
    drop(extras);
    write(call, Kind::CardWrite, &format!("{employee_no}/{card_no}"));
    Ok(call.success(&Value::Null))
}

fn search(call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    let Some(condition) = body.get("CardInfoSearchCond").and_then(Value::as_object) else {
        return Err(call.error("badJsonContent", "CardInfoSearchCond"));
    };
    let page = Page::of(call, condition)?;
    let named = |list: &str, field: &str| -> Vec<String> {
        let items = condition.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        items.iter().filter_map(|item| Some(item.get(field)?.as_str()?.to_owned())).collect()
    };
    let (people, numbers) = (named("EmployeeNoList", "employeeNo"), named("CardNoList", "cardNo"));
    let extras = call.device.extras();
    let found: Vec<&Card> = extras
        .cards
        .iter()
        .filter(|card| people.is_empty() || people.contains(&card.employee_no))
        .filter(|card| numbers.is_empty() || numbers.contains(&card.card_no))
        .collect();
    let shown = page.cut(&found);
    let mut reply = Map::new();
    reply.insert("searchID".to_owned(), condition.get("searchID").cloned().unwrap_or_else(|| "".into()));
    reply.insert(call.quirks.status_key.clone(), page.status(call.quirks, &found, shown).into());
    reply.insert("numOfMatches".to_owned(), shown.len().into());
    reply.insert("totalMatches".to_owned(), found.len().into());
    let list: Vec<Value> = shown
        .iter()
        .map(|card| {
            let mut record = Map::new();
            record.insert("employeeNo".to_owned(), card.employee_no.clone().into());
            record.insert("cardNo".to_owned(), card.card_no.clone().into());
            record.extend(card.fields.clone());
            record.into()
        })
        .collect();
    if !list.is_empty() {
        reply.insert("CardInfo".to_owned(), list.into());
    }
    Ok(call.json(200, &json!({ "CardInfoSearch": reply })))
}

fn delete(call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    let condition = body.get("CardInfoDelCond");
    let list = |name: &str, field: &str| -> Vec<String> {
        let items = condition.and_then(|condition| condition.get(name)?.as_array());
        let items = items.map_or(&[][..], Vec::as_slice);
        items.iter().filter_map(|item| Some(item.get(field)?.as_str()?.to_owned())).collect()
    };
    let (people, numbers) = (list("EmployeeNoList", "employeeNo"), list("CardNoList", "cardNo"));
    if people.is_empty() && numbers.is_empty() {
        if call.quirks.empty_delete == EmptyDelete::Refuse {
            return Err(call.error("MessageParametersLack", "CardNoList"));
        }
        let gone = std::mem::take(&mut call.device.extras().cards).len();
        let note = Some(format!("ALL {gone} CARDS were deleted because the list was empty or missing"));
        call.device
            .ledger
            .write(Note { note, ..call.device.note(call.request, Kind::WipedEverybody, &call.known) });
        return Ok(call.success(&Value::Null));
    }
    if !call.quirks.lying {
        call.device
            .extras()
            .cards
            .retain(|card| !people.contains(&card.employee_no) && !numbers.contains(&card.card_no));
    }
    write(call, Kind::CardDelete, &[people, numbers].concat().join(","));
    Ok(call.success(&Value::Null))
}

fn delete_people(call: &Call<'_>) -> Result<Answer, Answer> {
    let body = call.body()?;
    let detail = body.get("UserInfoDetail");
    let mode = detail.and_then(|detail| detail.get("mode")?.as_str()).unwrap_or_default();
    let list = detail.and_then(|detail| detail.get("EmployeeNoList")?.as_array());
    let numbers: Vec<String> = list
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(|item| Some(item.get("employeeNo")?.as_str()?.to_owned()))
        .collect();
    if mode == "all" {
        let mut library = call.device.library();
        let gone = std::mem::take(&mut library.users).len();
        library.faces.clear();
        drop(library);
        call.device.extras().cards.clear();
        let note = Some(format!("EVERYBODY ({gone} persons) was deleted by mode `all`"));
        call.device
            .ledger
            .write(Note { note, ..call.device.note(call.request, Kind::WipedEverybody, &call.known) });
        return Ok(call.success(&Value::Null));
    }
    if mode != "byEmployeeNo" || numbers.is_empty() {
        return Err(call.error("MessageParametersLack", "EmployeeNoList"));
    }
    let mut extras = call.device.extras();
    if extras.deleting.is_some() {
        return Err(call.error("deviceBusy", ""));
    }
    extras.deleting = Some((call.quirks.delete_looks, numbers.clone()));
    drop(extras);
    write(call, Kind::UserDelete, &numbers.join(","));
    Ok(call.success(&Value::Null))
}

/// Each look brings the deletion in the background on.
fn delete_process(call: &Call<'_>) -> Answer {
    let mut extras = call.device.extras();
    let (status, percent) = match extras.deleting.take() {
        None => ("success", 100),
        Some((0, numbers)) => {
            if !call.quirks.lying && !call.quirks.delete_fails {
                extras.cards.retain(|card| !numbers.contains(&card.employee_no));
                drop(extras);
                let mut library = call.device.library();
                library.users.retain(|user| !numbers.contains(&user.employee_no));
                library.faces.retain(|face| !numbers.contains(&face.fpid));
            }
            if call.quirks.delete_fails { ("failed", 50) } else { ("success", 100) }
        }
        Some((looks, numbers)) => {
            extras.deleting = Some((looks - 1, numbers));
            ("processing", 100 / (looks + 1))
        }
    };
    call.json(200, &json!({ "UserInfoDetailDeleteProcess": { "status": status, "percent": percent } }))
}

fn write(call: &Call<'_>, kind: Kind, subject: &str) {
    let note = call.quirks.lying.then(|| "not done: this terminal lies".to_owned());
    let subject = Some(subject.to_owned());
    call.device.ledger.write(Note { subject, note, ..call.device.note(call.request, kind, &call.known) });
}
