//! Where things lie: key file, data folder, disk, database, time zone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bascule_capability::secret::MasterKey;
use bascule_database::{Database, OpenError};
use bascule_workflow::project::Project;
use jiff::tz::TimeZone;
use rustix::fs::statvfs;

use super::Report;
use crate::site::{self, Places, bytes};

/// Less free space than this is an error ..
const LEAST_FREE_BYTES: u64 = 100 << 20;
/// .. and less than this a warning.
const LITTLE_FREE_BYTES: u64 = 1 << 30;

/// The key that opens the secrets.
pub(super) fn key(places: &Places, report: &mut Report) {
    let path = &places.key_file;
    let why = "it opens the stored secrets: who can read it and the data folder has them all, and without it nobody has";
    match MasterKey::load(path) {
        Ok(_) => report.ok("key", format!("only its owner can read `{}`", path.display())),
        Err(_) if !path.exists() && !places.database().exists() => report.warn(
            "key",
            format!("there is no key file `{}` yet", path.display()),
            why,
            "the first `bascule secret set NAME` makes it; keep a copy of it apart from the backups of the data folder",
        ),
        Err(_) if !path.exists() => report.error(
            "key",
            format!("the key file `{}` is missing", path.display()),
            why,
            "bring it back from your copy, or name it with --key-file",
        ),
        Err(error) => {
            let mend = format!("`chmod 600 {}`, if it is the right file", path.display());
            report.error("key", error.to_string(), why, mend);
        }
    }
    let open: Vec<PathBuf> = [places.data.clone(), places.database(), places.data.join("tokens")]
        .into_iter()
        .filter(|path| mode(path).is_some_and(|mode| mode & 0o077 != 0))
        .collect();
    for path in open {
        report.error(
            "permissions",
            format!("others can get at `{}`", path.display()),
            "it holds what workflows read and wrote, and who may use the API",
            format!("`chmod go= {}`", path.display()),
        );
    }
}

fn mode(path: &Path) -> Option<u32> {
    std::fs::metadata(path).ok().map(|metadata| metadata.permissions().mode())
}

/// The file system of the data folder.
pub(super) fn disk(places: &Places, report: &mut Report) {
    let folder = places.data.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(space) = statvfs(folder) else {
        report.warn(
            "disk",
            format!("how much space is left at `{}` cannot be told", folder.display()),
            "with a full disk nothing is accepted",
            "look at it with `df`",
        );
        return;
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let what = format!("{} free at `{}`", bytes(free), folder.display());
    let why = "with a full disk nothing is accepted: webhooks answer 503, runs wait";
    let mend = "make room, or keep less: `retention:` in bascule.yaml, then `bascule prune`";
    if free < LEAST_FREE_BYTES {
        report.error("disk", what, why, mend);
    } else if free < LITTLE_FREE_BYTES {
        report.warn("disk", what, why, mend);
    } else {
        report.ok("disk", what);
    }
}

/// Opens the database for reading and looks through it.
pub(super) async fn database(
    places: &Places,
    project: Option<&Project>,
    report: &mut Report,
) -> Option<Database> {
    let path = places.database();
    let database = match Database::open_read_only(&path).await {
        Ok(database) => database,
        Err(OpenError::Missing { .. }) => {
            report.ok("database", "there is none yet: nothing was stored or run here");
            return None;
        }
        Err(error) => {
            report.error(
                "database",
                chained(&error),
                "it holds runs, secrets and stores; nothing works without it",
                "keep a copy of the data folder, then restore the last backup",
            );
            return None;
        }
    };
    match database.damage().await {
        Ok(None) => {}
        Ok(Some(finding)) => {
            report.error(
                "database",
                format!("`{}` is damaged: {finding}", path.display()),
                "what is damaged cannot be read, and the next start refuses it",
                "stop the server, keep a copy of the data folder, then restore the last backup",
            );
            return Some(database);
        }
        Err(error) => {
            report.error(
                "database",
                chained(&error),
                "it cannot be looked through",
                "look at the disk (`dmesg`)",
            );
            return None;
        }
    }
    let Ok(space) = database.space().await else { return Some(database) };
    let most = project.map_or(u64::MAX, |project| project.retention.max_size_bytes);
    let what =
        format!("sound, {} in use, {} free in the file", bytes(space.used_bytes), bytes(space.free_bytes));
    if space.used_bytes > most / 10 * 9 {
        report.warn(
            "database",
            format!("{what}; `retention: max-size` is {}", bytes(most)),
            "beyond that the oldest ended runs go before their time",
            "raise `max-size`, or keep runs for a shorter time",
        );
    } else {
        report.ok("database", what);
    }
    Some(database)
}

fn chained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// The zone of schedules that name none.
pub(super) fn zone(project: Option<&Project>, report: &mut Report) {
    let zone = project.map_or_else(TimeZone::system, site::zone);
    match zone.iana_name() {
        Some(name) => report.ok("time zone", format!("schedules without a `time-zone` go by {name}")),
        None => report.warn(
            "time zone",
            "the system's time zone has no name",
            "schedules that name none run at other times than people expect, and change with the machine",
            "write `time-zone: Europe/Bucharest` (yours) into bascule.yaml, or set it with `timedatectl set-timezone`",
        ),
    }
}
