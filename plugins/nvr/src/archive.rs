//! The folder that recordings are kept in: the oldest go when there is too much.

use std::collections::{BTreeMap, BTreeSet};

use bascule_sdk::{Entry, Error, ErrorKind, log};

use crate::bindings::exports::bascule::nvr::archive::Retained;
use crate::keep::Disk;

/// What names are made of, for listing a folder with very many files in parts.
const LETTERS: &str = "-._/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz ";
/// Extensions that `download` gives.
const EXTENSIONS: [&str; 4] = ["ps", "mpg", "mp4", "bin"];
/// How deep a listing is divided.
const MAX_PREFIX: usize = 200;

struct Recording {
    /// `2026-11-21/20261121T000000-..`: day and begin, which order recordings of all recorders by time.
    age: String,
    name: String,
    record: String,
    bytes: u64,
}

pub(crate) fn retain(disk: &dyn Disk, max_bytes: u64, below: &str) -> Result<Retained, Error> {
    let mut recordings = recordings(list(disk, below)?);
    recordings.sort_by(|one, two| (&one.age, &one.name).cmp(&(&two.age, &two.name)));
    let mut bytes: u64 = recordings.iter().map(|recording| recording.bytes).sum();
    let mut files = recordings.len() as u64;
    let (mut deleted, mut deleted_bytes) = (Vec::new(), 0);
    for recording in recordings {
        if bytes <= max_bytes {
            break;
        }
        // The recording first: a record without a recording is downloaded again, not taken for one.
        disk.delete(&recording.name)?;
        disk.delete(&recording.record)?;
        bytes -= recording.bytes;
        files -= 1;
        deleted_bytes += recording.bytes;
        deleted.push(recording.name);
    }
    log::info(&format!("{files} recordings with {bytes} bytes are kept, {} were deleted", deleted.len()));
    Ok(Retained { files, bytes, deleted, deleted_bytes })
}

/// Files that have a record beside them.
fn recordings(entries: Vec<Entry>) -> Vec<Recording> {
    let records: BTreeMap<String, u64> = entries
        .iter()
        .filter_map(|entry| Some((entry.name.strip_suffix(".json")?.to_owned(), entry.bytes)))
        .collect();
    let recording = |entry: Entry| {
        let (stem, extension) = entry.name.rsplit_once('.')?;
        if !EXTENSIONS.contains(&extension) {
            return None;
        }
        let record_bytes = records.get(stem)?;
        // Recorder and channel come before day and begin.
        let mut parts: Vec<&str> = stem.rsplit('/').take(2).collect();
        parts.reverse();
        Some(Recording {
            age: parts.join("/"),
            record: crate::download::record_name(stem),
            bytes: entry.bytes + record_bytes,
            name: entry.name,
        })
    };
    entries.into_iter().filter_map(recording).collect()
}

/// All entries, in parts where they are more than one listing gives.
fn list(disk: &dyn Disk, prefix: &str) -> Result<Vec<Entry>, Error> {
    match disk.list(prefix) {
        Ok(entries) => Ok(entries),
        Err(error) if error.kind == ErrorKind::InvalidInput && prefix.len() < MAX_PREFIX => {
            let mut all = Vec::new();
            let mut known = BTreeSet::new();
            for letter in LETTERS.chars() {
                let longer = format!("{prefix}{letter}");
                // No name has an empty or special part; asking for one would be refused.
                if longer.starts_with('/')
                    || longer.contains("//")
                    || longer.ends_with('.') && !ends_in_part(&longer)
                {
                    continue;
                }
                for entry in list(disk, &longer)? {
                    if known.insert(entry.name.clone()) {
                        all.push(entry);
                    }
                }
            }
            Ok(all)
        }
        Err(error) => Err(error),
    }
}

/// Whether the dot at the end follows something in its part: `.` and `..` alone cannot be listed.
fn ends_in_part(prefix: &str) -> bool {
    let part = prefix.rsplit('/').next().unwrap_or_default();
    part.chars().any(|c| c != '.')
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::keep::doubles::Desk;

    fn desk(names: &[&str]) -> Desk {
        let desk = Desk::default();
        for name in names {
            desk.files.borrow_mut().insert(format!("{name}.ps"), vec![0; 90]);
            desk.files.borrow_mut().insert(format!("{name}.json"), vec![0; 10]);
        }
        desk
    }

    #[test]
    fn the_oldest_go_first_whichever_recorder_they_are_of() {
        let desk = desk(&[
            "a/1/2026-11-20/20261120T100000-x",
            "b/1/2026-11-20/20261120T090000-x",
            "a/1/2026-11-21/20261121T000000-x",
        ]);
        let retained = retain(&desk, 250, "").unwrap();
        assert_eq!(retained.deleted, ["b/1/2026-11-20/20261120T090000-x.ps"]);
        assert_eq!((retained.files, retained.bytes, retained.deleted_bytes), (2, 200, 100));
        assert_eq!(desk.names().len(), 4);
    }

    #[test]
    fn what_was_not_made_here_stays() {
        let desk = desk(&["a/1/2026-11-20/20261120T100000-x"]);
        desk.files.borrow_mut().insert("holiday.mp4".to_owned(), vec![0; 1_000]);
        desk.files.borrow_mut().insert("notes.json".to_owned(), vec![0; 1_000]);
        let retained = retain(&desk, 0, "").unwrap();
        assert_eq!((retained.files, retained.bytes), (0, 0));
        assert_eq!(desk.names(), ["holiday.mp4", "notes.json"]);
    }

    #[test]
    fn a_folder_with_more_files_than_one_listing_gives_is_listed_in_parts() {
        // The double gives eight at a time.
        let names: Vec<String> = (0..30).map(|n| format!("a/1/2026-11-20/20261120T{n:02}0000-x")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let retained = retain(&desk(&names), 1_000, "").unwrap();
        assert_eq!((retained.files, retained.deleted.len()), (10, 20));
        assert_eq!(retained.deleted.first().map(String::as_str), Some("a/1/2026-11-20/20261120T000000-x.ps"));
    }
}
