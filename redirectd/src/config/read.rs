//! One file: read as what it should be, or why it cannot be.

use serde::de::DeserializeOwned;

use super::{
    VERSION,
    files::Source,
    report::{Issue, Issues, Spot, shown},
    shape::{self, Shape},
    text::{MainFile, RulesFile},
    tree::Node,
};

/// Reads one file and its version; `None` goes with an issue.
pub(super) fn read<T>(source: &Source, n: usize, shape: &Shape, issues: &mut Issues) -> Option<T>
where
    T: DeserializeOwned + Versioned,
{
    match serde_yaml::from_str::<T>(&source.text) {
        Ok(file) => {
            check_version(file.version(), &Spot::file(n), issues);
            Some(file)
        }
        Err(error) => {
            explain(&error, source, n, shape, issues);
            None
        }
    }
}

/// A file that says which version of the format it has.
pub(super) trait Versioned {
    fn version(&self) -> Option<&str>;
}

impl Versioned for MainFile {
    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

impl Versioned for RulesFile {
    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

fn check_version(version: Option<&str>, root: &Spot, issues: &mut Issues) {
    let cure = format!("write `version: {VERSION}`");
    match version {
        Some(version) if version == VERSION.to_string() => {}
        Some(version) => issues.add(Issue::new(
            root.at("version"),
            format!("`{}` is not a version that this program reads", shown(version)),
            cure,
        )),
        None => issues.add(Issue::new(root.clone(), "the file does not give its version", cure)),
    }
}

/// Says what is wrong with a file that cannot be read as YAML of that shape.
fn explain(
    error: &serde_yaml::Error,
    source: &Source,
    n: usize,
    shape: &Shape,
    issues: &mut Issues,
) {
    let root = Spot::file(n);
    if let Some(tree) = Node::parse(&source.text) {
        let mut found = Issues::default();
        shape::check(&tree, shape, "the file", &root, &mut found);
        if !found.is_empty() {
            issues.append(found);
            return;
        }
    }
    // Not YAML at all, or a limit of the parser: its own words are the best.
    let mut what = error.to_string();
    let mut issue_at = error.location().map(|place| (place.line(), place.column()));
    if let Some((line, column)) = issue_at {
        what = what.replacen(&format!(" at line {line} column {column}"), "", 1);
    }
    let lines = || source.text.lines().enumerate();
    let second = lines().skip(1).find(|(_, line)| line.starts_with("---"));
    let cure = match (what.contains("more than one document"), second) {
        (true, Some((line, _))) => {
            issue_at = Some((line + 1, 1));
            "remove this line: one file is one document"
        }
        _ => {
            let line = issue_at.and_then(|(line, _)| lines().nth(line.saturating_sub(1)));
            syntax_cure(line.map_or("", |(_, line)| line))
        }
    };
    let issue = Issue::new(root, format!("the file is not valid: {what}"), cure);
    issues.add(match issue_at {
        Some((line, column)) => issue.place(line, column),
        None => issue,
    });
}

/// What is mostly meant by a line that is not valid YAML.
fn syntax_cure(line: &str) -> &'static str {
    if line.trim_start_matches(' ').starts_with('\t') {
        "indent with spaces, not with tabs"
    } else if line.contains("]:") {
        "put endpoints with IPv6 addresses in quotes: \"[2001:db8::1]:80\""
    } else {
        "check the indentation, the quotes and the brackets there and just before"
    }
}
