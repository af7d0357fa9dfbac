//! Plan values as short as YAML.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bascule_workflow::expression::{Expression, Template};
use bascule_workflow::failure::{Failure, Kind};
use bascule_workflow::plan::{
    Action, Call, Catch, ForEach, Input, InputType, Poll, Retry, Selector, SkipIf, Step, Verify, Workflow,
    WorkflowCall,
};
use serde_json::Value;

pub(crate) fn expression(source: &str) -> Expression {
    Expression::parse(source).unwrap()
}

pub(crate) fn template(value: Value) -> Template {
    Template::parse(&value).unwrap()
}

pub(crate) fn uses(function: &str, with: Value) -> Call {
    let (plugin, function) = function.split_once('/').unwrap();
    Call { plugin: plugin.to_owned(), function: function.to_owned(), with: template(with) }
}

fn bare(id: &str, action: Action) -> Step {
    Step {
        id: id.to_owned(),
        name: None,
        line: 1,
        action,
        condition: None,
        skip_if: None,
        for_each: None,
        retry: None,
        timeout: None,
        never_repeat: false,
        catch: vec![],
        verify: None,
        poll: None,
        once: None,
        undo: None,
        keep_going: false,
    }
}

pub(crate) fn call(id: &str, function: &str, with: Value) -> Step {
    bare(id, Action::Call(uses(function, with)))
}

/// `uses: workflow/NAME`
pub(crate) fn call_workflow(id: &str, workflow: &str, with: Value) -> Step {
    bare(id, Action::Workflow(WorkflowCall { workflow: workflow.to_owned(), with: template(with) }))
}

pub(crate) fn block(id: &str, steps: Vec<Step>) -> Step {
    bare(id, Action::Block { steps, all_or_nothing: false })
}

pub(crate) fn all_or_nothing(id: &str, steps: Vec<Step>) -> Step {
    bare(id, Action::Block { steps, all_or_nothing: true })
}

/// What YAML says in further keys of a step.
pub(crate) trait Keywords: Sized {
    fn if_(self, condition: &str) -> Self;
    fn skip_if(self, when: &str, reason: &str) -> Self;
    fn for_each(self, items: &str, variable: &str, key: Option<&str>, parallel: u32) -> Self;
    fn keep_going(self) -> Self;
    fn retry(self, attempts: u32, on: &[&str]) -> Self;
    fn never_repeat(self) -> Self;
    fn timeout(self, seconds: u64) -> Self;
    fn catch(self, on: &[&str], call: Option<Call>, output: Option<Value>) -> Self;
    fn verify(self, call: Call, assert: &str, within_seconds: u64) -> Self;
    fn poll(self, until: &str, every_seconds: u64, within_seconds: u64) -> Self;
    fn once(self, key: &str) -> Self;
    fn undo(self, call: Call) -> Self;
}

pub(crate) fn selectors(on: &[&str]) -> Vec<Selector> {
    let selector = |name: &&str| match (*name, Kind::from_name(name)) {
        ("any", _) => Selector::Any,
        (_, Some(kind)) => Selector::Kind(kind),
        (code, None) => Selector::Code(code.to_owned()),
    };
    on.iter().map(selector).collect()
}

impl Keywords for Step {
    fn if_(mut self, condition: &str) -> Self {
        self.condition = Some(expression(condition));
        self
    }

    fn skip_if(mut self, when: &str, reason: &str) -> Self {
        self.skip_if = Some(SkipIf { when: expression(when), reason: Some(template(reason.into())) });
        self
    }

    fn for_each(mut self, items: &str, variable: &str, key: Option<&str>, parallel: u32) -> Self {
        let key = key.map(|key| template(key.into()));
        self.for_each = Some(ForEach {
            items: expression(items),
            variable: variable.to_owned(),
            key,
            parallel,
            pause: Duration::ZERO,
        });
        self
    }

    fn keep_going(mut self) -> Self {
        self.keep_going = true;
        self
    }

    fn retry(mut self, attempts: u32, on: &[&str]) -> Self {
        let (from, to) = (Duration::from_secs(2), Duration::from_secs(30));
        self.retry = Some(Retry { attempts, on: selectors(on), from, to });
        self
    }

    fn never_repeat(mut self) -> Self {
        self.never_repeat = true;
        self
    }

    fn timeout(mut self, seconds: u64) -> Self {
        self.timeout = Some(Duration::from_secs(seconds));
        self
    }

    fn catch(mut self, on: &[&str], call: Option<Call>, output: Option<Value>) -> Self {
        self.catch.push(Catch { on: selectors(on), call, output: output.map(template) });
        self
    }

    fn verify(mut self, call: Call, assert: &str, within_seconds: u64) -> Self {
        let within = Duration::from_secs(within_seconds);
        let every = Duration::from_secs(1);
        self.verify = Some(Verify { call, assert: expression(assert), within, every });
        self
    }

    fn poll(mut self, until: &str, every_seconds: u64, within_seconds: u64) -> Self {
        let (every, within) = (Duration::from_secs(every_seconds), Duration::from_secs(within_seconds));
        self.poll = Some(Poll { until: expression(until), every, within });
        self
    }

    fn once(mut self, key: &str) -> Self {
        self.once = Some(template(key.into()));
        self
    }

    fn undo(mut self, call: Call) -> Self {
        self.undo = Some(call);
        self
    }
}

pub(crate) fn workflow(steps: Vec<Step>) -> Workflow {
    Workflow {
        id: "golden".to_owned(),
        name: "golden".to_owned(),
        steps,
        digest: "d1".to_owned(),
        text: "name: golden".into(),
        ..Workflow::default()
    }
}

/// A workflow that others call; its digest and text are made of its id.
pub(crate) fn named(id: &str, steps: Vec<Step>) -> Workflow {
    Workflow {
        id: id.to_owned(),
        digest: format!("digest of {id}"),
        text: format!("text of {id}").into(),
        ..workflow(steps)
    }
}

/// Inputs of any value.
pub(crate) fn inputs(names: &[&str]) -> Vec<Input> {
    let input = |name: &&str| Input {
        name: (*name).to_owned(),
        ty: InputType::Json,
        required: true,
        default: None,
        pattern: None,
        description: None,
    };
    names.iter().map(input).collect()
}

/// The workflows that another one names, by id.
pub(crate) fn children(workflows: Vec<Workflow>) -> BTreeMap<String, Arc<Workflow>> {
    workflows.into_iter().map(|workflow| (workflow.id.clone(), Arc::new(workflow))).collect()
}

pub(crate) fn shared(steps: Vec<Step>) -> Arc<Workflow> {
    Arc::new(workflow(steps))
}

pub(crate) fn with_output(steps: Vec<Step>, output: Value) -> Arc<Workflow> {
    Arc::new(Workflow { output: Some(template(output)), ..workflow(steps) })
}

pub(crate) fn fails(kind: Kind) -> Result<Value, Failure> {
    Err(Failure::new(kind, format!("the device said {kind}")))
}
