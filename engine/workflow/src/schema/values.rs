//! Plugins as schemas: what `uses` may name, and the parameters that stand in `with` then.

use serde_json::{Map, Value, json};

use super::keys::takes_workflows;
use super::{Offered, any_of, described, object, offered_names, refer};
use crate::document::{Document, Node};
use crate::library::PREFIX;
use crate::problem::Problems;
use crate::signature::{Capability, Case, Function, Param, Type};
use crate::vocabulary::Callee;

/// Every function with its full name, e.g. `isapi/faces.modify`.
fn all<'a>(offered: &Offered<'a>) -> impl Iterator<Item = (String, &'a Function)> {
    offered.plugins.values().flat_map(|plugin| {
        plugin.functions.iter().map(|(name, function)| (format!("{}/{name}", plugin.name), function))
    })
}

fn of_callee<'a>(offered: &Offered<'a>, callee: Callee) -> impl Iterator<Item = (String, &'a Function)> {
    all(offered).filter(move |(_, function)| function.is_event_source() == (callee == Callee::EventSource))
}

/// What `uses` may name. Without any plugin: any text.
pub(super) fn callees(offered: &Offered<'_>, callee: Callee) -> Value {
    let mut names: Vec<Value> = of_callee(offered, callee)
        .map(|(name, function)| match &function.docs {
            Some(docs) => json!({ "const": name, "description": docs }),
            None => json!({ "const": name }),
        })
        .collect();
    if takes_workflows(callee) {
        names.extend(offered.library.ids().map(|id| json!({ "const": format!("{PREFIX}{id}") })));
        names.push(json!({ "type": "string", "pattern": format!("^{PREFIX}.+") }));
    }
    if offered.plugins.is_empty() {
        names.push(json!({ "type": "string" }));
    }
    any_of(names)
}

/// For each function, and each workflow where one may be named: where `uses` names it, `with` goes by its parameters.
pub(super) fn calls(offered: &Offered<'_>, callee: Callee) -> Vec<Value> {
    let mut calls: Vec<Value> = of_callee(offered, callee)
        .map(|(name, function)| {
            let own = |param: &&Param| param.ty != Type::Capability(Capability::Sink);
            let needed = function.params.iter().filter(own).any(|param| needed(&param.ty));
            call(&name, &refer(&definition(&name)), needed)
        })
        .collect();
    if takes_workflows(callee) {
        calls.extend(offered.library.ids().filter_map(|id| {
            let (inputs, needed) = inputs_of(&offered.library.get(id)?.text)?;
            Some(call(&format!("{PREFIX}{id}"), &or_expression(inputs), needed))
        }));
    }
    calls
}

fn call(name: &str, with: &Value, needed: bool) -> Value {
    let mut then = json!({ "properties": { "with": with } });
    if needed {
        then["required"] = json!(["with"]);
    }
    json!({ "if": { "properties": { "uses": { "const": name } }, "required": ["uses"] }, "then": then })
}

/// The inputs of a workflow by name, and whether it needs any; `None` where its text cannot be read.
fn inputs_of(text: &str) -> Option<(Value, bool)> {
    let document = Document::read(text, &mut Problems::new("", text))?;
    let mut properties = Map::new();
    let mut required = Vec::new();
    for entry in document.root.get("inputs").and_then(Node::as_map).unwrap_or_default() {
        let field = |key: &str| entry.value.get(key).map(Node::to_json);
        let about = field("description").and_then(|text| text.as_str().map(str::to_owned));
        let schema = about.map_or_else(|| json!({}), |about| json!({ "description": about }));
        properties.insert(entry.key.text.clone(), schema);
        if field("required") == Some(Value::Bool(true)) {
            required.push(entry.key.text.as_str());
        }
    }
    let needed = !required.is_empty();
    Some((Value::Object(object(properties, &required)), needed))
}
/// `isapi/faces.modify` -> `with:isapi.faces.modify`
fn definition(name: &str) -> String {
    format!("with:{}", name.replace('/', "."))
}

/// The parameters of every function.
pub(super) fn functions(offered: &Offered<'_>) -> Map<String, Value> {
    all(offered)
        .map(|(name, function)| {
            let fields: Vec<(&str, &Type, Option<&str>)> = function
                .params
                .iter()
                .filter(|param| param.ty != Type::Capability(Capability::Sink))
                .map(|param| (param.name.as_str(), &param.ty, None))
                .collect();
            (definition(&name), or_expression(fields_of(&fields, offered)))
        })
        .collect()
}

fn or_expression(schema: Value) -> Value {
    any_of(vec![schema, refer("expression")])
}

fn needed(ty: &Type) -> bool {
    !matches!(ty, Type::Option(_))
}

/// A map with fields that may be written in kebab, snake and camel case.
fn fields_of(fields: &[(&str, &Type, Option<&str>)], offered: &Offered<'_>) -> Value {
    let mut properties = Map::new();
    let mut patterns = Map::new();
    let mut required = Vec::new();
    let mut spelled = Vec::new();
    for (name, ty, docs) in fields {
        let schema = value(ty, offered);
        let schema = docs.map_or_else(|| schema.clone(), |docs| described(schema.clone(), docs));
        if let Some(pattern) = spellings(name) {
            patterns.insert(format!("^{pattern}$"), schema.clone());
            if needed(ty) {
                let choices: Vec<Value> = [(*name).to_owned(), name.replace('-', "_"), camel(name)]
                    .into_iter()
                    .map(|spelling| json!({ "required": [spelling] }))
                    .collect();
                spelled.push(any_of(choices));
            }
        } else if needed(ty) {
            required.push(*name);
        }
        properties.insert((*name).to_owned(), schema);
    }
    let mut map = object(properties, &required);
    if !patterns.is_empty() {
        map.insert("patternProperties".to_owned(), Value::Object(patterns));
    }
    if !spelled.is_empty() {
        map.insert("allOf".to_owned(), Value::Array(spelled));
    }
    Value::Object(map)
}

/// A regular expression for the other spellings of a name of several words.
fn spellings(name: &str) -> Option<String> {
    let mut words = name.split('-');
    let first = words.next()?.to_owned();
    let rest: String = words
        .map(|word| {
            let (head, tail) = word.split_at_checked(1).unwrap_or((word, ""));
            format!("[-_]?[{head}{}]{tail}", head.to_ascii_uppercase())
        })
        .collect();
    (!rest.is_empty()).then(|| first + &rest)
}

/// `employee-no` -> `employeeNo`
fn camel(name: &str) -> String {
    let mut words = name.split('-');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        let (head, tail) = word.split_at_checked(1).unwrap_or((word, ""));
        text + &head.to_ascii_uppercase() + tail
    })
}

/// A value of the type, or an expression.
fn value(ty: &Type, offered: &Offered<'_>) -> Value {
    match ty {
        Type::Json => json!({}),
        Type::String | Type::Char | Type::Bytes => json!({ "type": "string" }),
        Type::Instant => or_expression(
            json!({ "type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}.+([zZ]|[+-][0-9:]+)$" }),
        ),
        Type::Option(inner) => match &**inner {
            Type::Json => json!({}),
            inner => any_of(vec![value(inner, offered), json!({ "type": "null" })]),
        },
        Type::Capability(capability) => lent(*capability, offered),
        _ => or_expression(plain(ty, offered)),
    }
}

/// A value of the type as it is written out.
fn plain(ty: &Type, offered: &Offered<'_>) -> Value {
    match ty {
        Type::Bool => json!({ "type": "boolean" }),
        Type::Integer { min, max, .. } => match (i64::try_from(*min), u64::try_from(*max)) {
            (Ok(min), Ok(max)) => json!({ "type": "integer", "minimum": min, "maximum": max }),
            _ => json!({ "type": "integer" }),
        },
        Type::Float => json!({ "type": "number" }),
        Type::List(item) => json!({ "type": "array", "items": value(item, offered) }),
        Type::Tuple(types) => {
            let items: Vec<Value> = types.iter().map(|ty| value(ty, offered)).collect();
            json!({ "type": "array", "items": items, "minItems": types.len(), "maxItems": types.len() })
        }
        Type::Record { fields, .. } => {
            let fields: Vec<(&str, &Type, Option<&str>)> =
                fields.iter().map(|field| (field.name.as_str(), &field.ty, field.docs.as_deref())).collect();
            fields_of(&fields, offered)
        }
        Type::Enum { cases, .. } => choice(cases.iter().map(String::as_str)),
        Type::Flags { flags, .. } => {
            let one = or_expression(choice(flags.iter().map(String::as_str)));
            json!({ "type": "array", "items": one })
        }
        Type::Variant { cases, .. } => variant(cases, offered),
        Type::Result(ok, err) => {
            let case = |name: &str, ty: &Option<Box<Type>>| Case {
                name: name.to_owned(),
                ty: ty.as_deref().cloned(),
                docs: None,
            };
            variant(&[case("ok", ok), case("err", err)], offered)
        }
        Type::String
        | Type::Char
        | Type::Instant
        | Type::Bytes
        | Type::Json
        | Type::Option(_)
        | Type::Capability(_) => value(ty, offered),
    }
}

/// One of these words, in any spelling of theirs.
fn choice<'a>(words: impl Iterator<Item = &'a str> + Clone) -> Value {
    let names: Vec<&str> = words.clone().collect();
    let others: Vec<String> = words.filter_map(spellings).collect();
    let mut ways = vec![json!({ "enum": names })];
    if !others.is_empty() {
        ways.push(json!({ "type": "string", "pattern": format!("^({})$", others.join("|")) }));
    }
    any_of(ways)
}

/// A case's name, or a map of one entry.
fn variant(cases: &[Case], offered: &Offered<'_>) -> Value {
    let mut ways = Vec::new();
    let bare = cases.iter().filter(|case| case.ty.is_none()).map(|case| case.name.as_str());
    if bare.clone().next().is_some() {
        ways.push(choice(bare));
    }
    let mut properties = Map::new();
    let mut patterns = Map::new();
    for case in cases {
        let carried = case.ty.as_ref().map_or_else(|| json!({ "type": "null" }), |ty| value(ty, offered));
        let carried =
            case.docs.as_ref().map_or_else(|| carried.clone(), |docs| described(carried.clone(), docs));
        if let Some(pattern) = spellings(&case.name) {
            patterns.insert(format!("^{pattern}$"), carried.clone());
        }
        properties.insert(case.name.clone(), carried);
    }
    let mut map = object(properties, &[]);
    map.insert("minProperties".to_owned(), Value::from(1));
    map.insert("maxProperties".to_owned(), Value::from(1));
    if !patterns.is_empty() {
        map.insert("patternProperties".to_owned(), Value::Object(patterns));
    }
    ways.push(Value::Object(map));
    any_of(ways)
}

/// The name of a resource, or a map with the name and the parameters of a connection.
fn lent(capability: Capability, offered: &Offered<'_>) -> Value {
    let kind = capability.name();
    let names = offered_names(&offered.names(capability), &format!("a {kind} of bascule.yaml"));
    let mut properties = Map::new();
    properties.insert(kind.to_owned(), names.clone());
    let map = json!({ "type": "object", "properties": properties, "required": [kind] });
    any_of(vec![names, map])
}
