//! Drives a site through its months: goes to the next instant at which something is due, does it, and waits until everything
//! that came of it has ended, before the clock is moved again.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bascule_run::clock::{Clock as _, later};
use bascule_run::{RunId, Status};
use bascule_workflow::project::Retention;
use jiff::Timestamp;
use reqwest::StatusCode;

use super::beside::Beside;
use super::calendar::{DAY, Happening, day};
use super::ear::End;
use super::figures::{Kind, Month, Of, Slice};
use super::site::{Site, Tools, database_in};
use crate::machine::memory_of;

/// Which questions the API is asked every day.
pub(crate) const READS: [(&str, &str); 5] = [
    ("deliveries", "/api/v1/deliveries"),
    ("last", "/api/v1/runs/last"),
    ("metrics", "/metrics"),
    ("runs", "/api/v1/runs"),
    ("slots", "/api/v1/slots"),
];
/// The workflow whose runs are measured as those of a schedule, and the one of a webhook.
pub(crate) const SCHEDULED: &str = "watch";
pub(crate) const HOOKED: &str = "passage";
/// How often it is due.
const SCHEDULED_EVERY: u32 = 600;
/// So often it is pruned. (`bascule serve` does it every quarter of an hour.)
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// The twin does every second of what is measured.
const TWIN_EVERY: u64 = 2;
/// Slices of a month.
const SLICES: u32 = 10;
/// How often a start is measured at the end of a month.
const STARTS: u32 = 3;

/// How long and how much.
#[derive(Clone, Debug)]
pub(crate) struct Course {
    pub(crate) seed: u64,
    pub(crate) begin: Timestamp,
    /// Days of a month.
    pub(crate) days: u32,
    pub(crate) retention: Retention,
    pub(crate) ground: PathBuf,
}

/// A site that is being soaked, and beside it a twin that never gets old.
pub(crate) struct Year {
    course: Course,
    site: Site,
    beside: Beside,
    /// How often each kind was measured.
    turns: BTreeMap<Kind, u64>,
    /// Days so far.
    day: u32,
    next_slot: Option<Timestamp>,
    /// Something waits inside the site until then.
    alarm: Option<Timestamp>,
    next_sweep: Timestamp,
    month: Month,
}

impl Year {
    pub(crate) async fn open(tools: &Tools, course: Course, mut beside: Beside) -> Result<Self> {
        let folder = course.ground.join("site");
        fs::create_dir_all(&folder)?;
        let begin = course.begin;
        let mut site = Site::open(tools, &folder, begin).await?;
        let next_slot = site.schedules().await?;
        beside.fresh(begin).await?;
        // Whatever is done for the first time is done before the first month.
        site.warm_up().await?;
        Ok(Self {
            next_sweep: later(begin, SWEEP_EVERY),
            course,
            site,
            beside,
            turns: BTreeMap::new(),
            day: 0,
            next_slot,
            alarm: None,
            month: Month::default(),
        })
    }

    /// Lives through the next month.
    pub(crate) async fn month(&mut self, number: u32) -> Result<Month> {
        let begun = Instant::now();
        self.month = Month { number, ..Month::default() };
        let mut wanted = BTreeMap::new();
        let slice_days = (self.course.days / SLICES).max(1);
        for day_of_month in 0..self.course.days {
            if day_of_month % slice_days == 0 {
                self.month.slices.push(Slice::default());
                self.beside.fresh(self.site.clock.now()).await?;
            }
            self.a_day(&mut wanted).await?;
            self.ask().await?;
        }
        self.look_at_disk().await?;
        self.month.rows = self.rows().await?;
        self.starts().await?;
        self.check(&wanted)?;
        self.month.seconds = begun.elapsed().as_secs_f64();
        Ok(std::mem::take(&mut self.month))
    }

    /// Ends in order.
    pub(crate) async fn close(self) -> Result<()> {
        self.beside.close().await?;
        self.site.close().await
    }

    async fn a_day(&mut self, wanted: &mut BTreeMap<&'static str, u64>) -> Result<()> {
        let begin = later(self.course.begin, Duration::from_secs(u64::from(self.day) * u64::from(DAY)));
        let end = later(begin, Duration::from_secs(u64::from(DAY)));
        let mut planned: VecDeque<_> = day(self.course.seed, self.day, begin).into();
        *wanted.entry(SCHEDULED).or_default() += u64::from(DAY / SCHEDULED_EVERY);
        loop {
            let first = planned.front().map(|(at, _)| *at);
            let due = [first, self.next_slot, self.alarm, Some(self.next_sweep)];
            let Some(next) = due.into_iter().flatten().min().filter(|next| *next <= end) else { break };
            self.site.clock.move_to(next);
            if self.alarm.is_some_and(|alarm| alarm <= next) {
                self.settle().await?;
            }
            if self.next_slot.is_some_and(|slot| slot <= next) {
                self.schedules().await?;
            }
            while let Some((_, happening)) = planned.pop_front_if(|(at, _)| *at <= next) {
                self.happen(happening, wanted).await?;
            }
            if self.next_sweep <= next {
                self.sweep().await?;
            }
        }
        self.site.clock.move_to(end);
        self.day += 1;
        Ok(())
    }

    /// Everything due has ended; gives the ends.
    async fn settle(&mut self) -> Result<Vec<End>> {
        self.alarm = self.site.settle().await?;
        let ends = self.site.ear.take_ends();
        for End { workflow, status, .. } in &ends {
            *self.month.runs.entry(workflow.clone()).or_default().entry(status.name()).or_default() += 1;
        }
        self.month.steps += self.site.ear.take_steps();
        Ok(ends)
    }

    async fn schedules(&mut self) -> Result<()> {
        let begun = Instant::now();
        self.next_slot = self.site.schedules().await?;
        let ends = self.settle().await?;
        // One that waits before it tries again ends at another instant.
        let mut of_it = ends.iter().filter(|end| end.workflow == SCHEDULED);
        if let Some(end) = of_it.next() {
            let took = end.at.duration_since(begun);
            self.measured(Kind::Schedule, took).await?;
        }
        Ok(())
    }

    /// Notes the site's time, and lets the twin do the same.
    async fn measured(&mut self, kind: Kind, took: Duration) -> Result<()> {
        let turns = self.turns.entry(kind).or_default();
        *turns += 1;
        let twin = match turns.is_multiple_of(TWIN_EVERY) {
            true => Some(self.beside.run(kind).await?),
            false => None,
        };
        let slice = self.month.slices.last_mut().context("a month has slices")?;
        slice.push(Of::Site, kind, took);
        if let Some(twin) = twin {
            slice.push(Of::Twin, kind, twin);
        }
        Ok(())
    }

    async fn happen(&mut self, happening: Happening, wanted: &mut BTreeMap<&'static str, u64>) -> Result<()> {
        let mut want = |workflow: &'static str, count: bool| {
            *wanted.entry(workflow).or_default() += u64::from(count);
        };
        match happening {
            Happening::Passage { body, again } => {
                want(HOOKED, !again);
                self.month.again += u64::from(again);
                let begun = Instant::now();
                let (status, answer) = self.site.hook(HOOKED, &body).await?;
                ensure!(status == StatusCode::ACCEPTED, "{body} was answered with {status}: {answer}");
                let ends = self.settle().await?;
                let run: RunId = answer["run"].as_str().context("no run")?.parse()?;
                let end = ends.iter().find(|end| end.run == run);
                ensure!(end.is_some() != again, "{body}, again: {again}; ends: {ends:?}");
                if let Some(end) = end {
                    self.measured(Kind::Webhook, end.at.duration_since(begun)).await?;
                }
            }
            Happening::Person { body, again } => {
                want("person", !again);
                self.month.again += u64::from(again);
                let (status, answer) = self.site.hook("person", &body).await?;
                let told = answer["status"].as_str();
                ensure!(
                    status == StatusCode::OK && matches!(told, Some("succeeded" | "recovered")),
                    "{body} was answered with {status}: {answer}"
                );
                self.settle().await?;
            }
            Happening::Setting { body, first } => {
                want("settings", first);
                let (status, answer) = self.site.hook("settings", &body).await?;
                ensure!(status == StatusCode::ACCEPTED, "{body} was answered with {status}: {answer}");
                self.settle().await?;
            }
            Happening::Events(events) => {
                want("attendance", true);
                for event in events {
                    self.site.tell(event).await?;
                }
                self.settle().await?;
            }
            Happening::Letter(name) => {
                want("letters", true);
                fs::write(self.site.folder.join("inbox").join(name), "a;b\n")?;
                self.site.files().await?;
            }
            Happening::Look => {
                self.site.files().await?;
                self.settle().await?;
            }
            Happening::Tidy => {
                for file in fs::read_dir(self.site.folder.join("inbox"))? {
                    fs::remove_file(file?.path())?;
                }
                self.site.files().await?;
            }
        }
        Ok(())
    }

    async fn sweep(&mut self) -> Result<()> {
        self.look_at_disk().await?;
        let begun = Instant::now();
        let swept = self.site.sweep(&self.course.retention).await?;
        self.month.sweeps.push(begun.elapsed().as_secs_f64());
        ensure!(swept.over_bytes == 0, "nothing is left that may go: {swept:?}");
        self.month.runs_removed += swept.runs + swept.runs_for_space;
        self.month.runs_for_space += swept.runs_for_space;
        self.next_sweep = later(self.site.clock.now(), SWEEP_EVERY);
        if let Some(bytes) = memory_of(std::process::id()) {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            self.month.memory.push(bytes as f64);
        }
        Ok(())
    }

    async fn look_at_disk(&mut self) -> Result<()> {
        let file = database_in(&self.site.folder);
        let bytes = |path: &str| fs::metadata(path).map_or(0, |file| file.len());
        let path = file.to_str().context("the path is not text")?;
        let (database, wal) = (bytes(path), bytes(&format!("{path}-wal")));
        let month = &mut self.month;
        month.file_bytes = month.file_bytes.max(database);
        month.wal_bytes = month.wal_bytes.max(wal);
        month.disk_bytes = month.disk_bytes.max(database + wal);
        Ok(())
    }

    /// Asks the API what people ask.
    async fn ask(&mut self) -> Result<()> {
        for (name, path) in READS {
            let took = self.site.read(path).await?;
            self.month.reads.entry(name).or_default().push(took.as_secs_f64());
        }
        Ok(())
    }

    /// How many rows each table has.
    async fn rows(&self) -> Result<BTreeMap<String, u64>> {
        let readers = self.site.database.readers();
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
        )
        .fetch_all(readers)
        .await?;
        let mut rows = BTreeMap::new();
        for table in tables {
            // The name is the database's own.
            let text = format!("SELECT count(*) FROM \"{table}\"");
            let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(text)).fetch_one(readers).await?;
            rows.insert(table, u64::try_from(count)?);
        }
        Ok(rows)
    }

    /// Starts on a copy of what a kill at this moment would leave, so that this process goes on undisturbed.
    async fn starts(&mut self) -> Result<()> {
        let folder = self.course.ground.join("copy");
        for _ in 0..STARTS {
            if folder.exists() {
                fs::remove_dir_all(&folder)?;
            }
            fs::create_dir_all(&folder)?;
            for file in ["bascule.db", "bascule.db-wal", "bascule.db.lock"] {
                let from = self.site.folder.join(file);
                if from.exists() {
                    fs::copy(from, folder.join(file))?;
                }
            }
            let took = self.beside.start_on(&folder, self.site.clock.now()).await?;
            self.month.starts.push(took.as_secs_f64());
        }
        fs::remove_dir_all(&folder)?;
        Ok(())
    }

    /// Exactly those runs ended that should have.
    fn check(&self, wanted: &BTreeMap<&'static str, u64>) -> Result<()> {
        let month = &self.month;
        for (workflow, count) in wanted {
            ensure!(
                month.of(workflow) == *count,
                "month {}: {} runs of `{workflow}` ended instead of {count}: {:?}",
                month.number,
                month.of(workflow),
                month.runs
            );
        }
        let failed = ["nightly", "doors"]
            .map(|workflow| month.of(workflow) - month.ended_as(workflow, Status::Succeeded));
        let failed: u64 = failed.iter().sum();
        ensure!(month.of("ring") == failed, "{failed} runs failed: {:?}", month.runs);
        ensure!(
            month.of("nightly") > 0 && month.of("doors") > 0,
            "schedules that never ran: {:?}",
            month.runs
        );
        ensure!(month.of("report") == month.of("nightly"), "not every night was followed: {:?}", month.runs);
        Ok(())
    }
}

impl Site {
    /// Asks each question once, so that the first month's answers are not those of a cold process.
    async fn warm_up(&mut self) -> Result<()> {
        for (_, path) in READS {
            // There is no last run yet.
            let _answer = self.read(path).await;
        }
        Ok(())
    }
}
