//! The macros that make a crate a plugin.

/// Generates `mod bindings` from the crate's WIT and embeds the WIT text, so that its doc comments travel with the
/// component (custom section `bascule:wit`; a component's own type section carries none).
///
/// ```text
/// bascule_sdk::plugin! { world: "acme:sensor/plugin@0.1.0", wit: ["wit/plugin.wit"] }
///
/// struct Plugin;
/// impl bindings::exports::acme::sensor::climate::Guest for Plugin { .. }
/// bascule_sdk::export!(Plugin);
/// ```
///
/// * `world`: the world to build, with its package and version.
/// * `wit`: the plugin's own WIT files, relative to its `Cargo.toml`; these are embedded.
/// * `path` (optional): where wit-bindgen reads packages from; later ones may use earlier ones. By default `["wit"]`,
///   with the host's files in `wit/deps/bascule-host/`.
/// * `uses` (optional): the host interfaces that the plugin's WIT names, directly or through `http`. By default
///   `[types, http, storage]`, which is what any function with a `borrow<connection>` needs. `[types]` for a plugin
///   that only computes, `[types, http, storage, events]` for an event source.
///
/// The host's types in `bindings` are those of this crate.
#[macro_export]
macro_rules! plugin {
    (world: $world:tt, wit: [$($file:literal),+ $(,)?] $(,)?) => {
        $crate::plugin! { world: $world, wit: [$($file),+], path: ["wit"], uses: [types, http, storage] }
    };
    (world: $world:tt, wit: [$($file:literal),+ $(,)?], path: [$($path:tt),+ $(,)?] $(,)?) => {
        $crate::plugin! { world: $world, wit: [$($file),+], path: [$($path),+], uses: [types, http, storage] }
    };
    (world: $world:tt, wit: [$($file:literal),+ $(,)?], uses: [$($host:ident),* $(,)?] $(,)?) => {
        $crate::plugin! { world: $world, wit: [$($file),+], path: ["wit"], uses: [$($host),*] }
    };
    (world: $world:tt, wit: [$($file:literal),+ $(,)?], path: [$($path:tt),+ $(,)?], uses: [$($host:ident),* $(,)?] $(,)?) => {
        $crate::__plugin_bindings! { [$world $($file),+] [$($path),+] {} $($host)* }
    };
}

/// Exports the functions of a type that implements the traits in `bindings::exports`. Only a build for wasm exports
/// anything: the names are none that a native linker would take.
#[macro_export]
macro_rules! export {
    ($plugin:ident) => {
        #[cfg(target_family = "wasm")]
        bindings::export!($plugin with_types_in bindings);

        // What a native build, which is for tests, would otherwise report as unused.
        #[cfg(not(target_family = "wasm"))]
        const _: ::core::marker::PhantomData<$plugin> = ::core::marker::PhantomData;
    };
}

// Collects the `with` mapping one interface at a time: a macro cannot stand inside another macro's map.
#[doc(hidden)]
#[macro_export]
macro_rules! __plugin_bindings {
    ($files:tt $paths:tt { $($with:tt)* } types $($rest:ident)*) => {
        $crate::__plugin_bindings! { $files $paths { $($with)* "bascule:host/types@0.1.0": bascule_sdk::types, } $($rest)* }
    };
    ($files:tt $paths:tt { $($with:tt)* } http $($rest:ident)*) => {
        $crate::__plugin_bindings! { $files $paths { $($with)* "bascule:host/http@0.1.0": bascule_sdk::http, } $($rest)* }
    };
    ($files:tt $paths:tt { $($with:tt)* } storage $($rest:ident)*) => {
        $crate::__plugin_bindings! { $files $paths { $($with)* "bascule:host/storage@0.1.0": bascule_sdk::storage, } $($rest)* }
    };
    ($files:tt $paths:tt { $($with:tt)* } events $($rest:ident)*) => {
        $crate::__plugin_bindings! { $files $paths { $($with)* "bascule:host/events@0.1.0": bascule_sdk::events, } $($rest)* }
    };
    ([$world:tt $($file:literal),+] [$($path:tt),+] { $($with:tt)* }) => {
        mod bindings {
            bascule_sdk::wit_bindgen::generate!({
                path: [$($path),+],
                world: $world,
                with: { $($with)* },
                runtime_path: "bascule_sdk::wit_bindgen::rt",
                additional_derives: [PartialEq],
            });

            $(
                const _: () = {
                    const TEXT: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file));
                    #[cfg_attr(target_family = "wasm", unsafe(link_section = "bascule:wit"))]
                    #[used]
                    static WIT: [u8; TEXT.len()] = {
                        let mut bytes = [0; TEXT.len()];
                        bytes.copy_from_slice(TEXT);
                        bytes
                    };
                };
            )+
        }
    };
}
