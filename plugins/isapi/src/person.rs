//! What is sent about a person: the fields, the name cut to fit, the period of validity (`facts/isapi.md` 3.1).

use bascule_sdk::{Error, Peer, Request, json};
use serde_json::{Map, Value, json};

use crate::bindings::exports::bascule::isapi::users::{Person, Validity};
use crate::reply;
use crate::users::check_employee_no;

/// What every terminal takes as a name without being asked, in bytes.
const SURE_NAME_BYTES: usize = 32;
/// What is sent as limits for a person without any: a range that every terminal was seen to take.
const NO_LIMIT: (&str, &str) = ("2000-01-01T00:00:00", "2030-12-31T23:59:59");

/// Fields of `UserInfo`, and what became of the name.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) employee_no: String,
    pub(crate) fields: Map<String, Value>,
    /// The name as sent, where one is.
    pub(crate) name: Option<String>,
    pub(crate) name_cut: bool,
}

impl Sheet {
    pub(crate) fn body(&self) -> Value {
        json!({ "UserInfo": self.fields })
    }
}

/// What changes about a person.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) name: Option<String>,
    pub(crate) user_type: Option<String>,
    pub(crate) gender: Option<String>,
    pub(crate) valid: Option<Validity>,
    pub(crate) door_right: Option<String>,
    pub(crate) plan: Option<String>,
    pub(crate) extra: Option<String>,
}

/// A whole person: what is not told gets its usual value.
pub(crate) fn whole(terminal: &dyn Peer, person: Person) -> Result<Sheet, Error> {
    let no_limit = Validity { enabled: false, begin: None, end: None, time_type: None };
    let change = Change {
        name: Some(person.name),
        user_type: Some(person.user_type.unwrap_or_else(|| "normal".into())),
        gender: person.gender,
        valid: Some(person.valid.unwrap_or(no_limit)),
        door_right: Some(person.door_right.unwrap_or_else(|| "1".into())),
        plan: person.plan,
        extra: person.extra,
    };
    sheet(terminal, &person.employee_no, change)
}

/// Only what is given.
pub(crate) fn sheet(terminal: &dyn Peer, employee_no: &str, change: Change) -> Result<Sheet, Error> {
    check_employee_no(employee_no)?;
    let mut fields = Map::new();
    fields.insert("employeeNo".into(), employee_no.into());
    let (mut name, mut name_cut) = (None, false);
    if let Some(given) = change.name {
        if given.chars().any(char::is_control) {
            return Err(Error::invalid_input("the name has control characters in it"));
        }
        let limit = if given.len() > SURE_NAME_BYTES {
            name_limit(terminal)?
        } else {
            SURE_NAME_BYTES.max(given.len())
        };
        let kept = cut(&given, limit);
        name_cut = kept.len() < given.len();
        fields.insert("name".into(), kept.into());
        name = Some(kept.to_owned());
    }
    if let Some(kind) = change.user_type.filter(|kind| !kind.is_empty()) {
        fields.insert("userType".into(), kind.into());
    }
    if let Some(gender) = change.gender.filter(|gender| !gender.is_empty()) {
        if !["male", "female", "unknown"].contains(&gender.as_str()) {
            return Err(Error::invalid_input(format!(
                "the gender `{}` is none of `male`, `female`, `unknown`",
                gender.escape_debug()
            )));
        }
        fields.insert("gender".into(), gender.into());
    }
    if let Some(valid) = change.valid {
        fields.insert("Valid".into(), validity(&valid)?);
    }
    if let Some(right) = change.door_right {
        let doors = doors(&right)?;
        let plan = change.plan.as_deref().unwrap_or("1");
        let plans: Vec<Value> =
            doors.iter().map(|door| json!({ "doorNo": door, "planTemplateNo": plan })).collect();
        fields.insert("doorRight".into(), right.trim().into());
        fields.insert("RightPlan".into(), plans.into());
    }
    if let Some(extra) = change.extra {
        let extra: Map<String, Value> = json::parse(&extra, "extra")?;
        for (key, value) in extra {
            // What is given by name stands; an empty plan is what some terminals show whatever they have.
            let plan = key == "RightPlan" && value.as_array().is_some_and(|plans| !plans.is_empty());
            if !is_own(&key) && !value.is_null() && (plan || !fields.contains_key(&key)) {
                fields.insert(key, value);
            }
        }
        name = name.or_else(|| fields.get("name").and_then(Value::as_str).map(str::to_owned));
    }
    Ok(Sheet { employee_no: employee_no.to_owned(), fields, name, name_cut })
}

/// Fields that the terminal works out itself, and those that turn one call into another.
fn is_own(field: &str) -> bool {
    field.starts_with("numOf") || ["faceURL", "openDoorTime", "addUser", "deleteUser"].contains(&field)
}

/// The longest beginning of `name` that has at most `limit` bytes and ends between two characters.
pub(crate) fn cut(name: &str, limit: usize) -> &str {
    if name.len() <= limit {
        return name;
    }
    let mut end = limit;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].trim_end()
}

/// The byte limit that the terminal advertises; the least that was ever seen where it advertises none.
fn name_limit(terminal: &dyn Peer) -> Result<usize, Error> {
    let request = Request::get("/ISAPI/AccessControl/UserInfo/capabilities").query("format", "json");
    let line = request.line();
    let told = match reply::accept(&terminal.send(request)?, &line) {
        Ok(document) => document.json().and_then(|value| {
            let info = json::field(value, "UserInfo").unwrap_or(value);
            let most = json::field(json::field(info, "name")?, "@max").and_then(json::as_integer)?;
            usize::try_from(most).ok().filter(|most| *most > 0)
        }),
        Err(error) if error.kind == bascule_sdk::ErrorKind::Unsupported => None,
        Err(error) => return Err(error),
    };
    Ok(told.unwrap_or(SURE_NAME_BYTES))
}

fn validity(valid: &Validity) -> Result<Value, Error> {
    let kind = valid.time_type.as_deref().filter(|kind| !kind.is_empty()).unwrap_or("local");
    // Without a limit the times mean nothing, but some terminals refuse those outside their own range.
    let (begin, end) = if valid.enabled {
        let (Some(begin), Some(end)) = (valid.begin.as_deref(), valid.end.as_deref()) else {
            return Err(Error::invalid_input("a limited validity has both `begin` and `end`"));
        };
        (moment(begin, "begin")?, moment(end, "end")?)
    } else {
        (NO_LIMIT.0.to_owned(), NO_LIMIT.1.to_owned())
    };
    if begin >= end {
        return Err(Error::invalid_input(format!(
            "the validity ends (`{end}`) before it begins (`{begin}`)"
        )));
    }
    Ok(json!({ "enable": valid.enabled, "beginTime": begin, "endTime": end, "timeType": kind }))
}

/// `YYYY-MM-DDTHH:MM:SS` between 1970 and 2037; an offset behind it is dropped, for terminals echo one that they do not mean.
fn moment(text: &str, name: &str) -> Result<String, Error> {
    let wrong = || {
        Error::invalid_input(format!(
            "`{name}` of the validity is not a time such as 2026-01-01T00:00:00 between 1970 and 2037: `{}`",
            text.escape_debug()
        ))
    };
    let (core, offset) = text.split_at_checked(19).ok_or_else(wrong)?;
    let time = crate::civil::Civil::parse(core).ok_or_else(wrong)?;
    let offset_fits = offset.is_empty() || offset == "Z" || crate::civil::offset_seconds(offset).is_some();
    if !(1970..=2037).contains(&time.year) || !offset_fits {
        return Err(wrong());
    }
    Ok(core.replace(' ', "T"))
}

fn doors(right: &str) -> Result<Vec<u32>, Error> {
    let parts = right.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| part.parse().ok().filter(|door| (1..=256).contains(door)))
        .collect::<Option<Vec<u32>>>()
        .ok_or_else(|| {
            Error::invalid_input(format!("`{}` is not a list of doors such as `1,3`", right.escape_debug()))
        })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use bascule_sdk::ErrorKind;
    use bascule_sdk::testing::{Script, answer};

    use super::*;

    fn person(name: &str) -> Person {
        Person {
            employee_no: "1001".into(),
            name: name.into(),
            user_type: None,
            gender: None,
            valid: None,
            door_right: None,
            plan: None,
            extra: None,
        }
    }

    #[test]
    fn a_person_of_whom_little_is_known_gets_the_usual_values() {
        let sheet = whole(&Script::new(), person("Ana")).unwrap();
        assert_eq!(
            sheet.body().to_string(),
            r#"{"UserInfo":{"employeeNo":"1001","name":"Ana","userType":"normal","Valid":{"enable":false,"beginTime":"2000-01-01T00:00:00","endTime":"2030-12-31T23:59:59","timeType":"local"},"doorRight":"1","RightPlan":[{"doorNo":1,"planTemplateNo":"1"}]}}"#
        );
    }

    #[test]
    fn a_name_is_cut_between_two_characters() {
        for (name, limit, kept) in [
            ("Ștefănescu", 3, "Șt"),
            ("Ștefănescu", 1, ""),
            ("Ștefănescu", 6, "Ștef"),
            ("Ștefănescu", 7, "Ștefă"),
            ("Ana Maria", 4, "Ana"),
            ("日本語", 8, "日本"),
            ("short", 32, "short"),
        ] {
            assert_eq!(cut(name, limit), kept, "{name} to {limit}");
        }
    }

    #[test]
    fn only_a_long_name_costs_a_question() {
        let capabilities = r#"{"UserInfo":{"name":{"@min":0,"@max":33},"maxRecordNum":3000}}"#;
        let long = "ș".repeat(20);
        let script = Script::new()
            .then("GET /ISAPI/AccessControl/UserInfo/capabilities?format=json", answer(200, capabilities));
        let sheet = whole(&script, person(&long)).unwrap();
        assert_eq!((sheet.name.unwrap(), sheet.name_cut), ("ș".repeat(16), true));
        script.finish();
        let script =
            Script::new().then("GET /ISAPI/AccessControl/UserInfo/capabilities?format=json", answer(404, ""));
        assert_eq!(whole(&script, person(&long)).unwrap().name.unwrap().len(), 32);
    }

    #[test]
    fn a_validity_is_checked_and_an_echoed_offset_dropped() {
        let valid = |enabled, begin: &str, end: &str| {
            validity(&Validity { enabled, begin: Some(begin.into()), end: Some(end.into()), time_type: None })
        };
        let value = valid(true, "2026-01-01T00:00:00+00:00", "2027-01-01T00:00:00").unwrap();
        assert_eq!(value["beginTime"], "2026-01-01T00:00:00");
        for (begin, end) in [
            ("2026-01-01", "2027-01-01T00:00:00"),
            ("2026-13-01T00:00:00", "2027-01-01T00:00:00"),
            ("2026-02-30T00:00:00", "2027-01-01T00:00:00"),
            ("1969-01-01T00:00:00", "2027-01-01T00:00:00"),
            ("2026-01-01T00:00:00", "2038-01-01T00:00:00"),
            ("2027-01-01T00:00:00", "2026-01-01T00:00:00"),
            ("2026-01-01T00:00:00 and more", "2027-01-01T00:00:00"),
        ] {
            assert_eq!(valid(true, begin, end).unwrap_err().kind, ErrorKind::InvalidInput, "{begin} {end}");
        }
        assert!(valid(false, "1970-01-01T00:00:00", "2099-01-01T00:00:00").is_ok(), "not limited at all");
    }

    #[test]
    fn fields_that_would_turn_the_call_into_another_do_not_get_through() {
        let extra = r#"{"deleteUser":true,"addUser":true,"employeeNo":"2","roomNumber":12,"numOfFace":3}"#;
        let sheet = whole(&Script::new(), Person { extra: Some(extra.into()), ..person("Ana") }).unwrap();
        assert_eq!(sheet.fields["employeeNo"], "1001");
        assert_eq!(sheet.fields["roomNumber"], 12);
        assert!(!sheet.fields.contains_key("deleteUser") && !sheet.fields.contains_key("numOfFace"));
    }

    #[test]
    fn a_whole_record_as_extra_adds_what_is_not_given_by_name() {
        let raw = r#"{"name":"Old","belongGroup":"3","RightPlan":[{"doorNo":1,"planTemplateNo":"7"}],"password":null}"#;
        let sheet = whole(&Script::new(), Person { extra: Some(raw.into()), ..person("Ana") }).unwrap();
        assert_eq!((&sheet.fields["name"], &sheet.fields["belongGroup"]), (&json!("Ana"), &json!("3")));
        assert_eq!(sheet.fields["RightPlan"][0]["planTemplateNo"], "7");
        assert!(!sheet.fields.contains_key("password"));
        let empty = Person {
            extra: Some(r#"{"RightPlan":[]}"#.into()),
            gender: Some(String::new()),
            ..person("Ana")
        };
        let sheet = whole(&Script::new(), empty).unwrap();
        assert_eq!(sheet.fields["RightPlan"][0]["planTemplateNo"], "1");
    }

    #[test]
    fn doors_and_genders_that_cannot_be_are_refused() {
        let none = Script::new();
        for right in ["0", "x", "1;2", "65535"] {
            let person = Person { door_right: Some(right.into()), ..person("Ana") };
            assert_eq!(whole(&none, person).unwrap_err().kind, ErrorKind::InvalidInput, "{right}");
        }
        let person = Person { gender: Some("m".into()), ..person("Ana") };
        assert_eq!(whole(&none, person).unwrap_err().kind, ErrorKind::InvalidInput);
        assert!(doors("").unwrap().is_empty());
    }
}
