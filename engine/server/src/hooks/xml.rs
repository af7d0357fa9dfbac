//! XML as a map. An element with neither attributes nor children is its text; else a map of its children by local
//! name, `@name` for attributes and `#text` for text beside them. Of children with one name there is a list.
//!
//! `<Alert><eventType>door</eventType><id>1</id><id>2</id></Alert>` is `{"Alert": {"eventType": "door", "id": ["1", "2"]}}`.
//! Document types are refused, so nothing is declared, expanded or fetched. A stray `&` is text: some firmware sends it.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::{Map, Value};

/// How deep elements may stand inside each other.
const MAX_DEPTH: usize = 64;
/// How many elements and attributes there may be.
const MAX_NODES: usize = 100_000;

#[derive(Default)]
struct Open {
    name: String,
    map: Map<String, Value>,
    text: String,
}

/// Reads one document.
///
/// # Errors
/// What is wrong, in one sentence.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().allow_dangling_amp = true;
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut nodes = 0_usize;
    loop {
        let event = reader
            .read_event()
            .map_err(|error| format!("not well-formed at byte {}: {error}", reader.error_position()))?;
        match event {
            Event::Start(start) => {
                if root.is_some() {
                    return Err("something follows the root element".to_owned());
                }
                if open.len() >= MAX_DEPTH {
                    return Err(format!("deeper than {MAX_DEPTH} elements"));
                }
                open.push(begin(&start, &mut nodes)?);
            }
            Event::Empty(start) => {
                if root.is_some() {
                    return Err("something follows the root element".to_owned());
                }
                let element = begin(&start, &mut nodes)?;
                close(element, &mut open, &mut root);
            }
            Event::End(_) => {
                if let Some(element) = open.pop() {
                    close(element, &mut open, &mut root);
                }
            }
            Event::Text(part) => add(&mut open, &part.xml10_content())?,
            Event::CData(part) => add(&mut open, &part.xml10_content())?,
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => add(&mut open, character.encode_utf8(&mut [0; 4]))?,
                _ => match quick_xml::escape::resolve_predefined_entity(&reference) {
                    Some(resolved) => add(&mut open, resolved)?,
                    None => add(&mut open, &format!("&{};", &*reference))?,
                },
            },
            Event::DocType(_) => return Err("document types are not taken".to_owned()),
            Event::Eof if open.is_empty() => {
                return root.ok_or_else(|| "there is no element".to_owned());
            }
            Event::Eof => return Err("it ends before its root element does".to_owned()),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn begin(start: &BytesStart<'_>, nodes: &mut usize) -> Result<Open, String> {
    let mut count = || {
        *nodes += 1;
        if *nodes > MAX_NODES {
            Err(format!("more than {MAX_NODES} elements and attributes"))
        } else {
            Ok(())
        }
    };
    count()?;
    let mut element = Open { name: start.local_name().as_ref().to_owned(), ..Open::default() };
    for attribute in start.attributes() {
        count()?;
        let attribute = attribute.map_err(|error| format!("an attribute cannot be read: {error}"))?;
        if attribute.key.as_namespace_binding().is_none() {
            let value = attribute
                .normalized_value(XmlVersion::Implicit1_0)
                .map_err(|error| format!("an attribute cannot be read: {error}"))?;
            let name = format!("@{}", attribute.key.local_name().as_ref());
            element.map.insert(name, Value::from(value.into_owned()));
        }
    }
    Ok(element)
}

fn add(open: &mut [Open], text: &str) -> Result<(), String> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("there is text outside of the root element".to_owned()),
    }
    Ok(())
}

fn close(element: Open, open: &mut [Open], root: &mut Option<Value>) {
    let Open { name, mut map, text } = element;
    let text = text.trim();
    let value = if map.is_empty() {
        Value::from(text)
    } else {
        if !text.is_empty() {
            map.insert("#text".to_owned(), Value::from(text));
        }
        Value::Object(map)
    };
    let Some(parent) = open.last_mut() else {
        *root = Some(Value::Object(Map::from_iter([(name, value)])));
        return;
    };
    match parent.map.get_mut(&name) {
        // A value is never a list by itself, so a list is one of children.
        Some(Value::Array(list)) => list.push(value),
        Some(first) => {
            let first = first.take();
            parent.map.insert(name, Value::Array(vec![first, value]));
        }
        None => {
            parent.map.insert(name, value);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_alert_becomes_a_map() {
        let text = "<?xml version=\"1.0\"?>\r\n<a:Alert version=\"2.0\" xmlns:a=\"urn:x\">\r\n <a:ip>192.0.2.7</a:ip> <id>1</id><id/><id>3</id><name lang='ro'>Ana &amp; co &#65;</name></a:Alert>\r\n";
        assert_eq!(
            parse(text.as_bytes()).unwrap(),
            json!({ "Alert": {
                "@version": "2.0", "ip": "192.0.2.7", "id": ["1", "", "3"],
                "name": { "@lang": "ro", "#text": "Ana & co A" },
            }})
        );
        assert_eq!(parse(b"<a>x & y</a>").unwrap(), json!({ "a": "x & y" }));
    }

    #[test]
    fn nothing_is_declared_or_expanded() {
        let bomb = "<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/hostname\">]><a>&e;</a>";
        assert_eq!(parse(bomb.as_bytes()).unwrap_err(), "document types are not taken");
        assert_eq!(parse(b"<a>&e;</a>").unwrap(), json!({ "a": "&e;" }));
    }

    #[test]
    fn depth_and_number_are_limited() {
        let nested = |levels: usize| format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err().contains("deeper"));
        let many = format!("<a>{}</a>", "<b/>".repeat(MAX_NODES));
        assert!(parse(many.as_bytes()).unwrap_err().contains("more than"));
    }

    #[test]
    fn what_is_not_one_document_is_refused() {
        for text in ["", "plain", "<a>", "<a></b>", "<a/><b/>", "<a/>x", "<a x='1' x='2'/>"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
