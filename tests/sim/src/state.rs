//! The fleet's memory in a file, so that a later start goes on from there.

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::supabase::Supabase;
use crate::terminal::Terminal;

#[derive(Serialize, Deserialize)]
struct Saved {
    terminals: Vec<SavedTerminal>,
    tables: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct SavedTerminal {
    id: String,
    users: Vec<SavedUser>,
    faces: Vec<SavedFace>,
}

#[derive(Serialize, Deserialize)]
struct SavedUser {
    employee_no: String,
    name_base64: String,
    fields: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct SavedFace {
    fpid: String,
    source: String,
    picture_base64: String,
}

/// Writes people, faces and rows.
pub(crate) fn save(path: &Path, terminals: &[Terminal], supabase: &Supabase) -> Result<()> {
    let terminals = terminals.iter().map(|terminal| {
        let library = terminal.device.library();
        let user = |user: &crate::terminal::User| SavedUser {
            employee_no: user.employee_no.clone(),
            name_base64: STANDARD.encode(&user.name),
            fields: user.fields.clone(),
        };
        let face = |face: &crate::terminal::Face| SavedFace {
            fpid: face.fpid.clone(),
            source: face.source.clone(),
            picture_base64: STANDARD.encode(&face.picture),
        };
        SavedTerminal {
            id: terminal.id().to_owned(),
            users: library.users.iter().map(user).collect(),
            faces: library.faces.iter().map(face).collect(),
        }
    });
    let saved = Saved { terminals: terminals.collect(), tables: supabase.dump() };
    std::fs::write(path, serde_json::to_vec(&saved)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Reads them back. Rows of `devices` keep pointing at the ports of this start.
pub(crate) fn load(path: &Path, terminals: &[Terminal], supabase: &Supabase) -> Result<()> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let saved: Saved = serde_json::from_slice(&text).with_context(|| format!("in {}", path.display()))?;
    for saved in saved.terminals {
        let Some(terminal) = terminals.iter().find(|terminal| terminal.id() == saved.id) else {
            continue;
        };
        let mut library = terminal.device.library();
        library.users.clear();
        library.faces.clear();
        for user in saved.users {
            library.users.push(crate::terminal::User {
                employee_no: user.employee_no,
                name: STANDARD.decode(user.name_base64)?,
                fields: user.fields,
            });
        }
        for face in saved.faces {
            let picture = STANDARD.decode(face.picture_base64)?;
            library.put_face(&face.fpid, picture.into(), &face.source, std::time::Duration::ZERO);
        }
    }
    for (name, rows) in saved.tables {
        if !matches!(name.as_str(), "devices" | "biometrics") {
            supabase.replace_rows(&name, rows).map_err(anyhow::Error::msg)?;
        }
    }
    Ok(())
}
