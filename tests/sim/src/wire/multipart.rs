//! Reading `multipart/form-data` (RFC 7578), strictly.

use bytes::Bytes;

use crate::quirks::Parts;

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) file_name: Option<String>,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

/// The parts, or `None` if the body does not keep to the form, its last boundary included.
pub(crate) fn parse(content_type: &str, body: &Bytes) -> Option<Vec<Part>> {
    let boundary =
        parameter(content_type, "boundary").filter(|boundary| (1..=70).contains(&boundary.len()))?;
    let dashes = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut at = find(body, dashes.as_bytes(), 0)? + dashes.len();
    let between = format!("\r\n{dashes}");
    loop {
        if body.get(at..at + 2)? == b"--" {
            return Some(parts);
        }
        if body.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        let head_end = find(body, b"\r\n\r\n", at)?;
        let head = std::str::from_utf8(body.get(at..head_end)?).ok()?;
        let start = head_end + 4;
        let end = find(body, between.as_bytes(), start)?;
        parts.push(part(head, body.slice(start..end))?);
        at = end + between.len();
    }
}

/// The data and the picture of a face upload, or the name of the part that is missing.
pub(crate) fn face_parts(parts: &[Part], strictness: Parts) -> Result<(&Bytes, &Bytes), &'static str> {
    let (data_names, picture_names): (&[&str], &[&str]) = match strictness {
        Parts::Lax => (&["FaceDataRecord", "faceURL"], &["img", "FaceImage", "FaceDataImage"]),
        Parts::Strict => (&["FaceDataRecord"], &["img"]),
    };
    let place = |names: &[&str]| parts.iter().position(|part| names.contains(&part.name.as_str()));
    let data = place(data_names).ok_or("FaceDataRecord")?;
    let picture = place(picture_names).ok_or("img")?;
    let (Some(data_part), Some(picture_part)) = (parts.get(data), parts.get(picture)) else {
        return Err("img");
    };
    if strictness == Parts::Strict {
        if data > picture || data_part.content_type != "application/json" {
            return Err("FaceDataRecord");
        }
        if picture_part.file_name.is_none() || picture_part.content_type != "image/jpeg" {
            return Err("img");
        }
    }
    Ok((&data_part.body, &picture_part.body))
}

fn part(head: &str, body: Bytes) -> Option<Part> {
    let (mut disposition, mut content_type) = (None, String::new());
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-disposition") {
            disposition = Some(value.trim());
        } else if name.eq_ignore_ascii_case("content-type") {
            content_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        }
    }
    let disposition = disposition.filter(|value| value.to_ascii_lowercase().starts_with("form-data"))?;
    let name = parameter(disposition, "name")?;
    Some(Part { name, file_name: parameter(disposition, "filename"), content_type, body })
}

/// A parameter of a header value, quoted or not.
fn parameter(value: &str, name: &str) -> Option<String> {
    value.split(';').skip(1).find_map(|piece| {
        let (key, text) = piece.trim().split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| text.trim().trim_matches('"').to_owned())
    })
}

fn find(text: &[u8], wanted: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    rest.windows(wanted.len()).position(|part| part == wanted).map(|place| place + from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &str = "multipart/form-data; boundary=\"b-1\"";

    fn upload(data: &str, picture: &str) -> Bytes {
        Bytes::from(format!(
            "--b-1\r\nContent-Disposition: form-data; name=\"{data}\"\r\nContent-Type: application/json\r\n\r\n{{}}\r\n\
             --b-1\r\nContent-Disposition: form-data; name=\"{picture}\"; filename=\"a.jpg\"\r\n\
             Content-Type: image/jpeg\r\n\r\n\r\n--b-\r\nX\r\n--b-1--\r\n"
        ))
    }

    #[test]
    fn a_part_ends_at_the_boundary_and_nowhere_else() {
        let parts = parse(KIND, &upload("FaceDataRecord", "img")).unwrap_or_default();
        let bodies: Vec<&[u8]> = parts.iter().map(|part| part.body.as_ref()).collect();
        assert_eq!(bodies, [&b"{}"[..], b"\r\n--b-\r\nX"]);
        assert_eq!(parts.first().map(|part| part.content_type.as_str()), Some("application/json"));
        assert_eq!(parts.last().and_then(|part| part.file_name.as_deref()), Some("a.jpg"));
    }

    #[test]
    fn a_form_without_its_last_boundary_is_refused() {
        let whole = upload("FaceDataRecord", "img");
        assert_eq!(parse(KIND, &whole.slice(..whole.len() - 6)), None);
        assert_eq!(parse("multipart/form-data", &whole), None);
    }

    #[test]
    fn lax_terminals_take_all_known_names_and_strict_ones_only_theirs() {
        for (data, picture, lax, strict) in [
            ("FaceDataRecord", "img", true, true),
            ("faceURL", "FaceImage", true, false),
            ("FaceDataRecord", "FaceDataImage", true, false),
            ("data", "img", false, false),
        ] {
            let parts = parse(KIND, &upload(data, picture)).unwrap_or_default();
            assert_eq!(face_parts(&parts, Parts::Lax).is_ok(), lax, "{data} {picture}");
            assert_eq!(face_parts(&parts, Parts::Strict).is_ok(), strict, "{data} {picture}");
        }
    }
}
