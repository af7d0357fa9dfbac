//! What is no plugin, and is told so in one sentence.

use anyhow::{Context as _, Result};
use bascule_plugin::{Limits, LoadError};
use bascule_workflow::signature::{Capability, Type};

use crate::stage::{component, guest, host, load};

/// A WIT text with one interface `things` that holds this, and a world that exports it.
fn exporting(items: &str) -> String {
    format!(
        "package acme:thing@1.2.3;
        interface things {{
            use bascule:host/types@0.1.0.{{error, json}};
            use bascule:host/http@0.1.0.{{connection, incoming}};
            {items}
        }}
        world plugin {{ export things; }}"
    )
}

fn refusal(bytes: &[u8]) -> Result<LoadError> {
    host(Limits::default())?.load("thing", bytes, None).err().context("it was loaded")
}

#[test]
fn what_the_contract_forbids_is_refused_with_a_sentence() -> Result<()> {
    let table: &[(&str, &str)] = &[
        (
            "resource door; peek: func() -> result<_, error>;",
            "it exports the resource `door`: a plugin exports functions over plain data only, because nothing of it outlives a call",
        ),
        (
            "get: func() -> string;",
            "`things.get` does not return `result<.., error>` with the error of `bascule:host/types`, so nobody could tell why it failed",
        ),
        (
            "get: func();",
            "`things.get` does not return `result<.., error>` with the error of `bascule:host/types`, so nobody could tell why it failed",
        ),
        (
            "get: func() -> result<string, string>;",
            "`things.get` does not return `result<.., error>` with the error of `bascule:host/types`, so nobody could tell why it failed",
        ),
        (
            "record mine { message: string } get: func() -> result<string, mine>;",
            "`things.get` does not return `result<.., error>` with the error of `bascule:host/types`, so nobody could tell why it failed",
        ),
        (
            "get: func() -> result<connection, error>;",
            "`things.get` returns a resource: results are plain data, because they are stored and nothing of a plugin outlives a call",
        ),
        (
            "get: func() -> result<list<incoming>, error>;",
            "`things.get` returns a resource: results are plain data, because they are stored and nothing of a plugin outlives a call",
        ),
        (
            "put: func(to: connection) -> result<_, error>;",
            "`things.put` takes `connection` for good: take `borrow<connection>`, because what a workflow hands over is only lent",
        ),
        (
            "put: func(to: borrow<incoming>) -> result<_, error>;",
            "`things.put` borrows `incoming`: what can be lent is connection, folder, store and sink",
        ),
        (
            "put: func(face-id: string, faceid: string) -> result<_, error>;",
            "`things.put`: `face-id` and `faceid` (in parameters) are the same name once case and dashes are ignored",
        ),
        (
            "record face { face-id: string, faceid: string } put: func(face: face) -> result<_, error>;",
            "`things.put`: `face-id` and `faceid` (in face) are the same name once case and dashes are ignored",
        ),
        (
            "enum color { red-ish, redish } put: func(color: color) -> result<_, error>;",
            "`things.put`: `red-ish` and `redish` (in color) are the same name once case and dashes are ignored",
        ),
    ];
    for (items, message) in table {
        let bytes = component(&exporting(items)).with_context(|| (*items).to_owned())?;
        assert_eq!(refusal(&bytes)?.to_string(), *message, "{items}");
    }
    Ok(())
}

#[test]
fn unknown_imports_are_refused_by_name() -> Result<()> {
    for (world, import) in [
        ("import other; export things;", "acme:thing/other@1.2.3"),
        ("import wasi:http/outgoing-handler@0.2.0; export things;", "wasi:http/outgoing-handler@0.2.0"),
        ("import wasi:clocks/wall-clock@0.3.0; export things;", "wasi:clocks/wall-clock@0.3.0"),
        ("import loose: func(); export things;", "loose"),
    ] {
        let text = format!(
            "package acme:thing@1.2.3;
            package wasi:http@0.2.0 {{ interface outgoing-handler {{ handle: func(); }} }}
            package wasi:clocks@0.3.0 {{ interface wall-clock {{ now: func() -> u64; }} }}
            interface other {{ reach: func(); }}
            interface things {{ use bascule:host/types@0.1.0.{{error}}; get: func() -> result<_, error>; }}
            world plugin {{ {world} }}"
        );
        let error = refusal(&component(&text)?)?;
        assert!(
            error.to_string().starts_with(&format!("it imports `{import}`, which this host does not offer")),
            "{error}"
        );
    }
    Ok(())
}

#[test]
fn later_versions_of_the_contract_are_not_taken_for_this_one() -> Result<()> {
    let text = "package acme:thing@1.2.3;
        package bascule:host@0.2.0 { interface log { write: func(text: string); } }
        interface things { use bascule:host/types@0.1.0.{error}; get: func() -> result<_, error>; }
        world plugin { import bascule:host/log@0.2.0; export things; }";
    assert!(
        matches!(refusal(&component(text)?)?, LoadError::Import { name } if name == "bascule:host/log@0.2.0")
    );

    let text = "package acme:thing@1.2.3;
        package bascule:host@0.1.7 { interface log { teleport: func(text: string); } }
        interface things { use bascule:host/types@0.1.0.{error}; get: func() -> result<_, error>; }
        world plugin { import bascule:host/log@0.1.7; export things; }";
    assert!(matches!(refusal(&component(text)?)?, LoadError::Link(_)));
    Ok(())
}

#[test]
fn files_that_are_no_components_are_told_apart() -> Result<()> {
    assert!(matches!(refusal(b"#!/bin/sh\n")?, LoadError::NotWasm));
    assert!(matches!(refusal(b"")?, LoadError::NotWasm));
    let module = refusal(&wat::parse_str("(module)")?)?;
    assert!(matches!(module, LoadError::CoreModule));
    assert!(module.to_string().contains("wasm-tools component new"), "{module}");
    let empty = refusal(&wat::parse_str("(component)")?)?;
    assert_eq!(empty.to_string(), "it exports no function that a workflow could use");
    let mut broken = guest("probe")?;
    broken.truncate(broken.len() / 2);
    assert!(matches!(refusal(&broken)?, LoadError::Invalid(_)));

    let mut resolve = wit_parser::Resolve::new();
    let package = resolve.push_source("a.wit", "package a:b@1.0.0; interface c { d: func(); }")?;
    assert!(matches!(refusal(&wit_component::encode(&resolve, package)?)?, LoadError::WitPackage));
    Ok(())
}

#[test]
fn async_and_streams_are_refused() -> Result<()> {
    let streams = wat::parse_str(
        r#"(component (type $s (stream u8)) (type $f (func (param "x" $s))) (import "f" (func (type $f))))"#,
    );
    if let Ok(bytes) = streams {
        let error = refusal(&bytes)?;
        assert!(matches!(error, LoadError::Async), "{}", error.in_full());
    }
    let bytes = component(&exporting("get: async func() -> result<string, error>;"))?;
    let error = refusal(&bytes)?;
    assert!(matches!(error, LoadError::Async), "{}", error.in_full());
    Ok(())
}

#[test]
fn types_that_unfold_without_end_are_refused() -> Result<()> {
    let mut items = "record r0 { a: u8, b: u8 }".to_owned();
    for level in 1..30 {
        items.push_str(&format!("record r{level} {{ a: r{}, b: r{} }}", level - 1, level - 1));
    }
    items.push_str("put: func(x: list<r29>) -> result<_, error>;");
    // Whoever notices first: wasmtime bounds the size of types too.
    match component(&exporting(&items)) {
        Ok(bytes) => {
            assert!(matches!(refusal(&bytes)?, LoadError::TooManyTypes { .. } | LoadError::Invalid(_)))
        }
        Err(error) => assert!(error.to_string().contains("type"), "{error:#}"),
    }
    Ok(())
}

#[test]
fn size_and_sha256_are_checked_first() -> Result<()> {
    let bytes = guest("probe")?;
    let small = host(Limits { component_bytes: 1000, ..Limits::default() })?;
    assert!(matches!(small.load("probe", &bytes, None), Err(LoadError::TooLarge { most: 1000, .. })));

    let host = host(Limits::default())?;
    let sha256 = host.load("probe", &bytes, None)?.sha256().to_owned();
    assert!(host.load("probe", &bytes, Some(&sha256.to_uppercase())).is_ok());
    let compilations = host.compilations();
    let mut other = bytes.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    let error = host.load("probe", &other, Some(&sha256)).err().context("it was loaded")?;
    assert!(error.to_string().ends_with(&format!("but `{sha256}` is expected")), "{error}");
    assert_eq!(host.compilations(), compilations);

    let missing = host.load_file("x", "/nonexistent/x.wasm".as_ref(), None).err().context("it was loaded")?;
    assert!(
        missing.in_full().starts_with("cannot read `/nonexistent/x.wasm`: No such file"),
        "{}",
        missing.in_full()
    );
    Ok(())
}

#[test]
fn a_plugin_shows_its_functions_types_and_docs() -> Result<()> {
    let host = host(Limits::default())?;
    let probe = load(&host, "probe")?;
    let signature = probe.signature();
    assert_eq!((probe.name(), signature.package.as_deref()), ("probe", Some("bascule:probe@0.1.0")));
    assert_eq!(signature.docs.as_deref(), Some("Shows a plugin everything that a plugin can be shown."));
    let names: Vec<_> = signature.functions.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "info.call",
            "info.say",
            "info.until-cancelled",
            "lent.count-up",
            "lent.describe",
            "lent.files",
            "lent.get",
            "lent.remember",
            "values.echo",
            "values.echo-json",
            "values.fail",
            "values.join",
            "values.nan",
        ]
    );
    let get = &signature.functions["lent.get"];
    assert_eq!(get.params[0].ty, Type::Capability(Capability::Connection));
    assert!(signature.functions["lent.count-up"].is_event_source() && !get.is_event_source());
    let echo = &signature.functions["values.echo"];
    assert_eq!(echo.docs.as_deref(), Some("Returns what it was given."));
    let Type::Record { name, fields } = &echo.params[0].ty else { anyhow::bail!("{:?}", echo.params) };
    assert_eq!(name, "everything");
    let ty = |name: &str| fields.iter().find(|field| field.name == name).map(|field| field.ty.clone());
    assert_eq!(ty("any"), Some(Type::Json));
    assert_eq!(ty("when"), Some(Type::Instant));
    assert_eq!(ty("raw"), Some(Type::Bytes));
    assert_eq!(ty("text"), Some(Type::String));
    assert_eq!(ty("tiny"), Some(Type::Integer { name: "u8", min: 0, max: 255 }));
    assert_eq!(ty("maybe"), Some(Type::Option(Box::new(Type::String))));
    let Some(Type::List(point)) = ty("points") else { anyhow::bail!("{fields:?}") };
    let Type::Record { fields: point, .. } = *point else { anyhow::bail!("{point:?}") };
    assert_eq!(point[0].docs.as_deref(), Some("To the right."));
    Ok(())
}

#[test]
fn a_plugin_without_its_wit_text_has_no_docs() -> Result<()> {
    let host = host(Limits::default())?;
    let nosy = load(&host, "nosy")?;
    assert_eq!(nosy.signature().docs, None);
    assert!(nosy.signature().functions.values().all(|function| function.docs.is_none()));
    assert_eq!(nosy.signature().functions.len(), 3);
    Ok(())
}
