//! What happens at the site on each day, beside its schedules: the same for the same seed.

use std::time::Duration;

use bascule_run::clock::later;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Seconds of a day.
pub(crate) const DAY: u32 = 86_400;
/// Passages that are new, a day.
const PASSAGES: u32 = 110;
/// Persons that are brought to terminals, a day.
const PERSONS: u32 = 12;
/// How often somebody drags a slider, and how many changes that makes.
const SLIDERS: (u32, u32) = (6, 4);
/// How often a door tells several events at once, a day.
const BURSTS: u32 = 30;
/// Files, a day.
const LETTERS: u32 = 2;

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Happening {
    /// A webhook whose run is waited for and measured.
    Passage { body: Value, again: bool },
    /// A webhook that is answered with the result.
    Person { body: Value, again: bool },
    /// A webhook that waits for more of its kind; `first` of them.
    Setting { body: Value, first: bool },
    /// A device tells these.
    Events(Vec<Value>),
    /// A file arrives.
    Letter(String),
    /// The folder is looked at.
    Look,
    /// The files of the day are taken away.
    Tidy,
}

/// The happenings of a day, in order.
pub(crate) fn day(seed: u64, number: u32, begin: Timestamp) -> Vec<(Timestamp, Happening)> {
    let mut random = Random::new(seed ^ u64::from(number) << 32);
    let mut all: Vec<(u32, Happening)> = Vec::new();
    for passage in 0..PASSAGES {
        let person = random.below(400);
        let body = json!({ "id": format!("passage-{number}-{passage}"), "person": format!("p-{person}"),
                           "door": format!("door-{}", random.below(8)) });
        let at = rush(&mut random);
        if random.below(100) < 12 {
            let again = Happening::Passage { body: body.clone(), again: true };
            all.push((at + 1 + random.below(600), again));
        }
        all.push((at, Happening::Passage { body, again: false }));
    }
    for person in 0..PERSONS {
        let terminals: Vec<String> =
            (0..4).map(|place| format!("t-{}", 1 + place * 5 + random.below(5))).collect();
        let body = json!({ "request": format!("person-{number}-{person}"),
                           "id": format!("p-{}", random.below(400)), "terminals": terminals });
        let at = rush(&mut random);
        if random.below(100) < 25 {
            let again = Happening::Person { body: body.clone(), again: true };
            all.push((at + 1 + random.below(300), again));
        }
        all.push((at, Happening::Person { body, again: false }));
    }
    let (sliders, changes) = SLIDERS;
    for slider in 0..sliders {
        let mut at = slider * (DAY / sliders) + 1 + random.below(DAY / sliders - 900);
        for change in 0..changes {
            let body = json!({ "terminal": format!("t-{slider}"), "volume": random.below(100) });
            all.push((at, Happening::Setting { body, first: change == 0 }));
            at += 1 + random.below(20);
        }
    }
    for burst in 0..BURSTS {
        let count = 2 + random.below(30);
        let events = (0..count).map(|event| {
            json!({ "serial": format!("{number}-{burst}-{event}"), "person": format!("p-{}", random.below(400)),
                    "door": "gate", "what": "face", "picture": "none" })
        });
        let events = events.collect();
        // Apart, so that no two of them become one batch.
        let at = burst * (DAY / BURSTS) + 1 + random.below(DAY / BURSTS - 60);
        all.push((at, Happening::Events(events)));
    }
    for letter in 0..LETTERS {
        let at = letter * (DAY / LETTERS) + 7 + random.below(DAY / LETTERS - 600);
        all.push((at, Happening::Letter(format!("letter-{number}-{letter}.csv"))));
        all.push((at + 6, Happening::Look));
    }
    all.push((DAY - 2, Happening::Tidy));
    // Schedules have the round instants to themselves.
    let apart = |second: u32| if second.is_multiple_of(60) { second + 1 } else { second };
    let mut all: Vec<_> = all
        .into_iter()
        .map(|(second, happening)| {
            let second = apart(second.min(DAY - 1));
            (later(begin, Duration::from_secs(u64::from(second))), happening)
        })
        .collect();
    all.sort_by_key(|(at, _)| *at);
    all
}

/// Most people come at eight and go at five.
fn rush(random: &mut Random) -> u32 {
    let hour = |from: u32, hours: u32, random: &mut Random| from * 3600 + random.below(hours * 3600);
    match random.below(10) {
        0..=3 => hour(7, 2, random),
        4..=6 => hour(16, 2, random),
        _ => hour(0, 23, random),
    }
}

/// SplitMix64: enough to choose instants and names, and the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From 0 (included) to `end` (excluded).
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let part = (mixed ^ mixed >> 31) >> 32;
        u32::try_from((part * u64::from(end)) >> 32).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_the_same_for_the_same_seed_and_in_order() {
        let one = day(7, 3, Timestamp::UNIX_EPOCH);
        assert_eq!(one, day(7, 3, Timestamp::UNIX_EPOCH));
        assert_ne!(one, day(8, 3, Timestamp::UNIX_EPOCH));
        assert!(one.windows(2).all(|two| two[0].0 <= two[1].0));
        let last = one.last().map(|(at, _)| at.as_second());
        assert!(last.is_some_and(|last| last <= i64::from(DAY)));
        let again =
            one.iter().filter(|(_, happening)| matches!(happening, Happening::Passage { again: true, .. }));
        assert!(again.count() > 3);
    }

    #[test]
    fn every_number_below_the_end_is_drawn() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 10];
        for _ in 0..1000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}
