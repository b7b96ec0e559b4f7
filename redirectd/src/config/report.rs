//! What is wrong in a set of files, with each place: collected while reading,
//! looked up in the files only when there is something to report.

use std::fmt::Write;

use super::{
    files::Source,
    tree::{Node, Place, Step},
};
use crate::error::{Error, Kind};

/// A place in one of the files: the way to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    file: usize,
    path: Vec<Step>,
    /// The node's key is meant, not its value.
    on_key: bool,
}

impl Spot {
    /// The whole of the file at position `file`.
    pub(super) fn file(file: usize) -> Self {
        Self { file, path: Vec::new(), on_key: false }
    }

    /// One step down.
    pub(super) fn then(&self, step: Step) -> Self {
        let mut below = self.clone();
        below.path.push(step);
        below
    }

    /// Down to the value of `key`.
    pub(super) fn at(&self, key: &'static str) -> Self {
        self.then(Step::Key(key))
    }

    /// The key instead of the value.
    pub(super) fn key(&self) -> Self {
        Self { on_key: true, ..self.clone() }
    }
}

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Issue {
    spot: Spot,
    token: String,
    /// A place found by other means than `spot`.
    place: Option<Place>,
    what: String,
    cure: String,
    also: Option<(Spot, &'static str)>,
}

impl Issue {
    pub(super) fn new(spot: Spot, what: impl Into<String>, cure: impl Into<String>) -> Self {
        let (what, cure) = (what.into(), cure.into());
        Self { spot, token: String::new(), place: None, what, cure, also: None }
    }

    /// The piece of the text at the spot that is wrong.
    pub(super) fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// The place itself, where a parser has named it.
    pub(super) fn place(mut self, line: usize, column: usize) -> Self {
        self.place = Some(Place { line, column, length: 1 });
        self
    }

    /// Another place that has to do with it, and how.
    pub(super) fn also(mut self, spot: Spot, how: &'static str) -> Self {
        self.also = Some((spot, how));
        self
    }
}

/// Everything found so far.
#[derive(Debug, Default)]
pub(super) struct Issues {
    wrong: Vec<Issue>,
    warnings: Vec<Issue>,
}

/// More than this many errors are counted, not shown.
const SHOWN: usize = 20;

impl Issues {
    pub(super) fn add(&mut self, issue: Issue) {
        self.wrong.push(issue);
    }

    pub(super) fn warn(&mut self, issue: Issue) {
        self.warnings.push(issue);
    }

    /// Adds all of `other`.
    pub(super) fn append(&mut self, mut other: Self) {
        self.wrong.append(&mut other.wrong);
        self.warnings.append(&mut other.warnings);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.wrong.is_empty()
    }

    /// The warnings, one line each; or, if anything is wrong, all of it as one
    /// error, in the order of the files.
    pub(super) fn finish(self, sources: &[Source]) -> Result<Vec<String>, Error> {
        let mut files: Vec<Lookup<'_>> = sources.iter().map(Lookup::new).collect();
        if self.wrong.is_empty() {
            return Ok(self.warnings.iter().map(|issue| one_line(issue, &mut files)).collect());
        }
        let mut placed: Vec<(usize, Place, Issue)> = self
            .wrong
            .into_iter()
            .map(|issue| (issue.spot.file, place(&issue, &mut files), issue))
            .collect();
        placed.sort_by_key(|(file, place, _)| (*file, *place));
        Err(error(&placed, &mut files))
    }
}

fn error(placed: &[(usize, Place, Issue)], files: &mut [Lookup<'_>]) -> Error {
    if let [(file, place, issue)] = placed {
        let what = block(*file, *place, issue, files);
        return Error::new(Kind::Failed, what).cure(issue.cure.clone());
    }
    let mut what = String::new();
    for (file, place, issue) in placed.iter().take(SHOWN) {
        // Writing to a String cannot fail.
        let _ = write!(what, "{}\n  cure: {}\n\n", block(*file, *place, issue, files), issue.cure);
    }
    if placed.len() > SHOWN {
        let _ = write!(what, "and {} more; ", placed.len() - SHOWN);
    }
    let _ = write!(what, "{} errors", placed.len());
    Error::new(Kind::Failed, what)
}

/// What is wrong, with the line it stands in.
fn block(file: usize, place: Place, issue: &Issue, files: &mut [Lookup<'_>]) -> String {
    let mut text = format!("{}: {}", files[file].name(place), issue.what);
    files[file].excerpt(place, &mut text);
    if let Some((spot, how)) = &issue.also {
        let file = &mut files[spot.file];
        let place = file.find(&spot.path, spot.on_key, "");
        let _ = write!(text, "\n{}: {how}", file.name(place));
        file.excerpt(place, &mut text);
    }
    text
}

fn one_line(issue: &Issue, files: &mut [Lookup<'_>]) -> String {
    let place = place(issue, files);
    format!("{}: {}; {}", files[issue.spot.file].name(place), issue.what, issue.cure)
}

fn place(issue: &Issue, files: &mut [Lookup<'_>]) -> Place {
    let file = &mut files[issue.spot.file];
    issue.place.unwrap_or_else(|| file.find(&issue.spot.path, issue.spot.on_key, &issue.token))
}

/// A file with its places, read when the first is asked for.
struct Lookup<'a> {
    source: &'a Source,
    lines: Vec<&'a str>,
    tree: Option<Option<Node>>,
}

impl<'a> Lookup<'a> {
    fn new(source: &'a Source) -> Self {
        Self { source, lines: Vec::new(), tree: None }
    }

    /// `file:line:column`, or the file alone.
    fn name(&self, place: Place) -> String {
        match place.line {
            0 => self.source.name.clone(),
            line => format!("{}:{line}:{}", self.source.name, place.column),
        }
    }

    fn find(&mut self, path: &[Step], on_key: bool, token: &str) -> Place {
        let source = self.source;
        let tree = self.tree.get_or_insert_with(|| Node::parse(&source.text));
        let Some(tree) = tree else { return Place::default() };
        let place = tree.find(path, on_key).place;
        self.narrow(place, token)
    }

    /// The part of `place` that `token` takes, or all of it if it is not there
    /// as it was read (in a quoted text, it may be written otherwise).
    fn narrow(&mut self, place: Place, token: &str) -> Place {
        let Some(line) = self.line(place.line) else { return place };
        let rest: String = line.chars().skip(place.column - 1).collect();
        let length = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                rest.chars().skip(1).position(|c| c == quote).map_or(place.length, |end| end + 2)
            }
            _ => place.length,
        };
        let whole: String = rest.chars().take(length).collect();
        match whole.find(token) {
            Some(before) if !token.is_empty() => Place {
                column: place.column + whole[..before].chars().count(),
                length: token.chars().count(),
                ..place
            },
            _ => Place { length, ..place },
        }
    }

    fn line(&mut self, line: usize) -> Option<&'a str> {
        if self.lines.is_empty() {
            self.lines = self.source.text.lines().collect();
        }
        self.lines.get(line.checked_sub(1)?).copied()
    }

    /// Adds the line of `place` with carets under it to `text`; nothing if the
    /// place is not known.
    fn excerpt(&mut self, place: Place, text: &mut String) {
        /// Longer lines are shown in part.
        const WIDTH: usize = 100;
        let Some(line) = self.line(place.line) else { return };
        let column = place.column - 1;
        let skipped = if column < WIDTH { 0 } else { column - WIDTH / 2 };
        let shown: String = line.chars().skip(skipped).take(WIDTH).map(printable).collect();
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(column - skipped);
        let room = WIDTH.saturating_sub(column - skipped).max(1);
        let carets = "^".repeat(place.length.clamp(1, room));
        let _ = write!(text, "\n{margin} |\n{number} | {shown}\n{margin} | {indent}{carets}");
    }
}

/// One column for each character, and nothing that a terminal would obey.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// Text from outside as it may stand in a message: no control characters, and
/// not too long.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 64;
    let mut short = String::new();
    for c in text.chars().take(LONGEST) {
        match c {
            '"' | '\'' | '\\' => short.push(c),
            c => short.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}
