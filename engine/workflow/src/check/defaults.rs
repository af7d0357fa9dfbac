//! `defaults`: `retry`, `timeout` and `catch` for every call of a plugin that does not say its own.

use std::time::Duration;

use super::Checker;
use super::scope::{Scope, Shape};
use crate::document::Node;
use crate::plan::{Catch, Retry, Step};
use crate::vocabulary::DEFAULTS;

/// What steps get that do not say it themselves. They become part of each step when it is read.
#[derive(Clone, Default)]
pub(super) struct Defaults {
    pub(super) retry: Option<Retry>,
    pub(super) timeout: Option<Duration>,
    pub(super) catch: Vec<Catch>,
}

impl<'a> Checker<'a> {
    /// Read before any step; expressions in `catch` see `inputs`, `run`, `trigger` and `error`.
    pub(super) fn defaults(&mut self, node: &Node, scope: &Scope<'a>) -> Defaults {
        let Some(fields) = self.map(node, &DEFAULTS) else {
            return Defaults::default();
        };
        let retry = fields.get("retry").and_then(|node| self.retry(node));
        let timeout = fields.get("timeout").and_then(|node| self.duration(node, "timeout"));
        let catch = fields.get("catch").map(|node| self.catch(node, &Shape::Unknown, None, scope).0);
        Defaults { retry, timeout, catch: catch.unwrap_or_default() }
    }

    /// `retry:` of a step; `none` does without the default.
    pub(super) fn retry_of(&mut self, node: Option<&Node>) -> Option<Retry> {
        match node {
            None => self.defaults.retry.clone(),
            Some(node) if node.as_scalar().is_some_and(|scalar| scalar.text == "none") => None,
            Some(node) => self.retry(node),
        }
    }

    /// `timeout:` of a step.
    pub(super) fn timeout_of(&mut self, node: Option<&Node>) -> Option<Duration> {
        node.map_or(self.defaults.timeout, |node| self.duration(node, "timeout"))
    }

    /// `catch:` of a step, and what is known of its output with it.
    pub(super) fn catch_of(
        &mut self,
        node: Option<&Node>,
        result: &Shape<'a>,
        step: &Step,
        scope: &Scope<'a>,
    ) -> (Vec<Catch>, Shape<'a>) {
        match node {
            Some(node) => self.catch(node, result, Some(step), scope),
            None if self.defaults.catch.is_empty() => (Vec::new(), result.clone()),
            None => (self.defaults.catch.clone(), Shape::Unknown),
        }
    }
}
