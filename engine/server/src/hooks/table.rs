//! Which webhook a path belongs to.

use std::sync::Arc;

use bascule_workflow::plan::Workflow;
use bascule_workflow::trigger::{Source, Trigger, Webhook};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// Every webhook of the project, as it stands now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Entry>,
}

/// One webhook.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) workflow: Arc<Workflow>,
    index: usize,
}

/// What a path leads to.
pub(crate) enum Found {
    /// This one, with the values of its `{name}` parts.
    Hook(Entry, Map<String, Value>),
    /// Others than this method would be taken.
    OtherMethods(Vec<String>),
    /// Nothing.
    Nothing,
}

impl Entry {
    pub(crate) fn trigger(&self) -> Option<&Trigger> {
        self.workflow.triggers.get(self.index)
    }

    pub(crate) fn webhook(&self) -> Option<&Webhook> {
        match &self.trigger()?.source {
            Source::Webhook(webhook) => Some(webhook),
            _ => None,
        }
    }

    /// The values of the `{name}` parts, if the path is this one's.
    fn matches(&self, parts: &[String]) -> Option<Map<String, Value>> {
        let path = &self.webhook()?.path;
        let mut values = Map::new();
        let mut wanted = path.split('/');
        for part in parts {
            let pattern = wanted.next()?;
            match placeholder(pattern) {
                Some(name) => {
                    values.insert(name.to_owned(), Value::from(part.as_str()));
                }
                None if pattern == part => {}
                None => return None,
            }
        }
        wanted.next().is_none().then_some(values)
    }

    /// For ordering: written-out parts come before `{name}`, from the left.
    fn openness(&self) -> Vec<bool> {
        let path = self.webhook().map(|webhook| webhook.path.as_str()).unwrap_or_default();
        path.split('/').map(|part| placeholder(part).is_some()).collect()
    }
}

fn placeholder(part: &str) -> Option<&str> {
    part.strip_prefix('{')?.strip_suffix('}')
}

impl Table {
    /// Of these workflows. Where two want the same path and method, the first keeps it; the sentences say so.
    pub(crate) fn of(workflows: &[Arc<Workflow>]) -> (Self, Vec<String>) {
        let mut table = Self::default();
        let mut problems = Vec::new();
        for workflow in workflows {
            for index in 0..workflow.triggers.len() {
                let entry = Entry { workflow: Arc::clone(workflow), index };
                let (Some(trigger), Some(webhook)) = (entry.trigger(), entry.webhook()) else { continue };
                let taken = table.entries.iter().find(|other| {
                    other.webhook().is_some_and(|other| {
                        same_shape(&other.path, &webhook.path)
                            && other.methods.iter().any(|method| webhook.methods.contains(method))
                    })
                });
                if let Some(other) = taken {
                    problems.push(format!(
                        "{}.yaml:{}: the webhook /hooks/{} is not served: workflow `{}` has that path; give one of them another",
                        workflow.id, trigger.line, webhook.path, other.workflow.id
                    ));
                } else {
                    table.entries.push(entry);
                }
            }
        }
        table.entries.sort_by_key(Entry::openness);
        (table, problems)
    }

    /// Looks up what stands behind `/hooks/`, still percent-encoded.
    pub(crate) fn find(&self, method: &str, path: &str) -> Found {
        let parts: Option<Vec<String>> = path
            .split('/')
            .map(|part| percent_decode_str(part).decode_utf8().ok().map(std::borrow::Cow::into_owned))
            .collect();
        let Some(parts) = parts else { return Found::Nothing };
        let mut others: Vec<String> = Vec::new();
        for entry in &self.entries {
            let (Some(webhook), Some(values)) = (entry.webhook(), entry.matches(&parts)) else { continue };
            if webhook.methods.iter().any(|known| known == method) {
                return Found::Hook(entry.clone(), values);
            }
            others.extend(webhook.methods.iter().cloned());
        }
        if others.is_empty() { Found::Nothing } else { Found::OtherMethods(others) }
    }

    /// Every path, for people.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Whether two patterns fit the same paths.
fn same_shape(one: &str, other: &str) -> bool {
    let (one, other): (Vec<&str>, Vec<&str>) = (one.split('/').collect(), other.split('/').collect());
    one.len() == other.len()
        && one.iter().zip(&other).all(|(one, other)| match (placeholder(one), placeholder(other)) {
            (Some(_), Some(_)) => true,
            (None, None) => one == other,
            _ => false,
        })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use bascule_workflow::trigger::{Body, Respond, WebhookAuth};

    use super::*;

    fn workflow(id: &str, webhooks: &[(&str, &str)]) -> Arc<Workflow> {
        let trigger = |(index, (path, method)): (usize, &(&str, &str))| Trigger {
            id: format!("webhook-{}", index + 1),
            line: u32::try_from(index + 2).unwrap(),
            source: Source::Webhook(Webhook {
                path: (*path).to_owned(),
                methods: vec![(*method).to_owned()],
                auth: WebhookAuth::None,
                addresses: Vec::new(),
                dedupe: None,
                body: Body::Json,
                max_body_bytes: 1 << 20,
                timeout: Duration::from_secs(10),
                respond: Respond::Accepted,
            }),
            condition: None,
            inputs: None,
        };
        let triggers = webhooks.iter().enumerate().map(trigger).collect();
        Arc::new(Workflow { id: id.to_owned(), triggers, ..Workflow::default() })
    }

    #[test]
    fn written_out_parts_win_over_open_ones() {
        let (table, problems) = Table::of(&[
            workflow("a", &[("gate/{school}/{direction}", "POST")]),
            workflow("b", &[("gate/north/{direction}", "POST"), ("gate/north/in", "PUT")]),
        ]);
        assert!(problems.is_empty(), "{problems:?}");
        let Found::Hook(entry, values) = table.find("POST", "gate/south/%C8%99i%20in") else { panic!() };
        assert_eq!(entry.workflow.id, "a");
        assert_eq!(Value::Object(values), serde_json::json!({ "school": "south", "direction": "și in" }));
        let Found::Hook(entry, _) = table.find("POST", "gate/north/in") else { panic!() };
        assert_eq!(entry.workflow.id, "b");
        let Found::OtherMethods(methods) = table.find("DELETE", "gate/north/in") else { panic!() };
        assert_eq!(methods, ["PUT", "POST", "POST"]);
        for path in ["gate", "gate/north", "gate/north/in/x", "Gate/north/in", "gate//in/", "", "gate/%ff/in"]
        {
            assert!(matches!(table.find("POST", path), Found::Nothing), "{path}");
        }
    }

    #[test]
    fn of_two_with_one_path_the_first_is_served_and_the_other_is_told() {
        let (table, problems) =
            Table::of(&[workflow("a", &[("x/{one}", "POST")]), workflow("b", &[("x/{two}", "POST")])]);
        assert_eq!(table.len(), 1);
        assert_eq!(
            problems,
            [
                "b.yaml:2: the webhook /hooks/x/{two} is not served: workflow `a` has that path; give one of them another"
            ]
        );
    }
}
