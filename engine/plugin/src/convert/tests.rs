#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::shape::{Int, Name};

struct NoLender;

impl Lend for NoLender {
    fn lend(&mut self, capability: Capability, given: &Value, place: &Path<'_>) -> Result<Val, Failure> {
        // Stands for a handle: what was asked for, as text.
        Ok(Val::String(format!("{place} {} {given}", capability.name())))
    }

    fn brought(&mut self, capability: Capability) -> Option<Result<Val, Failure>> {
        (capability == Capability::Sink).then(|| Ok(Val::String("the sink".into())))
    }
}

fn member<T>(name: &str, shape: T) -> Member<T> {
    Member { name: Name::new(name), shape, docs: None }
}

fn face() -> Shape {
    Shape::Record(
        "face".into(),
        vec![
            member("fpid", Shape::String),
            member("url", Shape::Option(Box::new(Shape::String))),
            member("slot-no", Shape::Int(Int::U8)),
        ],
    )
}

fn encode(params: Vec<Member<Shape>>, with: Value) -> Result<Vec<Val>, String> {
    arguments(&params, &with, &mut NoLender, 1024 * 1024).map_err(|failure| {
        assert_eq!(failure.kind, Kind::InvalidInput);
        failure.message
    })
}

fn one(shape: Shape, given: Value) -> Result<Val, String> {
    encode(vec![member("x", shape)], json!({ "x": given })).map(|mut values| values.remove(0))
}

#[test]
fn names_may_be_kebab_snake_or_camel() {
    for name in ["slot-no", "slot_no", "slotNo", "SlotNo"] {
        let value = one(face(), json!({ "fpid": "12", name: 3 })).unwrap();
        let expected = Val::Record(vec![
            ("fpid".into(), Val::String("12".into())),
            ("url".into(), Val::Option(None)),
            ("slot-no".into(), Val::U8(3)),
        ]);
        assert_eq!(value, expected);
    }
}

#[test]
fn wrong_values_are_named_with_their_place() {
    let lists = || Shape::List(Box::new(face()));
    let choice = || {
        Shape::Variant(
            "choice".into(),
            vec![
                member("nobody", None),
                member("face-id", Some(Shape::String)),
                member("maybe", Some(Shape::Option(Box::new(Shape::Bool)))),
            ],
        )
    };
    let color = || Shape::Enum("color".into(), vec![Name::new("dark-red"), Name::new("blue")]);
    let days = || Shape::Flags("days".into(), vec![Name::new("monday"), Name::new("tuesday")]);
    let either = || Shape::Result(Some(Box::new(Shape::Bool)), None);
    let table: &[(Shape, Value, &str)] = &[
        (face(), json!({ "fpid": 12, "slot_no": 1 }), "with.x.fpid: expected string, got number 12"),
        (face(), json!({ "fpid": "a" }), "with.x: `slot_no` is missing"),
        (
            face(),
            json!({ "fpid": "a", "slot_no": 256 }),
            "with.x.slot_no: expected u8 (0 to 255), got number 256",
        ),
        (
            face(),
            json!({ "fpid": "a", "slot_no": -1 }),
            "with.x.slot_no: expected u8 (0 to 255), got number -1",
        ),
        (
            face(),
            json!({ "fpid": "a", "slot_no": 1.5 }),
            "with.x.slot_no: expected u8 (0 to 255), got number 1.5",
        ),
        (face(), json!({ "fpid": "a", "slot_no": "1" }), "with.x.slot_no: expected u8, got string \"1\""),
        (face(), json!({ "fpdi": "a" }), "with.x: unknown key `fpdi`, did you mean `fpid`?"),
        (face(), json!({ "zzz": "a" }), "with.x: unknown key `zzz`; there is `fpid`, `url`, `slot_no`"),
        (face(), json!({ "fpid": "a", "slot-no": 1, "slotNo": 1 }), "with.x: `slot_no` is given twice"),
        (face(), json!([]), "with.x: expected a map (face), got a list"),
        (face(), Value::Null, "with.x: expected a map (face), got null"),
        (
            lists(),
            json!([{ "fpid": "a", "slot_no": 1 }, { "fpid": null, "slot_no": 1 }]),
            "with.x[1].fpid: expected string, got null",
        ),
        (Shape::Bool, json!("no"), "with.x: expected boolean, got string \"no\""),
        (
            Shape::Int(Int::S64),
            json!(u64::MAX),
            "with.x: expected s64 (-9223372036854775808 to 9223372036854775807), got number 18446744073709551615",
        ),
        (Shape::F32, json!(1e300), "with.x: expected f32, got number 1e+300, which is too large"),
        (Shape::F64, json!("1"), "with.x: expected number, got string \"1\""),
        (Shape::Char, json!("ab"), "with.x: expected one character, got string \"ab\""),
        (Shape::Bytes, json!("!"), "with.x: expected bytes as base64 text, got string \"!\""),
        (
            Shape::Instant,
            json!("yesterday"),
            "with.x: expected a date-time such as 2026-11-21T03:51:00+02:00, got string \"yesterday\"",
        ),
        (
            Shape::Instant,
            json!("2026-11-21T03:51:00"),
            "with.x: expected a date-time such as 2026-11-21T03:51:00+02:00, got string \"2026-11-21T03:51:00\"",
        ),
        (
            Shape::Tuple(vec![Shape::Bool, Shape::Bool]),
            json!([true]),
            "with.x: expected a list of 2 values, got a list",
        ),
        (choice(), json!("face-id"), "with.x: `face-id` needs a value: write `{ face-id: .. }`"),
        (choice(), json!({ "nobody": 1 }), "with.x.nobody: expected nothing, got number 1"),
        (choice(), json!({ "faceId": 1 }), "with.x.face-id: expected string, got number 1"),
        (choice(), json!({ "faceIds": 1 }), "with.x: unknown value `faceIds`, did you mean `face-id`?"),
        (choice(), json!({}), "with.x: expected a map with one key, one of `nobody`, `face-id`, `maybe`"),
        (choice(), json!(3), "with.x: expected one of `nobody`, `face-id`, `maybe`, got number 3"),
        (color(), json!("red"), "with.x: unknown value `red`; there is `dark-red`, `blue`"),
        (color(), json!(1), "with.x: expected one of `dark-red`, `blue`, got number 1"),
        (
            days(),
            json!(["monday", "thuesday"]),
            "with.x[1]: unknown value `thuesday`, did you mean `tuesday`?",
        ),
        (days(), json!("monday"), "with.x: expected a list of flags, got string \"monday\""),
        (either(), json!({ "okay": true }), "with.x: expected a map with `ok` or `err`, got another key"),
        (either(), json!({ "err": 1 }), "with.x.err: expected nothing, got number 1"),
    ];
    for (shape, given, message) in table {
        assert_eq!(one(shape.clone(), given.clone()), Err((*message).to_owned()), "{given}");
    }
    assert_eq!(encode(vec![], json!([])), Err("with: expected a map, got a list".into()));
    assert_eq!(encode(vec![], json!({ "x": 1 })), Err("with: unknown key `x`: there are none".into()));
    assert_eq!(encode(vec![], Value::Null), Ok(vec![]));
}

#[test]
fn right_values_arrive() {
    let table: Vec<(Shape, Value, Val)> = vec![
        (Shape::Json, json!({ "b": [1, null], "a": "ä" }), Val::String(r#"{"b":[1,null],"a":"ä"}"#.into())),
        (Shape::Bytes, json!("aGk="), Val::List(vec![Val::U8(b'h'), Val::U8(b'i')])),
        (Shape::Bytes, json!("aGk"), Val::List(vec![Val::U8(b'h'), Val::U8(b'i')])),
        (Shape::F64, json!(3), Val::Float64(3.0)),
        (Shape::Instant, json!("2026-11-21T03:51:00+02:00"), Val::String("2026-11-21T03:51:00+02:00".into())),
        (
            Shape::Enum("c".into(), vec![Name::new("dark-red")]),
            json!("darkRed"),
            Val::Enum("dark-red".into()),
        ),
        (
            Shape::Variant("v".into(), vec![member("none", None)]),
            json!({ "none": null }),
            Val::Variant("none".into(), None),
        ),
        (Shape::Result(None, None), json!({ "ok": null }), Val::Result(Ok(None))),
        (
            Shape::Flags("f".into(), vec![Name::new("a"), Name::new("b"), Name::new("c")]),
            json!(["c", "a", "a"]),
            Val::Flags(vec!["a".into(), "c".into()]),
        ),
        (
            Shape::Capability(Capability::Connection),
            json!({ "connection": "terminal" }),
            Val::String(r#"with.x connection {"connection":"terminal"}"#.into()),
        ),
    ];
    for (shape, given, expected) in table {
        assert_eq!(one(shape, given.clone()), Ok(expected), "{given}");
    }
    let sink = encode(vec![member("to", Shape::Capability(Capability::Sink))], json!({}));
    assert_eq!(sink, Ok(vec![Val::String("the sink".into())]));
}

#[test]
fn too_much_goes_neither_in_nor_out() {
    let text = "x".repeat(2000);
    let failure =
        arguments(&[member("a", Shape::String)], &json!({ "a": text }), &mut NoLender, 1024).unwrap_err();
    assert_eq!(failure.message, "with.a: the values of one call may have 1 KiB in all");
    let mut deep = Value::Null;
    for _ in 0..200 {
        deep = json!([deep]);
    }
    assert_eq!(one(Shape::Json, deep), Err("with.x: nested deeper than 128 levels".into()));

    let failure = result(&Shape::String, Val::String(text), 1024).unwrap_err();
    assert_eq!((failure.kind, failure.code.as_deref()), (Kind::Protocol, Some("host:result-limit")));
    let list = Val::List(vec![Val::Bool(true); 1000]);
    assert!(result(&Shape::List(Box::new(Shape::Bool)), list, 1024).is_err());
}

#[test]
fn what_is_no_json_is_a_protocol_failure() {
    let table: Vec<(Shape, Val, &str)> = vec![
        (
            Shape::Json,
            Val::String("{".into()),
            "result: the plugin returned text that is not JSON (EOF while parsing an object at line 1 column 1)",
        ),
        (Shape::F64, Val::Float64(f64::NAN), "result: the plugin returned NaN, which has no form in JSON"),
        (
            Shape::F32,
            Val::Float32(f32::INFINITY),
            "result: the plugin returned inf, which has no form in JSON",
        ),
        (
            Shape::Instant,
            Val::String("12:00".into()),
            "result: the plugin returned `12:00`, which is no date-time with an offset",
        ),
        (Shape::Bool, Val::U8(1), "result: the plugin returned a value of another type than it declares"),
        (
            Shape::Json,
            Val::String("[".repeat(5000)),
            "result: the plugin returned text that is not JSON (recursion limit exceeded at line 1 column 128)",
        ),
    ];
    for (shape, value, message) in table {
        let failure = result(&shape, value, 1024 * 1024).unwrap_err();
        assert_eq!((failure.kind, failure.message.as_str()), (Kind::Protocol, message));
    }
}

#[test]
fn results_have_snake_case_fields_and_kebab_case_values() {
    let shape = Shape::Record(
        "r".into(),
        vec![
            member("employee-no", Shape::Enum("e".into(), vec![Name::new("dark-red")])),
            member(
                "face-data",
                Shape::Variant(
                    "v".into(),
                    vec![member("by-url", Some(Shape::String)), member("not-there", None)],
                ),
            ),
            member("ratio", Shape::F32),
        ],
    );
    let value = Val::Record(vec![
        ("employee-no".into(), Val::Enum("dark-red".into())),
        ("face-data".into(), Val::Variant("by-url".into(), Some(Box::new(Val::String("u".into()))))),
        ("ratio".into(), Val::Float32(0.1)),
    ]);
    let expected = json!({ "employee_no": "dark-red", "face_data": { "by-url": "u" }, "ratio": 0.1 });
    assert_eq!(result(&shape, value, 1024).unwrap(), expected);
}

/// A type together with a value of it, as results write it.
fn typed(depth: u32) -> BoxedStrategy<(Shape, Value)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|value| (Shape::Bool, json!(value))),
        any::<u8>().prop_map(|value| (Shape::Int(Int::U8), json!(value))),
        any::<i32>().prop_map(|value| (Shape::Int(Int::S32), json!(value))),
        any::<u64>().prop_map(|value| (Shape::Int(Int::U64), json!(value))),
        any::<i64>().prop_map(|value| (Shape::Int(Int::S64), json!(value))),
        any::<f64>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| (Shape::F64, json!(value))),
        (-1000_i32..1000).prop_map(|value| (Shape::F32, json!(f64::from(value)))),
        any::<char>().prop_map(|value| (Shape::Char, json!(value.to_string()))),
        any::<String>().prop_map(|value| (Shape::String, json!(value))),
        any::<Vec<u8>>().prop_map(|bytes| {
            use base64::Engine as _;
            (Shape::Bytes, json!(base64::engine::general_purpose::STANDARD.encode(bytes)))
        }),
        prop_oneof![Just(json!(null)), Just(json!({ "a": [1, "b"] })), Just(json!(-3.5))]
            .prop_map(|value| (Shape::Json, value)),
        (0_usize..3).prop_map(|case| {
            let names = ["one-two", "three", "four"];
            (Shape::Enum("e".into(), names.map(Name::new).to_vec()), json!(names[case]))
        }),
        proptest::sample::subsequence(vec!["f-1", "f-2", "f-3"], 0..=3).prop_map(|set| {
            (Shape::Flags("f".into(), ["f-1", "f-2", "f-3"].map(Name::new).to_vec()), json!(set))
        }),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = move || typed(depth - 1);
    prop_oneof![
        2 => leaf,
        1 => (inner(), 0_usize..4).prop_map(|((shape, value), count)| (Shape::List(Box::new(shape)), json!(vec![value; count]))),
        1 => inner().prop_map(|(shape, value)| (Shape::Option(Box::new(shape)), value)),
        1 => inner().prop_map(|(shape, _)| (Shape::Option(Box::new(shape)), Value::Null)),
        1 => prop::collection::vec(inner(), 1..4).prop_map(|parts| {
            let (shapes, values): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
            (Shape::Tuple(shapes), Value::Array(values))
        }),
        1 => prop::collection::vec(inner(), 1..4).prop_map(|parts| {
            let fields = parts.iter().enumerate().map(|(index, (shape, _))| member(&format!("field-no{index}"), shape.clone())).collect();
            let values = parts.into_iter().enumerate().map(|(index, (_, value))| (format!("field_no{index}"), value)).collect();
            (Shape::Record("r".into(), fields), Value::Object(values))
        }),
        1 => inner().prop_map(|(shape, value)| {
            (Shape::Variant("v".into(), vec![member("empty", None), member("full-case", Some(shape))]), json!({ "full-case": value }))
        }),
        1 => inner().prop_map(|(shape, value)| (Shape::Result(None, Some(Box::new(shape))), json!({ "err": value }))),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_the_same((shape, value) in typed(3)) {
        let mut values = arguments(&[member("x", shape.clone())], &json!({ "x": value }), &mut NoLender, 1 << 20)
            .unwrap_or_else(|failure| panic!("{failure}: {shape:?} {value}"));
        let out = result(&shape, values.remove(0), 1 << 20).unwrap_or_else(|failure| panic!("{failure}"));
        prop_assert_eq!(out, value);
    }
}
