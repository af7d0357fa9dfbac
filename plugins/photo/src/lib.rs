//! The plugin `photo`: photos of people, made fit for terminals and platforms (`wit/plugin.wit` is its documentation).
//!
//! It computes and nothing else: a file in, a file out. `source` recognises what a file is and decodes it with `jpeg`,
//! `png` or `webp`; `exif` knows which way up it is; `size` reckons what it will take before memory is spent; `raster`
//! turns, crops, scales and encodes; `prepare` looks for the quality and size that fit. This file only moves bytes
//! between the folder and those.

mod exif;
mod fault;
mod jpeg;
mod png;
mod prepare;
mod raster;
#[cfg(test)]
mod samples;
mod size;
mod source;
mod webp;

use bascule_sdk::{Error, Folder};
use bindings::exports::bascule::photo::pictures::{Guest, Options, Picture, Prepared};

bascule_sdk::plugin! {
    world: "bascule:photo/plugin@0.1.0", wit: ["wit/plugin.wit"], path: ["../../wit", "wit"], uses: [types, storage]
}
bascule_sdk::export!(Plugin);

struct Plugin;

impl Guest for Plugin {
    fn inspect(folder: &Folder, name: String) -> Result<Picture, Error> {
        source::inspect(&read(folder, &name)?)
    }

    fn prepare(
        folder: &Folder,
        name: String,
        to: String,
        options: Option<Options>,
    ) -> Result<Prepared, Error> {
        let wishes = prepare::Wishes::new(options)?;
        let made = prepare::prepare(read(folder, &name)?, &wishes)?;
        let entry = folder.write(&to, &made.jpeg)?;
        Ok(Prepared {
            name: entry.name,
            bytes: entry.bytes,
            width: made.size.width,
            height: made.size.height,
            quality: made.quality,
            source: made.source,
        })
    }
}

fn read(folder: &Folder, name: &str) -> Result<Vec<u8>, Error> {
    let bytes = folder.stat(name)?.bytes;
    if bytes > size::MAX_FILE_BYTES {
        return Err(fault::too_large(format!(
            "the file has {bytes} bytes; at most {} are read",
            size::MAX_FILE_BYTES
        )));
    }
    folder.read(name)
}
