use std::io::{self, Write};

use super::{MARK, Redactor};

/// An unfinished line longer than this is passed on in pieces.
pub(super) const MAX_LINE_BYTES: usize = 64 << 10;

/// Passes text on, line by line, without secrets.
///
/// An unfinished line is kept back, also by `flush`, because the rest of a secret may still come; it is passed on when
/// the writer is dropped, and in pieces when it grows beyond 64 KiB.
pub struct RedactingWriter<W: Write> {
    redactor: Redactor,
    pub(super) line: Vec<u8>,
    to: W,
}

/// Says nothing of the line that is kept back: it may hold a secret.
impl<W: Write> std::fmt::Debug for RedactingWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedactingWriter(..)")
    }
}

impl<W: Write> RedactingWriter<W> {
    /// Writes to `to` what `redactor` leaves over.
    pub fn new(to: W, redactor: Redactor) -> Self {
        Self { redactor, line: Vec::new(), to }
    }

    /// Passes on the first `end` bytes that are kept back, and a little more or less where a secret stands across.
    fn pass(&mut self, end: usize) -> io::Result<()> {
        let found = self.redactor.find(&self.line);
        let end =
            found.iter().find(|range| range.start < end && end < range.end).map_or(end, |range| range.start);
        let mut clean = Vec::with_capacity(end);
        let mut from = 0;
        for range in found.into_iter().take_while(|range| range.end <= end) {
            clean.extend_from_slice(self.line.get(from..range.start).unwrap_or_default());
            clean.extend_from_slice(MARK.as_bytes());
            from = range.end;
        }
        clean.extend_from_slice(self.line.get(from..end).unwrap_or_default());
        self.line.drain(..end);
        self.to.write_all(&clean)
    }
}

impl<W: Write> Write for RedactingWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(data);
        if let Some(last) = data.iter().rposition(|&byte| byte == b'\n') {
            self.pass(self.line.len() - data.len() + last + 1)?;
        }
        if self.line.len() > MAX_LINE_BYTES {
            // What is kept back is long enough for a secret that has only begun.
            let longest = self.redactor.finder().map_or(0, |finder| finder.longest);
            self.pass(self.line.len().saturating_sub(longest))?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl<W: Write> Drop for RedactingWriter<W> {
    fn drop(&mut self) {
        // Nobody is left to be told.
        let _lost = self.pass(self.line.len()).and_then(|()| self.to.flush());
    }
}
