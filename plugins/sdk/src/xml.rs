//! XML answers as a tree, matched by local name: devices disagree about namespaces, prefixes, declarations and line
//! ends, and agree about names (`facts/isapi.md` 2.1). Custom entities are never expanded; a stray `&` is text.

use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};

use crate::types::Error;

/// How deep elements may nest.
const MAX_DEPTH: usize = 64;
/// How many elements an answer may have.
const MAX_ELEMENTS: usize = 200_000;

/// One element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// The local name, without prefix.
    pub name: String,
    /// Attributes by local name, in order, without namespace declarations.
    pub attributes: Vec<(String, String)>,
    /// The text directly inside, joined and trimmed.
    pub text: String,
    /// In order.
    pub children: Vec<Self>,
}

impl Element {
    /// The first child of that name, ignoring ASCII case.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name.eq_ignore_ascii_case(name))
    }

    /// Every child of that name, in order.
    pub fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name.eq_ignore_ascii_case(name))
    }

    /// The text of the first child of that name; `None` where it is absent or empty.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str()).filter(|text| !text.is_empty())
    }

    /// This element or the first one below it with that name, depth first.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Self> {
        let mut waiting = vec![self];
        while let Some(element) = waiting.pop() {
            if element.name.eq_ignore_ascii_case(name) {
                return Some(element);
            }
            waiting.extend(element.children.iter().rev());
        }
        None
    }
}

/// Reads one document and returns its root.
///
/// # Errors
/// `protocol` when it is not well formed, has no root, nests deeper than 64 or has more than 200,000 elements.
pub fn parse(bytes: &[u8]) -> Result<Element, Error> {
    let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes));
    let mut reader = Reader::from_str(&text);
    reader.config_mut().allow_dangling_amp = true;
    let mut open: Vec<Element> = Vec::new();
    let mut elements = 0_usize;
    loop {
        let event = reader
            .read_event()
            .map_err(|error| Error::protocol(format!("the answer is not well-formed XML: {error}")))?;
        let closed = match event {
            Event::Start(start) => {
                elements += 1;
                if open.len() >= MAX_DEPTH || elements > MAX_ELEMENTS {
                    return Err(Error::protocol("the XML answer nests too deep or has too many elements"));
                }
                open.push(element(&start));
                None
            }
            Event::Empty(start) => {
                elements += 1;
                if elements > MAX_ELEMENTS {
                    return Err(Error::protocol("the XML answer has too many elements"));
                }
                Some(element(&start))
            }
            Event::End(_) => open.pop(),
            Event::Text(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text.xml10_content());
                }
                None
            }
            Event::CData(data) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&data.xml10_content());
                }
                None
            }
            Event::GeneralRef(reference) => {
                if let Some(element) = open.last_mut() {
                    match reference.resolve_char_ref() {
                        Ok(Some(c)) => element.text.push(c),
                        _ => match quick_xml::escape::resolve_predefined_entity(&reference) {
                            Some(resolved) => element.text.push_str(resolved),
                            None => {
                                element.text.push('&');
                                element.text.push_str(&reference);
                                element.text.push(';');
                            }
                        },
                    }
                }
                None
            }
            Event::Eof => return Err(Error::protocol("the XML answer ends before its root does")),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => None,
        };
        if let Some(mut element) = closed {
            element.text = element.text.trim().to_owned();
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return Ok(element),
            }
        }
    }
}

fn element(start: &BytesStart<'_>) -> Element {
    let mut element = Element { name: start.local_name().as_ref().to_owned(), ..Element::default() };
    for attribute in start.attributes().with_checks(false).flatten() {
        if attribute.key.as_namespace_binding().is_none() {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap_or_default().into_owned();
            element.attributes.push((attribute.key.local_name().as_ref().to_owned(), value));
        }
    }
    element
}

/// Escapes a text for use inside an element or an attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Result<Element, Error> {
        parse(text.as_bytes())
    }

    #[test]
    fn names_match_whatever_the_namespace_says() -> Result<(), Error> {
        for text in [
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<DeviceInfo version=\"2.0\" xmlns=\"http://www.isapi.org/ver20/XMLSchema\">\r\n<model>DS-1</model>\r\n</DeviceInfo>",
            "<DeviceInfo><model> DS-1 </model></DeviceInfo>",
            "<x:DeviceInfo xmlns:x='urn:psialliance-org'><x:model>DS-1</x:model></x:DeviceInfo>",
        ] {
            let root = root(text)?;
            assert_eq!((root.name.as_str(), root.text_of("model")), ("DeviceInfo", Some("DS-1")), "{text}");
        }
        Ok(())
    }

    #[test]
    fn entities_are_resolved_once_and_unknown_ones_stay_text() -> Result<(), Error> {
        let root = root("<a><b>x &amp;amp; y &#65;&unknown; &lt;</b><c><![CDATA[<&>]]></c><d>a & b</d></a>")?;
        assert_eq!(root.text_of("b"), Some("x &amp; y A&unknown; <"));
        assert_eq!(root.text_of("c"), Some("<&>"));
        assert_eq!(root.text_of("d"), Some("a & b"));
        Ok(())
    }

    #[test]
    fn a_declared_entity_is_not_expanded() -> Result<(), Error> {
        let root = root("<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><a>&e;</a>")?;
        assert_eq!(root.text, "&e;");
        Ok(())
    }

    #[test]
    fn attributes_and_repeated_children_are_kept() -> Result<(), Error> {
        let root = root("<l size='2'><i>1</i><i/><i>3</i></l>")?;
        assert_eq!(root.attributes, [("size".to_owned(), "2".to_owned())]);
        let texts: Vec<&str> = root.children_named("i").map(|child| child.text.as_str()).collect();
        assert_eq!(texts, ["1", "", "3"]);
        assert_eq!(root.find("i").map(|child| child.text.as_str()), Some("1"));
        Ok(())
    }

    #[test]
    fn bombs_and_torn_documents_are_refused() {
        assert!(root(&"<a>".repeat(70)).is_err());
        assert!(root("<a><b></a>").is_err());
        assert!(root("<a>").is_err());
        assert!(root("").is_err());
    }
}
