//! From parser events to the tree.

use std::collections::{BTreeMap, HashMap};

use granit_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, StructureStyle};

use super::{
    Data, Document, Entry, Key, LIMITS, Limits, Node, Scalar, Span, Style, mistakes, scalar, surprises,
};
use crate::problem::{Problem, Problems, codes};

impl Document {
    /// Reads a file's text. What is wrong goes to `problems`; `None` where no tree can be had.
    pub fn read(text: &str, problems: &mut Problems) -> Option<Self> {
        if text.len() > LIMITS.bytes {
            let message = format!(
                "the file is {} KiB long, at most {} KiB are read",
                text.len() / 1024,
                LIMITS.bytes / 1024
            );
            let start = Span { start: 0, end: 0, line: 1, column: 1 };
            problems.report(
                Problem::error(codes::TOO_LARGE, start, message)
                    .help("keep data out of the file: read it in a step, or hand it over as an input"),
            );
            return None;
        }
        let mut options = granit_parser::options! {
            disallow_directives: true,
            flow_nesting_limit: LIMITS.depth * 2,
            block_nesting_limit: LIMITS.depth * 2,
        };
        options.set_emit_comments(false);
        let parser = Parser::new_from_str_with_options(text, options);
        let mut reader = Reader {
            text,
            parser,
            problems,
            limits: LIMITS,
            anchors: HashMap::new(),
            open: Vec::new(),
            nodes: 0,
            aliases: 0,
        };
        let root = reader.document();
        match root {
            Ok(root) => Some(Self { root }),
            Err(Stop::Reported) => None,
            Err(Stop::Syntax(error)) => {
                let problem = mistakes::explain(text, &error);
                problems.report(problem);
                None
            }
        }
    }
}

/// Why reading ended early.
enum Stop {
    Reported,
    Syntax(ScanError),
}

struct Reader<'t, 'p> {
    text: &'t str,
    parser: Parser<'t, StrInput<'t>>,
    problems: &'p mut Problems,
    limits: Limits,
    /// Complete anchored nodes.
    anchors: HashMap<usize, Anchored>,
    /// Anchors whose node is not complete yet.
    open: Vec<usize>,
    nodes: usize,
    aliases: usize,
}

struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

type Next<'t> = (Event<'t>, granit_parser::Span);

impl<'t> Reader<'t, '_> {
    fn next(&mut self) -> Result<Next<'t>, Stop> {
        loop {
            match self.parser.next_event() {
                Some(Ok((Event::Anchor(..), _))) => {}
                Some(Ok(next)) => return Ok(next),
                Some(Err(error)) => return Err(Stop::Syntax(error)),
                None => return Ok((Event::StreamEnd, granit_parser::Span::default())),
            }
        }
    }

    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_some() => {
                    let span = self.document_marker(span);
                    return self.stop(
                        Problem::error(codes::SEVERAL_DOCUMENTS, span, "a second document begins here")
                            .help("one file holds one workflow: move what follows to a file of its own"),
                    );
                }
                event if event.is_node() => root = Some(self.node(event, span, 0)?),
                _ => {}
            }
        }
        Ok(root.unwrap_or_else(|| Node {
            span: Span { start: 0, end: 0, line: 1, column: 1 },
            data: Data::Scalar(Scalar {
                text: String::new(),
                style: Style::Plain,
                value: serde_json::Value::Null,
            }),
        }))
    }

    /// The `---` before a second document.
    fn document_marker(&self, span: granit_parser::Span) -> Span {
        let span = convert(span);
        let before = self.text.get(..span.start).unwrap_or_default();
        let from = if self.text.get(span.start..).is_some_and(|rest| rest.starts_with("---")) {
            span.start
        } else {
            before.rfind("---").unwrap_or(span.start)
        };
        super::locate::span(self.text, from, from + 3)
    }

    fn stop<T>(&mut self, problem: Problem) -> Result<T, Stop> {
        self.problems.report(problem);
        Err(Stop::Reported)
    }

    fn count(&mut self, more: usize, span: Span) -> Result<(), Stop> {
        self.nodes += more;
        if self.nodes <= self.limits.nodes {
            return Ok(());
        }
        let message = format!("more than {} values in one file", self.limits.nodes);
        self.stop(
            Problem::error(codes::TOO_LARGE, span, message)
                .help("keep data out of the file; every alias counts as much as what it stands for"),
        )
    }

    fn enter(&mut self, depth: usize, span: Span) -> Result<(), Stop> {
        if depth <= self.limits.depth {
            return Ok(());
        }
        let message = format!("lists and maps are nested more than {} deep", self.limits.depth);
        self.stop(
            Problem::error(codes::TOO_LARGE, span, message).help("nothing in a workflow needs that depth"),
        )
    }

    fn node(&mut self, event: Event<'t>, at: granit_parser::Span, depth: usize) -> Result<Node, Stop> {
        let span = convert(at);
        if let Some(tag) = event.tag() {
            let tag = tag.original();
            let tag_span = at.tag_span().map_or(span, convert);
            self.problems.report(
                Problem::error(codes::TAG, tag_span, format!("tags such as `{tag}` are not used here")).help(
                    "a text that looks like a number is quoted; a secret is named in `bascule.yaml`, never in a workflow",
                ),
            );
        }
        let anchor = event.anchor_id();
        if let Event::Alias(id) = event {
            return self.alias(id, span, depth);
        }
        let before = self.nodes;
        self.count(1, span)?;
        if let Some(id) = anchor {
            self.open.push(id);
        }
        let node = match event {
            // Refused above; as a text it causes no further problems.
            Event::Scalar(text, _, _, Some(_)) => self.scalar(&text, ScalarStyle::DoubleQuoted, span),
            Event::Scalar(text, style, ..) => self.scalar(&text, style, span),
            Event::SequenceStart(..) => self.list(span, depth + 1)?,
            Event::MappingStart(style, ..) => self.map(span, style, depth + 1)?,
            _ => null(span),
        };
        if let Some(id) = anchor {
            self.open.retain(|open| *open != id);
            let anchored = Anchored { height: height(&node), nodes: self.nodes - before, node: node.clone() };
            self.anchors.insert(id, anchored);
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, span: Span, depth: usize) -> Result<Node, Stop> {
        self.aliases += 1;
        if self.aliases > self.limits.aliases {
            let message = format!("more than {} aliases in one file", self.limits.aliases);
            return self.stop(Problem::error(codes::TOO_LARGE, span, message));
        }
        if self.open.contains(&id) {
            let name = self.text.get(span.start..span.end).unwrap_or("*");
            return self.stop(
                Problem::error(
                    codes::ALIAS,
                    span,
                    format!("alias `{name}` stands inside what it stands for"),
                )
                .help("an alias can only repeat a value that is complete before it"),
            );
        }
        let Some(Anchored { node, nodes, height }) = self.anchors.get(&id) else {
            return Ok(null(span));
        };
        let (node, nodes, height) = (node.clone(), *nodes, *height);
        self.count(nodes, span)?;
        self.enter(depth + height, span)?;
        Ok(node)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Node {
        let style = match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted => Style::SingleQuoted,
            ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
            _ => Style::Block,
        };
        // What is left out altogether comes as `~` with an empty span.
        let text = if style == Style::Plain && span.start == span.end { "" } else { text };
        let value = if style == Style::Plain { scalar::resolve(text) } else { text.into() };
        if style == Style::Plain {
            surprises::warn(text, &value, span, self.problems);
        }
        Node { span, data: Data::Scalar(Scalar { text: text.to_owned(), style, value }) }
    }

    fn list(&mut self, start: Span, depth: usize) -> Result<Node, Stop> {
        self.enter(depth, start)?;
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                let end = end_of(&items, |item: &Node| item.span).max(convert(span).end_if_some());
                return Ok(Node { span: Span { end: end.max(start.end), ..start }, data: Data::List(items) });
            }
            items.push(self.node(event, span, depth)?);
        }
    }

    fn map(&mut self, start: Span, style: StructureStyle, depth: usize) -> Result<Node, Stop> {
        self.enter(depth, start)?;
        let mut entries: Vec<Entry> = Vec::new();
        let mut first: BTreeMap<String, Span> = BTreeMap::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                let end = end_of(&entries, |entry: &Entry| entry.value.span).max(convert(at).end_if_some());
                return Ok(Node {
                    span: Span { end: end.max(start.end), ..start },
                    data: Data::Map(entries),
                });
            }
            let key = self.key(event, at, start, style, depth)?;
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth)?;
            let Some(key) = key else { continue };
            if key.text == "<<" {
                self.problems.report(
                    Problem::error(codes::MERGE_KEY, key.span, "merge keys (`<<`) are not used here")
                        .help("repeat a whole value with an alias (`with: *face`), or write the entries out"),
                );
                // Refused; merged all the same, so that what it would bring is not reported as missing.
                if let Data::Map(merged) = value.data {
                    entries.extend(merged.into_iter().filter(|entry| !first.contains_key(&entry.key.text)));
                }
            } else if let Some(earlier) = first.get(&key.text) {
                self.problems.report(
                    Problem::error(
                        codes::DUPLICATE_KEY,
                        key.span,
                        format!("`{}` stands here twice", key.text),
                    )
                    .help(format!("it stands on line {} already; keep one of them", earlier.line)),
                );
            } else {
                first.insert(key.text.clone(), key.span);
                entries.push(Entry { key, value });
            }
        }
    }

    /// The key of an entry; `None` where it is not a text (reported).
    fn key(
        &mut self,
        event: Event<'t>,
        at: granit_parser::Span,
        map: Span,
        style: StructureStyle,
        depth: usize,
    ) -> Result<Option<Key>, Stop> {
        let span = convert(at);
        if let Event::Scalar(text, ..) = &event
            && event.tag().is_none()
        {
            let text = text.clone().into_owned();
            if let Some(id) = event.anchor_id() {
                let node = Node {
                    span,
                    data: Data::Scalar(Scalar {
                        value: text.clone().into(),
                        text: text.clone(),
                        style: Style::Plain,
                    }),
                };
                self.anchors.insert(id, Anchored { node, nodes: 1, height: 0 });
            }
            self.count(1, span)?;
            return Ok(Some(Key { text, span }));
        }
        let braces = style == StructureStyle::Flow
            && self.text.get(map.start..span.end).is_some_and(|text| text.starts_with("{{"));
        let key = self.node(event, at, depth)?;
        let problem = if braces {
            let inner =
                self.text.get(key.span.start + 1..key.span.end.saturating_sub(1)).unwrap_or_default().trim();
            let whole = Span { end: (key.span.end + 1).min(self.text.len()), ..map };
            Problem::error(codes::BRACES, whole, "`{{ .. }}` without quotes is a map to YAML").help(format!(
                "write \"${{{{ {} }}}}\", with the dollar sign and in quotes",
                super::shorten(inner)
            ))
        } else {
            Problem::error(codes::KEY_NOT_TEXT, key.span, "a key must be a text")
                .help("lists and maps cannot be keys; quote the key if it is meant as text")
        };
        self.problems.report(problem);
        Ok(None)
    }
}

impl Span {
    fn end_if_some(self) -> usize {
        if self.end > self.start { self.end } else { 0 }
    }
}

fn end_of<T>(items: &[T], span: impl Fn(&T) -> Span) -> usize {
    items.iter().map(|item| span(item).end).max().unwrap_or(0)
}

fn null(span: Span) -> Node {
    let scalar = Scalar { text: String::new(), style: Style::Plain, value: serde_json::Value::Null };
    Node { span, data: Data::Scalar(scalar) }
}

fn height(node: &Node) -> usize {
    match &node.data {
        Data::Scalar(_) => 0,
        Data::List(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Data::Map(entries) => 1 + entries.iter().map(|entry| height(&entry.value)).max().unwrap_or(0),
    }
}

fn convert(span: granit_parser::Span) -> Span {
    let start = span.start.byte_offset().unwrap_or_default();
    Span {
        start,
        end: span.end.byte_offset().unwrap_or(start),
        line: u32::try_from(span.start.line()).unwrap_or(u32::MAX),
        column: u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX),
    }
}
