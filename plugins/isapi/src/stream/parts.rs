//! Cutting an endless multipart answer into its parts while it arrives (`facts/isapi.md` 5.2).
//!
//! Terminals disagree about everything but the boundary: lengths may be missing, lines may end in LF, headers may be
//! repeated inside the body, and the last boundary never comes. So a JSON or XML part ends where its document does, a picture
//! after its `Content-Length`, and either of them at the next boundary at the latest. What is decided never depends on where
//! the network cut the bytes.

mod document;

use document::Scanner;

/// A JSON or XML part may have so many bytes.
pub(crate) const TEXT_LIMIT: usize = 256 * 1024;
/// A picture may have so many bytes.
pub(crate) const PICTURE_LIMIT: usize = 2 * 1024 * 1024;
/// A line of a header, or before the first boundary.
const LINE_LIMIT: usize = 8 * 1024;
/// Headers of one part, nested ones included.
const MAX_HEADERS: usize = 64;
/// RFC 2046 section 5.1.1 allows 70.
const BOUNDARY_LIMIT: usize = 200;

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// In order, trimmed; of a name that comes twice the last one counts.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Part {
    /// The last header of that name, ignoring ASCII case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Part(Part),
    /// A part of so many bytes, which is more than is taken.
    TooLarge(u64),
}

#[derive(Default)]
enum State {
    /// Before a boundary; what is here belongs to no part.
    #[default]
    Between,
    /// In the rest of a boundary's line.
    Boundary,
    /// In the headers of a part.
    Headers(Vec<(String, String)>),
    /// In a body that ends where its document does.
    Text(Vec<(String, String)>, Scanner),
    /// In a body that ends after so many bytes, or at the next boundary.
    Opaque(Vec<(String, String)>, Option<usize>),
    /// In a body that is too large; so many bytes of it are gone already.
    Skipping(u64),
}

/// The cutter. It holds at most one unfinished part.
#[derive(Default)]
pub(crate) struct Parts {
    /// Without the dashes in front. Learned from the first line that has any: what the answer's own headers say is absent
    /// or another one on some terminals.
    boundary: Option<Vec<u8>>,
    buffer: Vec<u8>,
    state: State,
    /// So many bytes of an unfinished body hold no boundary.
    looked: usize,
}

enum Step {
    /// Look again: something changed.
    On,
    /// Look again, and this was found.
    Found(Found),
    /// Nothing can be decided without more bytes.
    More,
}

impl Parts {
    /// The next bytes, and what is complete with them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Found> {
        self.buffer.extend_from_slice(bytes);
        let mut found = Vec::new();
        loop {
            match self.step() {
                Step::On => {}
                Step::Found(one) => found.push(one),
                Step::More => return found,
            }
        }
    }

    /// No more bytes come: what the missing last boundary would have ended.
    pub(crate) fn finish(mut self) -> Option<Found> {
        let body = std::mem::take(&mut self.buffer);
        if body.is_empty() {
            return None;
        }
        match self.state {
            State::Opaque(headers, None) => {
                let body = without_line_end(&body).to_vec();
                Some(Found::Part(Part { headers, body }))
            }
            State::Opaque(headers, Some(length)) if body.len() >= length => {
                let body = body.get(..length).unwrap_or_default().to_vec();
                Some(Found::Part(Part { headers, body }))
            }
            State::Opaque(..) | State::Between | State::Boundary | State::Headers(_) => None,
            // An unfinished document is told as it is, so that whoever reads it can say that it is torn.
            State::Text(headers, _) => Some(Found::Part(Part { headers, body })),
            State::Skipping(bytes) => Some(Found::TooLarge(bytes + body.len() as u64)),
        }
    }

    /// A picture without a length ends with the next boundary, which comes only with the next event. Called when nothing
    /// arrives for a while: a whole JPEG is taken as complete.
    pub(crate) fn settle(&mut self) -> Option<Found> {
        let body = without_line_end(&self.buffer);
        if !matches!(self.state, State::Opaque(_, None))
            || !body.starts_with(&[0xFF, 0xD8])
            || !body.ends_with(&[0xFF, 0xD9])
        {
            return None;
        }
        let body = body.to_vec();
        self.buffer.clear();
        self.looked = 0;
        match std::mem::take(&mut self.state) {
            State::Opaque(headers, _) => Some(Found::Part(Part { headers, body })),
            _ => None,
        }
    }

    /// Whether a part has begun and is not complete.
    pub(crate) fn is_inside(&self) -> bool {
        !matches!(self.state, State::Between)
    }

    fn step(&mut self) -> Step {
        match std::mem::take(&mut self.state) {
            State::Between => self.between(),
            State::Boundary => self.boundary_line(),
            State::Headers(headers) => self.headers(headers),
            State::Text(headers, scanner) => self.text(headers, scanner),
            State::Opaque(headers, length) => self.opaque(headers, length),
            State::Skipping(bytes) => self.skip(bytes),
        }
    }

    fn between(&mut self) -> Step {
        if let Some((_, after)) = self.delimiter(&self.buffer, Place::Anywhere) {
            self.buffer.drain(..after);
            self.state = State::Boundary;
            return Step::On;
        }
        if self.boundary.is_some() {
            // Only a boundary can begin something; enough is kept for one that is cut in two.
            let keep = self.buffer.len().min(self.token_length());
            self.buffer.drain(..self.buffer.len() - keep);
            return Step::More;
        }
        // The boundary is not known yet: the first line that begins with two dashes is one. Without any, documents follow
        // each other.
        let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.buffer.drain(..blank);
        if matches!(self.buffer.first(), Some(b'{' | b'[' | b'<')) {
            self.state = State::Text(Vec::new(), Scanner::default());
            return Step::On;
        }
        let Some(line) = take_line(&mut self.buffer) else { return Step::More };
        if let Some(name) = line.strip_prefix(b"--") {
            // A last boundary may be the first one that is seen.
            let (name, last) = name.strip_suffix(b"--").map_or((name, false), |name| (name, true));
            if (1..=BOUNDARY_LIMIT).contains(&name.len()) {
                self.boundary = Some(name.to_vec());
                if !last {
                    self.state = State::Headers(Vec::new());
                }
            }
        }
        Step::On
    }

    fn boundary_line(&mut self) -> Step {
        match take_line(&mut self.buffer) {
            None => {
                self.state = State::Boundary;
                Step::More
            }
            // Behind the last boundary comes nothing, as a rule; some go on all the same.
            Some(rest) if rest.starts_with(b"--") => Step::On,
            Some(_) => {
                self.state = State::Headers(Vec::new());
                Step::On
            }
        }
    }

    fn headers(&mut self, mut headers: Vec<(String, String)>) -> Step {
        // Some leave out the blank line.
        let begins = self.buffer.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
        let begins = begins.and_then(|place| self.buffer.get(place));
        if matches!(begins, Some(b'{' | b'<')) {
            self.state = State::Text(headers, Scanner::default());
            return Step::On;
        }
        // A part may have no body, and no blank line before the next one either.
        let token = self.token_length();
        let window = self.buffer.get(..self.buffer.len().min(token + 1)).unwrap_or_default();
        if let Some((0, after)) = self.delimiter(window, Place::LineStart) {
            self.buffer.drain(..after);
            self.state = State::Boundary;
            return Step::On;
        }
        let could_be = window.len() <= token
            && self.boundary.as_ref().is_some_and(|name| {
                let (dashes, begun) = window.split_at(window.len().min(2));
                b"--".starts_with(dashes) && name.starts_with(begun)
            });
        let line = if could_be { None } else { take_line(&mut self.buffer) };
        let Some(line) = line else {
            self.state = State::Headers(headers);
            return Step::More;
        };
        if line.is_empty() {
            return self.body(headers);
        }
        if let Some(header) = header_line(&line)
            && headers.len() < MAX_HEADERS
        {
            headers.push(header);
        }
        self.state = State::Headers(headers);
        Step::On
    }

    /// Behind the blank line: what kind of body is it?
    fn body(&mut self, headers: Vec<(String, String)>) -> Step {
        let content_type = header(&headers, "content-type").unwrap_or_default().to_ascii_lowercase();
        let length = header(&headers, "content-length").and_then(|text| text.trim().parse().ok());
        let is_text = content_type.contains("json") || content_type.contains("xml");
        if content_type.starts_with("image/") || content_type.contains("octet-stream") {
            self.state = State::Opaque(headers, length);
            return Step::On;
        }
        let blank = self.buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if blank >= LINE_LIMIT {
            return self.no_document(headers, length);
        }
        match self.buffer.get(blank) {
            None => self.later(headers),
            Some(b'{' | b'[' | b'<') => {
                self.buffer.drain(..blank);
                self.state = State::Text(headers, Scanner::default());
                Step::On
            }
            // Headers once more, inside the body.
            Some(byte) if byte.is_ascii_alphabetic() => {
                let line = self.buffer.get(blank..).unwrap_or_default();
                match line.iter().take(LINE_LIMIT).position(|byte| *byte == b'\n') {
                    Some(end) if header_line(&line[..end]).is_some() && headers.len() < MAX_HEADERS => {
                        self.buffer.drain(..blank);
                        self.state = State::Headers(headers);
                        Step::On
                    }
                    None if line.len() < LINE_LIMIT => self.later(headers),
                    _ => self.no_document(headers, length),
                }
            }
            _ if is_text => {
                self.state = State::Text(headers, Scanner::default());
                Step::On
            }
            _ => self.no_document(headers, length),
        }
    }

    /// The kind of body cannot be told yet: the blank line is put back, so that its beginning is reached again.
    fn later(&mut self, headers: Vec<(String, String)>) -> Step {
        self.buffer.insert(0, b'\n');
        self.state = State::Headers(headers);
        Step::More
    }

    fn no_document(&mut self, headers: Vec<(String, String)>, length: Option<usize>) -> Step {
        self.state = State::Opaque(headers, length);
        Step::On
    }

    fn text(&mut self, headers: Vec<(String, String)>, mut scanner: Scanner) -> Step {
        let whole = scanner.end_in(&self.buffer);
        let delimiter = self.delimiter(&self.buffer, Place::LineStart);
        let end = match (whole, delimiter) {
            (Some(end), Some((body, _))) if end <= body => Some((end, None)),
            (_, Some((body, after))) => Some((body, Some(after))),
            (Some(end), None) => Some((end, None)),
            (None, None) => None,
        };
        match end {
            Some((end, after)) if end <= TEXT_LIMIT => self.cut(headers, end, after),
            None if self.buffer.len() <= TEXT_LIMIT + self.slack() => {
                self.looked = self.buffer.len().saturating_sub(self.slack());
                self.state = State::Text(headers, scanner);
                Step::More
            }
            _ => self.begin_skipping(),
        }
    }

    fn opaque(&mut self, headers: Vec<(String, String)>, length: Option<usize>) -> Step {
        // Only a boundary that begins inside the promised length can end the part before it; then the length is wrong, and what
        // it would take of that boundary would hide the next part.
        let token = self.token_length();
        let within = length.unwrap_or(self.buffer.len());
        let reach = within.saturating_add(token).min(self.buffer.len());
        let window = self.buffer.get(..reach).unwrap_or_default();
        let inside = self
            .delimiter(window, Place::LineStart)
            .filter(|(_, after)| length.is_none() || after.saturating_sub(token) < within);
        let end = match (inside, length) {
            (Some((body, after)), _) => Some((body, Some(after))),
            (None, Some(length)) if self.buffer.len() >= length && !self.may_begin(window, length) => {
                Some((length, None))
            }
            (None, _) => None,
        };
        match end {
            Some((end, after)) if end <= PICTURE_LIMIT => self.cut(headers, end, after),
            None if self.buffer.len() <= PICTURE_LIMIT + self.slack() => {
                self.looked = self.buffer.len().saturating_sub(self.slack());
                self.state = State::Opaque(headers, length);
                Step::More
            }
            _ => self.begin_skipping(),
        }
    }

    /// A part that is complete: `end` bytes of body, and where a boundary ended it, what is behind the boundary.
    fn cut(&mut self, headers: Vec<(String, String)>, end: usize, after: Option<usize>) -> Step {
        let body = self.buffer.get(..end).unwrap_or_default().to_vec();
        self.buffer.drain(..after.unwrap_or(end));
        self.looked = 0;
        self.state = if after.is_some() { State::Boundary } else { State::Between };
        if body.is_empty() { Step::On } else { Step::Found(Found::Part(Part { headers, body })) }
    }

    fn begin_skipping(&mut self) -> Step {
        self.looked = 0;
        if self.boundary.is_none() {
            // Without boundaries there is nothing to find the way back by, except a new document.
            self.state = State::Between;
            let bytes = self.buffer.len() as u64;
            self.buffer.clear();
            return Step::Found(Found::TooLarge(bytes));
        }
        self.state = State::Skipping(0);
        Step::On
    }

    fn skip(&mut self, gone: u64) -> Step {
        if let Some((body, after)) = self.delimiter(&self.buffer, Place::Inside) {
            self.buffer.drain(..after);
            self.state = State::Boundary;
            return Step::Found(Found::TooLarge(gone + body as u64));
        }
        let drop = self.buffer.len().saturating_sub(self.slack());
        self.buffer.drain(..drop);
        self.state = State::Skipping(gone + drop as u64);
        Step::More
    }

    /// Whether a boundary may have begun before that place, of which not all is there yet.
    fn may_begin(&self, bytes: &[u8], before: usize) -> bool {
        let Some(name) = &self.boundary else { return false };
        let token = [b"--", name.as_slice()].concat();
        (bytes.len().saturating_sub(token.len())..before.min(bytes.len())).any(|at| {
            let (body, begun) = bytes.split_at(at);
            (body.is_empty() || body.ends_with(b"\n")) && token.starts_with(begun)
        })
    }

    /// What a delimiter takes at most: line end, dashes, name, one more byte.
    fn slack(&self) -> usize {
        self.token_length() + 3
    }

    fn token_length(&self) -> usize {
        self.boundary.as_ref().map_or(0, Vec::len) + 2
    }

    /// The first boundary in `bytes`: where the body before it ends, and where what is behind its name begins.
    fn delimiter(&self, bytes: &[u8], place: Place) -> Option<(usize, usize)> {
        let name = self.boundary.as_ref()?;
        let mut from = self.looked;
        while let Some(at) = find(bytes.get(from..)?, b"--").map(|at| at + from) {
            let after = at + 2 + name.len();
            // The byte behind tells a boundary from a longer word; without it nothing can be said yet.
            let fits = bytes.get(at + 2..after) == Some(name.as_slice())
                && matches!(bytes.get(after), Some(b'\r' | b'\n' | b'-' | b' ' | b'\t'));
            let begins = match place {
                Place::Anywhere => true,
                Place::LineStart if at == 0 => true,
                Place::LineStart | Place::Inside => at > 0 && bytes.get(at - 1) == Some(&b'\n'),
            };
            if fits && begins {
                let body = bytes.get(..at).unwrap_or_default();
                let body = body.strip_suffix(b"\n").unwrap_or(body);
                let body = body.strip_suffix(b"\r").unwrap_or(body);
                return Some((body.len(), after));
            }
            from = at + 1;
        }
        None
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    LineStart,
    /// At a line's start, and the first byte is none that is known of.
    Inside,
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The first line without its end, or what there is of it once it is longer than any line should be.
fn take_line(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = buffer.iter().take(LINE_LIMIT).position(|byte| *byte == b'\n');
    let taken = match end {
        Some(end) => end + 1,
        None if buffer.len() >= LINE_LIMIT => LINE_LIMIT,
        None => return None,
    };
    let line: Vec<u8> = buffer.drain(..taken).collect();
    Some(line.trim_ascii().to_vec())
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn header_line(line: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(line).ok()?;
    let (name, value) = text.split_once(':')?;
    let name = name.trim();
    let token = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    token.then(|| (name.to_owned(), value.trim().to_owned()))
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().rev().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests;
