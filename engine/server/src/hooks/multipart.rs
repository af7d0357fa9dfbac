//! `multipart/form-data` and `multipart/mixed` (RFC 7578, RFC 2046), as browsers and as terminals write it: line ends
//! may be LF alone, the blank line before a body may be missing, a part may have no name (`facts/isapi.md` 5.4).
//!
//! The body is in memory already, so parts are slices of it.

/// Most parts of one body.
const MAX_PARTS: usize = 256;
/// Most bytes of the headers of one part.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// RFC 2046 section 5.1.1 says 70.
const MAX_BOUNDARY_BYTES: usize = 200;

/// One part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part<'b> {
    /// `name=` of its disposition.
    pub(crate) name: Option<String>,
    /// `filename=` of its disposition.
    pub(crate) file_name: Option<String>,
    /// Without parameters, lower case.
    pub(crate) content_type: Option<String>,
    pub(crate) data: &'b [u8],
}

/// The boundary of a `Content-Type`.
pub(crate) fn boundary(content_type: &str) -> Result<String, String> {
    let found = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
    let boundary = found.ok_or("`Content-Type` names no boundary")?;
    if boundary.len() > MAX_BOUNDARY_BYTES {
        return Err(format!("the boundary is longer than {MAX_BOUNDARY_BYTES} bytes"));
    }
    Ok(boundary)
}

/// Reads all parts.
///
/// # Errors
/// What is wrong, in one sentence.
pub(crate) fn parse<'b>(body: &'b [u8], boundary: &str) -> Result<Vec<Part<'b>>, String> {
    let delimiter = format!("--{boundary}").into_bytes();
    let mut at = next(body, 0, &delimiter).ok_or("the boundary does not stand in the body")?.1;
    let mut parts = Vec::new();
    while let Some(rest) = body.get(at..) {
        if rest.starts_with(b"--") || rest.iter().all(u8::is_ascii_whitespace) {
            break;
        }
        if parts.len() >= MAX_PARTS {
            return Err(format!("more than {MAX_PARTS} parts"));
        }
        // Blanks behind the delimiter, then its line end.
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let begin = at + blanks + line_end(rest.get(blanks..).unwrap_or_default());
        let (headers, from) = headers(body, begin)?;
        let (to, after) = match by_length(body, from, &headers, &delimiter) {
            Some(end) => end,
            // Cut off without a last boundary: the rest is the last part.
            None => next(body, from, &delimiter).unwrap_or((body.len(), body.len())),
        };
        parts.push(Part {
            name: headers.disposition("name"),
            file_name: headers.disposition("filename"),
            content_type: headers
                .get("content-type")
                .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()),
            data: body.get(from..to.max(from)).unwrap_or_default(),
        });
        at = after;
    }
    Ok(parts)
}

/// Where the next delimiter line begins (its line end before it left out) and where it ends.
fn next(body: &[u8], from: usize, delimiter: &[u8]) -> Option<(usize, usize)> {
    let mut search = from;
    loop {
        let found = search + find(body.get(search..)?, delimiter)?;
        let end = found + delimiter.len();
        let before = body.get(from..found).unwrap_or_default();
        let fits = matches!(body.get(end), None | Some(b'\r' | b'\n' | b'-' | b' ' | b'\t'));
        if fits && (before.is_empty() || before.ends_with(b"\n")) {
            let cut = if before.ends_with(b"\r\n") { 2 } else { usize::from(before.ends_with(b"\n")) };
            return Some((found - cut, end));
        }
        search = found + 1;
    }
}

/// `Content-Length` of the part, believed where a delimiter follows.
fn by_length(body: &[u8], from: usize, headers: &Headers, delimiter: &[u8]) -> Option<(usize, usize)> {
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let to = from.checked_add(length)?;
    let rest = body.get(to..)?;
    let skipped = line_end(rest);
    let found = skipped > 0 && rest.get(skipped..)?.starts_with(delimiter);
    found.then_some((to, to + skipped + delimiter.len()))
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|window| window == needle)
}

fn line_end(rest: &[u8]) -> usize {
    if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) }
}

#[derive(Default)]
struct Headers(Vec<(String, String)>);

impl Headers {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn disposition(&self, name: &str) -> Option<String> {
        parameter(self.get("content-disposition")?, name).filter(|value| !value.is_empty())
    }
}

/// The headers that begin at `from`, and where the body begins: behind the blank line, or at the first line that is
/// no header.
fn headers(body: &[u8], from: usize) -> Result<(Headers, usize), String> {
    let mut headers = Headers::default();
    let mut at = from;
    loop {
        let rest = body.get(at..).unwrap_or_default();
        if at - from > MAX_HEADER_BYTES {
            return Err(format!("the headers of a part are longer than {MAX_HEADER_BYTES} bytes"));
        }
        let end = line_end(rest);
        if end > 0 {
            return Ok((headers, at + end));
        }
        let Some(length) = rest.iter().take(MAX_HEADER_BYTES).position(|byte| *byte == b'\n') else {
            return Ok((headers, at));
        };
        let line = rest.get(..length).unwrap_or_default();
        let Some((name, value)) = header(line) else {
            return Ok((headers, at));
        };
        headers.0.push((name, value));
        at += length + 1;
    }
}

fn header(line: &[u8]) -> Option<(String, String)> {
    let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain.then(|| (name.to_ascii_lowercase(), value.trim().to_owned()))
}

/// A parameter of a header, quoted or not.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, behind) = rest.split_once('=')?;
        let name = name.trim().trim_start_matches(';').trim();
        let (value, after) = match behind.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut characters = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, character)) = characters.next() {
                    match character {
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        // Browsers write `%22`; a backslash before anything else is part of a Windows path.
                        '\\' if quoted.get(at + 1..).is_some_and(|next| next.starts_with('"')) => {
                            characters.next();
                            value.push('"');
                        }
                        other => value.push(other),
                    }
                }
                (value, quoted.get(end..).unwrap_or_default())
            }
            None => match behind.split_once(';') {
                Some((value, after)) => (value.trim().to_owned(), after),
                None => (behind.trim().to_owned(), ""),
            },
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = after;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_sends_is_read() {
        let body = b"preamble\r\n--x1\r\nContent-Disposition: form-data; name=\"employee\"\r\n\r\n1001\r\n--x1\r\nContent-Disposition: form-data; name=\"photo\"; filename=\"a \\\"b\\\".jpg\"\r\nContent-Type: image/JPEG; q=1\r\n\r\n\xff\xd8\r\n--x1y\r\n\xff\xd9\r\n--x1--\r\nepilogue";
        let parts = parse(body, "x1").unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].name.as_deref(), parts[0].data), (Some("employee"), &b"1001"[..]));
        assert_eq!(parts[1].file_name.as_deref(), Some("a \"b\".jpg"));
        assert_eq!(parts[1].content_type.as_deref(), Some("image/jpeg"));
        assert_eq!(parts[1].data, b"\xff\xd8\r\n--x1y\r\n\xff\xd9");
    }

    #[test]
    fn a_terminal_may_leave_out_the_blank_line_and_the_last_boundary() {
        let body = b"--MIME_boundary\nContent-Disposition: form-data; name=\"event_log\"\n{\"eventType\":\"x\"}\n--MIME_boundary\nContent-Disposition: form-data; name=\"Picture\"; filename=\"Picture.jpg\"\nContent-Length: 20\n\nab\n--MIME_boundary\ncd";
        let parts = parse(body, "MIME_boundary").unwrap();
        assert_eq!(parts[0].data, b"{\"eventType\":\"x\"}");
        assert_eq!(parts[1].name.as_deref(), Some("Picture"));
        // The length leads nowhere, so the boundary decides; the rest is a part that nobody named.
        assert_eq!(parts[1].data, b"ab");
    }

    #[test]
    fn a_length_that_fits_wins_over_a_boundary_inside_of_the_data() {
        let body = b"--b\r\nContent-Length: 11\r\n\r\nxx\r\n--b\r\nyy\r\n--b--";
        let parts = parse(body, "b").unwrap();
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].data, b"xx\r\n--b\r\nyy");
    }

    #[test]
    fn the_boundary_is_found_quoted_or_not() {
        assert_eq!(boundary("multipart/form-data; charset=utf-8; boundary=\"a b;c\"").unwrap(), "a b;c");
        assert_eq!(boundary("multipart/form-data;Boundary=abc; x=y").unwrap(), "abc");
        assert!(boundary("multipart/form-data").is_err());
        assert!(boundary("multipart/form-data; boundary=").is_err());
        assert!(parse(b"nothing", "b").is_err());
    }

    #[test]
    fn the_number_of_parts_is_limited() {
        let body = "--b\r\n\r\nx\r\n".repeat(MAX_PARTS + 1) + "--b--";
        assert!(parse(body.as_bytes(), "b").unwrap_err().contains("more than"));
        assert!(parse(b"--b--\r\n", "b").unwrap().is_empty());
    }
}
