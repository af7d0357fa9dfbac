//! Doc comments: they do not survive into a component's own types, so the SDK puts the plugin's WIT text into a
//! custom section. The text is the plugin's word and nothing but decoration: it never changes what a function is.

use bascule_workflow::signature::{Function, Plugin, Type};
use wit_parser::{Resolve, SourceMap};

use crate::contract;

const SECTION: &str = "bascule:wit";
const LONGEST_TEXT: usize = 1024 * 1024;
const DEEPEST: usize = 64;

/// The host's own WIT, for the names that a plugin's WIT uses.
const HOST: [(&str, &str); 6] = [
    ("call.wit", include_str!("../../../wit/call.wit")),
    ("events.wit", include_str!("../../../wit/events.wit")),
    ("http.wit", include_str!("../../../wit/http.wit")),
    ("log.wit", include_str!("../../../wit/log.wit")),
    ("storage.wit", include_str!("../../../wit/storage.wit")),
    ("types.wit", include_str!("../../../wit/types.wit")),
];

/// Fills in the docs that the component carries, where names and types are the same.
pub(crate) fn fill(plugin: &mut Plugin, component: &[u8]) {
    let Some(text) = section(component) else { return };
    if let Some(documented) = documented(&plugin.name, &text) {
        merge(plugin, documented);
    } else {
        tracing::debug!(
            plugin = plugin.name,
            "the WIT text that the component carries cannot be read: no docs"
        );
    }
}

/// The text in the custom section, wherever in the component it is.
fn section(component: &[u8]) -> Option<String> {
    let mut text = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        if let wasmparser::Payload::CustomSection(section) = payload.ok()?
            && section.name() == SECTION
        {
            text.extend_from_slice(section.data());
            text.push(b'\n');
        }
    }
    if text.is_empty() || text.len() > LONGEST_TEXT {
        return None;
    }
    String::from_utf8(text).ok()
}

fn documented(name: &str, text: &str) -> Option<Plugin> {
    if deeper_than(text, DEEPEST) {
        return None;
    }
    // The parser was not written for hostile text; whatever it does with it must cost no more than the docs.
    std::panic::catch_unwind(|| {
        let mut resolve = Resolve::new();
        let mut host = SourceMap::default();
        for (path, text) in HOST {
            host.push_str(path, text);
        }
        resolve.push_group(host.parse().ok()?).ok()?;
        let mut own = SourceMap::default();
        for (index, text) in files(text).into_iter().enumerate() {
            own.push_str(&format!("plugin-{index}.wit"), text);
        }
        let package = resolve.push_group(own.parse().ok()?).ok()?;
        let world = *resolve.packages[package].worlds.values().next()?;
        Some(contract::read(&resolve, world).ok()?.signature(name))
    })
    .ok()
    .flatten()
}

/// Splits files that the linker put one behind another: each but the first begins with its own `package` line and the
/// comments above it.
fn files(text: &str) -> Vec<String> {
    let mut files = vec![String::new()];
    let mut comments = String::new();
    let mut seen_package = false;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start_matches('\0');
        if trimmed.starts_with("//") {
            comments.push_str(trimmed);
            continue;
        }
        if trimmed.starts_with("package ") {
            if seen_package {
                files.push(String::new());
            }
            seen_package = true;
        }
        if let Some(file) = files.last_mut() {
            file.push_str(&std::mem::take(&mut comments));
            file.push_str(trimmed);
        }
    }
    files
}

/// True if brackets nest deeper than that: the parser is recursive.
fn deeper_than(text: &str, most: usize) -> bool {
    let mut depth = 0_usize;
    let mut previous = ' ';
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        for c in code.chars() {
            match c {
                '<' | '(' | '{' => depth += 1,
                '>' if previous == '-' => {}
                '>' | ')' | '}' => depth = depth.saturating_sub(1),
                // A block comment could hide brackets from this count, or from the parser: nobody needs one.
                '*' if previous == '/' => return true,
                _ => {}
            }
            if depth > most {
                return true;
            }
            previous = c;
        }
    }
    false
}

fn merge(plugin: &mut Plugin, documented: Plugin) {
    plugin.docs = documented.docs;
    for (name, from) in documented.functions {
        if let Some(function) = plugin.functions.get_mut(&name) {
            merge_function(function, from);
        }
    }
}

fn merge_function(function: &mut Function, from: Function) {
    let same = function.params.len() == from.params.len()
        && function.params.iter().zip(&from.params).all(|(own, from)| own.name == from.name);
    if !same {
        return;
    }
    function.docs = from.docs;
    for (own, from) in function.params.iter_mut().zip(from.params) {
        merge_type(&mut own.ty, from.ty);
    }
    if let (Some(own), Some(from)) = (&mut function.result, from.result) {
        merge_type(own, from);
    }
}

fn merge_type(own: &mut Type, from: Type) {
    match (own, from) {
        (Type::List(own), Type::List(from)) | (Type::Option(own), Type::Option(from)) => {
            merge_type(own, *from)
        }
        (Type::Result(ok, err), Type::Result(from_ok, from_err)) => {
            for (own, from) in [(ok, from_ok), (err, from_err)] {
                if let (Some(own), Some(from)) = (own, from) {
                    merge_type(own, *from);
                }
            }
        }
        (Type::Tuple(own), Type::Tuple(from)) => {
            for (own, from) in own.iter_mut().zip(from) {
                merge_type(own, from);
            }
        }
        (Type::Record { name, fields }, Type::Record { name: from_name, fields: from })
            if *name == from_name =>
        {
            for from in from {
                if let Some(field) = fields.iter_mut().find(|field| field.name == from.name) {
                    field.docs = from.docs;
                    merge_type(&mut field.ty, from.ty);
                }
            }
        }
        (Type::Variant { name, cases }, Type::Variant { name: from_name, cases: from })
            if *name == from_name =>
        {
            for from in from {
                if let Some(case) = cases.iter_mut().find(|case| case.name == from.name) {
                    case.docs = from.docs;
                    if let (Some(own), Some(from)) = (&mut case.ty, from.ty) {
                        merge_type(own, from);
                    }
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    const WIT: &str = "
/// Reads the weather.
package acme:sensor@0.1.0;

/// Climate.
interface climate {
  use bascule:host/types@0.1.0.{error};
  use bascule:host/http@0.1.0.{connection};
  record reading {
    /// Degrees.
    celsius: f64,
  }
  /// The temperature now.
  read: func(sensor: borrow<connection>) -> result<reading, error>;
}

/// Weather for workflows.
world plugin {
  export climate;
}
";

    #[test]
    fn docs_are_read_from_the_text() {
        let plugin = documented("sensor", WIT);
        let Some(plugin) = plugin else { panic!("not parsed") };
        assert_eq!(plugin.docs.as_deref(), Some("Weather for workflows."));
        assert_eq!(plugin.package.as_deref(), Some("acme:sensor@0.1.0"));
        let function = &plugin.functions["climate.read"];
        assert_eq!(function.docs.as_deref(), Some("The temperature now."));
        let Some(Type::Record { fields, .. }) = &function.result else { panic!("{function:?}") };
        assert_eq!(fields[0].docs.as_deref(), Some("Degrees."));
    }

    #[test]
    fn docs_of_another_type_are_not_taken_over() {
        let bare: String =
            WIT.replace("celsius", "kelvin").lines().filter(|line| !line.contains("//")).collect();
        let mut own = documented("sensor", &bare);
        let (Some(own), Some(from)) = (&mut own, documented("sensor", WIT)) else { panic!("not parsed") };
        merge(own, from);
        let function = &own.functions["climate.read"];
        assert_eq!(function.docs.as_deref(), Some("The temperature now."));
        let Some(Type::Record { fields, .. }) = &function.result else { panic!("{function:?}") };
        assert_eq!((fields[0].name.as_str(), &fields[0].docs), ("kelvin", &None));
    }

    #[test]
    fn two_files_behind_one_another_are_read_as_two() {
        let second = "package acme:sensor@0.1.0;\n/// More.\ninterface extra {\n}\n";
        assert_eq!(files(&format!("{WIT}{second}")).len(), 2);
        assert!(documented("sensor", &format!("{WIT}{second}")).is_some());
    }

    #[test]
    fn hostile_text_means_no_docs() {
        let deep = format!(
            "package a:b;\ninterface c {{\n type d = {}u8{};\n}}\n",
            "list<".repeat(100_000),
            ">".repeat(100_000)
        );
        assert!(documented("x", &deep).is_none());
        assert!(documented("x", "package").is_none());
        assert!(documented("x", "").is_none());
    }
}
