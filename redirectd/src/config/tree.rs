//! A YAML file with the place of every node. Only for errors and warnings:
//! reading a configuration does without it.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Where a node begins, and how much of that line it takes; in characters,
/// counted from 1 as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
    /// 0 if nothing is written there.
    pub(super) length: usize,
}

/// A node with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Content {
    Scalar(String, ScalarStyle),
    List(Vec<Node>),
    /// In the order of the file, doubles included.
    Map(Vec<(Node, Node)>),
    /// A reference to another node of the file.
    Alias,
}

/// A step from a node to one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of this key; of the last one, if it is given twice.
    Key(&'static str),
    /// The entry of a mapping at this position.
    Entry(usize),
    /// The item of a list at this position; a single value is a list of one.
    Item(usize),
}

impl Node {
    /// The first document of `text`, or `None` if it is not valid YAML.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut open: Vec<Node> = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.ok()?;
            let place = place(span);
            let node = match event {
                Event::Scalar(text, style, ..) => {
                    Node { place, content: Content::Scalar(text.into_owned(), style) }
                }
                Event::Alias(_) => Node { place, content: Content::Alias },
                Event::SequenceStart(..) => {
                    open.push(Node { place, content: Content::List(Vec::new()) });
                    continue;
                }
                Event::MappingStart(..) => {
                    open.push(Node { place, content: Content::Map(Vec::new()) });
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => open.pop()?,
                _ => continue,
            };
            match open.last_mut() {
                Some(parent) => parent.add(node),
                None => return Some(node),
            }
        }
        None
    }

    /// Adds `node` to a list, or to a mapping as the next key or value.
    fn add(&mut self, node: Node) {
        match &mut self.content {
            Content::List(items) => items.push(node),
            Content::Map(entries) => match entries.last_mut() {
                Some((_, value)) if value.is_missing() => *value = node,
                _ => entries.push((node, Node::missing())),
            },
            Content::Scalar(..) | Content::Alias => {}
        }
    }

    /// Stands for the value of a key until it comes.
    fn missing() -> Self {
        Self { place: Place::default(), content: Content::Alias }
    }

    fn is_missing(&self) -> bool {
        self.place == Place::default()
    }

    /// The node at the end of `path`, or the last one on the way that there is;
    /// with `key`, the key of that node.
    pub(super) fn find(&self, path: &[Step], key: bool) -> &Node {
        let mut found = self;
        let mut found_key = self;
        for step in path {
            let next = match (step, &found.content) {
                (Step::Key(name), Content::Map(entries)) => {
                    entries.iter().rev().find(|(key, _)| key.is(name)).map(|(k, v)| (k, v))
                }
                (Step::Entry(n), Content::Map(entries)) => entries.get(*n).map(|(k, v)| (k, v)),
                (Step::Item(n), Content::List(items)) => items.get(*n).map(|item| (item, item)),
                _ => None,
            };
            match next {
                Some((key, value)) => (found_key, found) = (key, value),
                // A single value where a list may be, or nothing there: this is
                // as near as it gets. A mapping is best shown by its key.
                None => {
                    let whole =
                        matches!(found.content, Content::Map(_)) && found_key.place.line > 0;
                    return if whole { found_key } else { found };
                }
            }
        }
        if key || found.place.length == 0 { found_key } else { found }
    }

    /// Whether it is the scalar `text`.
    pub(super) fn is(&self, text: &str) -> bool {
        matches!(&self.content, Content::Scalar(own, _) if own == text)
    }

    /// Whether it says nothing: `key:`, `key: ~`, `key: null`.
    pub(super) fn is_null(&self) -> bool {
        match &self.content {
            Content::Scalar(text, ScalarStyle::Plain) => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }
}

fn place(span: Span) -> Place {
    let length =
        if span.end.line() == span.start.line() { span.end.col() - span.start.col() } else { 1 };
    Place { line: span.start.line(), column: span.start.col() + 1, length }
}
