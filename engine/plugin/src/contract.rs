//! Reading a component's own WIT, and refusing what the host contract forbids.

use std::collections::BTreeMap;

use bascule_workflow::signature::{self, Capability, fold_name};
use wit_parser::{
    Function, FunctionKind, Handle, InterfaceId, PackageName, Resolve, Type, TypeDef, TypeDefKind, TypeId,
    TypeOwner, WorldId, WorldItem, WorldKey,
};

use crate::load::LoadError;
use crate::shape::{Int, Member, Name, Shape};

/// The interfaces of `bascule:host`.
const HOST_INTERFACES: [&str; 6] = ["call", "events", "http", "log", "storage", "types"];
/// The packages of WASI 0.2 that are linked, empty.
const WASI_PACKAGES: [&str; 6] = ["cli", "clocks", "filesystem", "io", "random", "sockets"];
/// Types that a plugin's functions may unfold to, all together.
const MOST_TYPES: usize = 20_000;

/// What a component offers.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Contract {
    /// The WIT package of the first exported interface.
    pub(crate) package: Option<String>,
    /// What the world or its package says about itself.
    pub(crate) docs: Option<String>,
    /// By the name in `uses:`.
    pub(crate) functions: BTreeMap<String, Exported>,
}

/// One exported function.
#[derive(Debug, PartialEq)]
pub(crate) struct Exported {
    /// The exported instance it is in; `None` for one exported by the world itself.
    pub(crate) interface: Option<String>,
    /// Its name there.
    pub(crate) name: String,
    pub(crate) params: Vec<Member<Shape>>,
    pub(crate) result: Option<Shape>,
    pub(crate) docs: Option<String>,
}

impl Contract {
    /// What the checker sees.
    pub(crate) fn signature(&self, name: &str) -> signature::Plugin {
        signature::Plugin {
            name: name.to_owned(),
            package: self.package.clone(),
            docs: self.docs.clone(),
            sha256: None,
            functions: self
                .functions
                .iter()
                .map(|(name, function)| (name.clone(), function.signature()))
                .collect(),
        }
    }
}

impl Exported {
    fn signature(&self) -> signature::Function {
        signature::Function {
            params: self
                .params
                .iter()
                .map(|param| signature::Param { name: param.name.kebab.clone(), ty: param.shape.signature() })
                .collect(),
            result: self.result.as_ref().map(Shape::signature),
            docs: self.docs.clone(),
        }
    }
}

/// Reads the world of a component (or of a WIT text).
pub(crate) fn read(resolve: &Resolve, world: WorldId) -> Result<Contract, LoadError> {
    let mut reader = Reader { resolve, types: 0, function: String::new() };
    let world = &resolve.worlds[world];
    for (key, item) in &world.imports {
        reader.import(key, item)?;
    }
    let mut contract = Contract { docs: docs(&world.docs), ..Contract::default() };
    for (key, item) in &world.exports {
        match item {
            WorldItem::Interface { id, .. } => {
                let package = package_of(resolve, *id);
                if package.is_some_and(|package| package.namespace == "wasi") {
                    // A command's `run`, exported by many toolchains; nothing that `uses:` could name.
                    continue;
                }
                if contract.package.is_none() {
                    contract.package = package.map(ToString::to_string);
                }
                let exported_as = resolve.name_world_key(key);
                let short = resolve.interfaces[*id].name.clone().unwrap_or_else(|| exported_as.clone());
                reader.interface(&mut contract, *id, &exported_as, &short)?;
            }
            WorldItem::Function(function) => {
                let read = reader.function(function, None, &function.name)?;
                contract.functions.insert(function.name.clone(), read);
            }
            WorldItem::Type { id, .. } => {
                if matches!(resolve.types[*id].kind, TypeDefKind::Resource) {
                    return Err(LoadError::ExportedResource { name: named(&resolve.types[*id]) });
                }
            }
        }
    }
    if contract.functions.is_empty() {
        return Err(LoadError::NoFunction);
    }
    if contract.docs.is_none() {
        contract.docs = world.package.and_then(|package| docs(&resolve.packages[package].docs));
    }
    Ok(contract)
}

struct Reader<'a> {
    resolve: &'a Resolve,
    types: usize,
    /// The function being read, for messages.
    function: String,
}

impl Reader<'_> {
    fn import(&self, key: &WorldKey, item: &WorldItem) -> Result<(), LoadError> {
        let name = self.resolve.name_world_key(key);
        let WorldItem::Interface { id, .. } = item else {
            return Err(LoadError::Import { name });
        };
        let known = package_of(self.resolve, *id).is_some_and(|package| {
            let interface = self.resolve.interfaces[*id].name.as_deref().unwrap_or_default();
            is_host(package) && HOST_INTERFACES.contains(&interface)
                || package.namespace == "wasi"
                    && WASI_PACKAGES.contains(&package.name.as_str())
                    && package
                        .version
                        .as_ref()
                        .is_some_and(|version| (version.major, version.minor) == (0, 2))
        });
        if known { Ok(()) } else { Err(LoadError::Import { name }) }
    }

    fn interface(
        &mut self,
        contract: &mut Contract,
        id: InterfaceId,
        exported_as: &str,
        short: &str,
    ) -> Result<(), LoadError> {
        let interface = &self.resolve.interfaces[id];
        for ty in interface.types.values() {
            if matches!(self.resolve.types[*ty].kind, TypeDefKind::Resource) {
                return Err(LoadError::ExportedResource { name: named(&self.resolve.types[*ty]) });
            }
        }
        for function in interface.functions.values() {
            let name = format!("{short}.{}", function.name);
            let read = self.function(function, Some(exported_as), &name)?;
            if contract.functions.insert(name.clone(), read).is_some() {
                return Err(LoadError::SameFunction { name });
            }
        }
        Ok(())
    }

    fn function(
        &mut self,
        function: &Function,
        interface: Option<&str>,
        name: &str,
    ) -> Result<Exported, LoadError> {
        name.clone_into(&mut self.function);
        match function.kind {
            FunctionKind::Freestanding => {}
            FunctionKind::AsyncFreestanding => return Err(LoadError::Async),
            _ => {
                return Err(LoadError::ExportedResource { name: name.to_owned() });
            }
        }
        let mut params = Vec::with_capacity(function.params.len());
        for param in &function.params {
            params.push(Member { name: Name::new(&param.name), shape: self.shape(&param.ty)?, docs: None });
        }
        self.unique("parameters", params.iter().map(|param| &param.name))?;
        let result = self.result(function.result.as_ref())?;
        Ok(Exported {
            interface: interface.map(ToOwned::to_owned),
            name: function.name.clone(),
            params,
            result,
            docs: docs(&function.docs),
        })
    }

    /// The ok type of the `result<T, error>` that every function must return.
    fn result(&mut self, result: Option<&Type>) -> Result<Option<Shape>, LoadError> {
        let wrong = || LoadError::Result { function: self.function.clone() };
        let Some(Type::Id(id)) = result else {
            return Err(wrong());
        };
        let TypeDefKind::Result(result) = &self.resolve.types[self.behind_aliases(*id)].kind else {
            return Err(wrong());
        };
        let Some(Type::Id(error)) = result.err else {
            return Err(wrong());
        };
        if self.host_type(self.behind_aliases(error)) != Some(("types", "error")) {
            return Err(wrong());
        }
        let Some(ok) = result.ok else { return Ok(None) };
        let shape = self.shape(&ok).map_err(|error| match error {
            LoadError::OwnedResource { function, .. } => LoadError::ResourceInResult { function },
            error => error,
        })?;
        if shape.lends() {
            return Err(LoadError::ResourceInResult { function: self.function.clone() });
        }
        Ok(Some(shape))
    }

    fn shape(&mut self, ty: &Type) -> Result<Shape, LoadError> {
        self.types += 1;
        if self.types > MOST_TYPES {
            return Err(LoadError::TooManyTypes { most: MOST_TYPES });
        }
        Ok(match ty {
            Type::Bool => Shape::Bool,
            Type::U8 => Shape::Int(Int::U8),
            Type::U16 => Shape::Int(Int::U16),
            Type::U32 => Shape::Int(Int::U32),
            Type::U64 => Shape::Int(Int::U64),
            Type::S8 => Shape::Int(Int::S8),
            Type::S16 => Shape::Int(Int::S16),
            Type::S32 => Shape::Int(Int::S32),
            Type::S64 => Shape::Int(Int::S64),
            Type::F32 => Shape::F32,
            Type::F64 => Shape::F64,
            Type::Char => Shape::Char,
            Type::String => Shape::String,
            Type::ErrorContext => return Err(self.unsupported("error-context")),
            Type::Id(id) => self.defined(*id)?,
        })
    }

    fn defined(&mut self, id: TypeId) -> Result<Shape, LoadError> {
        match self.host_type(id) {
            Some(("types", "json")) => return Ok(Shape::Json),
            Some(("types", "instant")) => return Ok(Shape::Instant),
            _ => {}
        }
        // `resolve` outlives this borrow of `self`.
        let resolve = self.resolve;
        let def = &resolve.types[id];
        Ok(match &def.kind {
            TypeDefKind::Type(inner) => self.shape(inner)?,
            TypeDefKind::List(Type::U8) => Shape::Bytes,
            TypeDefKind::List(inner) => Shape::List(Box::new(self.shape(inner)?)),
            TypeDefKind::Option(inner) => Shape::Option(Box::new(self.shape(inner)?)),
            TypeDefKind::Result(result) => Shape::Result(self.boxed(result.ok)?, self.boxed(result.err)?),
            TypeDefKind::Tuple(tuple) => {
                Shape::Tuple(tuple.types.iter().map(|inner| self.shape(inner)).collect::<Result<_, _>>()?)
            }
            TypeDefKind::Record(record) => {
                let mut fields = Vec::with_capacity(record.fields.len());
                for field in &record.fields {
                    let shape = self.shape(&field.ty)?;
                    fields.push(Member { name: Name::new(&field.name), shape, docs: docs(&field.docs) });
                }
                self.unique(&named(def), fields.iter().map(|field| &field.name))?;
                Shape::Record(named(def), fields)
            }
            TypeDefKind::Variant(variant) => {
                let mut cases = Vec::with_capacity(variant.cases.len());
                for case in &variant.cases {
                    let shape = case.ty.as_ref().map(|ty| self.shape(ty)).transpose()?;
                    cases.push(Member { name: Name::new(&case.name), shape, docs: docs(&case.docs) });
                }
                self.unique(&named(def), cases.iter().map(|case| &case.name))?;
                Shape::Variant(named(def), cases)
            }
            TypeDefKind::Enum(cases) => Shape::Enum(
                named(def),
                self.names(&named(def), cases.cases.iter().map(|case| case.name.as_str()))?,
            ),
            TypeDefKind::Flags(flags) => Shape::Flags(
                named(def),
                self.names(&named(def), flags.flags.iter().map(|flag| flag.name.as_str()))?,
            ),
            TypeDefKind::Handle(Handle::Borrow(resource)) => Shape::Capability(self.capability(*resource)?),
            TypeDefKind::Handle(Handle::Own(resource)) => {
                let resource = named(&resolve.types[self.behind_aliases(*resource)]);
                return Err(LoadError::OwnedResource { function: self.function.clone(), resource });
            }
            TypeDefKind::Resource
            | TypeDefKind::Future(_)
            | TypeDefKind::Stream(_)
            | TypeDefKind::Map(..)
            | TypeDefKind::FixedLengthList(..)
            | TypeDefKind::Unknown => return Err(self.unsupported(def.kind.as_str())),
        })
    }

    fn boxed(&mut self, ty: Option<Type>) -> Result<Option<Box<Shape>>, LoadError> {
        ty.map(|ty| self.shape(&ty).map(Box::new)).transpose()
    }

    fn names<'n>(
        &mut self,
        place: &str,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<Vec<Name>, LoadError> {
        let names: Vec<_> = names.map(Name::new).collect();
        self.types += names.len();
        self.unique(place, names.iter())?;
        Ok(names)
    }

    fn unique<'n>(&self, place: &str, names: impl Iterator<Item = &'n Name>) -> Result<(), LoadError> {
        let mut seen = BTreeMap::new();
        for name in names {
            if let Some(first) = seen.insert(&name.folded, name) {
                return Err(LoadError::SameName {
                    function: self.function.clone(),
                    place: place.to_owned(),
                    first: first.kebab.clone(),
                    second: name.kebab.clone(),
                });
            }
        }
        Ok(())
    }

    fn capability(&self, resource: TypeId) -> Result<Capability, LoadError> {
        let resource = self.behind_aliases(resource);
        match self.host_type(resource) {
            Some(("http", "connection")) => Ok(Capability::Connection),
            Some(("storage", "folder")) => Ok(Capability::Folder),
            Some(("storage", "store")) => Ok(Capability::Store),
            Some(("events", "sink")) => Ok(Capability::Sink),
            _ => Err(LoadError::ForeignResource {
                function: self.function.clone(),
                resource: named(&self.resolve.types[resource]),
            }),
        }
    }

    fn unsupported(&self, ty: &str) -> LoadError {
        LoadError::UnsupportedType { function: self.function.clone(), ty: ty.to_owned() }
    }

    fn behind_aliases(&self, mut id: TypeId) -> TypeId {
        while let TypeDefKind::Type(Type::Id(inner)) = self.resolve.types[id].kind {
            id = inner;
        }
        id
    }

    /// The interface and name of a type that `bascule:host` itself defines.
    fn host_type(&self, id: TypeId) -> Option<(&str, &str)> {
        let def = &self.resolve.types[id];
        let TypeOwner::Interface(interface) = def.owner else {
            return None;
        };
        if !is_host(package_of(self.resolve, interface)?) {
            return None;
        }
        Some((self.resolve.interfaces[interface].name.as_deref()?, def.name.as_deref()?))
    }
}

fn package_of(resolve: &Resolve, interface: InterfaceId) -> Option<&PackageName> {
    Some(&resolve.packages[resolve.interfaces[interface].package?].name)
}

/// `bascule:host@0.1.x`
fn is_host(package: &PackageName) -> bool {
    package.namespace == "bascule"
        && package.name == "host"
        && package.version.as_ref().is_some_and(|version| (version.major, version.minor) == (0, 1))
}

fn named(def: &TypeDef) -> String {
    def.name.clone().unwrap_or_else(|| def.kind.as_str().to_owned())
}

fn docs(docs: &wit_parser::Docs) -> Option<String> {
    docs.contents.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(ToOwned::to_owned)
}

/// The function of that name, or the one that was probably meant.
pub(crate) fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = fold_name(wanted);
    names
        .map(|name| (strsim::jaro_winkler(&fold_name(name), &wanted), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}
