//! `retention:`

use std::time::Duration;

use super::Retention;
use super::fields::Reader;
use crate::document::{Entry, Node};
use crate::problem::{Problem, codes};
use crate::quantity::{MAX_DURATION, duration_text};

/// The shortest time that anything is kept.
const LEAST: Duration = Duration::from_secs(1);

pub(super) fn read(reader: &mut Reader<'_>, node: &Node, retention: &mut Retention) {
    for Entry { key, value } in reader.known(node, "retention") {
        let (what, time) = match key.text.as_str() {
            "runs" => ("`runs`", &mut retention.runs),
            "failed-runs" => ("`failed-runs`", &mut retention.failed_runs),
            "deliveries" => ("`deliveries`", &mut retention.deliveries),
            "once" => ("`once`", &mut retention.once),
            _ => {
                let size = reader.size(value, "`max-size`", 1 << 20, 1 << 44);
                retention.max_size_bytes = size.unwrap_or(retention.max_size_bytes);
                continue;
            }
        };
        *time = reader.duration(value, what, LEAST, MAX_DURATION).unwrap_or(*time);
    }
    if let Some(failed) = node.get("failed-runs")
        && retention.failed_runs < retention.runs
    {
        let (runs, shorter) = (duration_text(retention.runs), duration_text(retention.failed_runs));
        reader.report(
            Problem::warning(
                codes::PROJECT_VALUE,
                failed.span,
                format!("failed runs are kept for {shorter}, those that went well for {runs}"),
            )
            .help("a failed run is the one that somebody asks for: write a `failed-runs` that is not shorter than `runs`"),
        );
    }
}
