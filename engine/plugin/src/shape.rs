//! A WIT type as calls need it: exact (which integer, which float), with its names folded once. What the checker sees
//! ([`bascule_workflow::signature`]) is read off it.

use bascule_workflow::signature::{self, Capability, Type};

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Int {
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
}

impl Int {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::S8 => "s8",
            Self::S16 => "s16",
            Self::S32 => "s32",
            Self::S64 => "s64",
        }
    }

    pub(crate) fn bounds(self) -> (i128, i128) {
        match self {
            Self::U8 => (0, u8::MAX.into()),
            Self::U16 => (0, u16::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            Self::U64 => (0, u64::MAX.into()),
            Self::S8 => (i8::MIN.into(), i8::MAX.into()),
            Self::S16 => (i16::MIN.into(), i16::MAX.into()),
            Self::S32 => (i32::MIN.into(), i32::MAX.into()),
            Self::S64 => (i64::MIN.into(), i64::MAX.into()),
        }
    }
}

/// A name with the forms it is compared and written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// As in the WIT: kebab-case.
    pub(crate) kebab: String,
    /// As written in results.
    pub(crate) snake: String,
    /// As compared.
    pub(crate) folded: String,
}

impl Name {
    pub(crate) fn new(kebab: &str) -> Self {
        Self { kebab: kebab.to_owned(), snake: kebab.replace('-', "_"), folded: signature::fold_name(kebab) }
    }
}

/// Something named with a type: a parameter, a field, a case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Member<T> {
    pub(crate) name: Name,
    pub(crate) shape: T,
    pub(crate) docs: Option<String>,
}

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    Bool,
    Int(Int),
    F32,
    F64,
    Char,
    String,
    Json,
    Instant,
    Bytes,
    List(Box<Self>),
    Option(Box<Self>),
    Result(Option<Box<Self>>, Option<Box<Self>>),
    Tuple(Vec<Self>),
    Record(String, Vec<Member<Self>>),
    Variant(String, Vec<Member<Option<Self>>>),
    Enum(String, Vec<Name>),
    Flags(String, Vec<Name>),
    Capability(Capability),
}

impl Shape {
    /// True if a host resource is anywhere inside.
    pub(crate) fn lends(&self) -> bool {
        match self {
            Self::Capability(_) => true,
            Self::List(inner) | Self::Option(inner) => inner.lends(),
            Self::Result(ok, err) => [ok, err].into_iter().flatten().any(|inner| inner.lends()),
            Self::Tuple(inner) => inner.iter().any(Self::lends),
            Self::Record(_, fields) => fields.iter().any(|field| field.shape.lends()),
            Self::Variant(_, cases) => cases.iter().filter_map(|case| case.shape.as_ref()).any(Self::lends),
            _ => false,
        }
    }

    /// As the checker sees it.
    pub(crate) fn signature(&self) -> Type {
        let boxed = |inner: &Option<Box<Self>>| inner.as_ref().map(|inner| Box::new(inner.signature()));
        match self {
            Self::Bool => Type::Bool,
            Self::Int(int) => {
                let (min, max) = int.bounds();
                Type::Integer { name: int.name(), min, max }
            }
            Self::F32 | Self::F64 => Type::Float,
            Self::Char => Type::Char,
            Self::String => Type::String,
            Self::Json => Type::Json,
            Self::Instant => Type::Instant,
            Self::Bytes => Type::Bytes,
            Self::List(inner) => Type::List(Box::new(inner.signature())),
            Self::Option(inner) => Type::Option(Box::new(inner.signature())),
            Self::Result(ok, err) => Type::Result(boxed(ok), boxed(err)),
            Self::Tuple(inner) => Type::Tuple(inner.iter().map(Self::signature).collect()),
            Self::Record(name, fields) => Type::Record {
                name: name.clone(),
                fields: fields
                    .iter()
                    .map(|field| signature::Field {
                        name: field.name.kebab.clone(),
                        ty: field.shape.signature(),
                        docs: field.docs.clone(),
                    })
                    .collect(),
            },
            Self::Variant(name, cases) => Type::Variant {
                name: name.clone(),
                cases: cases
                    .iter()
                    .map(|case| signature::Case {
                        name: case.name.kebab.clone(),
                        ty: case.shape.as_ref().map(Self::signature),
                        docs: case.docs.clone(),
                    })
                    .collect(),
            },
            Self::Enum(name, cases) => Type::Enum { name: name.clone(), cases: kebab(cases) },
            Self::Flags(name, flags) => Type::Flags { name: name.clone(), flags: kebab(flags) },
            Self::Capability(capability) => Type::Capability(*capability),
        }
    }
}

fn kebab(names: &[Name]) -> Vec<String> {
    names.iter().map(|name| name.kebab.clone()).collect()
}
