//! What names an expression can see at its place, and what is known of their values.

use std::rc::Rc;

use crate::plan::{Input, InputType};
use crate::signature::Type;

/// What is known of a value before anything runs.
#[derive(Clone, Debug)]
pub(super) enum Shape<'a> {
    /// Nothing: JSON of a device, the body of a webhook.
    Unknown,
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A value of a plugin.
    Wit(&'a Type),
    /// A list of these.
    List(Rc<Shape<'a>>),
    /// A map with these fields and no others; the text says what it is.
    Fields(&'static str, Rc<Vec<(String, Shape<'a>)>>),
}

/// What a field of a value is.
pub(super) enum Field<'a> {
    /// There it is.
    Found(Shape<'a>),
    /// The value is a map without that field; these are there.
    Absent(Vec<String>),
    /// The value has no fields: a text, a number, a list.
    NoFields(&'static str),
}

impl<'a> Shape<'a> {
    pub(super) fn fields(what: &'static str, fields: &[(&str, Self)]) -> Self {
        let fields = fields.iter().map(|(name, shape)| ((*name).to_owned(), shape.clone())).collect();
        Self::Fields(what, Rc::new(fields))
    }

    pub(super) fn list(item: Self) -> Self {
        Self::List(Rc::new(item))
    }

    /// The field of that name, or the item of that number.
    pub(super) fn field(&self, name: &str) -> Field<'a> {
        let is_index = name.parse::<i64>().is_ok();
        match self {
            Self::Unknown => Field::Found(Self::Unknown),
            Self::Text => Field::NoFields("a text"),
            Self::Integer | Self::Number => Field::NoFields("a number"),
            Self::Boolean => Field::NoFields("true or false"),
            Self::List(item) if is_index => Field::Found((**item).clone()),
            Self::List(_) => Field::NoFields("a list"),
            Self::Fields(_, fields) => match fields.iter().find(|(field, _)| field == name) {
                Some((_, shape)) => Field::Found(shape.clone()),
                None => Field::Absent(fields.iter().map(|(field, _)| field.clone()).collect()),
            },
            Self::Wit(ty) => field_of_type(ty, name, is_index),
        }
    }

    /// The items, if it is a list.
    pub(super) fn item(&self) -> Self {
        match self {
            Self::List(item) => (**item).clone(),
            Self::Wit(ty) => match strip(ty) {
                Type::List(item) => Self::Wit(item),
                _ => Self::Unknown,
            },
            _ => Self::Unknown,
        }
    }

    /// The kind of value in words, where it is known and the same in every case.
    pub(super) fn kind(&self) -> Option<Kind> {
        Some(match self {
            Self::Unknown => return None,
            Self::Text => Kind::Text,
            Self::Integer => Kind::Integer,
            Self::Number => Kind::Number,
            Self::Boolean => Kind::Boolean,
            Self::List(_) => Kind::List,
            Self::Fields(..) => Kind::Map,
            Self::Wit(ty) => match strip(ty) {
                Type::Bool => Kind::Boolean,
                Type::Integer { .. } => Kind::Integer,
                Type::Float => Kind::Number,
                Type::Char | Type::String | Type::Instant | Type::Bytes | Type::Enum { .. } => Kind::Text,
                Type::List(_) | Type::Tuple(_) | Type::Flags { .. } => Kind::List,
                Type::Record { .. } | Type::Result(..) => Kind::Map,
                Type::Json | Type::Variant { .. } | Type::Option(_) | Type::Capability(_) => return None,
            },
        })
    }
}

/// Kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Number,
    Boolean,
    List,
    Map,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Boolean => "true or false",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

/// What stands behind `option`.
fn strip(ty: &Type) -> &Type {
    match ty {
        Type::Option(inner) => strip(inner),
        other => other,
    }
}

fn field_of_type<'a>(ty: &'a Type, name: &str, is_index: bool) -> Field<'a> {
    match strip(ty) {
        Type::Record { fields, .. } => match fields.iter().find(|field| snake(&field.name) == name) {
            Some(field) => Field::Found(Shape::Wit(&field.ty)),
            None => Field::Absent(fields.iter().map(|field| snake(&field.name)).collect()),
        },
        Type::List(item) if is_index => Field::Found(Shape::Wit(item)),
        Type::Tuple(items) if is_index => match name.parse::<usize>().ok().and_then(|index| items.get(index))
        {
            Some(item) => Field::Found(Shape::Wit(item)),
            None => Field::NoFields("a list"),
        },
        Type::List(_) | Type::Tuple(_) | Type::Flags { .. } => {
            if is_index {
                Field::Found(Shape::Unknown)
            } else {
                Field::NoFields("a list")
            }
        }
        Type::Json | Type::Variant { .. } | Type::Result(..) | Type::Option(_) | Type::Capability(_) => {
            Field::Found(Shape::Unknown)
        }
        Type::Bool => Field::NoFields("true or false"),
        Type::Integer { .. } | Type::Float => Field::NoFields("a number"),
        Type::Char | Type::String | Type::Instant | Type::Bytes | Type::Enum { .. } => {
            Field::NoFields("a text")
        }
    }
}

/// A WIT name as expressions see it: `employee-no` is `employee_no`.
pub(super) fn snake(name: &str) -> String {
    name.replace('-', "_")
}

/// A step that has an `id:`.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    /// The line of its id.
    pub(super) line: u32,
    /// The step with `for-each` whose block it stands in.
    pub(super) inside: Option<String>,
}

/// A loop variable.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    /// The line of its `for-each`.
    pub(super) line: u32,
}

/// The names at one place.
#[derive(Clone, Debug)]
pub(super) struct Scope<'a> {
    names: Vec<(String, Shape<'a>)>,
    /// The steps that have run, by id.
    steps: Vec<(String, Shape<'a>)>,
}

impl<'a> Scope<'a> {
    /// `inputs`, `steps` (none yet), `run` and `trigger`.
    pub(super) fn of_workflow(inputs: &[Input]) -> Self {
        let fields = inputs.iter().map(|input| (input.name.clone(), shape_of_input(&input.ty))).collect();
        let run = Shape::fields(
            "`run`",
            &[
                ("id", Shape::Text),
                ("started_at", Shape::Text),
                ("attempt", Shape::Integer),
                ("workflow", Shape::Text),
            ],
        );
        let names = vec![
            ("inputs".to_owned(), Shape::Fields("`inputs`", Rc::new(fields))),
            ("run".to_owned(), run),
            ("trigger".to_owned(), Shape::Unknown),
        ];
        Self { names, steps: Vec::new() }
    }

    /// `inputs` and `trigger`: all that is known before there is a run.
    pub(super) fn before_run(inputs: &[Input]) -> Self {
        let mut scope = Self::of_workflow(inputs);
        scope.names.retain(|(name, _)| name != "run");
        scope
    }

    /// `trigger` alone.
    pub(super) fn of_trigger() -> Self {
        Self { names: vec![("trigger".to_owned(), Shape::Unknown)], steps: Vec::new() }
    }

    /// No names at all.
    pub(super) fn of_nothing() -> Self {
        Self { names: Vec::new(), steps: Vec::new() }
    }

    /// The same with one more name, which hides an earlier one.
    pub(super) fn with(&self, name: &str, shape: Shape<'a>) -> Self {
        let mut scope = self.clone();
        scope.names.retain(|(known, _)| known != name);
        scope.names.push((name.to_owned(), shape));
        scope
    }

    /// From here on the step has run.
    pub(super) fn add_step(&mut self, id: &str, shape: Shape<'a>) {
        self.steps.push((id.to_owned(), shape));
    }

    pub(super) fn name(&self, name: &str) -> Option<&Shape<'a>> {
        self.names.iter().find(|(known, _)| known == name).map(|(_, shape)| shape)
    }

    /// False where there are no steps at all (triggers).
    pub(super) fn has_steps(&self) -> bool {
        self.name("inputs").is_some()
    }

    pub(super) fn step(&self, id: &str) -> Option<&Shape<'a>> {
        self.steps.iter().rev().find(|(known, _)| known == id).map(|(_, shape)| shape)
    }

    pub(super) fn step_ids(&self) -> Vec<&str> {
        self.steps.iter().map(|(id, _)| id.as_str()).collect()
    }

    pub(super) fn all_names(&self) -> Vec<&str> {
        let steps = self.has_steps().then_some("steps");
        self.names.iter().map(|(name, _)| name.as_str()).chain(steps).collect()
    }

    /// What ran in a block, as its inner scope has it.
    pub(super) fn take_steps(&mut self, inner: &Self) {
        self.steps.clone_from(&inner.steps);
    }

    /// How many steps have run; `forget` goes back to it.
    pub(super) fn mark(&self) -> usize {
        self.steps.len()
    }

    /// Forgets the steps since `mark`: those of a block with `for-each`.
    pub(super) fn forget(&mut self, mark: usize) {
        self.steps.truncate(mark);
    }
}

fn shape_of_input(ty: &InputType) -> Shape<'static> {
    match ty {
        InputType::String | InputType::Uuid | InputType::Date | InputType::DateTime | InputType::Enum(_) => {
            Shape::Text
        }
        InputType::Integer => Shape::Integer,
        InputType::Number | InputType::Duration => Shape::Number,
        InputType::Boolean => Shape::Boolean,
        InputType::Json => Shape::Unknown,
    }
}

/// `error`, and the `error` of steps and items.
pub(super) fn error_shape() -> Shape<'static> {
    Shape::fields(
        "an error",
        &[
            ("kind", Shape::Text),
            ("code", Shape::Text),
            ("message", Shape::Text),
            ("effect", Shape::Text),
            ("retry_after", Shape::Integer),
            ("details", Shape::Unknown),
        ],
    )
}

/// `steps.ID` of a step that was done once.
pub(super) fn step_shape(output: Shape<'_>) -> Shape<'_> {
    let fields =
        [("output", output), ("status", Shape::Text), ("error", error_shape()), ("reason", Shape::Text)];
    Shape::fields("a step", &fields)
}

/// `steps.ID` of a step with `for-each`.
pub(super) fn loop_shape<'a>(output: &Shape<'a>) -> Shape<'a> {
    let item = Shape::fields(
        "an item",
        &[
            ("key", Shape::Text),
            ("status", Shape::Text),
            ("output", output.clone()),
            ("error", error_shape()),
            ("reason", Shape::Text),
        ],
    );
    let counts = [
        "succeeded",
        "recovered",
        "skipped",
        "failed",
        "cancelled",
        "total",
        "interrupted",
        "rolled_back",
        "rollback_incomplete",
    ];
    let counts: Vec<(&str, Shape<'a>)> = counts.into_iter().map(|name| (name, Shape::Integer)).collect();
    Shape::fields(
        "a step with `for-each`",
        &[
            ("output", Shape::list(output.clone())),
            ("status", Shape::Text),
            ("error", error_shape()),
            ("reason", Shape::Text),
            ("items", Shape::list(item)),
            ("counts", Shape::fields("`counts`", &counts)),
        ],
    )
}

/// The output of a block: the outputs of its own steps by their ids.
pub(super) fn block_output<'a>(ids: &[&str], scope: &Scope<'a>) -> Shape<'a> {
    let output = |id: &str| match scope.step(id)?.field("output") {
        Field::Found(shape) => Some((id.to_owned(), shape)),
        _ => None,
    };
    Shape::Fields("the output of a block", Rc::new(ids.iter().filter_map(|id| output(id)).collect()))
}
