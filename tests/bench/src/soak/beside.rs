//! A process beside the soaked one: the young twin, and starts on copies. They are apart so that the memory of the soaked
//! process is its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bascule_run::Status;
use jiff::Timestamp;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::ear::End;
use super::figures::Kind;
use super::site::{Site, Tools};
use super::year::{HOOKED, SCHEDULED};
use crate::say;

/// Runs of a new twin that are not counted.
const WARM: u32 = 20;

/// What the process is told, a line each.
#[derive(Debug, Deserialize, Serialize)]
enum Wish {
    /// The twin begins again on an empty database.
    Fresh { now: Timestamp },
    /// One run.
    Run { kind: Kind },
    /// A site begins to serve this folder, and ends.
    Start { folder: PathBuf, now: Timestamp },
}

/// The process, from outside.
pub(crate) struct Beside {
    child: Child,
    wishes: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Beside {
    /// Starts this program anew for it.
    pub(crate) fn start(component: &Path, project: &Path, ground: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("soak-beside").args([component, project, ground]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let wishes = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        Ok(Self { child, wishes, answers })
    }

    /// A new twin.
    pub(crate) async fn fresh(&mut self, now: Timestamp) -> Result<()> {
        self.ask(&Wish::Fresh { now }).await.map(|_| ())
    }

    /// One run of the twin; gives how long it took from the demand to its end.
    pub(crate) async fn run(&mut self, kind: Kind) -> Result<Duration> {
        self.ask(&Wish::Run { kind }).await
    }

    /// Gives how long it took until the folder was served.
    pub(crate) async fn start_on(&mut self, folder: &Path, now: Timestamp) -> Result<Duration> {
        self.ask(&Wish::Start { folder: folder.to_owned(), now }).await
    }

    async fn ask(&mut self, wish: &Wish) -> Result<Duration> {
        self.wishes.write_all(format!("{}\n", serde_json::to_string(wish)?).as_bytes()).await?;
        let answer = self.answers.next_line().await?;
        let Some(answer) = answer else {
            bail!("the process beside has ended: {}", self.child.wait().await?)
        };
        Ok(Duration::from_secs_f64(answer.parse()?))
    }

    /// Ends in order.
    pub(crate) async fn close(mut self) -> Result<()> {
        drop(self.wishes);
        let status = self.child.wait().await?;
        ensure!(status.success(), "the process beside ended with {status}");
        Ok(())
    }
}

/// The process from inside: does what it is told until nobody tells it anything any more.
pub(crate) async fn serve(tools: Tools, ground: &Path) -> Result<()> {
    let mut wishes = BufReader::new(tokio::io::stdin()).lines();
    let mut twin: Option<Twin> = None;
    while let Some(wish) = wishes.next_line().await? {
        let took = match serde_json::from_str(&wish)? {
            Wish::Fresh { now } => {
                if let Some(before) = twin.take() {
                    before.site.close().await?;
                }
                let begun = Instant::now();
                twin = Some(Twin::open(&tools, &ground.join("twin"), now).await?);
                begun.elapsed()
            }
            Wish::Run { kind } => twin.as_mut().context("there is no twin")?.run(kind).await?,
            Wish::Start { folder, now } => {
                let begun = Instant::now();
                let site = Site::open(&tools, &folder, now).await?;
                let took = begun.elapsed();
                site.close().await?;
                took
            }
        };
        say(&took.as_secs_f64().to_string());
    }
    match twin {
        Some(twin) => twin.site.close().await,
        None => Ok(()),
    }
}

/// The same site on an empty database.
struct Twin {
    site: Site,
    number: u64,
}

impl Twin {
    async fn open(tools: &Tools, folder: &Path, now: Timestamp) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir_all(folder)?;
        let mut twin = Self { site: Site::open(tools, folder, now).await?, number: 0 };
        for _ in 0..WARM {
            for kind in Kind::ALL {
                twin.run(kind).await?;
            }
        }
        Ok(twin)
    }

    async fn run(&mut self, kind: Kind) -> Result<Duration> {
        self.number += 1;
        let begun = Instant::now();
        match kind {
            Kind::Schedule => {
                // A moment at which nothing has to be tried again.
                let trigger = json!({ "kind": "schedule", "id": "schedule-1", "scheduled_at": "at once" });
                self.site.admit(SCHEDULED, trigger).await?;
            }
            Kind::Webhook => {
                let body =
                    json!({ "id": format!("twin-{}", self.number), "person": "p-1", "door": "door-1" });
                let (status, answer) = self.site.hook(HOOKED, &body).await?;
                ensure!(status == StatusCode::ACCEPTED, "the twin answered {status}: {answer}");
            }
        }
        self.site.settle().await?;
        let ends = self.site.ear.take_ends();
        let [End { at, status: Status::Succeeded, .. }] = ends.as_slice() else {
            bail!("one run of the twin should have succeeded: {ends:?}");
        };
        Ok(at.duration_since(begun))
    }
}
