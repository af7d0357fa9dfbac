//! Typed values into JSON. What comes in is a guest's: bounded, and believed only as far as its types go.

use bascule_workflow::failure::{Failure, Kind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use wasmtime::component::Val;

use super::Path;
use crate::shape::Shape;

pub(super) struct Decoder {
    most: usize,
    left: usize,
}

impl Decoder {
    pub(super) fn new(most: usize) -> Self {
        Self { most, left: most }
    }

    pub(super) fn value(&mut self, shape: &Shape, value: Val, place: &Path<'_>) -> Result<Value, Failure> {
        self.spend(4, place)?;
        Ok(match (shape, value) {
            (Shape::Bool, Val::Bool(value)) => value.into(),
            (Shape::Int(_), Val::U8(value)) => value.into(),
            (Shape::Int(_), Val::U16(value)) => value.into(),
            (Shape::Int(_), Val::U32(value)) => value.into(),
            (Shape::Int(_), Val::U64(value)) => value.into(),
            (Shape::Int(_), Val::S8(value)) => value.into(),
            (Shape::Int(_), Val::S16(value)) => value.into(),
            (Shape::Int(_), Val::S32(value)) => value.into(),
            (Shape::Int(_), Val::S64(value)) => value.into(),
            (Shape::F32, Val::Float32(value)) => float(shortest(value), place)?,
            (Shape::F64, Val::Float64(value)) => float(value, place)?,
            (Shape::Char, Val::Char(value)) => value.to_string().into(),
            (Shape::String, Val::String(value)) => self.text(value, place)?,
            (Shape::Json, Val::String(text)) => {
                self.spend(text.len(), place)?;
                serde_json::from_str(&text).map_err(|error| {
                    bad(place, &format!("the plugin returned text that is not JSON ({error})"))
                })?
            }
            (Shape::Instant, Val::String(text)) => {
                if text.parse::<jiff::Timestamp>().is_err() {
                    let text = crate::report::escape(&text, 40);
                    return Err(bad(
                        place,
                        &format!("the plugin returned `{text}`, which is no date-time with an offset"),
                    ));
                }
                self.text(text, place)?
            }
            (Shape::Bytes, Val::List(bytes)) => {
                self.spend(bytes.len().saturating_mul(4) / 3, place)?;
                let bytes: Option<Vec<u8>> = bytes
                    .into_iter()
                    .map(|byte| if let Val::U8(byte) = byte { Some(byte) } else { None })
                    .collect();
                STANDARD.encode(bytes.ok_or_else(|| unexpected(place))?).into()
            }
            (Shape::List(inner), Val::List(values)) => {
                self.items(std::iter::repeat(&**inner), values, place)?
            }
            (Shape::Tuple(inner), Val::Tuple(values)) => self.items(inner.iter(), values, place)?,
            (Shape::Option(_), Val::Option(None)) => Value::Null,
            (Shape::Option(inner), Val::Option(Some(value))) => self.value(inner, *value, place)?,
            (Shape::Result(ok, err), Val::Result(value)) => {
                let (key, shape, value) = match value {
                    Ok(value) => ("ok", ok, value),
                    Err(value) => ("err", err, value),
                };
                let value = self.payload(shape.as_deref(), value, &place.name(key))?;
                self.single(key, value, place)?
            }
            (Shape::Record(_, fields), Val::Record(values)) => {
                let mut map = Map::with_capacity(fields.len());
                for (field, (name, value)) in fields.iter().zip(values) {
                    if field.name.kebab != name {
                        return Err(unexpected(place));
                    }
                    self.spend(name.len(), place)?;
                    map.insert(
                        field.name.snake.clone(),
                        self.value(&field.shape, value, &place.name(&field.name.snake))?,
                    );
                }
                Value::Object(map)
            }
            (Shape::Variant(_, cases), Val::Variant(name, value)) => {
                let case =
                    cases.iter().find(|case| case.name.kebab == name).ok_or_else(|| unexpected(place))?;
                match (&case.shape, value) {
                    (None, None) => self.text(name, place)?,
                    (shape, value) => {
                        let value = self.payload(shape.as_ref(), value, &place.name(&case.name.kebab))?;
                        self.single(&case.name.kebab, value, place)?
                    }
                }
            }
            (Shape::Enum(..), Val::Enum(name)) => self.text(name, place)?,
            (Shape::Flags(..), Val::Flags(names)) => {
                Value::Array(names.into_iter().map(|name| self.text(name, place)).collect::<Result<_, _>>()?)
            }
            _ => return Err(unexpected(place)),
        })
    }

    fn payload(
        &mut self,
        shape: Option<&Shape>,
        value: Option<Box<Val>>,
        place: &Path<'_>,
    ) -> Result<Value, Failure> {
        match (shape, value) {
            (Some(shape), Some(value)) => self.value(shape, *value, place),
            (None, None) => Ok(Value::Null),
            _ => Err(unexpected(place)),
        }
    }

    fn items<'s>(
        &mut self,
        shapes: impl Iterator<Item = &'s Shape>,
        values: Vec<Val>,
        place: &Path<'_>,
    ) -> Result<Value, Failure> {
        let items = values.into_iter().zip(shapes).enumerate();
        items
            .map(|(index, (value, shape))| self.value(shape, value, &place.index(index)))
            .collect::<Result<_, _>>()
            .map(Value::Array)
    }

    fn single(&mut self, key: &str, value: Value, place: &Path<'_>) -> Result<Value, Failure> {
        self.spend(key.len(), place)?;
        Ok(Value::Object(Map::from_iter([(key.to_owned(), value)])))
    }

    fn text(&mut self, text: String, place: &Path<'_>) -> Result<Value, Failure> {
        self.spend(text.len(), place)?;
        Ok(Value::String(text))
    }

    fn spend(&mut self, bytes: usize, place: &Path<'_>) -> Result<(), Failure> {
        let Some(left) = self.left.checked_sub(bytes) else {
            let message = format!("{place}: the plugin returned more than {} KiB", self.most / 1024);
            return Err(Failure::new(Kind::Protocol, message).with_code("host:result-limit"));
        };
        self.left = left;
        Ok(())
    }
}

fn bad(place: &Path<'_>, problem: &str) -> Failure {
    Failure::new(Kind::Protocol, format!("{place}: {problem}")).with_code("host:bad-result")
}

/// Cannot happen as long as wasmtime checks values against the component's types.
fn unexpected(place: &Path<'_>) -> Failure {
    bad(place, "the plugin returned a value of another type than it declares")
}

fn float(value: f64, place: &Path<'_>) -> Result<Value, Failure> {
    let number = Number::from_f64(value)
        .ok_or_else(|| bad(place, &format!("the plugin returned {value}, which has no form in JSON")))?;
    Ok(Value::Number(number))
}

/// The f64 that is written with as few digits as the f32: 0.1, not 0.10000000149011612.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
