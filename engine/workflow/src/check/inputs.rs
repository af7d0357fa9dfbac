//! `inputs:`: what a run is given.

use super::Checker;
use crate::document::{Entry, Node};
use crate::expression::suggest;
use crate::inputs::compile;
use crate::plan::{Input, InputType};
use crate::problem::{Problem, codes};
use crate::vocabulary::{INPUT, INPUT_TYPES as TYPES};

impl Checker<'_> {
    pub(super) fn input_declarations(&mut self, node: &Node) -> Vec<Input> {
        let mut inputs = Vec::new();
        if node.as_list().is_some() {
            self.wrong_shape(
                node,
                "`inputs`",
                "a map",
                "write `employee_id: uuid`, one input per line, without `-`",
            );
            return inputs;
        }
        for entry in self.entries(node, "`inputs`").unwrap_or_default() {
            self.name(&entry.key.text, entry.key.span, "an input's name");
            // A broken declaration still declares the name: its uses are not reported as well.
            let input = self.input(entry).unwrap_or_else(|| empty(&entry.key.text));
            inputs.push(input);
        }
        inputs
    }

    fn input(&mut self, entry: &Entry) -> Option<Input> {
        let mut input = empty(&entry.key.text);
        let node = &entry.value;
        if node.as_map().is_none() {
            if node.as_str().is_none() {
                let help =
                    format!("write `{}: string`, or a map with `type`, `required`, `default`", input.name);
                self.wrong_shape(node, &format!("input `{}`", input.name), "a type or a map", &help);
                return None;
            }
            let word = self.input_type(node)?;
            if word == "enum" {
                let message = format!("input `{}` needs `values`", input.name);
                let help = format!("write `{}: {{ type: enum, values: [first, second] }}`", input.name);
                self.problems.report(Problem::error(codes::MISSING_KEY, node.span, message).help(help));
                return None;
            }
            input.ty = of_word(word, Vec::new());
            return Some(input);
        }
        let fields = self.map(node, &INPUT)?;
        input.description = fields.get("description").and_then(|node| self.text_of(node, "description"));
        input.required =
            fields.get("required").and_then(|node| self.boolean(node, "required")).unwrap_or(false);
        let Some(word) = self
            .required(
                &fields,
                "type",
                "one of string, integer, number, boolean, uuid, date, date-time, duration, enum, json",
            )
            .and_then(|node| self.input_type(node))
        else {
            return Some(input);
        };
        let values = match fields.get("values") {
            Some(node) if word == "enum" => self.enum_values(node),
            Some(_) => {
                self.keys_exclude(
                    &fields,
                    &["values"],
                    &format!("on an input of type {word}"),
                    "it belongs to `type: enum`",
                );
                Vec::new()
            }
            None if word == "enum" => {
                self.missing(&fields, "values", "a list of texts");
                return Some(input);
            }
            None => Vec::new(),
        };
        input.ty = of_word(word, values);
        if let Some(node) = fields.get("pattern") {
            input.pattern = self.pattern(node, word);
        }
        if let Some(default) = fields.entry("default").filter(|entry| !entry.value.is_null()) {
            if input.required {
                let message = format!("input `{}` is required and has a default", input.name);
                self.problems.report(
                    Problem::error(codes::KEYS_DO_NOT_FIT, default.key.span, message)
                        .help("a default makes it optional: remove one of the two"),
                );
            }
            self.default(&mut input, &default.value);
        }
        Some(input)
    }

    fn input_type(&mut self, node: &Node) -> Option<&'static str> {
        let text = node.as_scalar().map(|scalar| scalar.text.as_str()).unwrap_or_default();
        let found = TYPES.into_iter().find(|word| *word == text);
        if found.is_none() {
            let message = format!("{} is not a type of input", node.describe());
            let help = match text {
                "text" | "str" | "char" | "email" | "url" => "write `string`".to_owned(),
                "int" | "long" | "uint" => "write `integer`".to_owned(),
                "float" | "double" | "decimal" => "write `number`".to_owned(),
                "bool" => "write `boolean`".to_owned(),
                "datetime" | "timestamp" | "instant" | "time" => "write `date-time`".to_owned(),
                "guid" => "write `uuid`".to_owned(),
                "object" | "list" | "array" | "map" | "any" => "write `json`".to_owned(),
                "choice" | "select" => "write `enum`, with `values:`".to_owned(),
                _ => match suggest::nearest(text, TYPES) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("types are {}", suggest::listing(&TYPES)),
                },
            };
            self.problems.report(Problem::error(codes::INPUT_TYPE, node.span, message).help(help));
        }
        found
    }

    fn enum_values(&mut self, node: &Node) -> Vec<String> {
        let Some(items) = node.as_list().filter(|items| !items.is_empty()) else {
            self.wrong_shape(node, "`values`", "a list of texts", "for example `values: [fast, slow]`");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.text_of(item, "values")).collect()
    }

    fn pattern(&mut self, node: &Node, word: &str) -> Option<String> {
        let pattern = self.text_of(node, "pattern")?;
        let problem = if word == "string" {
            match compile(&pattern) {
                Ok(_) => return Some(pattern),
                Err(reason) => Problem::error(
                    codes::INPUT_PATTERN,
                    node.span,
                    format!("the pattern cannot be used: {reason}"),
                )
                .help("single quotes keep backslashes as they are: '[0-9]{1,8}'"),
            }
        } else {
            Problem::error(codes::INPUT_PATTERN, node.span, format!("an input of type {word} has no pattern"))
                .help("patterns are for `type: string`")
        };
        self.problems.report(problem);
        None
    }

    fn default(&mut self, input: &mut Input, node: &Node) {
        let value = node.to_json();
        let refused = if value.as_str().is_some_and(|text| text.contains("${{")) {
            Err((
                "a default cannot be an expression".to_owned(),
                Some("it is used before anything runs".to_owned()),
            ))
        } else {
            input.convert(&value)
        };
        match refused {
            Ok(_) => input.default = Some(value),
            Err((message, help)) => {
                let usual = || Some("a default is a value that a caller could give".to_owned());
                let help = help.or_else(|| {
                    let plain =
                        node.as_scalar().filter(|_| !value.is_string() && input.ty == InputType::String)?;
                    Some(format!("quote it: \"{}\"", plain.text))
                });
                let help = help.or_else(usual);
                let message = format!("the default of `{}` is refused: {message}", input.name);
                self.problems.report(Problem::error(codes::INPUT_DEFAULT, node.span, message).help_if(help));
            }
        }
    }
}

fn empty(name: &str) -> Input {
    Input {
        name: name.to_owned(),
        ty: InputType::Json,
        required: false,
        default: None,
        pattern: None,
        description: None,
    }
}

fn of_word(word: &str, values: Vec<String>) -> InputType {
    match word {
        "string" => InputType::String,
        "integer" => InputType::Integer,
        "number" => InputType::Number,
        "boolean" => InputType::Boolean,
        "uuid" => InputType::Uuid,
        "date" => InputType::Date,
        "date-time" => InputType::DateTime,
        "duration" => InputType::Duration,
        "enum" => InputType::Enum(values),
        _ => InputType::Json,
    }
}
