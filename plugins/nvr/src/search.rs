//! Searching a recorder: the form that it takes, all pages, the meaning of its times, and what is new.

use std::collections::HashSet;

use bascule_sdk::{Error, ErrorKind, Peer, log};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::bindings::exports::bascule::nvr::recordings::{Found, Meaning, Segment};
use crate::clock::{self, Clock};
use crate::device;
use crate::dialect::{self, DIALECTS, Dialect, Match, Page, Question};
use crate::keep::Memory;
use crate::reply;

/// What the recorder's own web page asks for.
const PAGE_SIZE: u32 = 40;
/// Pages of one search, and starts of it.
const MAX_PAGES: usize = 5_000;
/// A segment that ended so long ago does not grow any more.
const SETTLE_SECONDS: u32 = 300;
/// Tracks that are looked at to settle what `Z` means.
const PROBED_TRACKS: usize = 4;

/// What `search` was asked for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) end: String,
    pub(crate) begin: Option<String>,
    pub(crate) hours: Option<u32>,
    pub(crate) channels: Option<Vec<u32>>,
    pub(crate) tracks: Option<Vec<u32>>,
    pub(crate) settle_seconds: Option<u32>,
    pub(crate) not_done: Option<String>,
}

/// A recorder that is being searched.
pub(crate) struct Searching<'a> {
    recorder: &'a dyn Peer,
    memory: &'a dyn Memory,
    seed: String,
    searches: usize,
    /// The form that worked.
    dialect: Option<Dialect>,
}

impl<'a> Searching<'a> {
    pub(crate) fn new(recorder: &'a dyn Peer, memory: &'a dyn Memory, seed: String) -> Self {
        Self { recorder, memory, seed, searches: 0, dialect: None }
    }

    pub(crate) fn run(&mut self, wanted: &Wanted) -> Result<Found, Error> {
        let moment = |text: &str, name: &str| {
            text.parse::<Timestamp>()
                .map_err(|error| Error::invalid_input(format!("`{name}` is no instant: {error}")))
        };
        let end = moment(&wanted.end, "end")?;
        let begin = match (&wanted.begin, wanted.hours) {
            (Some(begin), None) => moment(begin, "begin")?,
            (None, Some(hours)) => {
                end.saturating_sub(SignedDuration::from_hours(hours.into())).unwrap_or(end)
            }
            _ => return Err(Error::invalid_input("give either `begin` or `hours`")),
        };
        if begin >= end {
            return Err(Error::invalid_input("`begin` is not before `end`"));
        }
        let tracks = self.tracks(wanted)?;
        let clock = self.clock_by(&tracks)?;
        let settle = SignedDuration::from_secs(wanted.settle_seconds.unwrap_or(SETTLE_SECONDS).into());
        let mut found = Found { segments: Vec::new(), growing: 0, done: 0, clock: clock.told() };
        let mut searched = 0;
        for track in &tracks {
            for one in self.all(*track, &clock.written(begin), &clock.written(end))? {
                let segment = segment(&one, *track, &clock)?;
                let (from, to) = (moment(&segment.begin, "begin")?, moment(&segment.end, "end")?);
                if to <= begin || from >= end {
                    continue;
                }
                if to > clock.now.saturating_sub(settle).unwrap_or(clock.now) {
                    found.growing += 1;
                } else if self.is_done(wanted.not_done.as_deref(), &segment.id)? {
                    found.done += 1;
                } else {
                    found.segments.push(segment);
                }
            }
            searched += 1;
            log::progress(searched, Some(tracks.len() as u64), "tracks");
        }
        found.segments.sort_by(|one, two| (&one.stem, one.track).cmp(&(&two.stem, two.track)));
        Ok(found)
    }

    /// The clock, with the meaning of `Z` remembered or measured.
    pub(crate) fn clock(&mut self) -> Result<Clock, Error> {
        let tracks = self.tracks(&Wanted::default())?;
        self.clock_by(&tracks)
    }

    fn tracks(&self, wanted: &Wanted) -> Result<Vec<u32>, Error> {
        let mut tracks = wanted.tracks.clone().unwrap_or_default();
        tracks.extend(
            wanted.channels.iter().flatten().map(|channel| channel.saturating_mul(100).saturating_add(1)),
        );
        if wanted.tracks.is_none() && wanted.channels.is_none() {
            // The main track of each channel: the others hold the same again, or pictures.
            tracks =
                device::tracks(self.recorder)?.into_iter().map(|t| t.id).filter(|id| id % 100 == 1).collect();
        }
        let mut seen = HashSet::new();
        tracks.retain(|track| seen.insert(*track));
        Ok(tracks)
    }

    fn clock_by(&mut self, tracks: &[u32]) -> Result<Clock, Error> {
        let mut clock = clock::read(self.recorder)?;
        let key = format!("clock/{}", self.recorder.origin());
        if let Some(known) = self.memory.recall(&key)?
            && known["zone"].as_str() == Some(clock.label.as_str())
            && let Some(z @ ("local" | "utc")) = known["z"].as_str()
        {
            clock.z = if z == "utc" { Meaning::Utc } else { Meaning::Local };
            clock.measured = true;
            return Ok(clock);
        }
        let (begin, end) = clock.lately();
        let mut ends = Vec::new();
        for track in tracks.iter().take(PROBED_TRACKS) {
            ends.extend(self.all(*track, &begin, &end)?.into_iter().map(|one| one.end));
        }
        if clock.settle(&ends) {
            let z = if clock.z == Meaning::Utc { "utc" } else { "local" };
            let now = clock.instant(clock.now);
            self.memory.remember(&key, &json!({ "z": z, "zone": clock.label, "measured_at": now }))?;
        } else {
            log::warn(
                "nothing was recorded lately, so that the recorder's times are taken for its local time",
            );
        }
        Ok(clock)
    }

    fn is_done(&self, recorder: Option<&str>, segment: &str) -> Result<bool, Error> {
        recorder.map_or(Ok(false), |recorder| Ok(self.memory.recall(&done_key(recorder, segment))?.is_some()))
    }

    /// Every match between two times, as the recorder writes them.
    fn all(&mut self, track: u32, begin: &str, end: &str) -> Result<Vec<Match>, Error> {
        let (dialect, id, first) = self.first(track, begin, end)?;
        let mut pages =
            Pages { dialect, flipped: false, begin: begin.to_owned(), restarted: false, id, position: 0 };
        let (mut matches, mut seen) = (Vec::new(), HashSet::new());
        let mut page = first;
        for _ in 0..MAX_PAGES {
            let (count, last) = (page.matches.len(), page.matches.last().map(|one| one.begin.clone()));
            let known = seen.len();
            for one in page.matches {
                // Not by the address: the size in it grows.
                if one.track.is_none_or(|told| told == track)
                    && seen.insert((one.begin.clone(), one.parameter("name").map(str::to_owned)))
                {
                    matches.push(one);
                }
            }
            if !page.more || count == 0 {
                return Ok(matches);
            }
            let advanced = seen.len() > known;
            if advanced && pages.flipped && !pages.restarted {
                self.learn(pages.dialect)?;
            }
            self.turn(&mut pages, advanced, count, last)?;
            page = self.next(track, end, &mut pages)?;
        }
        Err(Error::protocol("the recorder's search does not end").code("nvr:search-repeats"))
    }

    /// Where the next page begins. A page that brought nothing new is asked for with the other spelling of the position, then by
    /// starting anew from the last match; a third time it is an error.
    fn turn(
        &mut self,
        pages: &mut Pages,
        advanced: bool,
        count: usize,
        last: Option<String>,
    ) -> Result<(), Error> {
        if pages.restarted || (!advanced && pages.flipped) {
            let last = last.unwrap_or_default();
            if pages.restarted && !advanced && last <= pages.begin {
                let text = "the recorder says that there is more and sends the same page again";
                return Err(Error::protocol(text).code("nvr:search-repeats"));
            }
            pages.restarted = true;
            pages.begin = last;
            pages.position = 0;
            pages.id = self.fresh_id();
        } else if advanced {
            pages.position += count;
        } else {
            pages.flipped = true;
            pages.dialect.correct = !pages.dialect.correct;
        }
        Ok(())
    }

    fn next(&mut self, track: u32, end: &str, pages: &mut Pages) -> Result<Page, Error> {
        let answer = self.ask(track, end, pages);
        let Err(error) = answer else { return answer };
        let forgotten = ["nvr:invalidSearchConditions", "nvr:noSearchIDResource", "nvr:searchTimeout"];
        if error.code.as_deref().is_some_and(|code| forgotten.contains(&code)) {
            // The recorder forgot the search.
            pages.id = self.fresh_id();
            return self.ask(track, end, pages);
        }
        if error.kind == ErrorKind::InvalidInput && pages.flipped && !pages.restarted {
            // It does not take the other spelling; what it takes brings nothing new, so that it is started anew.
            pages.dialect.correct = !pages.dialect.correct;
            return self.ask(track, end, pages);
        }
        Err(error)
    }

    fn ask(&self, track: u32, end: &str, pages: &Pages) -> Result<Page, Error> {
        let question = Question {
            track,
            begin: &pages.begin,
            end,
            id: &pages.id,
            position: pages.position,
            most: PAGE_SIZE,
        };
        dialect::page(&reply::ask(self.recorder, pages.dialect.request(&question))?)
    }

    /// The first page, in the first form of search that the recorder takes.
    fn first(&mut self, track: u32, begin: &str, end: &str) -> Result<(Dialect, String, Page), Error> {
        if self.dialect.is_none() {
            let known = self.memory.recall(&self.key())?;
            self.dialect = known.and_then(|known| serde_json::from_value(known).ok());
        }
        let known = self.dialect;
        let others = DIALECTS.iter().copied().filter(|dialect| Some(*dialect) != known);
        let mut objection = None;
        for dialect in known.into_iter().chain(others) {
            let id = self.fresh_id();
            let pages =
                Pages { dialect, flipped: false, begin: begin.to_owned(), restarted: false, id, position: 0 };
            match self.ask(track, end, &pages) {
                Ok(page) => {
                    if known != Some(dialect) {
                        self.learn(dialect)?;
                    }
                    return Ok((dialect, pages.id, page));
                }
                // statusCode 5 or 6, or HTTP 400: it does not like the form.
                Err(error) if error.kind == ErrorKind::InvalidInput => objection = Some(error),
                Err(error) => return Err(error),
            }
        }
        let mut error = objection.unwrap_or_else(|| Error::internal("there is no form of search"));
        error.message = format!("the recorder takes none of the known forms of search: {}", error.message);
        error.kind = ErrorKind::Unsupported;
        Err(error)
    }

    fn learn(&mut self, dialect: Dialect) -> Result<(), Error> {
        if self.dialect != Some(dialect) {
            self.dialect = Some(dialect);
            self.memory.remember(&self.key(), &json!(dialect))?;
        }
        Ok(())
    }

    fn key(&self) -> String {
        format!("search/{}", self.recorder.origin())
    }

    /// A new UUID (FNV-1a over the seed, twice): recorders keep a search under its id.
    fn fresh_id(&mut self) -> String {
        self.searches += 1;
        let half = |salt: u64| {
            let start = 0xcbf2_9ce4_8422_2325 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let bytes = self.seed.bytes().chain(self.searches.to_le_bytes());
            bytes.fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
        };
        let digits = (u128::from(half(1)) << 64) | u128::from(half(2));
        let digits = digits & !(0xf_u128 << 76) & !(0x3_u128 << 62) | 0x4_u128 << 76 | 0x2_u128 << 62;
        let text = format!("{digits:032X}");
        let (one, rest) = text.split_at(8);
        let (two, rest) = rest.split_at(4);
        let (three, rest) = rest.split_at(4);
        let (four, five) = rest.split_at(4);
        format!("{one}-{two}-{three}-{four}-{five}")
    }
}

/// Where a search is.
struct Pages {
    dialect: Dialect,
    /// The other spelling of the position has been tried.
    flipped: bool,
    begin: String,
    /// The position is of no use: each page starts a new search where the last one ended.
    restarted: bool,
    id: String,
    position: usize,
}

pub(crate) fn mark_done(
    memory: &dyn Memory,
    recorder: &str,
    segment: &str,
    file: &str,
    now: &str,
) -> Result<(), Error> {
    memory.remember(&done_key(recorder, segment), &json!({ "file": file, "at": now }))
}

fn done_key(recorder: &str, segment: &str) -> String {
    format!("done/{recorder}/{segment}")
}

fn segment(one: &Match, track: u32, clock: &Clock) -> Result<Segment, Error> {
    let (Some(begin), Some(end)) = (clock.meant(&one.begin), clock.meant(&one.end)) else {
        let times = json!({ "startTime": one.begin, "endTime": one.end });
        return Err(Error::protocol("the recorder wrote a time that cannot be read").details(&times));
    };
    let compact = |moment: Timestamp| clock.local(moment).strftime("%Y%m%dT%H%M%S").to_string();
    let name = one.parameter("name").map(str::to_owned);
    // Names are used again when a file is overwritten, so the begin belongs to the id.
    let id = match &name {
        Some(name) => format!("{track}-{}-{name}", begin.strftime("%Y%m%dT%H%M%SZ")),
        None => format!("{track}-{}", begin.strftime("%Y%m%dT%H%M%SZ")),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    Ok(Segment {
        id: id.chars().map(|c| if plain(c) { c } else { '_' }).take(200).collect(),
        channel: track / 100,
        track,
        begin: clock.instant(begin),
        end: clock.instant(end),
        day: clock.local(begin).strftime("%Y-%m-%d").to_string(),
        stem: format!("{}-{}", compact(begin), compact(end)),
        name,
        bytes: one.parameter("size").and_then(|size| size.parse().ok()),
        playback_uri: one.uri.clone(),
        codec: one.codec.clone(),
        reason: one.reason.clone(),
        locked: one.locked,
    })
}

#[cfg(test)]
mod tests;
