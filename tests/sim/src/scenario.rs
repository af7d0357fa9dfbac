//! Who is in the database, what is on the terminals, and which of them misbehave.

use anyhow::Result;
use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::backend::Backend;
use crate::photo::Sketch;
use crate::quirks::{
    Algorithms, BusyAs, ChallengeForm, DeadNonce, Drip, Length, LockBody, Namespace, Parts, Position, Quirks,
    Support,
};
use crate::supabase::Supabase;
use crate::terminal::Terminal;
use crate::terminal::library::{Library, Snapshot};

/// A ready-made situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// What `cargo xtask demo` shows: most terminals work; some have no face yet, some refuse FDModify, one is offline, one
    /// is locked, one lies.
    Demo,
    /// Every terminal works and has an older face of everybody: FDModify is enough.
    Calm,
    /// Every terminal works and has no face yet: FDModify fails, FaceDataRecord works.
    Fresh,
    /// Nobody on the terminals, no employees and no devices in the database.
    Empty,
    /// Each terminal has another bad habit; see [`Fleet::roles`](crate::Fleet::roles).
    Quirks,
}

/// What a terminal is in the scenario `demo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Works, and has an older face.
    Fine,
    /// Works, and has no face: FDModify is refused.
    Bare,
    /// Does not know FDModify, and has no face.
    NoModify,
    /// Refuses connections.
    Offline,
    /// The account is locked.
    Locked,
    /// Says OK to every write and stores nothing; has no face.
    Lying,
}

impl Role {
    /// The role of terminal `number` of `count` in the scenario `demo`. Below five terminals none misbehaves.
    pub fn of(number: usize, count: usize) -> Self {
        let special = |part: usize| count >= 5 && number == count * part / 5;
        if special(1) {
            Self::Offline
        } else if special(2) {
            Self::Locked
        } else if special(3) {
            Self::Lying
        } else if number % 8 == 6 {
            Self::NoModify
        } else if number % 3 == 1 {
            Self::Bare
        } else {
            Self::Fine
        }
    }

    /// `fine`, `bare`, `no-modify`, `offline`, `locked`, `lying`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Bare => "bare",
            Self::NoModify => "no-modify",
            Self::Offline => "offline",
            Self::Locked => "locked",
            Self::Lying => "lying",
        }
    }
}

/// A row of `employees` with its row of `biometrics`.
#[derive(Clone, Debug)]
pub struct Person {
    /// `employees.id`.
    pub id: String,
    /// `employees.full_name`.
    pub name: String,
    /// `biometrics.employee_no`.
    pub employee_no: Option<String>,
    /// The stored photo.
    pub photo: Option<Bytes>,
    /// `biometrics.photo_url` is a path and not a whole address.
    pub relative_photo: bool,
    /// Whether there is a row of `biometrics` at all.
    pub has_biometrics: bool,
}

/// The employees of a scenario.
#[derive(Clone, Debug, Default)]
pub struct People(pub Vec<Person>);

impl People {
    fn first(&self, fits: impl Fn(&Person) -> bool) -> Option<&Person> {
        self.0.iter().find(|person| fits(person))
    }

    /// Has everything; the photo's address is whole.
    pub fn complete(&self) -> Option<&Person> {
        self.first(|person| person.employee_no.is_some() && person.photo.is_some() && !person.relative_photo)
    }

    /// Has everything; the photo's address is a path.
    pub fn relative_photo(&self) -> Option<&Person> {
        self.first(|person| person.relative_photo)
    }

    /// Has a number with leading zeros.
    pub fn leading_zeros(&self) -> Option<&Person> {
        self.first(|person| person.employee_no.as_ref().is_some_and(|number| number.starts_with('0')))
    }

    /// Has no photo.
    pub fn without_photo(&self) -> Option<&Person> {
        self.first(|person| person.has_biometrics && person.photo.is_none())
    }

    /// Has no employee number.
    pub fn without_number(&self) -> Option<&Person> {
        self.first(|person| person.has_biometrics && person.employee_no.is_none())
    }

    /// Has no row of `biometrics`.
    pub fn without_biometrics(&self) -> Option<&Person> {
        self.first(|person| !person.has_biometrics)
    }

    pub(crate) fn ready(&self) -> Value {
        let id = |person: Option<&Person>| person.map(|person| person.id.clone());
        json!({
            "complete": id(self.complete()),
            "relative_photo": id(self.relative_photo()),
            "leading_zeros": id(self.leading_zeros()),
            "without_photo": id(self.without_photo()),
            "without_number": id(self.without_number()),
            "without_biometrics": id(self.without_biometrics()),
        })
    }
}

/// Everybody and everything before ports are known.
pub(crate) struct Cast {
    pub(crate) terminals: Vec<Made>,
    pub(crate) people: People,
}

pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) initial: Snapshot,
}

pub(crate) fn cast(scenario: Scenario, count: usize, seed: u64) -> Cast {
    let people = if scenario == Scenario::Empty { People::default() } else { people(seed) };
    let width = count.to_string().len().max(2);
    let mut without_faces = Library::default();
    for person in &people.0 {
        if let Some(number) = &person.employee_no {
            without_faces.enrol(number, &person.name);
        }
    }
    let mut with_faces = without_faces.clone();
    for (place, person) in (0..).zip(&people.0) {
        if let Some(number) = &person.employee_no {
            // Older than, and not the same as, the one in the database.
            let older = Sketch::new(seed.wrapping_mul(1_000) + 500 + place).draw();
            with_faces.put_face(number, older.into(), "scenario", std::time::Duration::ZERO);
        }
    }
    let made = (0..count).map(|number| {
        let mut initial = Snapshot { library: with_faces.clone(), ..Snapshot::default() };
        let role = match scenario {
            Scenario::Demo => {
                let role = Role::of(number, count);
                match role {
                    Role::Fine => {}
                    Role::Bare => initial.library = without_faces.clone(),
                    Role::NoModify => {
                        initial.library = without_faces.clone();
                        initial.quirks.modify = Support::NotSupport;
                    }
                    Role::Offline => initial.offline = true,
                    Role::Locked => initial.locked = true,
                    Role::Lying => {
                        initial.library = without_faces.clone();
                        initial.quirks.lying = true;
                    }
                }
                role.name().to_owned()
            }
            Scenario::Calm => Role::Fine.name().to_owned(),
            Scenario::Fresh => {
                initial.library = without_faces.clone();
                Role::Bare.name().to_owned()
            }
            Scenario::Empty => {
                initial.library = Library::default();
                "empty".to_owned()
            }
            Scenario::Quirks => {
                let (name, change) = HABITS[number % HABITS.len()];
                change(&mut initial.quirks);
                name.to_owned()
            }
        };
        Made {
            id: format!("terminal-{:0width$}", number + 1),
            name: format!("Gate {}", number + 1),
            role,
            initial,
        }
    });
    Cast { terminals: made.collect(), people }
}

/// A name and what it switches.
type Habit = (&'static str, fn(&mut Quirks));

/// The bad habits of the scenario `quirks`.
const HABITS: &[Habit] = &[
    ("as-new", |_| {}),
    ("sha256", |quirks| quirks.algorithm = Algorithms::Sha256),
    ("both-algorithms", |quirks| quirks.algorithm = Algorithms::BothHeaders),
    ("both-in-one-header", |quirks| quirks.algorithm = Algorithms::BothInOneHeader),
    ("camera-challenge", |quirks| quirks.challenge = ChallengeForm::Ipc),
    ("panel-challenge", |quirks| quirks.challenge = ChallengeForm::AxPro),
    ("no-qop", |quirks| quirks.challenge = ChallengeForm::NoQop),
    ("one-shot-nonces", |quirks| quirks.nonce_once = true),
    ("nonce-bound-to-url", |quirks| quirks.nonce_bound_to_url = true),
    ("challenge-after-dead-nonce", |quirks| {
        quirks.nonce_ttl_ms = 50;
        quirks.dead_nonce = DeadNonce::Challenge;
        quirks.dead_nonce_counts = false;
    }),
    ("lock-body-b", |quirks| quirks.lock_body = LockBody::B),
    ("closes-every-connection", |quirks| quirks.keep_alive_requests = 0),
    ("json-device-info", |quirks| quirks.device_info_json = true),
    ("no-namespace", |quirks| quirks.namespace = Namespace::None),
    ("strict-parts", |quirks| quirks.parts = Parts::Strict),
    ("errors-as-200", |quirks| quirks.errors_as_200 = true),
    ("short-success", |quirks| quirks.success_error_code = false),
    ("other-empty-word", |quirks| {
        quirks.no_match = "NO MATCHES".to_owned();
        quirks.status_key = "responseSearchStatusStrg".to_owned();
    }),
    ("ignores-position", |quirks| quirks.position = Position::Ignored),
    ("slow-modelling", |quirks| {
        quirks.modelling_ms = 300;
        quirks.busy_as = BusyAs::DeviceBusy;
    }),
    ("late-to-show", |quirks| quirks.visible_after_ms = 300),
    ("wrong-face-address", |quirks| quirks.face_url_wrong_host = true),
    ("xml-for-json", |quirks| quirks.xml_instead_of_json = true),
    ("no-length", |quirks| quirks.length = Length::Absent),
    ("chunked", |quirks| quirks.length = Length::Chunked),
    ("drips", |quirks| quirks.slow = Some(Drip { bytes: 64, every_ms: 5 })),
    ("busy-now-and-then", |quirks| quirks.busy_every = 5),
    ("resets-now-and-then", |quirks| quirks.reset_every = 7),
    ("clock-of-1970", |quirks| quirks.clock_offset_s = -1_795_000_000),
    ("error-inside-200", |quirks| quirks.error_in_200 = Some("deviceError".to_owned())),
    ("lying", |quirks| quirks.lying = true),
];

fn people(seed: u64) -> People {
    let photo = |place: u64| Some(Bytes::from(Sketch::new(seed.wrapping_mul(1_000) + place).draw()));
    let person = |place: u64, name: &str, employee_no: Option<&str>| Person {
        id: id(seed, 2, place),
        name: name.to_owned(),
        employee_no: employee_no.map(str::to_owned),
        photo: photo(place),
        relative_photo: false,
        has_biometrics: true,
    };
    People(vec![
        person(1, "Ana Exemplu", Some("1001")),
        Person { relative_photo: true, ..person(2, "Bogdan Model", Some("1002")) },
        person(3, "Călin Ștefănescu-Probă", Some("00073")),
        Person { photo: None, ..person(4, "Dana Fărăpoză", Some("1004")) },
        person(5, "Emil Fărănumăr", None),
        Person { photo: None, has_biometrics: false, ..person(6, "Florin Nou", None) },
        person(7, "Gina Deplin", Some("1007")),
    ])
}

/// A made-up id, always the same for the same place.
fn id(seed: u64, kind: u64, place: u64) -> String {
    let number = u128::from(seed) << 96 | u128::from(kind) << 80 | u128::from(place);
    // The bits of version 4, so that strict readers are content.
    let number = number & !(0xf_u128 << 76) & !(0x3_u128 << 62) | 0x4_u128 << 76 | 0x2_u128 << 62;
    Uuid::from_u128(number).to_string()
}

/// Puts people, photos and the running terminals into the database.
/// The job that the backend has from the start, where there is anybody.
pub(crate) const JOB: &str = "1";

/// Orders the first person with everything onto all terminals.
pub(crate) fn order(backend: &Backend, people: &People, terminals: &[Terminal]) {
    let Some(person) = people.complete() else {
        return;
    };
    let photo = backend.put_photo("1.jpg", person.photo.clone().unwrap_or_default());
    let student = json!({
        "employeeNo": format!("9{}", person.employee_no.as_deref().unwrap_or_default()), "fullName": person.name,
        "gender": "unknown", "photo": photo,
    });
    let device = |terminal: &Terminal| json!({ "id": terminal.id(), "name": terminal.device.name, "ip": "127.0.0.1", "port": terminal.port() });
    backend.add_job(JOB, student, terminals.iter().map(device).collect());
}

pub(crate) fn fill(supabase: &Supabase, people: &People, terminals: &[Terminal], seed: u64) -> Result<()> {
    supabase.define_standard();
    if people.0.is_empty() {
        return Ok(());
    }
    let company = id(seed, 1, 1);
    supabase.seed("companies", vec![json!({ "id": company, "name": "Exemplu SRL" })])?;
    let (mut employees, mut biometrics) = (Vec::new(), Vec::new());
    for (place, person) in (1..).zip(&people.0) {
        employees.push(
            json!({ "id": person.id, "company_id": company, "full_name": person.name, "active": true }),
        );
        let photo_url = person.photo.as_ref().map(|photo| {
            let name = format!("faces/{:04}.jpg", place);
            let path = supabase.put_object("photos", &name, "image/jpeg", photo.clone());
            if person.relative_photo { path } else { format!("{}{path}", supabase.origin()) }
        });
        if person.has_biometrics {
            biometrics.push(json!({
                "id": id(seed, 3, place), "employee_id": person.id, "employee_no": person.employee_no, "photo_url": photo_url,
            }));
        }
    }
    supabase.seed("employees", employees)?;
    supabase.seed("biometrics", biometrics)?;
    let mut devices: Vec<Value> = terminals
        .iter()
        .enumerate()
        .map(|(number, terminal)| {
            json!({
                "id": terminal.id(), "company_id": company, "name": terminal.device.name, "ip": "127.0.0.1",
                "port": terminal.port(), "active": true, "direction": if number % 2 == 0 { "in" } else { "out" },
            })
        })
        .collect();
    devices.push(json!({
        "id": "terminal-retired", "company_id": company, "name": "Old gate", "ip": "127.0.0.1", "port": 9, "active": false,
        "direction": "in",
    }));
    supabase.seed("devices", devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_one_of_each_misbehaviour_and_several_of_the_others() {
        for count in [5, 25, 100] {
            let roles: Vec<Role> = (0..count).map(|number| Role::of(number, count)).collect();
            let number = |role| roles.iter().filter(|other| **other == role).count();
            assert_eq!(
                (number(Role::Offline), number(Role::Locked), number(Role::Lying)),
                (1, 1, 1),
                "{count}"
            );
            assert!(
                count < 25
                    || (number(Role::Bare) >= 3 && number(Role::NoModify) >= 2 && number(Role::Fine) >= 8)
            );
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_people() {
        let ids =
            |seed| people(seed).0.into_iter().map(|person| (person.id, person.photo)).collect::<Vec<_>>();
        assert_eq!(ids(7), ids(7));
        assert_ne!(ids(7), ids(8));
        assert!(ids(7).iter().all(|(id, _)| Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 4)));
    }
}
