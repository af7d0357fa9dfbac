//! Reading the small XML that clients send: elements in order, without namespaces.

/// One element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) name: String,
    /// As it stands between the name and the `>`.
    pub(super) attributes: String,
    /// Unescaped, trimmed.
    pub(super) text: String,
    pub(super) children: Vec<Node>,
}

impl Node {
    pub(super) fn child(&self, name: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the element at that path.
    pub(super) fn at(&self, path: &[&str]) -> Option<&str> {
        let mut node = self;
        for name in path {
            node = node.child(name)?;
        }
        Some(&node.text)
    }
}

/// A document: its root, and whether it began with a declaration.
pub(super) fn document(text: &str) -> Option<(Node, bool)> {
    let mut rest = text.trim();
    let declared = rest.starts_with("<?");
    if declared {
        rest = rest.split_once("?>")?.1.trim_start();
    }
    let (root, rest) = element(rest, 0)?;
    rest.trim().is_empty().then_some((root, declared))
}

fn element(text: &str, depth: u32) -> Option<(Node, &str)> {
    if depth > 16 {
        return None;
    }
    let (tag, mut rest) = text.strip_prefix('<')?.split_once('>')?;
    let (tag, closed) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
    let (name, attributes) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
    let ordinary = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    if name.is_empty() || !name.chars().all(ordinary) {
        return None;
    }
    let mut node =
        Node { name: name.to_owned(), attributes: attributes.trim().to_owned(), ..Node::default() };
    if closed {
        return Some((node, rest));
    }
    let mut words = String::new();
    loop {
        let open = rest.find('<')?;
        let (before, after) = rest.split_at(open);
        words.push_str(before);
        if let Some(end) = after.strip_prefix("</") {
            let (closing, after) = end.split_once('>')?;
            if closing.trim() != name {
                return None;
            }
            node.text = unescaped(words.trim());
            return Some((node, after));
        }
        let (child, after) = element(after, depth + 1)?;
        node.children.push(child);
        rest = after;
    }
}

fn unescaped(text: &str) -> String {
    // `&amp;` last, so that what was escaped twice stays escaped once.
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_in_order_and_unescaped_once() {
        let read = document(
            "<?xml version=\"1.0\"?>\n<a version=\"1.0\"><b>x&amp;amp;y</b><b/><c><d> 1 </d></c></a>\n",
        );
        let (root, declared) = read.unwrap_or_default();
        assert!(declared && root.attributes == "version=\"1.0\"");
        assert_eq!(root.at(&["b"]), Some("x&amp;y"));
        assert_eq!(root.at(&["c", "d"]), Some("1"));
        assert_eq!(root.children.len(), 3);
    }

    #[test]
    fn what_is_not_well_formed_is_nothing() {
        for text in ["", "x", "<a>", "<a></b>", "<a><b></a>", "<a/>x", "<!DOCTYPE a><a/>"] {
            assert_eq!(document(text), None, "{text}");
        }
    }
}
