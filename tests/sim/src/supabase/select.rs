//! `select=a,b:c,rel!inner(*)`: which columns, and which rows of other tables inside each row.

use serde_json::{Map, Value};

use super::filter::{Place, split, unquoted};
use super::query::Query;
use super::refusal::Refusal;
use super::schema::{Database, Row, Table};
use super::value::Type;

/// One thing that was selected.
#[derive(Clone, Debug)]
pub(super) enum Item {
    All,
    Column { place: Place, alias: Option<String>, cast: Option<String> },
    Embed(Embed),
}

/// Rows of another table.
#[derive(Clone, Debug)]
pub(super) struct Embed {
    relation: String,
    alias: Option<String>,
    hint: Option<String>,
    /// Rows without any are left out.
    inner: bool,
    /// Its columns stand in the row itself.
    spread: bool,
    items: Vec<Item>,
}

impl Embed {
    /// What filters and orders call it.
    pub(super) fn name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.relation)
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }
}

/// How two tables hang together.
struct Join<'a> {
    table: &'a Table,
    own: String,
    theirs: String,
    /// One row at most: an object and not a list.
    single: bool,
    /// Through which table, and its two columns.
    through: Option<(&'a Table, String, String)>,
    constraint: String,
}

pub(super) fn parse(text: &str) -> Result<Vec<Item>, Refusal> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    split(text).iter().map(|piece| item(piece.trim(), text)).collect()
}

fn item(piece: &str, whole: &str) -> Result<Item, Refusal> {
    let fail = || Refusal::parse("select parameter", whole, whole.find(piece).unwrap_or_default() + 1);
    if piece == "*" {
        return Ok(Item::All);
    }
    let (spread, piece) = piece.strip_prefix("...").map_or((false, piece), |rest| (true, rest));
    let (head, inner) = match piece.split_once('(') {
        Some((head, rest)) => (head, Some(rest.strip_suffix(')').ok_or_else(fail)?)),
        None => (piece, None),
    };
    // A single colon separates the alias; a double one the cast.
    let colon = head.char_indices().find(|&(place, letter)| {
        let before = place.checked_sub(1).and_then(|before| head.as_bytes().get(before));
        letter == ':' && head.as_bytes().get(place + 1) != Some(&b':') && before != Some(&b':')
    });
    let (alias, head) = match colon {
        Some((place, _)) => {
            (Some(unquoted(head.get(..place).unwrap_or_default())), head.get(place + 1..).unwrap_or_default())
        }
        None => (None, head),
    };
    if let Some(inner) = inner {
        let mut words = head.split('!');
        let relation = unquoted(words.next().unwrap_or_default());
        let (mut join, mut hint) = (false, None);
        for word in words {
            match word {
                "inner" => join = true,
                "left" => join = false,
                other => hint = Some(other.to_owned()),
            }
        }
        if relation.is_empty() {
            return Err(fail());
        }
        return Ok(Item::Embed(Embed { relation, alias, hint, inner: join, spread, items: parse(inner)? }));
    }
    let (head, cast) =
        head.split_once("::").map_or((head, None), |(head, cast)| (head, Some(cast.to_owned())));
    let place = Place::parse(head);
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | ' ' | '$');
    if spread || place.column.is_empty() || (!head.starts_with('"') && !place.column.chars().all(plain)) {
        return Err(fail());
    }
    Ok(Item::Column { place, alias, cast })
}

/// Whether every column and relation exists, before any row is looked at.
pub(super) fn check(
    database: &Database,
    table: &Table,
    items: &[Item],
    query: &Query,
    path: &[String],
) -> Result<(), Refusal> {
    query.clauses(path).check(table)?;
    for item in items {
        match item {
            Item::All => {}
            Item::Column { place, cast, .. } => {
                place.kind(table)?;
                if let Some(cast) = cast.as_ref().filter(|cast| Type::parse(cast).is_none()) {
                    return Err(Refusal::new(400, "42704", format!("type \"{cast}\" does not exist")));
                }
            }
            Item::Embed(embed) => {
                let join = join(database, table, embed)?;
                check(database, join.table, &embed.items, query, &deeper(path, embed))?;
            }
        }
    }
    Ok(())
}

/// The row as selected, or `None` if an inner embed leaves it out.
pub(super) fn shape(
    database: &Database,
    table: &Table,
    row: &Row,
    items: &[Item],
    query: &Query,
    path: &[String],
) -> Result<Option<Row>, Refusal> {
    let mut out = Map::new();
    for item in items {
        match item {
            Item::All => out.extend(row.clone()),
            Item::Column { place, alias, cast } => {
                let mut value = place.of(row);
                if let Some(kind) = cast.as_deref().and_then(Type::parse) {
                    value = kind.cast(&value)?;
                }
                out.insert(alias.clone().unwrap_or_else(|| place.name()), value);
            }
            Item::Embed(embed) => {
                let join = join(database, table, embed)?;
                let path = deeper(path, embed);
                let clauses = query.clauses(&path);
                let mut rows = Vec::new();
                for other in clauses.apply(join.table, join.rows(row))? {
                    rows.extend(shape(database, join.table, &other, &embed.items, query, &path)?);
                }
                let rows = clauses.page(rows);
                if embed.inner && rows.is_empty() {
                    return Ok(None);
                }
                // `rel()` is there for its filter only.
                if embed.items.is_empty() {
                    continue;
                }
                if embed.spread {
                    spread(&mut out, embed, &join, &rows);
                } else if join.single {
                    out.insert(
                        embed.name().to_owned(),
                        rows.into_iter().next().map_or(Value::Null, Value::Object),
                    );
                } else {
                    out.insert(embed.name().to_owned(), rows.into_iter().map(Value::Object).collect());
                }
            }
        }
    }
    Ok(Some(out))
}

fn spread(out: &mut Row, embed: &Embed, join: &Join<'_>, rows: &[Row]) {
    let mut names: Vec<String> = Vec::new();
    for item in &embed.items {
        match item {
            Item::All => names.extend(join.table.columns.iter().map(|column| column.name.clone())),
            Item::Column { place, alias, .. } => names.push(alias.clone().unwrap_or_else(|| place.name())),
            Item::Embed(inner) => names.push(inner.name().to_owned()),
        }
    }
    for name in names {
        let of = |row: &Row| row.get(&name).cloned().unwrap_or_default();
        let value = if join.single {
            rows.first().map(of).unwrap_or_default()
        } else {
            rows.iter().map(of).collect()
        };
        out.insert(name, value);
    }
}

fn deeper(path: &[String], embed: &Embed) -> Vec<String> {
    path.iter().cloned().chain([embed.name().to_owned()]).collect()
}

impl Join<'_> {
    fn rows(&self, row: &Row) -> Vec<Row> {
        let own = row.get(&self.own).cloned().unwrap_or_default();
        if own.is_null() {
            return Vec::new();
        }
        let at = |column: &str, value: &Value| {
            let fits = |row: &&Row| row.get(column) == Some(value);
            self.table.rows.iter().filter(fits).cloned().collect::<Vec<_>>()
        };
        let Some((junction, left, right)) = &self.through else {
            return at(&self.theirs, &own);
        };
        let links = junction.rows.iter().filter(|link| link.get(left) == Some(&own));
        links.filter_map(|link| link.get(right)).flat_map(|value| at(&self.theirs, value)).collect()
    }
}

fn join<'a>(database: &'a Database, table: &'a Table, embed: &Embed) -> Result<Join<'a>, Refusal> {
    let mut found = candidates(database, table, &embed.relation);
    if let Some(hint) = &embed.hint {
        found.retain(|join| {
            join.constraint == *hint
                || join.own == *hint
                || join.theirs == *hint
                || join.through.as_ref().is_some_and(|(junction, _, _)| junction.name == *hint)
        });
    }
    match found.len() {
        1 => found.pop().ok_or_else(|| Refusal::new(500, "PGRST000", "lost")),
        0 => {
            let message = format!(
                "Could not find a relationship between '{}' and '{}' in the schema cache",
                table.name, embed.relation
            );
            let details = format!(
                "Searched for a foreign key relationship between '{}' and '{}' in the schema 'public', but no matches were found.",
                table.name, embed.relation
            );
            Err(Refusal::new(400, "PGRST200", message).details(details))
        }
        _ => {
            let message = format!(
                "Could not embed because more than one relationship was found for '{}' and '{}'",
                table.name, embed.relation
            );
            let details: Vec<Value> = found
                .iter()
                .map(|join| {
                    let cardinality = match (&join.through, join.single) {
                        (Some(_), _) => "many-to-many",
                        (None, true) => "many-to-one",
                        (None, false) => "one-to-many",
                    };
                    serde_json::json!({
                        "cardinality": cardinality,
                        "embedding": format!("{} with {}", table.name, join.table.name),
                        "relationship": format!("{} using {}({}) and {}({})", join.constraint, table.name, join.own, join.table.name, join.theirs),
                    })
                })
                .collect();
            let hint = format!(
                "Try changing '{0}' to one of the following: {1}. Find the desired relationship in the 'details' key.",
                embed.relation,
                found
                    .iter()
                    .map(|join| format!("'{}!{}'", embed.relation, join.constraint))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            Err(Refusal::new(300, "PGRST201", message).details(details).hint(hint))
        }
    }
}

fn candidates<'a>(database: &'a Database, table: &'a Table, relation: &str) -> Vec<Join<'a>> {
    let mut found = Vec::new();
    for foreign in &table.foreign {
        let constraint = foreign.name(&table.name);
        if foreign.table != relation && foreign.column != relation && constraint != relation {
            continue;
        }
        if let Some(target) = database.table(&foreign.table) {
            let (own, theirs) = (foreign.column.clone(), foreign.to.clone());
            found.push(Join { table: target, own, theirs, single: true, through: None, constraint });
        }
    }
    for other in &database.tables {
        for foreign in other.foreign.iter().filter(|foreign| foreign.table == table.name) {
            let constraint = foreign.name(&other.name);
            if other.name == relation || constraint == relation {
                let single = other.is_unique(&foreign.column);
                let (own, theirs) = (foreign.to.clone(), foreign.column.clone());
                found.push(Join { table: other, own, theirs, single, through: None, constraint });
            }
            // A junction has both of its foreign keys in its primary key.
            let ends =
                other.foreign.iter().filter(|end| end.column != foreign.column && end.table == relation);
            for end in ends.filter(|end| {
                other.primary_key.contains(&end.column) && other.primary_key.contains(&foreign.column)
            }) {
                if let Some(target) = database.table(&end.table) {
                    found.push(Join {
                        table: target,
                        own: foreign.to.clone(),
                        theirs: end.to.clone(),
                        single: false,
                        through: Some((other, foreign.column.clone(), end.column.clone())),
                        constraint: other.name.clone(),
                    });
                }
            }
        }
    }
    found
}
