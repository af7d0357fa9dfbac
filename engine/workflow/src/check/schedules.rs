//! `schedule:`: cron lines and time zones.

use std::str::FromStr;

use croner::Cron;

use super::Checker;
use super::fields::Fields;
use crate::document::Node;
use crate::expression::suggest;
use crate::problem::{Problem, codes};
use crate::trigger::{Missed, Schedule};
use crate::vocabulary::{MISSED, MISSED_POLICIES};

impl Checker<'_> {
    pub(super) fn schedule(&mut self, fields: &Fields<'_>) -> Option<Schedule> {
        let cron = self
            .required(fields, "cron", "for example `cron: \"0 3 * * *\"` for every night at three")
            .and_then(|node| self.cron(node));
        let time_zone = fields.get("time-zone").and_then(|node| self.time_zone(node));
        let jitter = fields.get("jitter").and_then(|node| self.duration(node, "jitter")).unwrap_or_default();
        let (mut missed, mut missed_within) = (Missed::Skip, None);
        if let Some(node) = fields.get("missed") {
            let mut policy = Some(node);
            if node.as_map().is_some() {
                let fields = self.map(node, &MISSED)?;
                policy = self.required(&fields, "run", "one of skip, once, all");
                missed_within = fields.get("within").and_then(|node| self.duration(node, "within"));
            }
            missed = match policy.and_then(|node| self.word(node, "missed", &MISSED_POLICIES)) {
                Some("once") => Missed::Once,
                Some("all") => Missed::All,
                _ => Missed::Skip,
            };
        }
        let (cron, description) = cron?;
        Some(Schedule { cron, description, time_zone, missed, missed_within, jitter })
    }

    /// The line and what it means in English.
    fn cron(&mut self, node: &Node) -> Option<(String, String)> {
        let line = self.text_of(node, "cron")?;
        let line = line.trim();
        let fields = line.split_whitespace().count();
        let problem =
            |message: String, help: &str| Problem::error(codes::CRON, node.span, message).help(help);
        if !line.starts_with('@') && !(5..=6).contains(&fields) {
            let message = format!("a cron line has five or six fields, this one has {fields}");
            self.problems.report(problem(
                message,
                "minute, hour, day of the month, month, day of the week; `0 3 * * *` is every night at three",
            ));
            return None;
        }
        match Cron::from_str(line) {
            Ok(cron) => Some((line.to_owned(), cron.describe())),
            Err(error) => {
                let reason = match wrong_field(line) {
                    _ if line.starts_with('@') => format!("there is no `{line}`"),
                    Some((name, field)) => format!("`{field}` cannot be the {name}"),
                    None => {
                        let reason = error.to_string();
                        let reason = reason.split_once(": ").map_or(reason.as_str(), |(_, reason)| reason);
                        reason.trim_end_matches('.').to_lowercase()
                    }
                };
                let names = ["@hourly", "@daily", "@weekly", "@monthly", "@yearly"];
                let help = if line.starts_with('@') {
                    suggest::help(line, names, "there are").unwrap_or_default()
                } else {
                    "minute 0-59, hour 0-23, day of the month 1-31, month 1-12, day of the week 0-7; with six fields seconds come first".to_owned()
                };
                self.problems.report(problem(format!("not a cron line: {reason}"), &help));
                None
            }
        }
    }

    fn time_zone(&mut self, node: &Node) -> Option<String> {
        let name = self.text_of(node, "time-zone")?;
        let Some(help) = unknown_zone(&name) else { return Some(name) };
        self.problems.report(
            Problem::error(codes::TIME_ZONE, node.span, format!("`{name}` is not a time zone")).help(help),
        );
        None
    }
}

/// How to mend what is not the IANA name of a time zone; `None` where it is one.
pub(crate) fn unknown_zone(name: &str) -> Option<String> {
    let database = jiff::tz::db();
    // Offsets and abbreviations know nothing of the site's summer time.
    let fixed =
        matches!(name, "EST" | "MST" | "HST" | "CET" | "MET" | "EET" | "WET") || name.starts_with(['+', '-']);
    let named = name == "UTC" || name.contains('/');
    if !fixed && named && (database.is_definitively_empty() || database.get(name).is_ok()) {
        return None;
    }
    let known: Vec<String> = database.available().map(|name| name.as_str().to_owned()).collect();
    let city = |name: &str| name.rsplit('/').next().unwrap_or_default().to_lowercase();
    let same_city = known.iter().map(String::as_str).find(|zone| city(zone) == city(name).replace(' ', "_"));
    let near = same_city.or_else(|| nearest_zone(name, &known));
    Some(match near.filter(|_| !fixed) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write the IANA name, for example `Europe/Bucharest` or `UTC`".to_owned(),
    })
}

/// The field of a cron line that cannot be.
fn wrong_field(line: &str) -> Option<(&'static str, &str)> {
    let names = ["second", "minute", "hour", "day of the month", "month", "day of the week"];
    let fields: Vec<&str> = line.split_whitespace().collect();
    let names = names.get(names.len().checked_sub(fields.len())?..)?;
    names.iter().copied().zip(fields.iter().copied()).enumerate().find_map(|(index, (name, field))| {
        let mut alone = vec!["*"; fields.len()];
        *alone.get_mut(index)? = field;
        Cron::from_str(&alone.join(" ")).is_err().then_some((name, field))
    })
}

/// A zone with a typing error or two in its name.
fn nearest_zone<'z>(name: &str, known: &'z [String]) -> Option<&'z str> {
    let written = name.to_lowercase();
    known
        .iter()
        .map(|zone| (strsim::osa_distance(&written, &zone.to_lowercase()), zone.as_str()))
        .filter(|(distance, _)| *distance <= 3)
        .min()
        .map(|(_, zone)| zone)
}
