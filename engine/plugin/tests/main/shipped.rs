//! The plugins of this repository, as the engine finds them.

use anyhow::Result;
use bascule_plugin::Limits;

use crate::stage::host;

#[test]
fn the_shipped_plugins_load_and_document_every_function() -> Result<()> {
    let host = host(Limits::default())?;
    let folder = xtask::components::plugins()?;
    for name in ["hikcentral", "hikpartner", "isapi", "nvr", "photo", "supabase", "web"] {
        let plugin = host.load_file(name, &folder.join(format!("{name}.wasm")), None)?;
        let signature = plugin.signature();
        assert_eq!(signature.package.as_deref(), Some(format!("bascule:{name}@0.1.0").as_str()));
        assert!(signature.docs.is_some(), "{name} does not say what it is");
        for (function, signature) in &signature.functions {
            assert!(signature.docs.is_some(), "{name}/{function} has no docs");
        }
    }
    Ok(())
}
