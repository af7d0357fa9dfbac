//! Loading a component: what is refused, in one sentence each, and what a loaded plugin is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bascule_workflow::signature;
use sha2::{Digest as _, Sha256};
use wasmtime::component::{ComponentExportIndex, InstancePre};
use wit_component::DecodedWasm;

use crate::contract::{self, Contract};
use crate::docs;
use crate::engine::Host;
use crate::host::State;
use crate::shape::{Member, Shape};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a file is no plugin for this host.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Over [`Limits::component_bytes`](crate::Limits::component_bytes).
    #[error("the component has {bytes} bytes; at most {most} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// Not the file that was agreed on.
    #[error("the component's sha256 is `{actual}`, but `{expected}` is expected")]
    WrongSha256 {
        /// As configured.
        expected: String,
        /// As found.
        actual: String,
    },
    /// Neither component nor module.
    #[error("this is not a WebAssembly component (it does not begin like WebAssembly at all)")]
    NotWasm,
    /// A core module.
    #[error(
        "this is a core module, not a component: make one of it with `wasm-tools component new plugin.wasm -o component.wasm`, or build for the target wasm32-wasip2"
    )]
    CoreModule,
    /// WIT encoded as wasm.
    #[error("this is a WIT package, not a component: it has no code")]
    WitPackage,
    /// wasmtime does not accept it.
    #[error("the component is not valid")]
    Invalid(#[source] Source),
    /// Its WIT cannot be read.
    #[error("the component's WIT cannot be read")]
    Undecodable(#[source] Source),
    /// It wants something that the host does not have.
    #[error(
        "it imports `{name}`, which this host does not offer: a plugin may import `bascule:host@0.1` and (empty) WASI 0.2, and reaches everything else through what the workflow hands over"
    )]
    Import {
        /// The import.
        name: String,
    },
    /// It exports a resource.
    #[error(
        "it exports the resource `{name}`: a plugin exports functions over plain data only, because nothing of it outlives a call"
    )]
    ExportedResource {
        /// The resource or its method.
        name: String,
    },
    /// No `result<_, error>`.
    #[error(
        "`{function}` does not return `result<.., error>` with the error of `bascule:host/types`, so nobody could tell why it failed"
    )]
    Result {
        /// The function.
        function: String,
    },
    /// A resource comes back.
    #[error(
        "`{function}` returns a resource: results are plain data, because they are stored and nothing of a plugin outlives a call"
    )]
    ResourceInResult {
        /// The function.
        function: String,
    },
    /// A resource is given away.
    #[error(
        "`{function}` takes `{resource}` for good: take `borrow<{resource}>`, because what a workflow hands over is only lent"
    )]
    OwnedResource {
        /// The function.
        function: String,
        /// The resource.
        resource: String,
    },
    /// A resource that the host cannot lend.
    #[error("`{function}` borrows `{resource}`: what can be lent is connection, folder, store and sink")]
    ForeignResource {
        /// The function.
        function: String,
        /// The resource.
        resource: String,
    },
    /// Async functions, streams or futures.
    #[error(
        "it uses async functions, streams or futures of the component model, which this host does not run: export ordinary functions"
    )]
    Async,
    /// A type without JSON.
    #[error("`{function}` uses the type `{ty}`, which has no form in a workflow")]
    UnsupportedType {
        /// The function.
        function: String,
        /// The WIT type.
        ty: String,
    },
    /// Two names that YAML could not tell apart.
    #[error(
        "`{function}`: `{first}` and `{second}` (in {place}) are the same name once case and dashes are ignored"
    )]
    SameName {
        /// The function.
        function: String,
        /// The type, or `parameters`.
        place: String,
        /// One.
        first: String,
        /// The other.
        second: String,
    },
    /// Two interfaces with one short name.
    #[error("`{name}` is exported twice, by interfaces of two packages")]
    SameFunction {
        /// The function.
        name: String,
    },
    /// Types that unfold without end.
    #[error("its functions' types unfold to more than {most} types")]
    TooManyTypes {
        /// The limit.
        most: usize,
    },
    /// Nothing to call.
    #[error("it exports no function that a workflow could use")]
    NoFunction,
    /// An import of the right name and the wrong type.
    #[error("it does not fit this host's version of `bascule:host`")]
    Link(#[source] Source),
}

impl LoadError {
    /// The error with all its causes, in one line.
    #[must_use]
    pub fn in_full(&self) -> String {
        crate::stop::in_full(self)
    }
}

/// A loaded plugin; cheap to clone. It belongs to the [`Host`] that loaded it.
#[derive(Clone)]
pub struct Plugin {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) signature: signature::Plugin,
    pub(crate) sha256: String,
    pub(crate) template: InstancePre<State>,
    pub(crate) functions: BTreeMap<String, Entry>,
}

/// A function, ready to be called.
pub(crate) struct Entry {
    pub(crate) export: ComponentExportIndex,
    pub(crate) params: Vec<Member<Shape>>,
    pub(crate) result: Option<Shape>,
}

impl Plugin {
    /// The name before the slash in `uses:`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.signature.name
    }

    /// Its functions, types and docs.
    #[must_use]
    pub fn signature(&self) -> &signature::Plugin {
        &self.inner.signature
    }

    /// The sha256 of the component, lower-case hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.inner.sha256
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name())
            .field("sha256", &self.sha256())
            .finish_non_exhaustive()
    }
}

impl Host {
    /// Loads the component in that file; see [`load`](Self::load).
    pub fn load_file(
        &self,
        name: &str,
        path: &Path,
        expected_sha256: Option<&str>,
    ) -> Result<Plugin, LoadError> {
        let read = |source| LoadError::Read { path: path.to_owned(), source };
        let bytes = usize::try_from(std::fs::metadata(path).map_err(read)?.len()).unwrap_or(usize::MAX);
        self.check_size(bytes)?;
        self.load(name, &std::fs::read(path).map_err(read)?, expected_sha256)
    }

    /// Loads a component under that name. Compiles it (up to seconds for large ones) unless the cache holds it, so
    /// call it where blocking is allowed.
    ///
    /// `expected_sha256` is lower-case or upper-case hexadecimal.
    pub fn load(&self, name: &str, bytes: &[u8], expected_sha256: Option<&str>) -> Result<Plugin, LoadError> {
        self.check_size(bytes.len())?;
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        let actual = hex::encode(sha256);
        if let Some(expected) = expected_sha256
            && !expected.eq_ignore_ascii_case(&actual)
        {
            return Err(LoadError::WrongSha256 { expected: expected.to_owned(), actual });
        }
        if wasmparser::Parser::is_core_wasm(bytes) {
            return Err(LoadError::CoreModule);
        }
        if !wasmparser::Parser::is_component(bytes) {
            return Err(LoadError::NotWasm);
        }
        // Compiled before its WIT is read: wasmtime's validation bounds how deep types may nest.
        let component = self.compiled(bytes, &sha256).map_err(invalid)?;
        let contract = decode(bytes)?;
        let template =
            self.linker.instantiate_pre(&component).map_err(|error| LoadError::Link(error.into()))?;

        let mut signature = contract.signature(name);
        docs::fill(&mut signature, bytes);
        signature.sha256 = Some(actual.clone());
        let mut functions = BTreeMap::new();
        for (name, function) in contract.functions {
            let interface = function.interface.as_deref().and_then(|id| component.get_export_index(None, id));
            let export = component
                .get_export_index(interface.as_ref(), function.name.as_str())
                .ok_or_else(|| LoadError::Undecodable(format!("`{name}` is not among its exports").into()))?;
            functions.insert(name, Entry { export, params: function.params, result: function.result });
        }
        Ok(Plugin { inner: Arc::new(Inner { signature, sha256: actual, template, functions }) })
    }

    fn check_size(&self, bytes: usize) -> Result<(), LoadError> {
        let most = self.limits.component_bytes;
        if bytes > most { Err(LoadError::TooLarge { bytes, most }) } else { Ok(()) }
    }
}

fn invalid(error: wasmtime::Error) -> LoadError {
    // The engine runs without these, so its validation is what meets them first.
    if error.chain().any(|cause| cause.to_string().contains("component model async")) {
        return LoadError::Async;
    }
    LoadError::Invalid(error.into())
}

fn decode(bytes: &[u8]) -> Result<Contract, LoadError> {
    // The decoder asserts things about its input; a component made to break one must not take the host along.
    let decoded = std::panic::catch_unwind(|| wit_component::decode(bytes))
        .map_err(|_| LoadError::Undecodable("the decoder gave up".into()))?
        .map_err(|error| LoadError::Undecodable(error.into()))?;
    match decoded {
        DecodedWasm::Component(resolve, world) => contract::read(&resolve, world),
        DecodedWasm::WitPackage(..) => Err(LoadError::WitPackage),
    }
}
