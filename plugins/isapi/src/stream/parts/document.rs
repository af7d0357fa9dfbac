//! Where a JSON or XML document ends, without reading it: an event counts as soon as its last byte is there, whether the
//! next boundary comes at once or with the next heartbeat.

/// Remembers how far it looked.
#[derive(Default)]
pub(super) struct Scanner {
    at: usize,
    kind: Kind,
}

#[derive(Default)]
enum Kind {
    #[default]
    Unknown,
    Json {
        depth: usize,
        in_text: bool,
        escaped: bool,
    },
    /// The end tag of the root, once its name is known.
    Xml(Option<Vec<u8>>),
    /// Neither.
    Other,
}

impl Scanner {
    /// The length of the document that begins `bytes`, once it is complete. `bytes` may only grow between two calls.
    pub(super) fn end_in(&mut self, bytes: &[u8]) -> Option<usize> {
        if matches!(self.kind, Kind::Unknown) {
            self.kind = match bytes.first()? {
                b'{' | b'[' => Kind::Json { depth: 0, in_text: false, escaped: false },
                b'<' => Kind::Xml(None),
                byte if byte.is_ascii_whitespace() => return None,
                _ => Kind::Other,
            };
        }
        match &mut self.kind {
            Kind::Json { depth, in_text, escaped } => {
                while let Some(byte) = bytes.get(self.at) {
                    self.at += 1;
                    match byte {
                        _ if *escaped => *escaped = false,
                        b'\\' if *in_text => *escaped = true,
                        b'"' => *in_text = !*in_text,
                        b'{' | b'[' if !*in_text => *depth += 1,
                        b'}' | b']' if !*in_text => {
                            *depth = depth.saturating_sub(1);
                            if *depth == 0 {
                                return Some(self.at);
                            }
                        }
                        _ => {}
                    }
                }
                None
            }
            Kind::Xml(end_tag) => {
                if end_tag.is_none() {
                    let root = root(bytes)?;
                    if root.empty {
                        return Some(root.end);
                    }
                    self.at = root.end;
                    *end_tag = Some(root.name);
                }
                let name = end_tag.as_ref()?;
                while let Some(open) = bytes.get(self.at..)?.windows(2).position(|two| two == b"</") {
                    let open = self.at + open;
                    let close = open + bytes.get(open..)?.iter().position(|byte| *byte == b'>')?;
                    if bytes.get(open + 2..close)?.trim_ascii() == name.as_slice() {
                        return Some(close + 1);
                    }
                    self.at = close;
                }
                // An end tag may be cut in two.
                self.at = self.at.max(bytes.len().saturating_sub(1));
                None
            }
            Kind::Unknown | Kind::Other => None,
        }
    }
}

struct Root {
    name: Vec<u8>,
    /// Behind its start tag.
    end: usize,
    /// `<a/>`
    empty: bool,
}

/// The first start tag behind declaration, comments and document type; none while it is incomplete.
fn root(bytes: &[u8]) -> Option<Root> {
    let mut at = 0;
    loop {
        let open = at + bytes.get(at..)?.iter().position(|byte| *byte == b'<')?;
        let rest = bytes.get(open + 1..)?;
        let close = match rest.first()? {
            b'!' if rest.len() < 3 => return None,
            b'!' if rest.starts_with(b"!--") => {
                open + 1 + rest.windows(3).position(|three| three == b"-->")? + 2
            }
            b'?' | b'!' => open + 1 + rest.iter().position(|byte| *byte == b'>')?,
            _ => {
                let close = open + 1 + rest.iter().position(|byte| *byte == b'>')?;
                let tag = bytes.get(open + 1..close)?;
                let name: Vec<u8> = tag
                    .iter()
                    .copied()
                    .take_while(|byte| !byte.is_ascii_whitespace() && *byte != b'/')
                    .collect();
                return Some(Root { name, end: close + 1, empty: tag.ends_with(b"/") });
            }
        };
        at = close + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_ends_where_its_root_does() {
        for (text, length) in [
            (r#"{"a":"}\"]","b":[{}]} rest"#, 21),
            ("[1,[2]]{}", 7),
            ("<?xml version=\"1.0\"?>\r\n<!-- a > b --><a x=\"1\"><b></b><c/></a >\r\n--", 62),
            ("<n:a xmlns:n=\"u\"><a></a>x & y</n:a>", 35),
            ("<a/>", 4),
        ] {
            let bytes = text.as_bytes();
            assert_eq!(Scanner::default().end_in(bytes), Some(length), "{text}");
            let mut scanner = Scanner::default();
            for end in 0..length {
                assert_eq!(scanner.end_in(&bytes[..end]), None, "{text} at {end}");
            }
            assert_eq!(scanner.end_in(bytes), Some(length), "{text} byte by byte");
        }
    }

    #[test]
    fn what_does_not_end_has_no_end() {
        for text in ["{\"a\": \"b", "<a><b></b>", "plain", "", "<!-- ", "{\"a\":\"\\\"}"] {
            assert_eq!(Scanner::default().end_in(text.as_bytes()), None, "{text}");
        }
    }
}
