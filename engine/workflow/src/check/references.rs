//! The names that expressions write out, against the scope.

use super::Checker;
use super::scope::{Field, Scope, Shape, Variable};
use crate::document::Node;
use crate::expression::{Expression, Reference, suggest};
use crate::problem::{Code, Problem, codes};

impl<'a> Checker<'a> {
    /// What is known of an expression's value: something only if it is one path.
    pub(super) fn known(&self, expression: &Expression, scope: &Scope<'a>) -> Shape<'a> {
        let source = expression.source();
        let [reference] = expression.references() else {
            return Shape::Unknown;
        };
        let start = source.len() - source.trim_start().len();
        let whole = reference.range.start == start && reference.range.end == source.trim_end().len();
        if reference.open || !whole {
            return Shape::Unknown;
        }
        self.resolve(reference, scope).unwrap_or(Shape::Unknown)
    }

    /// Checks every path of an expression; gives what is known of its value.
    pub(super) fn references(
        &mut self,
        expression: &Expression,
        offset: usize,
        node: &Node,
        scope: &Scope<'a>,
    ) -> Shape<'a> {
        let mut checked_to = 0;
        for reference in expression.references() {
            if reference.range.start < checked_to {
                continue;
            }
            if let Err(mut wrong) = self.resolve(reference, scope) {
                if let Some(end) = with_hyphens(expression.source(), reference, &mut wrong) {
                    checked_to = end;
                }
                if reference.guarded && wrong.may_be_absent {
                    continue;
                }
                let range = reference.ranges.get(wrong.segment).unwrap_or(&reference.range);
                let end = range.end.max(checked_to);
                let span = node.locate(self.text, offset + range.start, offset + end);
                let mut problem = Problem::error(wrong.code, span, wrong.message).help_if(wrong.help);
                problem.notes = wrong.notes;
                self.problems.report(problem);
            }
        }
        self.known(expression, scope)
    }

    /// What a path leads to.
    fn resolve(&self, reference: &Reference, scope: &Scope<'a>) -> Result<Shape<'a>, Wrong> {
        let mut path = reference.path.iter().map(String::as_str).enumerate();
        let Some((_, first)) = path.next() else {
            return Ok(Shape::Unknown);
        };
        let mut written = first.to_owned();
        let mut shape = if first == "steps" && scope.has_steps() {
            let Some((segment, id)) = path.next() else {
                return Ok(Shape::Unknown);
            };
            written = format!("{written}.{id}");
            match scope.step(id) {
                Some(shape) => shape.clone(),
                None => return Err(self.no_such_step(id, segment, scope)),
            }
        } else {
            match scope.name(first) {
                Some(shape) => shape.clone(),
                None => return Err(self.no_such_name(reference, scope)),
            }
        };
        for (segment, name) in path {
            shape = match shape.field(name) {
                Field::Found(shape) => shape,
                Field::Absent(fields) => return Err(absent(&shape, &written, name, segment, &fields)),
                Field::NoFields(kind) => return Err(no_fields(kind, &written, name, segment)),
            };
            written = if name.parse::<i64>().is_ok() {
                format!("{written}[{name}]")
            } else {
                format!("{written}.{name}")
            };
        }
        Ok(shape)
    }

    fn no_such_step(&self, id: &str, segment: usize, scope: &Scope<'a>) -> Wrong {
        if let Some(declared) = self.declared.get(id) {
            let (message, help) = match &declared.inside {
                Some(block) => (
                    format!(
                        "step `{id}` runs once for each item of `{block}` and is seen inside that block only"
                    ),
                    format!("use `steps.{block}.items`, or move this step into the block"),
                ),
                None => (
                    format!("step `{id}` has not run here yet"),
                    format!("it stands on line {}; a step sees the steps before it", declared.line),
                ),
            };
            return Wrong::new(codes::LATER_STEP, segment, message).help(Some(help));
        }
        let ids = scope.step_ids();
        let all: Vec<&str> = self.declared.keys().map(String::as_str).collect();
        let help = match suggest::nearest(id, all.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if ids.is_empty() => "no step with an `id:` has run at this place".to_owned(),
            None => format!("steps that have run here: {}", suggest::listing(&ids)),
        };
        Wrong::new(codes::UNKNOWN_STEP, segment, format!("no step has the id `{id}`")).help(Some(help))
    }

    fn no_such_name(&self, reference: &Reference, scope: &Scope<'a>) -> Wrong {
        let Some(name) = reference.path.first().map(String::as_str) else {
            return Wrong::new(codes::UNKNOWN_NAME, 0, "unknown name".to_owned());
        };
        let out_of_scope = |message: String, help: &str| Wrong {
            may_be_absent: true,
            ..Wrong::new(codes::NOT_IN_SCOPE, 0, message).help(Some(help.to_owned()))
        };
        match name {
            "result" => {
                return out_of_scope(
                    "`result` means nothing here".to_owned(),
                    "it is there in `verify.assert` and `poll.until`; elsewhere use `steps.ID.output`",
                );
            }
            "output" => {
                return out_of_scope(
                    "`output` means nothing here".to_owned(),
                    "it is there in `verify.assert` and `undo`; elsewhere use `steps.ID.output`",
                );
            }
            "error" => {
                return out_of_scope(
                    "`error` means nothing here".to_owned(),
                    "it is there in `catch` and `on-failure`; elsewhere use `steps.ID.error`",
                );
            }
            "run" if scope.name("inputs").is_some() => {
                return out_of_scope(
                    "`run` means nothing here".to_owned(),
                    "this is evaluated before there is a run: it sees `inputs` and `trigger`",
                );
            }
            "inputs" | "steps" | "run" => {
                return out_of_scope(
                    format!("`{name}` means nothing here"),
                    "a trigger sees `trigger` only: its steps have not run yet",
                );
            }
            _ => {}
        }
        let variable =
            name.strip_suffix("_index").filter(|_| !self.variables.contains_key(name)).unwrap_or(name);
        if let Some(Variable { line }) = self.variables.get(variable) {
            return out_of_scope(
                format!("`{name}` is known inside its `for-each` only"),
                &if self.before_items {
                    format!(
                        "`if` is looked at before the items of line {line}; a condition on each item is `skip-if`"
                    )
                } else {
                    format!(
                        "it belongs to the `for-each` on line {line}; after it there are `steps.ID.output` and `steps.ID.items`"
                    )
                },
            );
        }
        let names = scope.all_names();
        let mut wrong = Wrong::new(codes::UNKNOWN_NAME, 0, format!("unknown name `{name}`"));
        wrong.may_be_absent = true;
        let near = suggest::nearest(name, names.iter().copied());
        wrong.help = Some(match near {
            Some(near) => format!("did you mean `{near}`?"),
            None if matches!(name, "yes" | "no" | "on" | "off") => "write `true` or `false`".to_owned(),
            None if self.declared.contains_key(name) => format!("a step's result is `steps.{name}.output`"),
            None if self.inputs.iter().any(|input| input.name == name) => format!("write `inputs.{name}`"),
            None if matches!(name, "env" | "secrets" | "vars" | "github" | "now") => {
                "there is no environment, no secret and no clock in expressions: a run gives the same result again".to_owned()
            }
            None if reference.path.len() == 1 => {
                format!("there are {}; a text needs quotes: '{name}'", suggest::listing(&names))
            }
            None => format!("there are {}", suggest::listing(&names)),
        });
        wrong
    }
}

/// Why a path leads nowhere.
struct Wrong {
    code: Code,
    /// Which part of the path.
    segment: usize,
    message: String,
    help: Option<String>,
    notes: Vec<String>,
    /// The fields that are there instead.
    fields: Vec<String>,
    /// `default()` and `is defined` make it right.
    may_be_absent: bool,
}

impl Wrong {
    fn new(code: Code, segment: usize, message: String) -> Self {
        Self {
            code,
            segment,
            message,
            help: None,
            notes: Vec::new(),
            fields: Vec::new(),
            may_be_absent: false,
        }
    }

    fn help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

fn absent(shape: &Shape<'_>, written: &str, name: &str, segment: usize, fields: &[String]) -> Wrong {
    let names: Vec<&str> = fields.iter().map(String::as_str).collect();
    if written == "inputs" {
        let help = match suggest::nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("declare it: `inputs:` with `{name}: string`"),
            None => format!("there are {}; or declare it under `inputs:`", suggest::listing(&names)),
        };
        let wrong = Wrong::new(codes::UNKNOWN_INPUT, segment, format!("no input is called `{name}`"));
        return Wrong { fields: fields.to_vec(), ..wrong }.help(Some(help));
    }
    let mut wrong = Wrong::new(codes::UNKNOWN_FIELD, segment, format!("`{written}` has no field `{name}`"));
    wrong.may_be_absent = matches!(shape, Shape::Wit(_));
    wrong.fields = fields.to_vec();
    wrong.help = match (shape, name) {
        (Shape::Fields("a step", _), "items" | "counts") => {
            Some("only a step with `for-each` has `items` and `counts`".to_owned())
        }
        (Shape::Fields("a step" | "a step with `for-each`", _), "outputs" | "result" | "results") => {
            Some("the result of a step is `output`".to_owned())
        }
        _ => match suggest::nearest(name, names.iter().copied()) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None => Some(format!("it has {}", suggest::listing(&names))),
        },
    };
    if let Shape::Wit(crate::signature::Type::Record { name, .. }) = shape
        && wrong.help.as_deref().is_some_and(|help| help.starts_with("did you mean"))
    {
        wrong.notes.push(format!("`{name}` has {}", suggest::listing(&names)));
    }
    wrong
}

fn no_fields(kind: &'static str, written: &str, name: &str, segment: usize) -> Wrong {
    let wrong =
        Wrong::new(codes::UNKNOWN_FIELD, segment, format!("`{written}` is {kind} and has no field `{name}`"));
    wrong.help(match (kind, name) {
        ("a list", "length" | "size" | "count") => Some(format!("write `{written} | length`")),
        ("a text" | "a number" | "true or false", _) => Some(format!("use `{written}` itself")),
        ("a list", _) => {
            Some(format!("pick an item first: `{written}[0].{name}`, or go through it with `for-each`"))
        }
        _ => None,
    })
}

/// `employee-no` where the field is `employee_no`: to expressions the hyphen is a minus. Gives the end of the name.
fn with_hyphens(source: &str, reference: &Reference, wrong: &mut Wrong) -> Option<usize> {
    let last = reference.ranges.last().filter(|_| wrong.segment + 1 == reference.ranges.len())?;
    let rest = source.get(last.end..).filter(|rest| rest.starts_with('-'))?;
    let length =
        rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_')).unwrap_or(rest.len());
    let end = last.end + length;
    let written = source.get(last.start..end)?;
    let meant = super::scope::snake(written);
    if !wrong.fields.contains(&meant) {
        return None;
    }
    wrong.message = format!("`{written}` is a subtraction to expressions");
    wrong.help =
        Some(format!("write `{meant}`: names have `_` in expressions where a plugin's types have `-`"));
    wrong.notes.clear();
    Some(end)
}
