//! Paged searches, with the ways devices page (`facts/isapi.md 3.2`, `4.2`).

use serde_json::{Map, Value, json};

use super::answer::Call;
use super::faces::face_url;
use super::library::{Face, Library, User};
use crate::quirks::{OverMax, Position, Quirks};
use crate::wire::Answer;

/// Stands for bytes that are no valid UTF-8 until the answer is put together.
const MARK: char = '\u{E000}';

pub(super) fn users(call: &Call<'_>) -> Answer {
    let body = match call.body() {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let Some(condition) = body.get("UserInfoSearchCond").and_then(Value::as_object) else {
        return call.error("badJsonContent", "UserInfoSearchCond");
    };
    let page = match Page::of(call, condition) {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    let library = call.device.library();
    let wanted = Wanted::of(condition);
    let found: Vec<&User> = library.users.iter().filter(|user| wanted.fits(&library, user)).collect();
    let shown = page.cut(&found);
    let mut raw_names = Vec::new();
    let list: Vec<Value> = shown.iter().map(|user| user_json(call, &library, user, &mut raw_names)).collect();
    let mut reply = Map::new();
    reply.insert("searchID".to_owned(), condition.get("searchID").cloned().unwrap_or_else(|| "".into()));
    reply.insert(call.quirks.status_key.clone(), page.status(call.quirks, &found, shown).into());
    reply.insert("numOfMatches".to_owned(), shown.len().into());
    reply.insert("totalMatches".to_owned(), found.len().into());
    if !list.is_empty() {
        reply.insert("UserInfo".to_owned(), list.into());
    }
    let mut answer = call.json(200, &json!({ "UserInfoSearch": reply }));
    for (number, name) in raw_names.iter().enumerate() {
        answer.body = replaced(&answer.body, format!("{MARK}{number}{MARK}").as_bytes(), name).into();
    }
    answer
}

pub(super) fn faces(call: &Call<'_>) -> Answer {
    let body = match call.body() {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    if body.get("FDID").and_then(Value::as_str).is_some_and(|fdid| fdid != "1") {
        return call.error("faceLibraryIDError", "FDID");
    }
    if body.get("faceLibType").and_then(Value::as_str).is_some_and(|kind| kind != "blackFD") {
        return call.error("faceLibraryError", "faceLibType");
    }
    let page = match Page::of(call, &body) {
        Ok(page) => page,
        Err(answer) => return answer,
    };
    let fpid = body.get("FPID").and_then(Value::as_str);
    let library = call.device.library();
    let found: Vec<&Face> = library
        .faces
        .iter()
        .filter(|face| face.is_visible() && fpid.is_none_or(|fpid| face.fpid == fpid))
        .collect();
    let shown = page.cut(&found);
    let list: Vec<Value> = shown
        .iter()
        .map(|face| {
            let mut record = Map::new();
            record.insert("FPID".to_owned(), face.fpid.clone().into());
            if call.quirks.face_url_told {
                record.insert("faceURL".to_owned(), face_url(call, face).into());
            }
            record.extend(face.fields.clone());
            record.into()
        })
        .collect();
    let mut more = Map::new();
    more.insert(call.quirks.status_key.clone(), page.status(call.quirks, &found, shown).into());
    more.insert("numOfMatches".to_owned(), shown.len().into());
    more.insert("totalMatches".to_owned(), found.len().into());
    if !list.is_empty() {
        more.insert("MatchList".to_owned(), list.into());
    }
    call.success(&more.into())
}

fn user_json(call: &Call<'_>, library: &Library, user: &User, raw_names: &mut Vec<Vec<u8>>) -> Value {
    let mut record = Map::new();
    record.insert("employeeNo".to_owned(), user.employee_no.clone().into());
    let name = match std::str::from_utf8(&user.name) {
        Ok(name) => name.to_owned(),
        Err(_) => {
            raw_names.push(user.name.clone());
            format!("{MARK}{}{MARK}", raw_names.len() - 1)
        }
    };
    record.insert("name".to_owned(), name.into());
    record.extend(user.fields.clone());
    let face = library.visible_face(&user.employee_no);
    let cards = call.device.extras().cards.iter().filter(|card| card.employee_no == user.employee_no).count();
    record.insert("numOfCard".to_owned(), cards.into());
    record.insert("numOfFP".to_owned(), 0.into());
    record.insert("numOfFace".to_owned(), u32::from(face.is_some()).into());
    if let Some(face) = face.filter(|_| call.quirks.face_url_told) {
        record.insert("faceURL".to_owned(), face_url(call, face).into());
    }
    record.into()
}

/// What a search for persons asks for.
struct Wanted<'a> {
    numbers: Vec<&'a str>,
    text: Option<&'a str>,
    kind: Option<&'a str>,
    face: Option<bool>,
    other: bool,
}

impl<'a> Wanted<'a> {
    fn of(condition: &'a Map<String, Value>) -> Self {
        let flag = |name: &str| condition.get(name).and_then(Value::as_bool);
        let text = |name: &str| condition.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let numbers =
            condition.get("EmployeeNoList").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Self {
            numbers: numbers
                .iter()
                .filter_map(|item| item.get("employeeNo").and_then(Value::as_str))
                .collect(),
            text: text("fuzzySearch"),
            kind: text("userType"),
            face: flag("hasFace"),
            // Nobody here has a card or a fingerprint.
            other: flag("hasCard") == Some(true) || flag("hasFingerprint") == Some(true),
        }
    }

    fn fits(&self, library: &Library, user: &User) -> bool {
        let name = String::from_utf8_lossy(&user.name);
        !self.other
            && (self.numbers.is_empty() || self.numbers.contains(&user.employee_no.as_str()))
            && self.text.is_none_or(|text| name.contains(text) || user.employee_no.contains(text))
            && self.kind.is_none_or(|kind| user.fields.get("userType").and_then(Value::as_str) == Some(kind))
            && self.face.is_none_or(|face| library.visible_face(&user.employee_no).is_some() == face)
    }
}

/// Which part of the result is asked for.
pub(super) struct Page {
    from: usize,
    most: usize,
}

impl Page {
    pub(super) fn of(call: &Call<'_>, condition: &Map<String, Value>) -> Result<Self, Answer> {
        let number = |name: &str| {
            let value = condition.get(name)?;
            value.as_u64().or_else(|| value.as_str()?.parse().ok())
        };
        let (Some(from), Some(most)) = (number("searchResultPosition"), number("maxResults")) else {
            return Err(call.error("MessageParametersLack", "searchResultPosition and maxResults"));
        };
        let quirks = call.quirks;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if most == 0 || (most > quirks.max_results && quirks.over_max_results == OverMax::Reject) {
            return Err(call.error("badJsonContent", "maxResults"));
        }
        let from = match quirks.position {
            Position::Honoured => from,
            Position::Ignored => 0,
            Position::Limit1000 if from > 1_000 => {
                return Err(call.error("badJsonContent", "searchResultPosition"));
            }
            Position::Limit1000 => from,
        };
        Ok(Self { from, most: most.min(quirks.max_results) })
    }

    pub(super) fn cut<'a, T>(&self, found: &'a [T]) -> &'a [T] {
        let start = self.from.min(found.len());
        let end = start.saturating_add(self.most).min(found.len());
        found.get(start..end).unwrap_or_default()
    }

    pub(super) fn status<T>(&self, quirks: &Quirks, found: &[T], shown: &[T]) -> String {
        if shown.is_empty() {
            quirks.no_match.clone()
        } else if self.from + shown.len() < found.len() {
            "MORE".to_owned()
        } else {
            "OK".to_owned()
        }
    }
}

fn replaced(text: &[u8], mark: &[u8], by: &[u8]) -> Vec<u8> {
    let Some(place) = text.windows(mark.len()).position(|part| part == mark) else {
        return text.to_vec();
    };
    let (before, rest) = text.split_at(place);
    [before, by, rest.get(mark.len()..).unwrap_or_default()].concat()
}
