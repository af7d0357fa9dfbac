//! Cards (`facts/isapi.md` 3.3).

use bascule_sdk::{Effect, Error, ErrorKind, Peer, Request, json};
use serde_json::{Value, json};

use crate::bindings::exports::bascule::isapi::cards::Card;
use crate::reply;
use crate::scan::{self, Ended, Search, text};
use crate::users::{check_employee_no, search_id};

const SEARCH: Search<'static> = Search {
    path: "/ISAPI/AccessControl/CardInfo/Search",
    condition: "CardInfoSearchCond",
    result: "CardInfoSearch",
    list: "CardInfo",
    unit: "cards",
};
/// What terminals take in one list.
const AT_ONCE: usize = 30;

/// The cards of these people, or these cards, or all.
pub(crate) fn search(
    terminal: &dyn Peer,
    employee_nos: Option<&[String]>,
    card_nos: Option<&[String]>,
    seed: &str,
) -> Result<Vec<Card>, Error> {
    // Terminals take one list or the other; the second is compared here.
    let conditions: Vec<Value> = match (card_nos, employee_nos) {
        (Some(numbers), _) => lists(numbers, "CardNoList", "cardNo"),
        (None, Some(numbers)) => lists(numbers, "EmployeeNoList", "employeeNo"),
        (None, None) => vec![json!({})],
    };
    let mut found: Vec<Card> = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let ended = scan::each(terminal, &SEARCH, condition, &search_id(seed, index), &mut |item| {
            if let Some(card) = card(item)
                && employee_nos.is_none_or(|numbers| numbers.contains(&card.employee_no))
                && card_nos.is_none_or(|numbers| numbers.contains(&card.card_no))
                && !found.iter().any(|other| other.card_no == card.card_no)
            {
                found.push(card);
            }
            true
        })?;
        if let Ended::Refused(error) = ended {
            return Err(error);
        }
    }
    Ok(found)
}

/// Binds a card. `repeated`: this very call may have been sent before.
pub(crate) fn add(terminal: &dyn Peer, wanted: Card, repeated: bool, seed: &str) -> Result<Card, Error> {
    check_employee_no(&wanted.employee_no)?;
    check_card_no(&wanted.card_no)?;
    let kind = wanted.card_type.as_deref().unwrap_or("normalCard");
    let request =
        Request::post("/ISAPI/AccessControl/CardInfo/Record").query("format", "json").json(&json!({
            "CardInfo": { "employeeNo": wanted.employee_no, "cardNo": wanted.card_no, "cardType": kind },
        }));
    let line = request.line();
    let written = reply::accept_write(&terminal.send(request)?, &line).map(|_| ());
    let refused = match written {
        Err(error) if error.kind == ErrorKind::Conflict && repeated => Some(error),
        Err(error) => return Err(error),
        Ok(()) => None,
    };
    let there = search(terminal, None, Some(std::slice::from_ref(&wanted.card_no)), seed)
        .map_err(|error| error.effect(if refused.is_some() { Effect::None } else { Effect::Applied }))?;
    match (there.into_iter().find(|card| card.employee_no == wanted.employee_no), refused) {
        (Some(card), _) => Ok(card),
        (None, Some(refused)) => Err(refused),
        (None, None) => Err(Error::new(
            ErrorKind::VerificationFailed,
            format!(
                "the terminal said that it bound card `{}` to person `{}`, and did not",
                wanted.card_no, wanted.employee_no
            ),
        )
        .effect(Effect::Unknown)),
    }
}

/// Changes the kind of a card that the person has.
pub(crate) fn modify(terminal: &dyn Peer, wanted: &Card, seed: &str) -> Result<Card, Error> {
    check_employee_no(&wanted.employee_no)?;
    check_card_no(&wanted.card_no)?;
    let kind = wanted.card_type.as_deref().unwrap_or_default();
    let request = Request::put("/ISAPI/AccessControl/CardInfo/Modify").query("format", "json").json(&json!({
        "CardInfo": { "employeeNo": wanted.employee_no, "cardNo": wanted.card_no, "cardType": kind },
    }));
    let line = request.line();
    // Who has the card is looked at first: terminals take a card from one person and give it to another.
    let owned = |effect| {
        let found = search(terminal, None, Some(std::slice::from_ref(&wanted.card_no)), seed);
        let found = found.map_err(|error| error.effect(effect))?;
        Ok::<_, Error>(found.into_iter().find(|card| card.employee_no == wanted.employee_no))
    };
    if owned(Effect::None)?.is_none() {
        let message = format!("person `{}` has no card `{}`", wanted.employee_no, wanted.card_no);
        return Err(Error::not_found(message).code("isapi:cardNoNotExist"));
    }
    reply::accept_write(&terminal.send(request)?, &line)?;
    match owned(Effect::Applied)? {
        // Some do not tell the kind.
        Some(card) if card.card_type.as_deref().is_none_or(|there| there == kind) => Ok(card),
        _ => Err(Error::new(
            ErrorKind::VerificationFailed,
            format!("the terminal said that it changed card `{}`, and did not", wanted.card_no),
        )
        .effect(Effect::Unknown)),
    }
}

pub(crate) fn count(terminal: &dyn Peer) -> Result<u32, Error> {
    let request = Request::get("/ISAPI/AccessControl/CardInfo/Count").query("format", "json");
    let line = request.line();
    let document = reply::accept(&terminal.send(request)?, &line)?;
    let value = document.json().ok_or_else(|| reply::unexpected(&line, "a CardInfoCount"))?;
    let counted = json::field(value, "CardInfoCount").unwrap_or(value);
    scan::small(counted, "cardNumber").ok_or_else(|| reply::unexpected(&line, "a CardInfoCount"))
}

/// Removes cards, always by number: an empty list would mean all.
pub(crate) fn delete(terminal: &dyn Peer, numbers: &[String], seed: &str) -> Result<u32, Error> {
    if numbers.is_empty() {
        return Err(Error::invalid_input("no card is named; deleting all is not possible"));
    }
    for number in numbers {
        check_card_no(number)?;
    }
    for some in numbers.chunks(AT_ONCE) {
        let list: Vec<Value> = some.iter().map(|number| json!({ "cardNo": number })).collect();
        let request = Request::put("/ISAPI/AccessControl/CardInfo/Delete")
            .query("format", "json")
            .json(&json!({ "CardInfoDelCond": { "CardNoList": list } }));
        let line = request.line();
        match reply::accept_write(&terminal.send(request)?, &line) {
            Err(error) if error.kind == ErrorKind::NotFound && error.effect == Effect::None => {}
            other => drop(other?),
        }
    }
    let left = search(terminal, None, Some(numbers), seed).map_err(|error| error.effect(Effect::Applied))?;
    if let Some(first) = left.first() {
        let message = format!("the terminal said that it removed card `{}`, and still has it", first.card_no);
        return Err(Error::new(ErrorKind::VerificationFailed, message).effect(Effect::Unknown));
    }
    Ok(u32::try_from(numbers.len()).unwrap_or(u32::MAX))
}

fn lists(numbers: &[String], list: &str, field: &str) -> Vec<Value> {
    let piece = |some: &[String]| {
        let items: Vec<Value> = some.iter().map(|number| json!({ (field): number })).collect();
        json!({ (list): items })
    };
    numbers.chunks(AT_ONCE).map(piece).collect()
}

fn card(item: &Value) -> Option<Card> {
    Some(Card {
        employee_no: text(item, "employeeNo")?,
        card_no: text(item, "cardNo")?,
        card_type: text(item, "cardType"),
    })
}

fn check_card_no(number: &str) -> Result<(), Error> {
    if number.is_empty() || number.len() > 32 || !number.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Error::invalid_input(format!(
            "the card number `{}` is not 1 to 32 letters and digits",
            number.escape_debug()
        )));
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::Response;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    const SEARCH: &str = "POST /ISAPI/AccessControl/CardInfo/Search?format=json";
    const RECORD: &str = "POST /ISAPI/AccessControl/CardInfo/Record?format=json";
    const DELETE: &str = "PUT /ISAPI/AccessControl/CardInfo/Delete?format=json";
    const OK: &str = r#"{"statusCode":1,"statusString":"OK","subStatusCode":"ok"}"#;

    fn found(cards: &[(&str, &str)]) -> Response {
        let list: Vec<Value> =
            cards.iter().map(|(card, person)| json!({ "cardNo": card, "employeeNo": person })).collect();
        let status = if list.is_empty() { "NO MATCH" } else { "OK" };
        let body = json!({ "CardInfoSearch": { "responseStatusStrg": status, "numOfMatches": list.len(), "CardInfo": list } });
        answer(200, body.to_string())
    }

    fn wanted() -> Card {
        Card { employee_no: "1001".into(), card_no: "00058561930892349".into(), card_type: None }
    }

    #[test]
    fn a_card_is_bound_and_looked_for() {
        let script =
            Script::new().then(RECORD, answer(200, OK)).then(SEARCH, found(&[("00058561930892349", "1001")]));
        assert_eq!(add(&script, wanted(), false, "s").unwrap().card_no, "00058561930892349");
        assert_eq!(
            script.body(0),
            r#"{"CardInfo":{"employeeNo":"1001","cardNo":"00058561930892349","cardType":"normalCard"}}"#
        );
        let script = Script::new().then(RECORD, answer(200, OK)).then(SEARCH, found(&[]));
        assert_eq!(add(&script, wanted(), false, "s").unwrap_err().kind, ErrorKind::VerificationFailed);
    }

    #[test]
    fn a_card_that_is_bound_already_is_a_conflict_but_not_for_a_repetition() {
        let taken = || {
            Script::new()
                .then(RECORD, answer(400, r#"{"statusCode":6,"subStatusCode":"cardNoAlreadyExist"}"#))
        };
        assert_eq!(add(&taken(), wanted(), false, "s").unwrap_err().kind, ErrorKind::Conflict);
        let own = taken().then(SEARCH, found(&[("00058561930892349", "1001")]));
        assert!(add(&own, wanted(), true, "s").is_ok());
        let other = taken().then(SEARCH, found(&[("00058561930892349", "7")]));
        assert_eq!(add(&other, wanted(), true, "s").unwrap_err().kind, ErrorKind::Conflict);
    }

    #[test]
    fn a_card_is_changed_where_it_belongs_and_looked_at_again() {
        const MODIFY: &str = "PUT /ISAPI/AccessControl/CardInfo/Modify?format=json";
        let there = |kind: &str| {
            let list = json!([{ "cardNo": "7", "employeeNo": "1001", "cardType": kind }]);
            let body = json!({ "CardInfoSearch": { "responseStatusStrg": "OK", "numOfMatches": 1, "CardInfo": list } });
            answer(200, body.to_string())
        };
        let wanted = Card { card_no: "7".into(), card_type: Some("superCard".into()), ..wanted() };
        let done = Script::new()
            .then(SEARCH, there("normalCard"))
            .then(MODIFY, answer(200, OK))
            .then(SEARCH, there("superCard"));
        assert_eq!(modify(&done, &wanted, "s").unwrap().card_type.as_deref(), Some("superCard"));
        let lied = Script::new()
            .then(SEARCH, there("normalCard"))
            .then(MODIFY, answer(200, OK))
            .then(SEARCH, there("normalCard"));
        assert_eq!(modify(&lied, &wanted, "s").unwrap_err().kind, ErrorKind::VerificationFailed);
        let others = Script::new().then(SEARCH, found(&[("7", "5")]));
        assert_eq!(modify(&others, &wanted, "s").unwrap_err().kind, ErrorKind::NotFound);
    }

    #[test]
    fn cards_are_counted() {
        let line = "GET /ISAPI/AccessControl/CardInfo/Count?format=json";
        let script = Script::new().then(line, answer(200, r#"{"CardInfoCount":{"cardNumber":12}}"#));
        assert_eq!(count(&script), Ok(12));
        let script = Script::new().then(line, answer(200, "{}"));
        assert_eq!(count(&script).unwrap_err().kind, ErrorKind::Protocol);
    }

    #[test]
    fn all_cards_cannot_be_said() {
        assert_eq!(delete(&Script::new(), &[], "s").unwrap_err().kind, ErrorKind::InvalidInput);
        let empty = [String::new()];
        assert_eq!(delete(&Script::new(), &empty, "s").unwrap_err().kind, ErrorKind::InvalidInput);
        let script = Script::new().then(DELETE, answer(200, OK)).then(SEARCH, found(&[("7", "1")]));
        let error = delete(&script, &["7".to_owned()], "s").unwrap_err();
        assert_eq!(error.kind, ErrorKind::VerificationFailed);
        assert_eq!(script.body(0), r#"{"CardInfoDelCond":{"CardNoList":[{"cardNo":"7"}]}}"#);
    }

    #[test]
    fn a_terminal_that_ignores_the_condition_does_not_fool_anybody() {
        let script = Script::new().then(SEARCH, found(&[("1", "1001"), ("2", "1002")]));
        let cards = search(&script, Some(&["1001".to_owned()]), None, "s").unwrap();
        assert_eq!(cards.iter().map(|card| card.card_no.as_str()).collect::<Vec<_>>(), ["1"]);
        assert!(search(&Script::new(), Some(&[]), None, "s").unwrap().is_empty());
    }
}
