#![expect(clippy::panic, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn all(bytes: &[u8]) -> Vec<Found> {
    cut_at(bytes, &[])
}

/// Pushes the bytes in pieces that end at these places.
fn cut_at(bytes: &[u8], places: &[usize]) -> Vec<Found> {
    let mut parts = Parts::default();
    let mut found = Vec::new();
    let mut from = 0;
    for place in places.iter().map(|place| place % (bytes.len() + 1)).chain([bytes.len()]) {
        if place > from {
            found.extend(parts.push(&bytes[from..place]));
            from = place;
        }
    }
    found.extend(parts.push(&bytes[from..]));
    found.extend(parts.finish());
    found
}

fn bodies(bytes: &[u8]) -> Vec<String> {
    all(bytes)
        .into_iter()
        .map(|found| match found {
            Found::Part(part) => String::from_utf8_lossy(&part.body).into_owned(),
            Found::TooLarge(bytes) => format!("too large: {bytes}"),
        })
        .collect()
}

const HEARTBEAT: &str = "<EventNotificationAlert version=\"2.0\"><eventType>videoloss</eventType><eventState>inactive</eventState></EventNotificationAlert>";

#[test]
fn the_dialects_of_the_fact_sheet_are_all_read() {
    let json = r#"{"eventType":"AccessControllerEvent","x":"--MIME_boundary"}"#;
    for stream in [
        // As the guide shows it, and with the last boundary.
        format!(
            "--MIME_boundary\r\nContent-Type: application/json; charset=\"UTF-8\"\r\nContent-Length: {}\r\n\r\n{json}\r\n--MIME_boundary--\r\n",
            json.len()
        ),
        // Without a length, LF only, no last boundary.
        format!("--MIME_boundary\nContent-Type: application/json\n\n{json}\n"),
        // A length that is too short, too long, or no number.
        format!("--b\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{json}\r\n--b\r\n"),
        format!("--b\r\nContent-Type: application/json\r\nContent-Length: 50000\r\n\r\n{json}\r\n--b\r\n"),
        format!("--b\r\nContent-Type: application/json\r\nContent-Length: x\r\n\r\n{json}\r\n--b\r\n"),
        // Headers of the answer once more in front, headers once more inside the body.
        format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed\r\n\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}\r\n--b\r\n",
            json.len()
        ),
        // No blank line and no type; no line end before the boundary.
        format!("--b\r\nContent-Disposition: form-data; name=\"event_log\"\r\n{json}--b\r\n"),
        // A boundary longer than the other one.
        format!("--b\r\n\r\n{json}\r\n--bb\r\nnothing\r\n--b\r\n"),
        // No boundaries at all.
        format!("{json}\r\n"),
        // Ends in the middle of the next part's headers.
        format!("--b\r\nContent-Type: application/json\r\n\r\n{json}\r\n--b\r\nContent-Ty"),
    ] {
        assert_eq!(bodies(stream.as_bytes()), [json], "{stream}");
    }
}

#[test]
fn an_event_is_there_with_its_last_byte() {
    let stream = format!("--b\r\nContent-Type: application/xml\r\n\r\n{HEARTBEAT}");
    let mut parts = Parts::default();
    assert!(parts.push(&stream.as_bytes()[..stream.len() - 1]).is_empty());
    assert_eq!(parts.push(b">").len(), 1);
    assert!(!parts.is_inside());
}

#[test]
fn a_picture_ends_after_its_length_or_at_the_boundary() {
    let picture: &[u8] = b"\xFF\xD8\xFF\r\n--b\n--bx{<\r\n\xFF\xD9";
    let head = "--bnd\r\nContent-Disposition: form-data; name=\"Picture\"\r\nContent-Type: image/jpeg\r\n";
    let with =
        [head.as_bytes(), format!("Content-Length: {}\r\n\r\n", picture.len()).as_bytes(), picture].concat();
    let without = [head.as_bytes(), b"\r\n", picture, b"\r\n--bnd\r\n"].concat();
    for stream in [with, without.clone()] {
        let Some(Found::Part(part)) = all(&stream).into_iter().next() else { panic!("no part") };
        assert_eq!((part.body.as_slice(), part.header("content-type")), (picture, Some("image/jpeg")));
    }
    // Without a length and with nothing behind it, it is taken when the line is quiet.
    let mut parts = Parts::default();
    let open = &without[..without.len() - 7];
    assert!(parts.push(open).is_empty() && parts.is_inside());
    assert!(matches!(parts.settle(), Some(Found::Part(part)) if part.body == picture));
    assert_eq!(parts.settle(), None);
}

#[test]
fn a_part_over_the_limit_is_skipped_and_the_next_one_counts() {
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(TEXT_LIMIT));
    let stream =
        format!("--b\r\nContent-Type: application/json\r\n\r\n{large}\r\n--b\r\n\r\n{HEARTBEAT}\r\n");
    assert_eq!(bodies(stream.as_bytes()), [format!("too large: {}", large.len()), HEARTBEAT.to_owned()]);
    let mut parts = Parts::default();
    let mut found = Vec::new();
    for piece in stream.as_bytes().chunks(997) {
        found.extend(parts.push(piece));
        assert!(parts.buffer.len() <= TEXT_LIMIT + 2_000, "the buffer grows");
    }
    assert_eq!(found, all(stream.as_bytes()));
}

#[test]
fn memory_stays_bounded_whatever_comes() {
    for filler in [&b"x"[..], b"\n", b"-", b"--", b"a: b\n", b"{", b"<", b" "] {
        for start in ["", "--b\r\n", "--b\r\nContent-Type: image/jpeg\r\n\r\n", "--b\r\n\r\n{"] {
            let mut parts = Parts::default();
            parts.push(start.as_bytes());
            let piece = filler.repeat(8_192 / filler.len());
            for _ in 0..300 {
                parts.push(&piece);
                assert!(parts.buffer.len() < PICTURE_LIMIT + 70_000, "{start:?} {filler:?}");
            }
        }
    }
}

/// How one part is written.
#[derive(Clone, Debug)]
struct Written {
    line_end: &'static str,
    length: bool,
    nested: bool,
    blank_line: bool,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Json(String),
    Xml(String),
    Picture(Vec<u8>),
    /// Neither, or cut.
    Bad(String),
}

impl Written {
    fn bytes(&self) -> Vec<u8> {
        let (kind, body) = match &self.body {
            Body::Json(text) => {
                ("application/json", serde_json::json!({ "text": text }).to_string().into_bytes())
            }
            Body::Xml(text) => {
                let text = bascule_sdk::xml::escape(text);
                (
                    "application/xml; charset=\"UTF-8\"",
                    format!("<?xml version=\"1.0\"?>\r\n<a><b>{text}</b></a>").into_bytes(),
                )
            }
            Body::Picture(bytes) => ("image/jpeg", bytes.clone()),
            Body::Bad(text) => ("application/json", text.clone().into_bytes()),
        };
        let end = self.line_end;
        let mut all = format!("--bnd{end}");
        if self.nested && !matches!(self.body, Body::Picture(_)) {
            all.push_str(&format!("Content-Type: multipart/mixed{end}{end}"));
        }
        all.push_str(&format!("Content-Type: {kind}{end}"));
        if self.length || matches!(self.body, Body::Picture(_)) {
            all.push_str(&format!("Content-Length: {}{end}", body.len()));
        }
        if self.blank_line || !matches!(self.body, Body::Json(_) | Body::Xml(_)) {
            all.push_str(end);
        }
        [all.into_bytes(), body, end.as_bytes().to_vec()].concat()
    }
}

fn written() -> impl Strategy<Value = Written> {
    let body = prop_oneof![
        "[ -~\r\n]{0,40}".prop_map(Body::Json),
        "[ -~\n]{0,40}".prop_map(Body::Xml),
        vec(any::<u8>(), 1..60).prop_map(Body::Picture),
        "[{<a\"\r\n -]{0,30}".prop_map(Body::Bad),
    ];
    let line_end = prop_oneof![Just("\r\n"), Just("\n")];
    (line_end, any::<bool>(), any::<bool>(), any::<bool>(), body).prop_map(
        |(line_end, length, nested, blank_line, body)| Written { line_end, length, nested, blank_line, body },
    )
}

/// What of the parts is surely found: a damaged one may be read in more than one way.
fn good(found: &[Found]) -> Vec<String> {
    let text = |part: &Part| -> Option<String> {
        match part.body.first()? {
            b'{' => serde_json::from_slice::<serde_json::Value>(&part.body)
                .ok()?
                .get("text")?
                .as_str()
                .map(str::to_owned),
            b'<' => Some(format!(
                "xml {}",
                bascule_sdk::xml::parse(&part.body).ok()?.text_of("b").unwrap_or_default()
            )),
            _ => None,
        }
    };
    let parts = found.iter().filter_map(|one| match one {
        Found::Part(part) if part.header("content-type") != Some("image/jpeg") => text(part),
        _ => None,
    });
    parts.collect()
}

/// A line end was lost: the length's line has become the last header, and the next boundary stands where the body should.
#[test]
fn a_length_that_reaches_into_the_next_boundary_hides_no_part() {
    for length in [1, 2, 5, 6] {
        let torn = format!("--bnd\nContent-Type: application/json\nContent-Length: {length}\n-\n\r\n");
        let stream =
            format!("--bnd\r\n\r\n{{\"text\":\"first\"}}\r\n{torn}--bnd\r\n\r\n{{\"text\":\"last\"}}\r\n");
        let whole = all(stream.as_bytes());
        assert_eq!(good(&whole), ["first", "last"], "{length}");
        let steps: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(cut_at(stream.as_bytes(), &steps), whole, "{length}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_cut_of_the_stream_gives_the_same_parts(
        parts in vec(written(), 1..6),
        places in vec(any::<usize>(), 0..12).prop_map(|mut places| { places.sort_unstable(); places }),
        every in 1_usize..9,
    ) {
        let stream: Vec<u8> = parts.iter().flat_map(Written::bytes).collect();
        let whole = all(&stream);
        let mut sorted: Vec<usize> = places.iter().map(|place| place % (stream.len() + 1)).collect();
        sorted.sort_unstable();
        prop_assert_eq!(&cut_at(&stream, &sorted), &whole);
        let steps: Vec<usize> = (0..stream.len()).step_by(every).collect();
        prop_assert_eq!(&cut_at(&stream, &steps), &whole);
    }

    #[test]
    fn every_good_part_is_found_beside_bad_ones(parts in vec(written(), 1..6)) {
        let stream: Vec<u8> = parts.iter().flat_map(Written::bytes).collect();
        let expected: Vec<String> = parts
            .iter()
            .filter_map(|one| match &one.body {
                Body::Json(text) => Some(text.clone()),
                Body::Xml(text) => Some(format!("xml {}", text.trim())),
                Body::Picture(_) | Body::Bad(_) => None,
            })
            .collect();
        prop_assert_eq!(good(&all(&stream)), expected);
        let pictures = |found: &[Found]| -> Vec<Vec<u8>> {
            found.iter().filter_map(|one| match one {
                Found::Part(part) if part.header("content-type") == Some("image/jpeg") => Some(part.body.clone()),
                _ => None,
            }).collect()
        };
        let expected: Vec<Vec<u8>> = parts.iter().filter_map(|one| match &one.body {
            Body::Picture(bytes) => Some(bytes.clone()),
            _ => None,
        }).collect();
        prop_assert_eq!(pictures(&all(&stream)), expected);
    }

    #[test]
    fn rubbish_neither_panics_nor_hides_what_follows(
        rubbish in vec(any::<u8>(), 0..300),
        parts in vec(written(), 0..3),
    ) {
        let mut stream: Vec<u8> = b"--bnd\r\n".to_vec();
        stream.extend(parts.iter().flat_map(Written::bytes));
        stream.extend(&rubbish);
        stream.extend(b"\r\n--bnd\r\n\r\n{\"text\":\"last\"}\r\n");
        let texts = good(&all(&stream));
        prop_assert_eq!(texts.last().map(String::as_str), Some("last"));
    }

    #[test]
    fn a_damaged_stream_is_read_again_after_the_damage(
        parts in vec(written(), 1..5),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
        every in 1_usize..40,
    ) {
        let mut stream: Vec<u8> = parts.iter().flat_map(Written::bytes).collect();
        for (place, byte) in damage {
            let place = place.index(stream.len());
            stream[place] = byte;
        }
        stream.remove(cut.index(stream.len()));
        // The boundary is known from before, whatever became of the rest.
        let stream = [b"--bnd\r\n\r\n{\"text\":\"first\"}\r\n", stream.as_slice(), b"\r\n--bnd\r\n\r\n{\"text\":\"last\"}\r\n"].concat();
        let whole = all(&stream);
        let texts = good(&whole);
        prop_assert_eq!(texts.last().map(String::as_str), Some("last"));
        let steps: Vec<usize> = (0..stream.len()).step_by(every).collect();
        prop_assert_eq!(cut_at(&stream, &steps), whole);
    }
}
