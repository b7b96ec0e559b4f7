//! What the documents say of the project is so: the tests they name exist, the
//! commands they show are understood, the links lead somewhere.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use redirectd::{cmd, config, run::Options};

const DOCUMENTS: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "docs/conformance.md",
    "docs/moves.md",
    "configs/README.md",
    "configs/examples/runc/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands between back quotes on one line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The blocks of code in `language`.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let parts = text.split("```").skip(1).step_by(2);
    parts.filter_map(|block| Some(block.strip_prefix(language)?.trim().to_owned())).collect()
}

/// The file that a test named `file::test` is in.
fn file_of(name: &str) -> PathBuf {
    if name.ends_with(".rs") {
        return root().join(name);
    }
    root().join("redirectd/tests").join(name).with_extension("rs")
}

/// The tests in a source file, properties included.
fn tests_in(file: &Path) -> Vec<String> {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut tests = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        let line = line.strip_prefix("async ").unwrap_or(line);
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test]") {
            marked = true;
        } else if let Some((name, _)) = line.strip_prefix("fn ").and_then(|f| f.split_once('(')) {
            if marked {
                tests.push(name.to_owned());
            }
            marked = false;
        }
    }
    tests
}

#[test]
fn every_test_they_name_exists() {
    let mut names = 0;
    for document in DOCUMENTS {
        let text = read(document);
        for name in text.lines().flat_map(quoted) {
            let Some((file, test)) = name.split_once("::") else { continue };
            let is_test = file.ends_with(".rs") || file == "configs" || file.contains('/');
            if !is_test {
                // An item of the code, such as `State::Parked`.
                continue;
            }
            let tests = tests_in(&file_of(file));
            let there = match test.strip_suffix('*') {
                Some(start) => tests.iter().any(|test| test.starts_with(start)),
                None => tests.iter().any(|there| there == test),
            };
            assert!(there, "{document} names {name}, which does not exist");
            names += 1;
        }
    }
    assert!(names > 50, "only {names} tests are named: is the pattern still right?");
}

#[test]
fn the_commands_they_show_are_understood() {
    let mut shown = 0;
    for block in DOCUMENTS.iter().flat_map(|document| blocks(&read(document), "sh")) {
        for line in block.lines() {
            let line = line.split(" #").next().unwrap_or_default();
            let line = line.trim().strip_prefix("sudo ").unwrap_or(line.trim());
            let words: Vec<&str> = line.split_whitespace().collect();
            let result = match words.first() {
                Some(&"redirect") => cmd::definition().try_get_matches_from(&words).map(drop),
                Some(&"redirectd") => Options::try_parse_from(&words).map(drop),
                _ => continue,
            };
            if let Err(error) = result {
                panic!("{line}: {error}");
            }
            shown += 1;
        }
    }
    assert!(shown >= 4, "only {shown} commands are shown");
}

/// Each row of the README's table: verbs, and the options it gives them.
#[test]
fn the_verbs_and_options_they_list_exist() {
    let definition = cmd::definition();
    let mut listed = BTreeSet::new();
    for line in read("README.md").lines().filter(|line| line.starts_with("| `redirect ")) {
        let (left, _) = line[2..].split_once(" | ").unwrap();
        let verbs: Vec<_> = quoted(left)
            .map(|code| code.strip_prefix("redirect ").unwrap_or(code))
            .map(|code| code.split_whitespace().next().unwrap())
            .map(|verb| definition.find_subcommand(verb).unwrap_or_else(|| panic!("no {verb}")))
            .collect();
        let words = quoted(line).flat_map(str::split_whitespace);
        for option in words.filter_map(|word| word.strip_prefix("--")) {
            let known = verbs
                .iter()
                .flat_map(|verb| verb.get_arguments())
                .any(|argument| argument.get_long() == Some(option));
            assert!(known, "no option --{option}: {line}");
        }
        listed.extend(verbs.iter().map(|verb| verb.get_name().to_owned()));
    }
    let visible = definition.get_subcommands().filter(|verb| !verb.is_hide_set()).count();
    assert_eq!(listed.len(), visible, "{listed:?} is not all");
}

#[test]
fn the_first_rule_has_five_lines_and_is_right() {
    let rules = blocks(&read("README.md"), "yaml");
    assert_eq!(rules[0].lines().count(), 5);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("redirectd.yaml");
    fs::write(&file, &rules[0]).unwrap();
    let config = config::load(&file).unwrap();
    let redirects: Vec<_> = config.redirects.iter().map(ToString::to_string).collect();
    assert_eq!(redirects, ["tcp 192.0.2.1:80 -> 192.0.2.3:8080"]);
}

#[test]
fn their_links_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        let here = root().join(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = here.with_file_name(link);
            assert!(link.starts_with("https://") || target.exists(), "{document}: {link}");
        }
    }
}
