//! `bascule plugin`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use bascule_workflow::signature::{Function, Param, Plugin as Signature, Type};
use serde_json::json;

use crate::arguments;
use crate::exit::{Exit, coded, coded_with_help};
use crate::paint;
use crate::site::{INVENTORY, Loaded, Places, Plugins, count, stem};

/// Runs the subcommand; like `check` it needs no data folder.
pub(crate) async fn run(places: Places, command: arguments::Plugin) -> Result<Exit> {
    let project =
        if places.project.join(INVENTORY).exists() { places.inventory()? } else { Default::default() };
    let (host, mut plugins) = places.plugins(&project)?;
    match command {
        arguments::Plugin::List { json } => list(&plugins, json),
        arguments::Plugin::Show { name, json } => {
            let (name, function) = match name.split_once('/') {
                _ if name.ends_with(".wasm") => {
                    let file = PathBuf::from(&name);
                    let plugin = host
                        .load_file(&stem(&file), &file, None)
                        .with_context(|| format!("cannot load `{}`", file.display()))?;
                    let name = stem(&file);
                    plugins.loaded.insert(name.clone(), Loaded { file, plugin: Arc::new(plugin) });
                    (name, None)
                }
                Some((plugin, function)) => (plugin.to_owned(), Some(function.to_owned())),
                None => (name, None),
            };
            show(&plugins, &name, function.as_deref(), json)
        }
    }
}

fn list(plugins: &Plugins, as_json: bool) -> Result<Exit> {
    if as_json {
        let list: Vec<_> = plugins
            .loaded
            .iter()
            .map(|(name, loaded)| {
                let signature = loaded.plugin.signature();
                json!({
                    "name": name, "package": signature.package, "file": loaded.file,
                    "sha256": loaded.plugin.sha256(), "functions": signature.functions.keys().collect::<Vec<_>>(),
                })
            })
            .collect();
        paint::line(serde_json::to_string_pretty(&list)?);
        return Ok(Exit::Success);
    }
    if plugins.loaded.is_empty() {
        paint::line(
            "no plugins found; put NAME.wasm into the project's `plugins` folder, or name a folder with --plugins",
        );
        return Ok(Exit::Success);
    }
    let rows: Vec<Vec<String>> = plugins
        .loaded
        .iter()
        .map(|(name, loaded)| {
            let signature = loaded.plugin.signature();
            vec![
                name.clone(),
                signature.package.clone().unwrap_or_default(),
                count(signature.functions.len(), "function"),
                loaded.plugin.sha256().chars().take(12).collect(),
                tidy(&loaded.file),
            ]
        })
        .collect();
    paint::line(paint::table(&["name", "package", "functions", "sha256", "file"], &rows));
    Ok(Exit::Success)
}

fn tidy(file: &Path) -> String {
    file.canonicalize().unwrap_or_else(|_| file.to_owned()).display().to_string()
}

fn show(plugins: &Plugins, name: &str, function: Option<&str>, as_json: bool) -> Result<Exit> {
    let Some(loaded) = plugins.loaded.get(name) else {
        let known: Vec<&str> = plugins.loaded.keys().map(String::as_str).collect();
        return Err(coded_with_help(
            Exit::NotFound,
            format!("there is no plugin `{name}`"),
            format!("there is {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") }),
        ));
    };
    let signature = loaded.plugin.signature();
    if let Some(function) = function
        && !signature.functions.contains_key(function)
    {
        return Err(coded(Exit::NotFound, format!("plugin `{name}` has no function `{function}`")));
    }
    let shown =
        signature.functions.iter().filter(|(key, _)| function.is_none_or(|wanted| wanted == key.as_str()));
    if as_json {
        let functions: serde_json::Map<String, serde_json::Value> =
            shown.map(|(key, function)| (key.clone(), function_json(function))).collect();
        paint::line(serde_json::to_string_pretty(&json!({ "name": name, "functions": functions }))?);
        return Ok(Exit::Success);
    }
    if function.is_none() {
        header(name, signature);
    }
    for (key, function) in shown {
        describe(name, key, function);
    }
    Ok(Exit::Success)
}

fn header(name: &str, signature: &Signature) {
    paint::line(format!("{}  {}", paint::strong(name), signature.package.as_deref().unwrap_or_default()));
    if let Some(docs) = &signature.docs {
        paint::line(docs.trim());
    }
}

fn describe(plugin: &str, name: &str, function: &Function) {
    paint::line(format!("\n{}", paint::strong(&format!("uses: {plugin}/{name}"))));
    if let Some(docs) = &function.docs {
        for line in docs.trim().lines() {
            paint::line(format!("  {}", line.trim()));
        }
    }
    if !function.params.is_empty() {
        paint::line("  with:");
    }
    for Param { name, ty } in &function.params {
        let optional = if matches!(ty, Type::Option(_)) { "  (may be left out)" } else { "" };
        paint::line(format!("    {name}: {}{optional}", type_text(ty)));
        fields(ty, 6);
    }
    match &function.result {
        None => paint::line("  output: nothing"),
        Some(ty) => {
            paint::line(format!("  output: {}", type_text(ty)));
            fields(ty, 4);
        }
    }
}

/// The fields of a record, also inside a list or an option, one per line.
fn fields(ty: &Type, indent: usize) {
    let pad = " ".repeat(indent);
    match ty {
        Type::Option(inner) | Type::List(inner) => fields(inner, indent),
        Type::Record { fields: list, .. } => {
            for field in list {
                let docs = field
                    .docs
                    .as_deref()
                    .unwrap_or_default()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ");
                let docs =
                    if docs.is_empty() { docs } else { format!("  {}", paint::dim(&format!("# {docs}"))) };
                paint::line(format!("{pad}{}: {}{docs}", field.name, type_text(&field.ty)));
                fields(&field.ty, indent + 2);
            }
        }
        Type::Variant { cases, .. } => {
            for case in cases {
                let of = case.ty.as_ref().map_or_else(String::new, |ty| format!(": {}", type_text(ty)));
                paint::line(format!("{pad}| {}{of}", case.name));
            }
        }
        _ => {}
    }
}

/// A type in the words of YAML's writer.
fn type_text(ty: &Type) -> String {
    match ty {
        Type::Bool => "boolean".to_owned(),
        Type::Integer { name, .. } => format!("integer ({name})"),
        Type::Float => "number".to_owned(),
        Type::Char => "one character".to_owned(),
        Type::String => "string".to_owned(),
        Type::Json => "any value".to_owned(),
        Type::Instant => "date-time (RFC 3339)".to_owned(),
        Type::Bytes => "bytes (base64)".to_owned(),
        Type::List(inner) => format!("list of {}", type_text(inner)),
        Type::Option(inner) => type_text(inner),
        Type::Result(..) => "map with `ok` or `err`".to_owned(),
        Type::Tuple(items) => format!("list of {} values", items.len()),
        Type::Record { name, .. } => format!("map ({name})"),
        Type::Variant { name, .. } => format!("one case of {name}"),
        Type::Enum { cases, .. } => format!("one of {}", cases.join(", ")),
        Type::Flags { flags, .. } => format!("list of {}", flags.join(", ")),
        Type::Capability(capability) => format!("{} (its name in bascule.yaml)", capability.name()),
    }
}

fn function_json(function: &Function) -> serde_json::Value {
    let params: Vec<_> = function
        .params
        .iter()
        .map(|param| json!({ "name": param.name, "type": type_text(&param.ty), "optional": matches!(param.ty, Type::Option(_)) }))
        .collect();
    json!({
        "docs": function.docs, "params": params, "output": function.result.as_ref().map(type_text),
        "event_source": function.is_event_source(),
    })
}
