//! Plugins and test guests, from Rust source to component: cargo for `wasm32-unknown-unknown`, then
//! `wit-component` in this process.
//!
//! Everything lands under `target/`: core modules in `target/plugins` (a target folder of its own, so that a test
//! that is run by cargo can build without waiting for that cargo), components in `target/components`. Callers in
//! several processes at once queue at a file lock; the second finds everything built.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use wit_component::ComponentEncoder;

/// What plugins are compiled for.
const TARGET: &str = "wasm32-unknown-unknown";

/// A package that becomes one or several components.
#[derive(Clone, Copy, Debug)]
pub enum Package<'a> {
    /// The package's library becomes `target/components/COMPONENT.wasm`.
    Plugin {
        /// The package's name for cargo, e.g. `isapi-plugin`.
        package: &'a str,
        /// The component's name, e.g. `isapi`.
        component: &'a str,
    },
    /// Every example of the package becomes `target/components/guests/EXAMPLE.wasm`.
    Guests {
        /// The package's name for cargo.
        package: &'a str,
        /// The package's folder below the repository's root.
        folder: &'a str,
    },
}

/// Builds the shipped plugins and returns the folder with `isapi.wasm`, `supabase.wasm` and the others.
pub fn plugins() -> Result<PathBuf> {
    build(&[
        Package::Plugin { package: "hikcentral-plugin", component: "hikcentral" },
        Package::Plugin { package: "hikpartner-plugin", component: "hikpartner" },
        Package::Plugin { package: "isapi-plugin", component: "isapi" },
        Package::Plugin { package: "nvr-plugin", component: "nvr" },
        Package::Plugin { package: "photo-plugin", component: "photo" },
        Package::Plugin { package: "supabase-plugin", component: "supabase" },
        Package::Plugin { package: "web-plugin", component: "web" },
    ])
}

/// Builds the test guests and returns the folder with one component per example of `tests/guests`.
pub fn guests() -> Result<PathBuf> {
    build(&[Package::Guests { package: "bascule-guests", folder: "tests/guests" }])
        .map(|folder| folder.join("guests"))
}

/// Builds these packages and returns `target/components`. A component whose bytes did not change is not written again.
///
/// # Errors
/// When the wasm target is missing and cannot be added, when cargo fails (its own messages went to standard error), and
/// when a core module carries no WIT or does not fit the WIT it carries.
pub fn build(packages: &[Package<'_>]) -> Result<PathBuf> {
    let root = root();
    let components = root.join("target/components");
    fs::create_dir_all(components.join("guests"))?;
    let lock = File::create(components.join(".lock"))?;
    lock.lock().context("cannot lock target/components/.lock")?;

    ensure_target(&root)?;
    compile(&root, packages)?;
    let built = root.join("target/plugins").join(TARGET).join("plugin");
    for package in packages {
        match package {
            Package::Plugin { package, component } => {
                let module = built.join(format!("{}.wasm", package.replace('-', "_")));
                componentize(&module, &components.join(format!("{component}.wasm")))?;
            }
            Package::Guests { folder, .. } => {
                for example in examples(&root.join(folder))? {
                    let module = built.join("examples").join(format!("{example}.wasm"));
                    componentize(&module, &components.join("guests").join(format!("{example}.wasm")))?;
                }
            }
        }
    }
    Ok(components)
}

/// Makes a component of a core module that carries its WIT, in memory.
pub fn component_of(core_module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default().validate(true).module(core_module)?.encode()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The names of the examples: the files in `examples/`.
fn examples(package: &Path) -> Result<Vec<String>> {
    let folder = package.join("examples");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Adds the wasm target to the toolchain where it is missing.
fn ensure_target(root: &Path) -> Result<()> {
    // Asked of rustc, not of rustup, so that a toolchain from a distribution is fine too.
    let output =
        clean(Command::new("rustc").current_dir(root).args(["--print", "target-libdir", "--target", TARGET]))
            .output()
            .context("cannot start rustc: install Rust from https://rustup.rs")?;
    let folder = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && Path::new(folder.trim()).is_dir() {
        return Ok(());
    }
    let added = clean(Command::new("rustup").current_dir(root).args(["target", "add", TARGET])).status();
    if !added.is_ok_and(|status| status.success()) {
        bail!(
            "the wasm target is missing and could not be added; run this line, then try again:\n    rustup target add {TARGET}"
        );
    }
    Ok(())
}

fn compile(root: &Path, packages: &[Package<'_>]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    clean(&mut command)
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--target",
            TARGET,
            "--profile",
            "plugin",
            "--target-dir",
            "target/plugins",
        ])
        .env("CARGO_ENCODED_RUSTFLAGS", remapped(root));
    let mut libraries = false;
    let mut guests = false;
    for package in packages {
        let (Package::Plugin { package: name, .. } | Package::Guests { package: name, .. }) = package;
        command.args(["--package", name]);
        match package {
            Package::Plugin { .. } => libraries = true,
            Package::Guests { .. } => guests = true,
        }
    }
    if libraries {
        command.arg("--lib");
    }
    if guests {
        command.arg("--examples");
    }
    let status = command.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("building for {TARGET} failed ({status}); what went wrong is printed above");
    }
    Ok(())
}

/// Flags that keep this machine's paths out of the components, so that they are the same wherever they are built.
fn remapped(root: &Path) -> String {
    let mut flags = vec![format!("--remap-path-prefix={}=bascule", root.display())];
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    flags.join("\u{1f}")
}

/// Takes away what an outer cargo (or clippy) told its own children. What the user set to reach a registry stays.
fn clean(command: &mut Command) -> &mut Command {
    const KEPT: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_INSTALL_ROOT",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let of_cargo = name.starts_with("CARGO") && !KEPT.iter().any(|kept| name.starts_with(kept));
        let of_rustc = name.starts_with("RUSTC") || name.starts_with("RUSTDOC") || name == "RUSTFLAGS";
        let of_clippy = name.starts_with("CLIPPY_");
        if of_cargo || of_rustc || of_clippy || name == "MAKEFLAGS" || name == "MFLAGS" {
            command.env_remove(name);
        }
    }
    command
}

/// Writes the component of `module` to `to`, if it is not there already.
fn componentize(module: &Path, to: &Path) -> Result<()> {
    let core = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let component = component_of(&core)
        .with_context(|| format!("{} cannot be made into a component", module.display()))?;
    if fs::read(to).is_ok_and(|existing| existing == component) {
        return Ok(());
    }
    let folder = to.parent().context("a component needs a folder")?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut temporary = builder.tempfile_in(folder)?;
    temporary.write_all(&component)?;
    temporary.persist(to).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_imports_what_no_wit_explains_is_not_made_into_a_component() {
        // (module (import "env" "x" (func)))
        let module = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x09\x01\x03env\x01x\0\0";
        assert!(component_of(module).is_err());
    }

    #[test]
    fn an_outer_cargo_leaves_no_trace_in_the_inner_one() {
        let mut command = Command::new("true");
        clean(&mut command);
        let removed: Vec<_> =
            command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        // cargo sets these for every test it runs.
        assert!(removed.iter().any(|name| *name == "CARGO_MANIFEST_DIR"));
        assert!(removed.iter().any(|name| *name == "CARGO_PKG_NAME"));
        assert!(!removed.iter().any(|name| *name == "CARGO_HOME"));
    }
}
