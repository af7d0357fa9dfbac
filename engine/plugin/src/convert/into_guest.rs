//! JSON into typed values.

use bascule_workflow::failure::Failure;
use bascule_workflow::signature::fold_name;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};
use wasmtime::component::Val;

use super::{DEEPEST, Lend, Path, invalid, shown};
use crate::contract::nearest;
use crate::shape::{Int, Member, Name, Shape};

/// Base64 as people write it: with or without the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) struct Encoder<'l> {
    lender: &'l mut dyn Lend,
    most: usize,
    left: usize,
}

impl<'l> Encoder<'l> {
    pub(super) fn new(lender: &'l mut dyn Lend, most: usize) -> Self {
        Self { lender, most, left: most }
    }

    /// The members' values in order; what is missing and optional is none.
    pub(super) fn members(
        &mut self,
        members: &[Member<Shape>],
        given: &Map<String, Value>,
        place: &Path<'_>,
    ) -> Result<Vec<Val>, Failure> {
        let found = assign(members, given, place)?;
        members
            .iter()
            .zip(found)
            .map(|(member, found)| match (found, &member.shape) {
                (Some(found), shape) => self.value(shape, found, &place.name(&member.name.snake)),
                (None, Shape::Option(_)) => Ok(Val::Option(None)),
                (None, Shape::Capability(capability)) => match self.lender.brought(*capability) {
                    Some(brought) => brought,
                    None => Err(missing(&member.name, place)),
                },
                (None, _) => Err(missing(&member.name, place)),
            })
            .collect()
    }

    fn value(&mut self, shape: &Shape, given: &Value, place: &Path<'_>) -> Result<Val, Failure> {
        self.spend(8, place)?;
        Ok(match (shape, given) {
            (Shape::Bool, Value::Bool(given)) => Val::Bool(*given),
            (Shape::Int(int), given) => integer(*int, given, place)?,
            (Shape::F32, Value::Number(number)) => Val::Float32(single(number, place)?),
            (Shape::F64, Value::Number(number)) => Val::Float64(double(number, place)?),
            (Shape::Char, Value::String(text)) => {
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(char), None) => Val::Char(char),
                    _ => return Err(wrong("one character", given, place)),
                }
            }
            (Shape::String, Value::String(text)) => Val::String(self.text(text, place)?),
            (Shape::Json, given) => {
                if deeper_than(given, DEEPEST) {
                    return Err(invalid(place, &format!("nested deeper than {DEEPEST} levels")));
                }
                let text = given.to_string();
                self.spend(text.len(), place)?;
                Val::String(text)
            }
            (Shape::Instant, Value::String(text)) if text.parse::<jiff::Timestamp>().is_ok() => {
                Val::String(self.text(text, place)?)
            }
            (Shape::Bytes, Value::String(text)) => {
                // Each byte becomes a value of its own on the way in: bytes cost more than their text.
                self.spend(text.len().saturating_mul(3), place)?;
                let Ok(bytes) = BASE64.decode(text) else {
                    return Err(wrong("bytes as base64 text", given, place));
                };
                Val::List(bytes.into_iter().map(Val::U8).collect())
            }
            (Shape::List(inner), Value::Array(given)) => {
                Val::List(self.items(std::iter::repeat(&**inner), given, place)?)
            }
            (Shape::Tuple(inner), Value::Array(given)) if given.len() == inner.len() => {
                Val::Tuple(self.items(inner.iter(), given, place)?)
            }
            (Shape::Option(_), Value::Null) => Val::Option(None),
            (Shape::Option(inner), given) => Val::Option(Some(Box::new(self.value(inner, given, place)?))),
            (Shape::Result(ok, err), Value::Object(given)) if given.len() == 1 => {
                match (given.get("ok"), given.get("err")) {
                    (Some(given), None) => {
                        Val::Result(Ok(self.payload(ok.as_deref(), given, &place.name("ok"))?))
                    }
                    (None, Some(given)) => {
                        Val::Result(Err(self.payload(err.as_deref(), given, &place.name("err"))?))
                    }
                    _ => {
                        return Err(invalid(place, "expected a map with `ok` or `err`, got another key"));
                    }
                }
            }
            (Shape::Record(_, fields), Value::Object(given)) => {
                let values = self.members(fields, given, place)?;
                Val::Record(fields.iter().map(|field| field.name.kebab.clone()).zip(values).collect())
            }
            (Shape::Variant(_, cases), Value::String(case)) => {
                let case = find(cases.iter().map(|case| &case.name), case, place)?;
                match &cases[case].shape {
                    None => Val::Variant(cases[case].name.kebab.clone(), None),
                    Some(Shape::Option(_)) => {
                        Val::Variant(cases[case].name.kebab.clone(), Some(Box::new(Val::Option(None))))
                    }
                    Some(_) => {
                        let name = &cases[case].name.kebab;
                        return Err(invalid(
                            place,
                            &format!("`{name}` needs a value: write `{{ {name}: .. }}`"),
                        ));
                    }
                }
            }
            (Shape::Variant(_, cases), Value::Object(given)) => {
                let mut entries = given.iter();
                let (Some((name, given)), None) = (entries.next(), entries.next()) else {
                    return Err(invalid(place, &format!("expected a map with one key, {}", expected(shape))));
                };
                let case = &cases[find(cases.iter().map(|case| &case.name), name, place)?];
                let payload = self.payload(case.shape.as_ref(), given, &place.name(&case.name.kebab))?;
                Val::Variant(case.name.kebab.clone(), payload)
            }
            (Shape::Enum(_, cases), Value::String(case)) => {
                Val::Enum(cases[find(cases.iter(), case, place)?].kebab.clone())
            }
            (Shape::Flags(_, flags), Value::Array(given)) => {
                let mut set = vec![false; flags.len()];
                for (index, flag) in given.iter().enumerate() {
                    let place = place.index(index);
                    let Value::String(flag) = flag else {
                        return Err(wrong("the name of a flag", flag, &place));
                    };
                    set[find(flags.iter(), flag, &place)?] = true;
                }
                Val::Flags(
                    flags
                        .iter()
                        .zip(set)
                        .filter(|(_, set)| *set)
                        .map(|(flag, _)| flag.kebab.clone())
                        .collect(),
                )
            }
            (Shape::Capability(capability), given) => self.lender.lend(*capability, given, place)?,
            (shape, given) => return Err(wrong(&expected(shape), given, place)),
        })
    }

    /// What a case of a variant or result carries.
    fn payload(
        &mut self,
        shape: Option<&Shape>,
        given: &Value,
        place: &Path<'_>,
    ) -> Result<Option<Box<Val>>, Failure> {
        match (shape, given) {
            (Some(shape), given) => Ok(Some(Box::new(self.value(shape, given, place)?))),
            (None, Value::Null) => Ok(None),
            (None, given) => Err(wrong("nothing", given, place)),
        }
    }

    fn items<'s>(
        &mut self,
        shapes: impl Iterator<Item = &'s Shape>,
        given: &[Value],
        place: &Path<'_>,
    ) -> Result<Vec<Val>, Failure> {
        let items = given.iter().zip(shapes).enumerate();
        items.map(|(index, (given, shape))| self.value(shape, given, &place.index(index))).collect()
    }

    fn text(&mut self, text: &str, place: &Path<'_>) -> Result<String, Failure> {
        self.spend(text.len(), place)?;
        Ok(text.to_owned())
    }

    fn spend(&mut self, bytes: usize, place: &Path<'_>) -> Result<(), Failure> {
        let Some(left) = self.left.checked_sub(bytes) else {
            return Err(invalid(
                place,
                &format!("the values of one call may have {} KiB in all", self.most / 1024),
            ));
        };
        self.left = left;
        Ok(())
    }
}

/// Which value belongs to which member: names are compared folded, each may be given once.
fn assign<'g>(
    members: &[Member<Shape>],
    given: &'g Map<String, Value>,
    place: &Path<'_>,
) -> Result<Vec<Option<&'g Value>>, Failure> {
    let mut found = vec![None; members.len()];
    for (key, value) in given {
        // Most keys are written as in results, or as in the WIT.
        let exact = members.iter().position(|member| member.name.snake == *key || member.name.kebab == *key);
        let position = exact.or_else(|| {
            let folded = fold_name(key);
            members.iter().position(|member| member.name.folded == folded)
        });
        let Some(position) = position else {
            let names = members.iter().map(|member| member.name.snake.as_str());
            return Err(invalid(place, &unknown("key", key, names)));
        };
        if found[position].replace(value).is_some() {
            return Err(invalid(place, &format!("`{}` is given twice", members[position].name.snake)));
        }
    }
    Ok(found)
}

/// The position of a case or flag.
fn find<'n>(
    names: impl Iterator<Item = &'n Name> + Clone,
    given: &str,
    place: &Path<'_>,
) -> Result<usize, Failure> {
    if let Some(position) = names.clone().position(|name| name.kebab == given) {
        return Ok(position);
    }
    let folded = fold_name(given);
    names
        .clone()
        .position(|name| name.folded == folded)
        .ok_or_else(|| invalid(place, &unknown("value", given, names.map(|name| name.kebab.as_str()))))
}

fn unknown<'n>(what: &str, given: &str, names: impl Iterator<Item = &'n str> + Clone) -> String {
    let given = crate::report::escape(given, 40);
    if let Some(nearest) = nearest(&given, names.clone()) {
        return format!("unknown {what} `{given}`, did you mean `{nearest}`?");
    }
    let names: Vec<_> = names.take(20).map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => format!("unknown {what} `{given}`: there are none"),
        names => format!("unknown {what} `{given}`; there is {}", names.join(", ")),
    }
}

fn missing(name: &Name, place: &Path<'_>) -> Failure {
    invalid(place, &format!("`{}` is missing", name.snake))
}

fn wrong(expected: &str, given: &Value, place: &Path<'_>) -> Failure {
    invalid(place, &format!("expected {expected}, got {}", shown(given)))
}

fn expected(shape: &Shape) -> String {
    match shape {
        Shape::Bool => "boolean".to_owned(),
        Shape::Int(int) => int.name().to_owned(),
        Shape::F32 | Shape::F64 => "number".to_owned(),
        Shape::Char => "one character".to_owned(),
        Shape::String => "string".to_owned(),
        Shape::Json => "any value".to_owned(),
        Shape::Instant => "a date-time such as 2026-11-21T03:51:00+02:00".to_owned(),
        Shape::Bytes => "bytes as base64 text".to_owned(),
        Shape::List(_) => "a list".to_owned(),
        Shape::Option(inner) => expected(inner),
        Shape::Result(..) => "a map with `ok` or `err`".to_owned(),
        Shape::Tuple(inner) => format!("a list of {} values", inner.len()),
        Shape::Record(name, _) => format!("a map ({name})"),
        Shape::Variant(_, cases) => one_of(cases.iter().map(|case| &case.name)),
        Shape::Enum(_, cases) => one_of(cases.iter()),
        Shape::Flags(..) => "a list of flags".to_owned(),
        Shape::Capability(capability) => format!("the name of a {}", capability.name()),
    }
}

fn one_of<'n>(names: impl Iterator<Item = &'n Name>) -> String {
    let names: Vec<_> = names.take(20).map(|name| format!("`{}`", name.kebab)).collect();
    format!("one of {}", names.join(", "))
}

fn integer(int: Int, given: &Value, place: &Path<'_>) -> Result<Val, Failure> {
    let wide = given.as_i64().map(i128::from).or_else(|| given.as_u64().map(i128::from));
    let (min, max) = int.bounds();
    let outside = || wrong(&format!("{} ({min} to {max})", int.name()), given, place);
    let Some(wide) = wide else {
        return Err(if given.is_number() { outside() } else { wrong(int.name(), given, place) });
    };
    let value = match int {
        Int::U8 => wide.try_into().map(Val::U8),
        Int::U16 => wide.try_into().map(Val::U16),
        Int::U32 => wide.try_into().map(Val::U32),
        Int::U64 => wide.try_into().map(Val::U64),
        Int::S8 => wide.try_into().map(Val::S8),
        Int::S16 => wide.try_into().map(Val::S16),
        Int::S32 => wide.try_into().map(Val::S32),
        Int::S64 => wide.try_into().map(Val::S64),
    };
    value.map_err(|_| outside())
}

fn double(number: &serde_json::Number, place: &Path<'_>) -> Result<f64, Failure> {
    number
        .as_f64()
        .filter(|number| number.is_finite())
        .ok_or_else(|| invalid(place, &format!("`{number}` is not a number that a plugin can be given")))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "f32 is what the plugin asked for; what does not fit is refused"
)]
fn single(number: &serde_json::Number, place: &Path<'_>) -> Result<f32, Failure> {
    let narrow = double(number, place)? as f32;
    if narrow.is_finite() {
        Ok(narrow)
    } else {
        Err(invalid(place, &format!("expected f32, got number {number}, which is too large")))
    }
}

/// True if a value nests deeper than that; without recursion, because that is what it protects from.
fn deeper_than(value: &Value, most: usize) -> bool {
    let mut open = vec![(value, 0_usize)];
    while let Some((value, depth)) = open.pop() {
        if depth > most {
            return true;
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(fields) => open.extend(fields.values().map(|field| (field, depth + 1))),
            _ => {}
        }
    }
    false
}
