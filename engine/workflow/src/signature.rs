//! What a plugin offers, as the checker sees it: functions, their parameters and types. Read off a component by
//! `bascule-plugin`; this crate only compares YAML with it.

use std::collections::BTreeMap;

/// A plugin's functions by the name that `uses:` writes after the slash, e.g. `faces.modify`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plugin {
    /// The name before the slash, e.g. `isapi`.
    pub name: String,
    /// The plugin's WIT package with version, e.g. `bascule:isapi@0.1.0`, when it has one.
    pub package: Option<String>,
    /// What the plugin says about itself.
    pub docs: Option<String>,
    /// sha256 of the component, lower-case hexadecimal; `None` where there is no component behind it.
    pub sha256: Option<String>,
    /// `interface.function` -> function; functions exported by the world itself have no dot.
    pub functions: BTreeMap<String, Function>,
}

/// One function of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// In the order of the WIT.
    pub params: Vec<Param>,
    /// The ok type of its `result<T, error>`; `None` where that is `_`.
    pub result: Option<Type>,
    /// The doc comment.
    pub docs: Option<String>,
}

impl Function {
    /// True if it takes a sink: started by a trigger, not by a step.
    #[must_use]
    pub fn is_event_source(&self) -> bool {
        self.params.iter().any(|param| param.ty == Type::Capability(Capability::Sink))
    }
}

/// One parameter of a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// The WIT name, kebab-case.
    pub name: String,
    /// Its type; an `Option` may be left out in YAML.
    pub ty: Type,
}

/// A host resource that a parameter borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// `borrow<connection>`
    Connection,
    /// `borrow<folder>`
    Folder,
    /// `borrow<store>`
    Store,
    /// `borrow<sink>`
    Sink,
}

impl Capability {
    /// The WIT resource's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Folder => "folder",
            Self::Store => "store",
            Self::Sink => "sink",
        }
    }
}

/// A WIT type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// `bool`
    Bool,
    /// `u8` .. `s64`: the bounds are inclusive.
    Integer {
        /// The WIT name, e.g. `u16`.
        name: &'static str,
        /// Smallest value.
        min: i128,
        /// Largest value.
        max: i128,
    },
    /// `f32`, `f64`
    Float,
    /// `char`
    Char,
    /// `string`
    String,
    /// The alias `bascule:host/types.json`: any YAML value.
    Json,
    /// The alias `bascule:host/types.instant`: an RFC 3339 string.
    Instant,
    /// `list<u8>`: bytes, written in YAML as a base64 string.
    Bytes,
    /// `list<T>`
    List(Box<Self>),
    /// `option<T>`
    Option(Box<Self>),
    /// `result<T, E>` inside a value: a map with `ok` or `err`.
    Result(Option<Box<Self>>, Option<Box<Self>>),
    /// `tuple<..>`: a list of that length.
    Tuple(Vec<Self>),
    /// `record`: a map.
    Record {
        /// The WIT name.
        name: String,
        /// Fields in order.
        fields: Vec<Field>,
    },
    /// `variant`: the case's name, or a map of one entry `case: value`.
    Variant {
        /// The WIT name.
        name: String,
        /// Cases in order.
        cases: Vec<Case>,
    },
    /// `enum`: one of these names.
    Enum {
        /// The WIT name.
        name: String,
        /// Cases in order.
        cases: Vec<String>,
    },
    /// `flags`: a list of these names.
    Flags {
        /// The WIT name.
        name: String,
        /// Flags in order.
        flags: Vec<String>,
    },
    /// A borrowed host resource: the name of one in `bascule.yaml`, or a map `{ connection: NAME, param: value, .. }`.
    Capability(Capability),
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Kebab-case.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// The doc comment.
    pub docs: Option<String>,
}

/// A case of a variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Kebab-case.
    pub name: String,
    /// What it carries.
    pub ty: Option<Type>,
    /// The doc comment.
    pub docs: Option<String>,
}

/// Folds a name to the form in which kebab, snake and camel case are the same: lower case, no `-`, no `_`.
/// `employeeNo`, `employee_no` and `employee-no` all fold to `employeeno`.
#[must_use]
pub fn fold_name(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}
