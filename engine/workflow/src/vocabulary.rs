//! Every key of a workflow file, once: for the checker, for the JSON Schema of editors, and for readers.
//!
//! A new key is a line in one of the tables here and its reading in [`crate::check`]; the tables say which keys there
//! are, the checker what they mean together.

mod steps;
mod triggers;
mod whole;

pub(crate) use steps::MAX_PARALLEL;
pub use steps::{BACKOFF, CATCH, POLL, RETRY, SKIP_IF, STEP, UNDO, VERIFY};
pub(crate) use triggers::{ANSWERS, BODIES, ENCODINGS, MAX_COLLECTED, METHODS, MISSED_POLICIES, SHARED};
pub use triggers::{
    BASIC, BODY, CATCH_UP, COLLECT, DIGEST, EVENT, FILE, HEADER, HMAC, MISSED, MULTIPART, OVERDUE, SCHEDULE,
    TRIGGERS, WEBHOOK, WORKFLOW_END,
};
pub(crate) use whole::INPUT_TYPES;
pub use whole::{CONCURRENCY, DEBOUNCE, DEFAULTS, INPUT, WORKFLOW};

/// A map with fixed keys.
#[derive(Debug)]
pub struct MapDoc {
    /// Its name in the JSON Schema, e.g. `step`.
    pub name: &'static str,
    /// As messages call it, e.g. `a step`.
    pub what: &'static str,
    /// In reading order.
    pub keys: &'static [KeyDoc],
    /// At least one of these must be there; empty where nothing is said.
    pub either: &'static [&'static str],
}

impl MapDoc {
    /// The keys' names, in reading order.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|doc| doc.key).collect()
    }
}

/// A key of a map.
#[derive(Debug)]
pub struct KeyDoc {
    /// As it is written.
    pub key: &'static str,
    /// What may stand behind it.
    pub form: Form,
    /// Whether it must be there.
    pub required: bool,
    /// What it does.
    pub summary: &'static str,
}

/// What a value may look like.
#[derive(Debug)]
pub enum Form {
    /// Text as it stands, without expressions.
    Text,
    /// Text or another single value, with expressions.
    Template,
    /// Any value; the texts in it may have expressions.
    Value,
    /// One whole expression, with or without `${{ }}`.
    Condition,
    /// A list, or one whole expression that gives one.
    Items,
    /// `true` or `false`
    Boolean,
    /// A whole number, both bounds included.
    Integer(u32, u32),
    /// `90s`, `1h30m`
    Duration,
    /// `64KiB`
    Size,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A kind of failure, a code with a colon, or `any`.
    Failure,
    /// The name of a folder of `bascule.yaml`.
    Folder,
    /// The names that a workflow has for things of `bascule.yaml`.
    Aliases,
    /// The id of a workflow.
    Workflow,
    /// A function; what stands in `with` beside it goes by its parameters.
    Uses(Callee),
    /// The parameters of the function that `uses` names.
    With,
    /// A map with fixed keys.
    Map(&'static MapDoc),
    /// A map from names of the user's own.
    Named(&'static Self),
    /// A map of exactly one entry, whose key says which form its value has.
    OneOf(&'static [KeyDoc]),
    /// A list.
    List(&'static Self),
    /// One, or a list of them.
    OneOrMore(&'static Self),
    /// Any of these.
    Either(&'static [Self]),
}

/// What a `uses` may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    /// A function of a plugin, or a workflow.
    FunctionOrWorkflow,
    /// A function of a plugin.
    Function,
    /// An event source of a plugin.
    EventSource,
}

const fn may(key: &'static str, form: Form, summary: &'static str) -> KeyDoc {
    KeyDoc { key, form, required: false, summary }
}

const fn must(key: &'static str, form: Form, summary: &'static str) -> KeyDoc {
    KeyDoc { key, form, required: true, summary }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn maps_of(form: &Form, found: &mut BTreeMap<&'static str, &'static MapDoc>) {
        match form {
            Form::Map(map) => visit(map, found),
            Form::Named(inner) | Form::List(inner) | Form::OneOrMore(inner) => maps_of(inner, found),
            Form::Either(forms) => forms.iter().for_each(|form| maps_of(form, found)),
            Form::OneOf(keys) => keys.iter().for_each(|doc| maps_of(&doc.form, found)),
            _ => {}
        }
    }

    fn visit(map: &'static MapDoc, found: &mut BTreeMap<&'static str, &'static MapDoc>) {
        match found.insert(map.name, map) {
            Some(other) => assert!(std::ptr::eq(other, map), "two maps are called `{}`", map.name),
            None => map.keys.iter().for_each(|doc| maps_of(&doc.form, found)),
        }
    }

    #[test]
    fn every_map_has_a_name_of_its_own_and_every_key_stands_once_with_a_summary() {
        let mut found = BTreeMap::new();
        visit(&WORKFLOW, &mut found);
        assert!(found.len() > 15, "{:?}", found.keys());
        for map in found.values() {
            let mut names = map.names();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), map.keys.len(), "{}", map.name);
            assert!(map.keys.iter().all(|doc| !doc.summary.is_empty()), "{}", map.name);
        }
    }
}
