//! Load with fixed times of arrival: what comes does not wait for what came before, and a latency counts from the moment
//! at which a request should have begun. So a server that stands still for a second is seen in all that came meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::samples::Samples;

/// Every tenth request is one that came before.
const DUPLICATE: u64 = 10;
/// After this a request counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is sent where.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// With scheme and path.
    pub(crate) url: String,
    /// Value of the header `X-Key`.
    pub(crate) key: String,
    /// Requests for each second.
    pub(crate) rate: u32,
    pub(crate) seconds: u64,
    /// In front of every id.
    pub(crate) name: &'static str,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// In seconds, of all requests that were answered as they should be.
    pub(crate) latencies: Samples,
    /// Of each id that was accepted, the answers: first the status, then the body.
    pub(crate) accepted: BTreeMap<String, Vec<String>>,
    /// Requests that were answered in another way or not at all, by what came instead.
    pub(crate) refused: BTreeMap<String, u64>,
    /// The latest that a request was begun after it should have been, in seconds: this program's own fault.
    pub(crate) late: f64,
    /// From the first arrival to the last answer, in seconds.
    pub(crate) seconds: f64,
}

impl Answered {
    /// How many were accepted, the same ones counted again.
    pub(crate) fn count(&self) -> usize {
        self.accepted.values().map(Vec::len).sum()
    }
}

struct Answer {
    id: String,
    outcome: Result<String, String>,
    late: Duration,
    latency: Duration,
}

impl Load {
    /// How many requests there are.
    pub(crate) fn requests(&self) -> u64 {
        u64::from(self.rate) * self.seconds
    }

    /// How many different ids there are.
    pub(crate) fn ids(&self) -> u64 {
        (0..self.requests()).filter(|number| first(*number) == *number).count() as u64
    }

    /// Sends everything and waits for all answers.
    pub(crate) async fn send(&self) -> Result<Answered> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(usize::MAX)
            .timeout(PATIENCE)
            .build()?;
        let (answers, mut inbox) = mpsc::unbounded_channel();
        let load = self.clone();
        let runtime = tokio::runtime::Handle::current();
        let begun = Instant::now();
        // A thread of its own: the runtime's timers count in milliseconds.
        let metronome = std::thread::Builder::new().name("metronome".to_owned()).spawn(move || {
            let gap = Duration::from_secs(1) / load.rate;
            for number in 0..load.requests() {
                let due = begun + gap * u32::try_from(number).unwrap_or(u32::MAX);
                if let Some(left) = due.checked_duration_since(Instant::now()) {
                    std::thread::sleep(left);
                }
                let (client, load, answers) = (client.clone(), load.clone(), answers.clone());
                runtime.spawn(async move {
                    // Nobody listens any more only when all is lost anyway.
                    let _unheard = answers.send(load.one(&client, number, due).await);
                });
            }
        })?;
        let mut all = Answered::default();
        while let Some(Answer { id, outcome, late, latency }) = inbox.recv().await {
            all.late = all.late.max(late.as_secs_f64());
            match outcome {
                Ok(body) => {
                    all.latencies.push(latency.as_secs_f64());
                    all.accepted.entry(id).or_default().push(body);
                }
                Err(what) => *all.refused.entry(what).or_default() += 1,
            }
        }
        all.seconds = begun.elapsed().as_secs_f64();
        metronome.join().ok().context("the thread that times the arrivals ended early")?;
        Ok(all)
    }

    async fn one(&self, client: &reqwest::Client, number: u64, due: Instant) -> Answer {
        let late = due.elapsed();
        let id = self.id(number);
        let outcome = self.ask(client, &id).await;
        Answer { id, outcome, late, latency: due.elapsed() }
    }

    async fn ask(&self, client: &reqwest::Client, id: &str) -> Result<String, String> {
        let request = client
            .post(&self.url)
            .header("x-key", &self.key)
            .header("content-type", "application/json")
            .body(passage(id).to_string());
        let response = request.send().await.map_err(|error| root(&error))?;
        let status = response.status();
        let body = response.text().await.map_err(|error| root(&error))?;
        if status == reqwest::StatusCode::ACCEPTED { Ok(body) } else { Err(status.to_string()) }
    }

    fn id(&self, number: u64) -> String {
        format!("{}-{:08}", self.name, first(number))
    }
}

/// The request of which this one is a repetition, or itself. Repetitions come alternately at once, while the first may
/// still be under way, and after half of the time so far.
fn first(number: u64) -> u64 {
    if number % DUPLICATE != DUPLICATE - 1 {
        return number;
    }
    let earlier = if (number / DUPLICATE).is_multiple_of(2) { number - 1 } else { number / 2 };
    if earlier % DUPLICATE == DUPLICATE - 1 { earlier - 1 } else { earlier }
}

fn passage(id: &str) -> Value {
    json!({ "id": id, "employee_no": "1001", "name": "Ana Exemplu", "door": "north gate" })
}

/// The innermost cause, which names no port: failures of one kind count together.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_are_repetitions_of_what_was_no_repetition() {
        let repeated: Vec<u64> = (0..10_000).filter(|number| first(*number) != *number).collect();
        assert_eq!(repeated.len(), 1_000);
        assert!(
            repeated.iter().all(|number| first(*number) < *number && first(first(*number)) == first(*number))
        );
        let load = Load { url: String::new(), key: String::new(), rate: 500, seconds: 20, name: "x" };
        assert_eq!((load.requests(), load.ids()), (10_000, 9_000));
    }
}
