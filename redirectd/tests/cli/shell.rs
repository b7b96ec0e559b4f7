//! What the shell sees: completions, colours, pipes, manual pages.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
};

use xtask::lab::soon;

use crate::server::{Server, command, redirect};

/// The names that bash is offered for the last of `words`. There are some, but none are
/// offered when the daemon does not answer at once, as on a machine that stalls. So bash
/// asks until it did.
pub(crate) fn names(server: &Server, words: &[&str]) -> Vec<String> {
    let names = || {
        let mut names = offered(server, words);
        names.retain(|name| !name.starts_with("--"));
        (!names.is_empty()).then_some(names)
    };
    soon("names are offered", names).unwrap()
}

/// What bash is offered for the last of `words`.
fn offered(server: &Server, words: &[&str]) -> Vec<String> {
    let output = command(&server.socket())
        .env("COMPLETE", "bash")
        .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
        .env("_CLAP_COMPLETE_COMP_TYPE", "9")
        .env("_CLAP_COMPLETE_SPACE", "true")
        .env("_CLAP_IFS", "\n")
        .arg("--")
        .args(words)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn names_of_redirects_complete() {
    let server = Server::start();
    for (name, port) in [("web", "80"), ("wiki", "81"), ("mail", "25")] {
        let home = format!("192.0.2.1:{port}");
        server.ok(&["add", name, &home, "--to", "c", "--no-check"]);
    }
    assert_eq!(names(&server, &["redirect", "remove", "w"]), ["web", "wiki"]);
    assert_eq!(names(&server, &["redirect", "show", "m"]), ["mail"]);
    assert_eq!(names(&server, &["redirect", "flows", "--redirect", "wi"]), ["wiki"]);
    assert_eq!(offered(&server, &["redirect", "mon"]), ["monitor"]);
    let verbs = offered(&server, &["redirect", ""]);
    assert!(verbs.contains(&"add".to_owned()) && !verbs.contains(&"man".to_owned()), "{verbs:?}");
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish"] {
        let ended = redirect("/none".as_ref(), &["completions", shell]);
        assert_eq!(ended.code, 0);
        assert!(ended.out.contains("redirect"), "{shell}: {ended:?}");
    }
    assert_eq!(redirect("/none".as_ref(), &["completions", "tcsh"]).code, 2);
    let script = redirect("/none".as_ref(), &["completions", "bash"]).out;
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success(), "bash reads it");
}

#[test]
fn manual_pages_are_written_for_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("man");
    assert_eq!(redirect("/none".as_ref(), &["man", to.to_str().unwrap()]).code, 0);
    for page in ["redirect.1", "redirect-add.1", "redirect-top.1", "redirectd.8"] {
        let text = fs::read_to_string(to.join(page)).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
    let add = fs::read_to_string(to.join("redirect-add.1")).unwrap();
    assert!(add.contains("no\\-check") && add.contains("Examples"), "{add}");
    assert!(!to.join("redirect-man.1").exists(), "hidden verbs have none");
}

#[test]
fn colours_are_for_terminals_and_for_who_asks() {
    let server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c", "--no-check"]);
    let coloured = |arguments: &[&str]| server.ok(arguments).contains('\x1b');
    assert!(!coloured(&["list"]), "a pipe is no terminal");
    assert!(coloured(&["list", "--color", "always"]));
    assert!(!coloured(&["list", "--color", "never"]));
    assert!(!coloured(&["list", "--json", "--color", "always"]));
}

#[test]
fn a_reader_that_goes_away_is_no_error_to_speak_of() {
    let server = Server::start();
    let mut child = command(&server.socket())
        .args(["list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert_eq!(said, "");
}

#[test]
fn top_wants_a_terminal() {
    let server = Server::start();
    let said = server.fails(2, &["top"]);
    assert!(said.contains("terminal") && said.contains("stats --interval"), "{said}");
}
