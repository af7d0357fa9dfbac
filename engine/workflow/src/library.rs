//! The workflows of a project as texts: what `uses: workflow/NAME` and `on-failure: NAME` can name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::document::{Data, Document, Node};
use crate::problem::Problems;

/// How deep workflows may call each other.
pub const MAX_DEPTH: usize = 8;

/// In front of a workflow's id in `uses:`.
pub const PREFIX: &str = "workflow/";

/// Texts by the id of their workflow, and which of them calls which.
#[derive(Clone, Debug, Default)]
pub struct Library {
    texts: BTreeMap<String, Text>,
    /// Only what a run under way needs is here.
    partial: bool,
}

/// One workflow's text.
#[derive(Clone, Debug)]
pub struct Text {
    /// As it is shown in problems.
    pub file: String,
    /// The text.
    pub text: Arc<str>,
    /// The ids that it names, called or started after a failure.
    names: BTreeSet<String>,
}

impl Library {
    /// Adds the workflow of a file; a text that cannot be read is kept, and its problems come up where it is used.
    pub fn insert(&mut self, file: &str, text: &str) {
        let id = crate::check::stem(file).to_owned();
        self.texts.insert(id, Text { file: file.to_owned(), text: Arc::from(text), names: named(text) });
    }

    /// The same texts for a run that has begun. What its triggers name may be elsewhere, or gone by now: that is no mistake
    /// any more.
    #[must_use]
    pub fn of_begun_run(mut self) -> Self {
        self.partial = true;
        self
    }

    /// Whether a workflow that is not here does not exist.
    pub(crate) fn lacks(&self, id: &str) -> bool {
        !self.partial && !self.texts.contains_key(id)
    }

    /// The text of that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Text> {
        self.texts.get(id)
    }

    /// All ids.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// Whether any workflow names this one.
    #[must_use]
    pub fn is_called(&self, id: &str) -> bool {
        self.texts.values().any(|text| text.names.contains(id))
    }

    /// The longest chain of workflows that begins with this one. Where they go round in circles it ends.
    pub(crate) fn longest<'l>(&'l self, id: &'l str) -> Vec<&'l str> {
        let mut known = BTreeMap::new();
        self.chain(id, &mut BTreeSet::new(), &mut known)
    }

    fn chain<'l>(
        &'l self,
        id: &'l str,
        inside: &mut BTreeSet<&'l str>,
        known: &mut BTreeMap<&'l str, Vec<&'l str>>,
    ) -> Vec<&'l str> {
        if let Some(chain) = known.get(id) {
            return chain.clone();
        }
        if !inside.insert(id) {
            return Vec::new();
        }
        let names = self.texts.get(id).map(|text| &text.names).into_iter().flatten();
        let mut longest: Vec<&str> = Vec::new();
        for name in names {
            let chain = self.chain(name, inside, known);
            if chain.len() > longest.len() {
                longest = chain;
            }
        }
        inside.remove(id);
        longest.insert(0, id);
        known.insert(id, longest.clone());
        longest
    }

    /// The way from `from` to `to` through what calls what, both included, if there is one.
    #[must_use]
    pub fn way(&self, from: &str, to: &str) -> Option<Vec<String>> {
        let mut seen = BTreeSet::new();
        let mut way = Vec::new();
        self.search(from, to, &mut seen, &mut way).then_some(way)
    }

    fn search(&self, from: &str, to: &str, seen: &mut BTreeSet<String>, way: &mut Vec<String>) -> bool {
        way.push(from.to_owned());
        if from == to {
            return true;
        }
        if seen.insert(from.to_owned()) {
            let names = self.texts.get(from).map(|text| &text.names).into_iter().flatten();
            for name in names {
                if self.search(name, to, seen, way) {
                    return true;
                }
            }
        }
        way.pop();
        false
    }
}

/// What a text names.
fn named(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Some(document) = Document::read(text, &mut Problems::new("", text)) {
        collect(&document.root, &mut names);
        if let Some(name) = document.root.get("on-failure").and_then(Node::as_str) {
            names.insert(name.to_owned());
        }
    }
    names
}

fn collect(node: &Node, names: &mut BTreeSet<String>) {
    match &node.data {
        Data::Map(entries) => {
            for entry in entries {
                if entry.key.text == "uses"
                    && let Some(name) = entry.value.as_str().and_then(|text| text.strip_prefix(PREFIX))
                {
                    names.insert(name.to_owned());
                }
                collect(&entry.value, names);
            }
        }
        Data::List(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn library(texts: &[(&str, &str)]) -> Library {
        let mut library = Library::default();
        for (id, uses) in texts {
            library.insert(&format!("workflows/{id}.yaml"), uses);
        }
        library
    }

    #[test]
    fn a_way_is_found_through_steps_and_alerts() {
        let library = library(&[
            ("a", "steps:\n  - steps:\n      - uses: workflow/b\n"),
            ("b", "on-failure: c\nsteps:\n  - uses: p/things.put\n"),
            ("c", "steps:\n  - uses: workflow/a\n"),
        ]);
        assert_eq!(library.way("b", "a").unwrap(), ["b", "c", "a"]);
        assert!(library.way("b", "nobody").is_none());
        assert!(library.is_called("b") && !library.is_called("nobody"));
    }
}
