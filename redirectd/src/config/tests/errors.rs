//! Every error with its exact words and place. The cases stand in `errors.txt`:
//! files, then what is said of them.
//!
//! After a change of words, `UPDATE_ERRORS=1 cargo test` writes them anew; read
//! the difference before it is committed.

use std::{env, fmt::Write, fs, path::PathBuf};

use super::parse;

const CASES: &str = include_str!("errors.txt");
const CASE: &str = "=== ";
const FILE: &str = "--- ";
const SAID: &str = "said:\n";

/// What is said of the files of a case: the error, or the warnings.
fn said(files: &[(&str, &str)]) -> String {
    match parse(files) {
        Err(error) => error.to_string(),
        Ok(config) => {
            config.warnings.iter().map(|w| format!("warning: {w}")).collect::<Vec<_>>().join("\n")
        }
    }
}

/// A case: its title, its files, what should be said.
struct Case<'a> {
    title: &'a str,
    files: Vec<(&'a str, &'a str)>,
    said: &'a str,
}

fn cases() -> Vec<Case<'static>> {
    let (_, cases) = CASES.split_once(CASE).expect("there is a case");
    cases
        .split(&format!("\n{CASE}"))
        .map(|case| {
            let (title, rest) = case.split_once('\n').expect("a case has a title");
            let (files, said) = rest.split_once(SAID).expect("a case says something");
            let files = files
                .split(FILE)
                .skip(1)
                .map(|file| file.split_once('\n').expect("a file has a name"));
            Case { title, files: files.collect(), said: said.trim_end() }
        })
        .collect()
}

#[test]
fn every_error_names_the_place_and_the_cure() {
    let mut written = String::new();
    let mut differing = Vec::new();
    for Case { title, files, said: expected } in cases() {
        let said = said(&files);
        if said != expected {
            differing.push(format!("{title}\nexpected:\n{expected}\nsaid:\n{said}\n"));
        }
        writeln!(written, "{CASE}{title}").unwrap();
        for (name, text) in files {
            write!(written, "{FILE}{name}\n{text}").unwrap();
        }
        write!(written, "{SAID}{said}\n\n").unwrap();
    }
    if env::var_os("UPDATE_ERRORS").is_some() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/errors.txt");
        fs::write(path, written).unwrap();
    } else {
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    }
}
