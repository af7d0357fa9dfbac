//! What is recorded: segments on tracks, and their bytes, made from a seed whenever they are asked for.

use std::sync::LazyLock;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::habits::{Container, RecorderHabits};

/// Age of the segment that is being written, when the recorder starts.
const GROWING_SECONDS: i64 = 600;
/// How fast it grows, in bytes per second.
const GROWTH: u64 = 500;
/// The maker's header.
const IMKH_BYTES: u64 = 40;
/// A pack of the program stream with one packet of video.
const BLOCK_BYTES: usize = 64 << 10;
/// Noise without zeros, so that nothing in it looks like a start code; one block longer than what it is cut from.
const NOISE_BYTES: usize = 1 << 20;

static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..NOISE_BYTES + BLOCK_BYTES)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8 | 1
        })
        .collect()
});

/// One recorded file.
#[derive(Clone, Debug, Serialize)]
pub struct Segment {
    /// The channel's main track, e.g. 101.
    pub track: u32,
    /// The device's name for it, 17 digits.
    pub name: String,
    /// When it begins.
    pub start: Timestamp,
    /// When it ends; of a growing one, now.
    pub end: Timestamp,
    /// Its size now.
    pub bytes: u64,
    /// It is still being written.
    pub growing: bool,
    #[serde(skip)]
    seed: u64,
    #[serde(skip)]
    container: Container,
}

impl Segment {
    /// sha256 of its bytes as they are now, 64 lower-case hexadecimal digits. Takes time with large ones.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        let mut piece = vec![0; BLOCK_BYTES];
        let mut at = 0;
        while at < self.bytes {
            let room = usize::try_from(self.bytes - at).unwrap_or(usize::MAX).min(BLOCK_BYTES);
            if let Some(part) = piece.get_mut(..room) {
                self.fill(at, part);
                hash.update(part);
            }
            at += room as u64;
        }
        hex::encode(hash.finalize())
    }

    /// The same segment as if something else had been recorded.
    pub(crate) fn with_other_content(mut self) -> Self {
        self.seed = mix(self.seed ^ 1);
        self
    }

    /// Fills `into` with the bytes from `at` on.
    pub(crate) fn fill(&self, at: u64, into: &mut [u8]) {
        let header = if self.container == Container::Imkh { IMKH_BYTES } else { 0 };
        let mut done = 0;
        while done < into.len() {
            let place = at + done as u64;
            let rest = into.get_mut(done..).unwrap_or_default();
            let written = if place < header {
                copy(&imkh(), usize::try_from(place).unwrap_or_default(), rest)
            } else {
                let place = place - header;
                let (number, inside) = (place / BLOCK_BYTES as u64, place % BLOCK_BYTES as u64);
                copy(&self.block(number), usize::try_from(inside).unwrap_or_default(), rest)
            };
            done += written;
        }
        self.finish(at, into);
    }

    /// A finished program stream ends with an end code.
    fn finish(&self, at: u64, into: &mut [u8]) {
        if self.growing || self.container == Container::Noise || self.bytes < 4 {
            return;
        }
        for (place, byte) in (self.bytes - 4..).zip([0, 0, 1, 0xb9]) {
            let inside = place.checked_sub(at).and_then(|inside| usize::try_from(inside).ok());
            if let Some(held) = inside.and_then(|inside| into.get_mut(inside)) {
                *held = byte;
            }
        }
    }

    fn block(&self, number: u64) -> Vec<u8> {
        let mixed = mix(self.seed ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let offset = usize::try_from(mixed % NOISE_BYTES as u64).unwrap_or_default();
        let mut block = NOISE.get(offset..offset + BLOCK_BYTES).unwrap_or_default().to_vec();
        // What the noise has in several blocks is told apart by these.
        let mark: Vec<u8> =
            mixed.to_be_bytes().into_iter().chain(number.to_be_bytes()).map(|b| b | 1).collect();
        if self.container != Container::Noise {
            let mut head = Vec::with_capacity(48);
            // Pack header (ISO/IEC 13818-1, 2.5.3.3) with a clock that runs with the blocks.
            head.extend([0, 0, 1, 0xba]);
            let clock = number.wrapping_mul(3_600) & 0x3_ffff_ffff;
            let byte = |value: u64| (value & 0xff) as u8;
            head.extend([
                0x44 | byte((clock >> 27) & 0x38) | byte((clock >> 28) & 0x03),
                byte(clock >> 20),
                0x04 | byte((clock >> 12) & 0xf8) | byte((clock >> 13) & 0x03),
                byte(clock >> 5),
                0x04 | byte((clock << 3) & 0xf8),
                0x01,
                0x01,
                0x89,
                0xc3,
                0xf8,
            ]);
            // One packet of video that fills the block.
            let rest = u16::try_from(BLOCK_BYTES - head.len() - 6).unwrap_or(u16::MAX);
            head.extend([0, 0, 1, 0xe0]);
            head.extend(rest.to_be_bytes());
            head.extend([0x80, 0x00, 0x00]);
            head.extend(&mark);
            copy(&head, 0, &mut block);
        } else {
            copy(&mark, 0, &mut block);
        }
        block
    }
}

/// The segments of one track, oldest first, as they are at `now`; `birth` is when the recorder started.
pub(crate) fn segments(
    habits: &RecorderHabits,
    seed: u64,
    track: u32,
    birth: Timestamp,
    now: Timestamp,
) -> Vec<Segment> {
    let at = |base: Timestamp, seconds: i64| {
        base.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::UNIX_EPOCH)
    };
    let length = i64::from(habits.segment_seconds.max(1));
    let count = i64::from(habits.segments);
    let mut segments = Vec::new();
    for index in 0..=count {
        let growing = index == count;
        if growing && !habits.growing {
            break;
        }
        let start = at(birth, -GROWING_SECONDS - (count - index) * length);
        let bytes = if growing {
            let age = u64::try_from(now.duration_since(start).as_secs()).unwrap_or_default();
            age * GROWTH
        } else {
            habits.segment_bytes + u64::try_from(index).unwrap_or_default() * 1_777 + u64::from(track)
        };
        segments.push(Segment {
            track,
            name: format!("{:08}{track:05}{index:04}", seed % 100_000_000),
            start,
            end: if growing { now } else { at(start, length) },
            bytes,
            growing,
            seed: mix(seed ^ u64::from(track) << 32 ^ u64::try_from(index).unwrap_or_default()),
            container: habits.container,
        });
    }
    segments
}

/// Copies from `from[at..]` as much as fits and returns how much.
fn copy(from: &[u8], at: usize, into: &mut [u8]) -> usize {
    let from = from.get(at..).unwrap_or_default();
    let room = from.len().min(into.len());
    if let (Some(to), Some(from)) = (into.get_mut(..room), from.get(..room)) {
        to.copy_from_slice(from);
    }
    room
}

fn imkh() -> [u8; 40] {
    let mut header = [0; 40];
    header[..4].copy_from_slice(b"IMKH");
    // Version, the kind of stream (2: program stream) and of video (H.264), as recorders write them.
    header[4..12].copy_from_slice(&[1, 1, 0, 0, 2, 0, 0, 1]);
    header
}

/// splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(container: Container) -> Vec<Segment> {
        let habits = RecorderHabits { container, ..RecorderHabits::default() };
        let birth = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1_000);
        segments(&habits, 7, 101, birth, birth + SignedDuration::from_secs(5))
    }

    #[test]
    fn bytes_are_the_same_in_whatever_pieces_they_are_made() {
        for container in [Container::Imkh, Container::Ps, Container::Noise] {
            let segment = some(container).remove(2);
            let mut whole = vec![0; usize::try_from(segment.bytes).unwrap_or_default()];
            segment.fill(0, &mut whole);
            let mut pieces = vec![0; whole.len()];
            for (number, piece) in pieces.chunks_mut(997).enumerate() {
                segment.fill(number as u64 * 997, piece);
            }
            assert!(whole == pieces, "{container:?}");
            assert_eq!(hex::encode(Sha256::digest(&whole)), segment.sha256());
        }
    }

    #[test]
    fn a_recording_is_a_program_stream_behind_the_makers_header() {
        let segment = some(Container::Imkh).remove(0);
        let mut whole = vec![0; usize::try_from(segment.bytes).unwrap_or_default()];
        segment.fill(0, &mut whole);
        assert_eq!(whole.get(..4), Some(b"IMKH".as_slice()));
        assert_eq!(whole.get(40..44), Some([0, 0, 1, 0xba].as_slice()));
        assert_eq!(whole.get(40 + BLOCK_BYTES..44 + BLOCK_BYTES), Some([0, 0, 1, 0xba].as_slice()));
        assert!(whole.ends_with(&[0, 0, 1, 0xb9]));
    }

    #[test]
    fn segments_follow_each_other_differ_and_the_last_grows() {
        let all = some(Container::Imkh);
        assert_eq!(all.len(), 7);
        for pair in all.windows(2) {
            assert_eq!(pair[0].end, pair[1].start);
            assert_ne!(pair[0].sha256(), pair[1].sha256());
        }
        assert!(all.last().is_some_and(|last| last.growing && last.bytes == 605 * GROWTH));
    }
}
