//! The checks of CONTRIBUTING.md that a program can make, and the generated reference pages.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{build_binaries, cargo, output_of, root, say};

/// `cargo xtask generate`: writes the reference pages.
pub(crate) fn generate() -> Result<()> {
    for (path, text) in pages()? {
        let path = root().join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text)?;
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// `cargo xtask house`: fails with every rule that is broken.
pub(crate) fn check() -> Result<()> {
    let mut broken = Vec::new();
    let files = output_of(Command::new("git").args(["ls-files"]))?;
    let files: Vec<&str> = files.lines().filter(|file| Path::new(file).exists()).collect();
    for file in &files {
        let path = Path::new(file);
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if matches!(extension, "wasm" | "cwasm" | "so" | "rlib") {
            broken.push(format!("{file}: built binaries are not tracked"));
        }
        if extension != "rs" && extension != "md" && extension != "yaml" && extension != "toml" {
            continue;
        }
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
        for word in MACHINE_PATHS {
            if text.contains(&word.concat()) && !file.starts_with("xtask/src/house") {
                broken.push(format!("{file}: names a path of one machine ({})", word.concat()));
            }
        }
        if extension == "rs" && !file.starts_with("xtask/src/house") {
            for (needle, why) in UNFINISHED {
                if text.contains(needle) {
                    broken.push(format!("{file}: `{needle}`: {why}"));
                }
            }
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
            if ["utils", "util", "helpers", "common", "types"].contains(&stem) {
                broken.push(format!("{file}: a module is named for what is in it"));
            }
            let lines = text.lines().count();
            if lines > 800 {
                broken.push(format!("{file}: {lines} lines; 800 is where a file is split"));
            }
        }
    }
    edges(&mut broken)?;
    refused_crates(&mut broken)?;
    for (path, text) in pages()? {
        if fs::read_to_string(root().join(&path)).unwrap_or_default() != text {
            broken.push(format!("{path} is stale: run `cargo xtask generate`"));
        }
    }
    if broken.is_empty() {
        say(&format!("house: {} files, all rules hold", files.len()));
        return Ok(());
    }
    bail!("{} rules are broken:\n{}", broken.len(), broken.join("\n"))
}

const MACHINE_PATHS: [[&str; 2]; 3] = [["/wor", "k/main"], ["/roo", "t/.cargo"], ["/far", "m/"]];

const UNFINISHED: [(&str, &str); 3] =
    [("todo!(", "unfinished"), ("unimplemented!(", "unfinished"), ("#[ignore", "a test that does not run")];

/// Which crates may name which others; what is not listed is free.
fn edges(broken: &mut Vec<String>) -> Result<()> {
    let metadata: Value =
        serde_json::from_str(&output_of(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?)?;
    let mut dependencies: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().context("no packages")? {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let list = package["dependencies"].as_array().context("no dependencies")?;
        let normal = list.iter().filter(|dependency| dependency["kind"].is_null());
        dependencies.insert(
            name,
            normal.filter_map(|dependency| dependency["name"].as_str().map(str::to_owned)).collect(),
        );
    }
    for (name, list) in &dependencies {
        let has = |other: &str| list.iter().any(|dependency| dependency == other);
        let engine = [
            "bascule-workflow",
            "bascule-capability",
            "bascule-run",
            "bascule-database",
            "bascule-trigger",
            "bascule-server",
        ];
        if engine.contains(&name.as_str()) && (has("wasmtime") || has("wasmtime-wasi")) {
            broken.push(format!("{name} names wasmtime; only bascule-plugin does"));
        }
        if name == "bascule-workflow" {
            for other in ["tokio", "reqwest", "sqlx", "bascule-capability", "bascule-run", "bascule-plugin"] {
                if has(other) {
                    broken.push(format!("bascule-workflow names {other}; it is pure"));
                }
            }
        }
        if name == "bascule-run" && (has("bascule-plugin") || has("bascule-capability")) {
            broken.push("bascule-run names plugins or capabilities; it knows only `Invoke`".to_owned());
        }
        if name == "bascule-trigger" && (has("bascule-plugin") || has("bascule-capability")) {
            broken.push(
                "bascule-trigger names plugins or capabilities; it knows only `Book` and `Sources`"
                    .to_owned(),
            );
        }
        if name == "bascule-server" && has("bascule-plugin") {
            broken.push(
                "bascule-server names plugins; it knows only runs, triggers and what is lent".to_owned(),
            );
        }
        if name == "bascule-telemetry"
            && list.iter().any(|other| {
                other.starts_with("bascule-")
                    && !["bascule-run", "bascule-workflow"].contains(&other.as_str())
            })
        {
            broken.push("bascule-telemetry names more than runs; it hears them and knows no more".to_owned());
        }
        if name == "bascule-plugin" && has("bascule-run") {
            broken.push("bascule-plugin names bascule-run; the command line joins them".to_owned());
        }
        if name == "bascule-sim" && list.iter().any(|other| other.starts_with("bascule-")) {
            broken.push("bascule-sim shares code with the client".to_owned());
        }
    }
    Ok(())
}

/// Crates that `deny.toml` refuses must not be in the lock file.
fn refused_crates(broken: &mut Vec<String>) -> Result<()> {
    let deny = fs::read_to_string(root().join("deny.toml"))?;
    let lock = fs::read_to_string(root().join("Cargo.lock"))?;
    for line in deny.lines() {
        let Some(rest) = line.trim().strip_prefix("{ crate = \"") else { continue };
        let Some((name, _)) = rest.split_once('"') else { continue };
        if lock.contains(&format!("name = \"{name}\"\n")) {
            broken.push(format!("Cargo.lock holds `{name}`, which deny.toml refuses"));
        }
    }
    Ok(())
}

/// The generated pages: path and text.
fn pages() -> Result<Vec<(String, String)>> {
    let bascule = build_binaries(false)?.join("bascule");
    let ask = |arguments: &[&str]| -> Result<String> {
        output_of(Command::new(&bascule).args(arguments).env("COLUMNS", "100").env_remove("BASCULE_DATA"))
    };
    let mut cli = String::from("# The command line\n\nGenerated by `cargo xtask generate` from `--help`.\n");
    let mut section = |title: &str, arguments: &[&str]| -> Result<()> {
        let text = ask(arguments)?;
        let text: Vec<&str> = text.lines().map(str::trim_end).collect();
        cli.push_str(&format!("\n## {title}\n\n```text\n{}\n```\n", text.join("\n").trim()));
        Ok(())
    };
    section("bascule", &["--help"])?;
    for name in [
        "init",
        "check",
        "run",
        "serve",
        "test",
        "resume",
        "runs list",
        "runs show",
        "runs cancel",
        "runs rerun",
        "workflow list",
        "workflow pause",
        "workflow unpause",
        "schedule next",
        "schedule overdue",
        "doctor",
        "prune",
        "plugin list",
        "plugin show",
    ] {
        let mut arguments: Vec<&str> = name.split(' ').collect();
        arguments.push("--help");
        section(&format!("bascule {name}"), &arguments)?;
    }
    for name in [
        "connection list",
        "connection test",
        "connection pin",
        "secret set",
        "secret list",
        "secret remove",
        "token create",
        "token list",
        "token remove",
        "explain",
        "completions",
    ] {
        let mut arguments: Vec<&str> = name.split(' ').collect();
        arguments.push("--help");
        section(&format!("bascule {name}"), &arguments)?;
    }
    let problems = format!(
        "# Problems by code\n\nGenerated by `cargo xtask generate` from `bascule explain --all`.\n\n{}",
        ask(&["explain", "--all"])?
    );
    Ok(vec![("docs/reference/cli.md".to_owned(), cli), ("docs/reference/problems.md".to_owned(), problems)])
}
