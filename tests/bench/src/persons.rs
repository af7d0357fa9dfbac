//! Persons onto simulated terminals through the real program `bascule`: each is created, gets a face of 50 KB, and the face
//! is looked at. Each such upsert is checked on the terminals afterwards, by the picture's hash.
//!
//! There is no other side: what it costs for one person compared with a plain client is `fleet`'s to say. This is about
//! the number: does it go on at the same rate, in the same memory, to the end?

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::machine::{Watch, cpu_of, memory_of, peak_memory_of};
use crate::samples::{Samples, number};
use crate::{mib, say};

/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(100);
/// What a picture's length is brought to, in bytes.
const PICTURE_BYTES: usize = 50_000;

/// Where everything is; `cargo xtask bench` writes it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Program and arguments that run the workflow once.
    pub(crate) engine: Vec<String>,
    /// For what it prints.
    pub(crate) log: PathBuf,
    /// The project's database, which holds the journal.
    pub(crate) database: PathBuf,
    /// The simulator's control port, `http://127.0.0.1:PORT`.
    pub(crate) control: String,
    /// The simulator's process.
    pub(crate) simulator: u32,
    /// The database's address and key.
    pub(crate) supabase: String,
    pub(crate) key: String,
    /// Somebody of whom the database has a photo.
    pub(crate) employee: String,
    /// The folder that pictures are sent from.
    pub(crate) photos: PathBuf,
    /// The ids of the terminals, and how many persons there are.
    pub(crate) terminals: Vec<String>,
    pub(crate) persons: usize,
    /// Everybody on every terminal.
    pub(crate) everywhere: bool,
    /// Stop after so many seconds, wherever it is then.
    pub(crate) at_most_seconds: Option<u64>,
}

/// What the terminals hold and were asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    requests: u64,
    faces: u64,
}

/// Memory and progress at a moment.
struct Look {
    faces: u64,
    memory: u64,
}

pub(crate) async fn measure(path: &Path) -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read(path)?)?;
    let client = reqwest::Client::builder().no_proxy().build()?;
    let control = Control { plan: &plan, client: &client };
    let picture = control.picture().await?;
    let hashes = write_pictures(&plan, &picture)?;
    control.prepare().await?;
    let spread = plan.terminals.len().min(plan.persons);
    let planned = if plan.everywhere { plan.persons * plan.terminals.len() } else { plan.persons };
    say(&format!(
        "persons: {} persons, {} terminals, {planned} upserts ({}), each: create, a face of {} kB, a look at it",
        plan.persons,
        spread,
        if plan.everywhere { "everybody everywhere" } else { "each on one" },
        PICTURE_BYTES / 1000
    ));

    let before = control.totals().await?;
    let watch = Watch::start(Some(plan.simulator));
    let simulator_cpu = cpu_of(plan.simulator);
    let (program, arguments) = plan.engine.split_first().context("an empty command")?;
    let begun = Instant::now();
    let mut command = Command::new(program);
    let log = fs::File::create(&plan.log)?;
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.kill_on_drop(true).spawn().with_context(|| format!("cannot start {program}"))?;
    let process = child.id().context("it has ended already")?;
    let mut looks: Vec<Look> = Vec::new();
    let (mut peak, mut told, mut last) = (0, begun, before.faces);
    let (mut cpu, mut cpu_told) = (0.0, 0.0);
    let limit = plan.at_most_seconds.map(Duration::from_secs);
    let ended = loop {
        tokio::select! {
            status = child.wait() => break Some(status?),
            () = tokio::time::sleep(LOOK) => {}
        }
        peak = peak.max(peak_memory_of(process).unwrap_or_default());
        cpu = cpu_of(process).unwrap_or(cpu);
        if told.elapsed() >= TELL {
            let faces = control.totals().await?.faces;
            let memory = memory_of(process).unwrap_or_default();
            say(&format!(
                "  {:>5} s: {} of {planned}, {} /s and {} ms of CPU for each now, {} of resident memory",
                begun.elapsed().as_secs(),
                faces - before.faces,
                number(float(faces - last) / told.elapsed().as_secs_f64()),
                number((cpu - cpu_told) * 1e3 / float(faces - last)),
                mib(memory)
            ));
            cpu_told = cpu;
            looks.push(Look { faces: faces - before.faces, memory });
            (told, last) = (Instant::now(), faces);
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            break None;
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    match ended {
        Some(status) => {
            ensure!(
                status.success(),
                "the run ended with {status}: {}",
                fs::read_to_string(&plan.log).unwrap_or_default()
            );
        }
        None => child.kill().await?,
    }
    let after = control.settled().await?;
    let done = after.faces - before.faces;
    let verified = control.verify(&hashes).await?;
    if ended.is_some() {
        ensure!(verified == planned as u64, "{verified} of {planned} faces are what was sent");
    }
    ensure!(done == verified, "{done} faces are new and {verified} are what was sent");

    let each = |amount: f64| amount / float(done).max(1.0);
    say(&format!(
        "  {} in {} s: {} upserts, {} verified by their sha256, {} /s",
        if ended.is_some() { "done" } else { "stopped" },
        number(seconds),
        done,
        verified,
        number(float(done) / seconds)
    ));
    say(&format!(
        "  {} requests for each verified upsert, half of them probes for a challenge",
        number(each(float(after.requests - before.requests)))
    ));
    say(&format!("  resident memory: {} at most{}", mib(peak), flatness(&looks)));
    let simulator_ms =
        simulator_cpu.zip(cpu_of(plan.simulator)).map(|(before, after)| each((after - before) * 1e3));
    say(&format!(
        "  CPU for each: {} ms bascule, {} ms the simulator on the same CPUs",
        number(each(cpu * 1e3)),
        simulator_ms.map_or_else(|| "-".to_owned(), number)
    ));
    say(&format!("  the journal: {}", mib(size_of(&plan.database))));
    say(&watch.caveat(&Samples::default()));
    Ok(())
}

/// Memory in the first and in the last quarter of what was done.
fn flatness(looks: &[Look]) -> String {
    let Some(most) = looks.last().map(|look| look.faces) else {
        return String::new();
    };
    let mean = |from: u64, to: u64| {
        let part: Vec<u64> =
            looks.iter().filter(|look| (from..=to).contains(&look.faces)).map(|look| look.memory).collect();
        (!part.is_empty()).then(|| part.iter().sum::<u64>() / part.len() as u64)
    };
    match (mean(0, most / 4), mean(most - most / 4, most)) {
        (Some(first), Some(last)) => {
            format!("; {} on average in the first quarter, {} in the last", mib(first), mib(last))
        }
        _ => String::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

/// The bytes of the files beside each other that are the database.
fn size_of(database: &Path) -> u64 {
    let files = ["", "-wal"].map(|end| PathBuf::from(format!("{}{end}", database.display())));
    files.iter().filter_map(|file| fs::metadata(file).ok()).map(|metadata| metadata.len()).sum()
}

/// A picture for everybody, each another one, and its sha256 by employee number.
fn write_pictures(plan: &Plan, picture: &[u8]) -> Result<BTreeMap<String, String>> {
    fs::create_dir_all(&plan.photos)?;
    let mut hashes = BTreeMap::new();
    for person in 0..plan.persons {
        let number = employee_no(person);
        let data = of_person(picture, &number)?;
        fs::write(plan.photos.join(format!("{number}.jpg")), &data)?;
        hashes.insert(number, hex::encode(Sha256::digest(&data)));
    }
    Ok(hashes)
}

/// The number of the person at that place, as the table has it.
fn employee_no(person: usize) -> String {
    format!("{}", 1_000_000 + person)
}

/// The picture with comments (marker COM) behind its begin: the person's number, and as much as brings it to its length.
fn of_person(picture: &[u8], number: &str) -> Result<Vec<u8>> {
    let (start, rest) = picture.split_at_checked(2).context("the photo is empty")?;
    ensure!(start == [0xff, 0xd8], "the photo is no JPEG");
    let mut data = start.to_vec();
    let padding = PICTURE_BYTES.checked_sub(picture.len() + 4).context("the photo is too large")?;
    ensure!(padding <= 65_533, "the photo is too small");
    let text = format!("{number:.<padding$}");
    data.extend([0xff, 0xfe]);
    data.extend(u16::try_from(padding + 2)?.to_be_bytes());
    data.extend(text.as_bytes());
    data.extend(rest);
    Ok(data)
}

struct Control<'a> {
    plan: &'a Plan,
    client: &'a reqwest::Client,
}

impl Control<'_> {
    async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.client.get(format!("{}{path}", self.plan.control)).send().await?;
        Ok(serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?)
    }

    async fn totals(&self) -> Result<Totals> {
        let totals = self.get("/totals").await?;
        let at = |name: &str| totals[name].as_u64().with_context(|| format!("no {name} in the totals"));
        Ok(Totals { requests: at("requests")?, faces: at("faces")? })
    }

    /// The totals once nothing is under way any more.
    async fn settled(&self) -> Result<Totals> {
        let mut totals = self.totals().await?;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.totals().await?;
            if now == totals {
                return Ok(now);
            }
            totals = now;
        }
    }

    /// Somebody's photo from the simulated database.
    async fn picture(&self) -> Result<Vec<u8>> {
        let Plan { supabase, key, employee, .. } = self.plan;
        let address = format!("{supabase}/rest/v1/biometrics?select=photo_url&employee_id=eq.{employee}");
        let answer = self.client.get(address).header("apikey", key).bearer_auth(key).send().await?;
        let rows: Value = serde_json::from_slice(&answer.error_for_status()?.bytes().await?)?;
        let address = rows[0]["photo_url"].as_str().context("nobody has a photo")?;
        Ok(self.client.get(address).send().await?.error_for_status()?.bytes().await?.to_vec())
    }

    /// Room on the terminals.
    async fn prepare(&self) -> Result<()> {
        let room = serde_json::json!({ "user_capacity": self.plan.persons + 100, "face_capacity": self.plan.persons + 100 });
        for id in &self.plan.terminals {
            let request = self.client.put(format!("{}/devices/{id}/quirks", self.plan.control));
            request.body(room.to_string()).send().await?.error_for_status()?;
        }
        Ok(())
    }

    /// How many faces on all terminals are, by their sha256, those that were sent for their person.
    async fn verify(&self, hashes: &BTreeMap<String, String>) -> Result<u64> {
        let mut verified = 0;
        for id in &self.plan.terminals {
            let state = self.get(&format!("/devices/{id}")).await?;
            let faces = state["faces"].as_array().context("a terminal without faces")?;
            let right = faces.iter().filter(|face| {
                let fpid = face["fpid"].as_str().unwrap_or_default();
                hashes.get(fpid).is_some_and(|hash| face["sha256"] == hash.as_str())
            });
            verified += right.count() as u64;
        }
        Ok(verified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybodys_picture_is_another_one_of_the_same_length() -> Result<()> {
        let picture = [&[0xff, 0xd8][..], &[7; 9_000], &[0xff, 0xd9]].concat();
        let (one, other) = (of_person(&picture, "1000000")?, of_person(&picture, "1000001")?);
        assert_eq!((one.len(), other.len()), (PICTURE_BYTES, PICTURE_BYTES));
        assert_ne!(one, other);
        assert!(one.starts_with(&[0xff, 0xd8, 0xff, 0xfe]) && one.ends_with(&[7, 0xff, 0xd9]));
        Ok(())
    }
}
