//! The query string: what to select, which rows, in what order, how many.

use std::cmp::Ordering;

use super::filter::{Filter, Place, split, unquoted};
use super::refusal::Refusal;
use super::schema::{Row, Table};
use super::select::{self, Item};
use super::value::compare;

#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) items: Vec<Item>,
    /// By the path of the embed they belong to; the empty path is the table itself.
    levels: Vec<(Vec<String>, Clauses)>,
    pub(super) on_conflict: Option<Vec<String>>,
    pub(super) columns: Option<Vec<String>>,
}

/// What narrows one level.
#[derive(Clone, Debug, Default)]
pub(super) struct Clauses {
    pub(super) filters: Vec<Filter>,
    order: Vec<Order>,
    pub(super) limit: Option<usize>,
    pub(super) offset: usize,
}

#[derive(Clone, Debug)]
struct Order {
    place: Place,
    descending: bool,
    nulls_first: bool,
}

const RESERVED: [&str; 6] = ["select", "order", "limit", "offset", "on_conflict", "columns"];

impl Query {
    pub(super) fn parse(parameters: &[(String, String)]) -> Result<Self, Refusal> {
        let last = |name: &str| {
            parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        let names = |text: &str| split(text).iter().map(|name| unquoted(name.trim())).collect::<Vec<_>>();
        let items = select::parse(last("select").unwrap_or("*"))?;
        let mut query = Self {
            items,
            levels: vec![(Vec::new(), Clauses::default())],
            on_conflict: last("on_conflict").map(names),
            columns: last("columns").map(names),
        };
        for (key, value) in parameters {
            if matches!(key.as_str(), "select" | "on_conflict" | "columns" | "apikey") {
                continue;
            }
            query.clause(key, value)?;
        }
        let embeds = paths(&query.items, &[]);
        if let Some((path, _)) =
            query.levels.iter().find(|(path, _)| !path.is_empty() && !embeds.contains(path))
        {
            let name = path.join(".");
            return Err(Refusal::new(
                400,
                "PGRST108",
                format!("'{name}' is not an embedded resource in this request"),
            )
            .hint(format!("Verify that '{name}' is included in the 'select' query parameter.")));
        }
        Ok(query)
    }

    fn clause(&mut self, key: &str, value: &str) -> Result<(), Refusal> {
        // The dots of `not.or` and of a quoted or JSON column are not a path.
        let (path, word) = split_path(key);
        let level = match self.levels.iter().position(|(held, _)| *held == path) {
            Some(place) => place,
            None => {
                self.levels.push((path, Clauses::default()));
                self.levels.len() - 1
            }
        };
        let Some((_, clauses)) = self.levels.get_mut(level) else {
            return Ok(());
        };
        let number =
            || value.parse::<usize>().map_err(|_| Refusal::parse(&format!("{word} parameter"), value, 1));
        match word.as_str() {
            "limit" => clauses.limit = Some(number()?),
            "offset" => clauses.offset = number()?,
            "order" => clauses.order = order(value)?,
            "or" | "and" | "not.or" | "not.and" => clauses.filters.push(Filter::of_tree(&word, value)?),
            column => clauses.filters.push(Filter::of_column(column, value)?),
        }
        Ok(())
    }

    pub(super) fn clauses(&self, path: &[String]) -> Clauses {
        self.levels
            .iter()
            .find(|(held, _)| held == path)
            .map(|(_, clauses)| clauses.clone())
            .unwrap_or_default()
    }

    /// The clauses of the table itself.
    pub(super) fn top(&self) -> Clauses {
        self.clauses(&[])
    }
}

fn split_path(key: &str) -> (Vec<String>, String) {
    for word in ["not.or", "not.and"] {
        if key == word {
            return (Vec::new(), key.to_owned());
        }
        if let Some(path) = key.strip_suffix(word).and_then(|rest| rest.strip_suffix('.')) {
            return (path.split('.').map(str::to_owned).collect(), word.to_owned());
        }
    }
    let column_start = key.find('"').unwrap_or(key.len());
    match key.get(..column_start).and_then(|head| head.rfind('.')) {
        Some(dot) => {
            let path = key.get(..dot).unwrap_or_default().split('.').map(str::to_owned).collect();
            (path, key.get(dot + 1..).unwrap_or_default().to_owned())
        }
        None => (Vec::new(), key.to_owned()),
    }
}

fn paths(items: &[Item], path: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for item in items {
        if let Item::Embed(embed) = item {
            let deeper: Vec<String> = path.iter().cloned().chain([embed.name().to_owned()]).collect();
            found.extend(paths(embed.items(), &deeper));
            found.push(deeper);
        }
    }
    found
}

fn order(text: &str) -> Result<Vec<Order>, Refusal> {
    let one = |piece: &String| {
        let mut words = piece.trim().split('.');
        let place = Place::parse(words.next().unwrap_or_default());
        let (mut descending, mut nulls_first) = (false, None);
        for word in words {
            match word {
                "asc" => descending = false,
                "desc" => descending = true,
                "nullsfirst" => nulls_first = Some(true),
                "nullslast" => nulls_first = Some(false),
                _ => return Err(Refusal::parse("order", text, 1)),
            }
        }
        Ok(Order { place, descending, nulls_first: nulls_first.unwrap_or(descending) })
    };
    split(text).iter().map(one).collect()
}

impl Clauses {
    pub(super) fn check(&self, table: &Table) -> Result<(), Refusal> {
        self.filters.iter().try_for_each(|filter| filter.check(table))?;
        self.order.iter().try_for_each(|order| order.place.kind(table).map(|_| ()))
    }

    pub(super) fn keeps(&self, table: &Table, row: &Row) -> Result<bool, Refusal> {
        for filter in &self.filters {
            if filter.holds(table, row)? != Some(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows that fit, in order.
    pub(super) fn apply(&self, table: &Table, rows: Vec<Row>) -> Result<Vec<Row>, Refusal> {
        let mut kept = Vec::new();
        for row in rows {
            if self.keeps(table, &row)? {
                kept.push(row);
            }
        }
        kept.sort_by(|left, right| self.compare(left, right));
        Ok(kept)
    }

    fn compare(&self, left: &Row, right: &Row) -> Ordering {
        for order in &self.order {
            let (left, right) = (order.place.of(left), order.place.of(right));
            let found = match (left.is_null(), right.is_null()) {
                (true, true) => Ordering::Equal,
                (true, false) if order.nulls_first => Ordering::Less,
                (true, false) => Ordering::Greater,
                (false, true) if order.nulls_first => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => {
                    let found = compare(&left, &right).unwrap_or(Ordering::Equal);
                    if order.descending { found.reverse() } else { found }
                }
            };
            if found.is_ne() {
                return found;
            }
        }
        Ordering::Equal
    }

    /// The part that `limit` and `offset` leave.
    pub(super) fn page<T>(&self, rows: Vec<T>) -> Vec<T> {
        rows.into_iter().skip(self.offset).take(self.limit.unwrap_or(usize::MAX)).collect()
    }
}

/// Whether a parameter is not a filter.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}
