//! One number per round, and what they say together.

use std::fmt::Write as _;

/// What was measured in each round, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one; of an even number the mean of the two in the middle; 0 without any.
    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The value that this part of the rounds lies below, `part` from 0 to 1; between two rounds by proportion.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else {
            return 0.0;
        };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a place among some rounds"
        )]
        let (place, below) = {
            let place = last as f64 * part.clamp(0.0, 1.0);
            (place, place as usize)
        };
        let above = (below + 1).min(last);
        sorted[below] + (sorted[above] - sorted[below]) * place.fract()
    }

    /// With those of another one behind.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// Round by round, this one divided by the other: both sides of a round had the same machine.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(this, other)| this / other).collect())
    }

    /// Round by round.
    pub(crate) fn each(&self, see: impl FnMut(f64)) {
        self.0.iter().copied().for_each(see);
    }

    /// How wide the middle half of the rounds is, as a part of the median.
    pub(crate) fn unrest(&self) -> f64 {
        let median = self.median();
        if median == 0.0 { 0.0 } else { (self.quantile(0.75) - self.quantile(0.25)) / median }
    }
}

/// A row of a report: what, and its rounds.
pub(crate) struct Row<'r> {
    pub(crate) what: &'r str,
    pub(crate) unit: &'r str,
    pub(crate) samples: &'r Samples,
}

/// Rows under each other, each with the median, the middle half and the least and most of all rounds.
pub(crate) fn table(rows: &[Row<'_>]) -> String {
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or_default();
    let mut text = format!("  {:width$}  {:>10}   {:18}   all rounds", "", "median", "middle half");
    for Row { what, unit, samples } in rows {
        let at = |part| number(samples.quantile(part));
        let median = format!("{} {unit}", at(0.5));
        let half = format!("{} .. {}", at(0.25), at(0.75));
        // Writing to a String does not fail.
        let _ = write!(text, "\n  {what:width$}  {median:>10}   {half:18}   {} .. {}", at(0.0), at(1.0));
    }
    text
}

/// Three digits that count; `-` for what was divided by zero.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples(values.to_vec())
    }

    #[test]
    fn the_median_is_not_moved_by_one_slow_round() {
        assert_eq!(samples(&[3.0, 1.0, 900.0]).median(), 3.0);
        assert_eq!(samples(&[4.0, 1.0, 2.0, 900.0]).median(), 3.0);
        assert_eq!(samples(&[]).median(), 0.0);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let ratio = samples(&[10.0, 40.0]).over(&samples(&[5.0, 10.0]));
        assert_eq!((ratio.quantile(0.0), ratio.quantile(1.0)), (2.0, 4.0));
    }

    #[test]
    fn unrest_is_the_middle_half_against_the_median() {
        assert_eq!(samples(&[900.0, 8.0, 10.0, 12.0, 1.0]).unrest(), 0.4);
    }

    #[test]
    fn numbers_keep_three_digits() {
        let shown: Vec<_> = [0.1234, 1.234, 12.34, 1234.4].map(number).into();
        assert_eq!(shown, ["0.123", "1.23", "12.3", "1234"]);
        assert_eq!(number(f64::NAN), "-");
    }

    #[test]
    fn a_table_lines_its_rows_up() {
        let two = samples(&[1.0, 3.0]);
        let rows =
            [Row { what: "a", unit: "s", samples: &two }, Row { what: "long", unit: "x", samples: &two }];
        let text = table(&rows);
        let columns: Vec<_> = text.lines().skip(1).filter_map(|line| line.find("1.50 ..")).collect();
        assert_eq!(columns.len(), 2);
        assert_eq!(columns[0], columns[1]);
    }
}
