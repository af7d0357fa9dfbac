//! What a plugin says while it works: log lines and progress, bounded and made harmless.

use std::sync::{Arc, Mutex, PoisonError};

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the plugin's author.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    /// `debug`, `info`, `warn`, `error`
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// One thing that a plugin said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A log line: one line, no control characters, at most 16 KiB.
    Log {
        /// Level.
        level: Level,
        /// The line.
        message: String,
    },
    /// Progress.
    Progress {
        /// So far.
        done: u64,
        /// Of how many, where known.
        total: Option<u64>,
        /// Of what, e.g. `bytes`.
        unit: String,
    },
}

/// Hears reports, on whatever thread they arise; must not block.
pub type Listener = Arc<dyn Fn(Report) + Send + Sync>;

const LONGEST_LINE: usize = 16 * 1024;

/// Everything one call says.
pub(crate) struct Speech {
    listener: Listener,
    most: usize,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    bytes: usize,
    dropped: u64,
    /// What stdout and stderr hold of a line without its end.
    partial: [String; 2],
}

/// A standard stream of a WASI guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

impl Speech {
    pub(crate) fn new(listener: Listener, most: usize) -> Self {
        Self { listener, most, said: Mutex::default() }
    }

    /// Passes a line on, or counts it as dropped once the call has said too much.
    pub(crate) fn line(&self, level: Level, message: &str) {
        let first_dropped = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            said.bytes = said.bytes.saturating_add(message.len().max(1));
            if said.bytes <= self.most {
                false
            } else {
                said.dropped += 1;
                if said.dropped > 1 {
                    return;
                }
                true
            }
        };
        if first_dropped {
            self.say(
                Level::Warn,
                format!(
                    "host:log-flood: more than {} KiB of log lines; the rest is dropped",
                    self.most / 1024
                ),
            );
        } else {
            self.say(level, escape(message, LONGEST_LINE));
        }
    }

    pub(crate) fn progress(&self, done: u64, total: Option<u64>, unit: &str) {
        (self.listener)(Report::Progress { done, total, unit: escape(unit, 40) });
    }

    /// Takes bytes of a standard stream; whole lines become log lines.
    pub(crate) fn bytes(&self, stream: Stream, bytes: &[u8]) {
        let mut lines = Vec::new();
        {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            let partial = &mut said.partial[stream as usize];
            partial.push_str(&String::from_utf8_lossy(bytes));
            if let Some(end) = partial.rfind('\n') {
                let rest = partial.split_off(end + 1);
                let whole = std::mem::replace(partial, rest);
                lines.extend(whole.lines().map(ToOwned::to_owned));
            }
            if partial.len() > LONGEST_LINE {
                lines.push(std::mem::take(partial));
            }
        }
        for line in lines {
            self.line(stream.level(), &line);
        }
    }

    /// Says what is left when the call has ended.
    pub(crate) fn finish(&self) {
        let rests = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut said.partial)
        };
        for (stream, rest) in [Stream::Out, Stream::Err].into_iter().zip(rests) {
            if !rest.is_empty() {
                self.line(stream.level(), &rest);
            }
        }
        let dropped = self.said.lock().unwrap_or_else(PoisonError::into_inner).dropped;
        if dropped > 0 {
            self.say(Level::Warn, format!("host:log-flood: {dropped} log lines were dropped"));
        }
    }

    fn say(&self, level: Level, message: String) {
        (self.listener)(Report::Log { level, message });
    }
}

impl Stream {
    fn level(self) -> Level {
        match self {
            Self::Out => Level::Info,
            Self::Err => Level::Warn,
        }
    }
}

/// Makes one harmless line of a text that came from outside: control characters (C0, C1, line separators, direction
/// overrides) are written as escapes, and what is longer than `most` bytes is cut.
pub(crate) fn escape(text: &str, most: usize) -> String {
    let mut safe = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        if safe.len() >= most {
            safe.push('…');
            break;
        }
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}' => {
                safe.extend(c.escape_unicode())
            }
            c if c.is_control() => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    type Heard = Arc<Mutex<Vec<Report>>>;

    fn heard(most: usize) -> (Speech, Heard) {
        let heard = Heard::default();
        let listener = {
            let heard = heard.clone();
            Arc::new(move |report| heard.lock().unwrap_or_else(PoisonError::into_inner).push(report))
        };
        (Speech::new(listener, most), heard)
    }

    fn lines(heard: &Heard) -> Vec<String> {
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard
            .iter()
            .map(|report| match report {
                Report::Log { message, .. } => message.clone(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_forged_line_stays_one_line() {
        assert_eq!(
            escape("a\n2026 ERROR \u{1b}[31mfake\u{9b}x\u{202e}y", 100),
            r"a\n2026 ERROR \u{1b}[31mfake\u{9b}x\u{202e}y"
        );
        for c in (0..0x20).chain(0x7f..0xa0).filter_map(char::from_u32) {
            assert!(!escape(&format!("a{c}b"), 100).contains(c));
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(escape("ääää", 4), "ää…");
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let (speech, heard) = heard(2048);
        for _ in 0..100 {
            speech.line(Level::Info, &"x".repeat(100));
        }
        speech.finish();
        let lines = lines(&heard);
        assert_eq!(lines.len(), 22);
        assert!(lines[20].starts_with("host:log-flood: more than 2 KiB"));
        assert_eq!(lines[21], "host:log-flood: 80 log lines were dropped");
    }

    #[test]
    fn standard_output_becomes_lines() {
        let (speech, heard) = heard(2048);
        speech.bytes(Stream::Out, b"one\r\ntw");
        speech.bytes(Stream::Err, b"oh");
        speech.bytes(Stream::Out, b"o\nthree");
        speech.finish();
        assert_eq!(lines(&heard), ["one", "two", "three", "oh"]);
    }
}
