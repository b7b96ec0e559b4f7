//! `redirect move`: from what is typed to what the packet path is told.

use std::fs;

use redirectd::{
    dataplane::{Dataplane, Phase, fake::GroupCall},
    rule::Protocol,
};
use serde_json::{Value, json};

use crate::{
    following::Following,
    server::{CONFIG, Server, command, eventually},
};

/// A daemon with the redirect `web`, and a flow of it.
fn serving() -> Server {
    let server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    server.fake.open_flow("web", Protocol::Tcp, PEER);
    server
}

const PEER: &str = "198.51.100.7:40000";
const HOME: &str = "192.0.2.1:80";

/// Where `web` leads, as `redirect list` has it.
fn target(server: &Server) -> String {
    let list = server.json(&["list"]);
    let web = list["redirects"].as_array().unwrap().iter().find(|r| r["name"] == "web").unwrap();
    format!("{}:{}", web["target"].as_str().unwrap(), web["target_port"])
}

fn phase(server: &Server) -> Option<Phase> {
    server.fake.groups().unwrap().first().map(|group| group.phase)
}

#[test]
fn a_move_goes_from_host_to_host_step_by_step() {
    let server = serving();
    assert!(server.ok(&["move", "list"]).contains("move begin"), "says what to do next");
    let said = server.ok(&["move", "begin", "web", "--to", "d", "--label", "upgrade"]);
    assert!(said.contains("prepared move 1: web (upgrade), c -> d"), "{said}");
    assert_eq!(phase(&server), Some(Phase::Begun));
    assert!(server.ok(&["show", "web"]).contains("active (move 1)"));

    let said = server.ok(&["move", "park", "1"]);
    assert!(said.contains("parked move 1") && said.contains("packets are held"), "{said}");
    assert_eq!(phase(&server), Some(Phase::Parked));
    assert!(server.ok(&["list"]).contains("parked (move 1)"));
    let group = server.fake.groups().unwrap()[0].group;
    server.fake.hold(group, Protocol::Tcp, PEER, HOME, 1_500);

    let connection = format!("tcp,{PEER},{HOME}");
    let said = server.ok(&["move", "return", "1", "--connection", &connection]);
    assert!(said.contains("192.0.2.4:8080") && said.contains("40000"), "{said}");

    let said = server.ok(&["move", "commit", "1"]);
    assert!(said.contains("committed move 1") && said.contains("1 packets, 1.5 kB"), "{said}");
    assert_eq!(target(&server), "192.0.2.4:8080", "the port is kept");
    assert_eq!(phase(&server), None);
    let flows = server.json(&["flows"]);
    assert_eq!(flows["flows"][0]["host"], "192.0.2.4:8080", "open connections have followed");

    let said = server.ok(&["move", "show", "1"]);
    for part in ["upgrade", "committed", "d (for good)", "held for", PEER] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = server.ok(&["move", "list"]);
    assert!(said.contains("committed") && said.contains("web"), "{said}");
}

#[test]
fn packets_may_be_held_beyond_the_commit() {
    let server = serving();
    server.ok(&["move", "begin", "web", "--to", "d"]);
    server.ok(&["move", "park", "1"]);
    let said = server.fails(1, &["move", "deliver", "1"]);
    assert!(said.contains("it is parked") && said.contains("cure: commit it"), "{said}");
    let said = server.ok(&["move", "commit", "1", "--hold"]);
    assert!(said.contains("committed move 1") && said.contains("packets are held"), "{said}");
    assert_eq!(phase(&server), Some(Phase::Committed));
    let said = server.fails(1, &["move", "abort", "1"]);
    assert!(said.contains("is committed"), "{said}");
    let said = server.ok(&["move", "deliver", "1"]);
    assert!(said.contains("committed move 1") && said.contains("held"), "{said}");
    assert!(!said.contains("before"), "{said}");
    assert_eq!((target(&server).as_str(), phase(&server)), ("192.0.2.4:8080", None));
    server.ok(&["move", "begin", "web", "--to", "c"]);
    let again = server.json(&["move", "deliver", "1"]);
    assert_eq!((&again["first"], &again["move"]["state"]), (&json!(false), &json!("committed")));
    let said = server.ok(&["move", "deliver", "1"]);
    assert!(said.contains("had been delivered before"), "{said}");
    server.ok(&["move", "park", "2"]);
    server.ok(&["move", "commit", "2", "--hold"]);
    assert_eq!(server.json(&["move", "deliver", "2"])["first"], true);
}

#[test]
fn an_aborted_move_says_why_and_changes_nothing() {
    let server = serving();
    server.ok(&["move", "begin", "web", "--to", "d"]);
    server.ok(&["move", "park", "1"]);
    let said = server.ok(&["move", "abort", "1", "--why", "the dump failed"]);
    assert!(said.contains("it stays at c: the dump failed"), "{said}");
    assert_eq!((target(&server).as_str(), phase(&server)), ("192.0.2.3:8080", None));
    let said = server.fails(1, &["move", "commit", "1"]);
    assert!(said.contains("the dump failed") && said.contains("cure:"), "{said}");
    server.ok(&["remove", "web"]);
}

#[test]
fn what_cannot_be_is_refused_with_a_stable_exit_code() {
    let server = serving();
    server.ok(&["move", "begin", "web", "--to", "d"]);
    let connection = "tcp,198.51.100.7:40000,192.0.2.1:81";
    for (code, arguments, part) in [
        (2, &["move", "begin", "web", "--to", "d", "--timeout", "soon"][..], "--timeout"),
        (2, &["move", "begin", "--to", "d"], "NAME"),
        (2, &["move", "park", "one"], "one"),
        (2, &["move", "return", "1", "--connection", "tcp,here,there"], "198.51.100.7:40000"),
        (2, &["move", "return", "1", "--connection", connection], "no redirect of move 1"),
        (1, &["move", "begin", "nobody", "--to", "d"], "no redirect `nobody`"),
        (1, &["move", "begin", "web", "--to", "c"], "is in move 1"),
        (1, &["move", "commit", "1"], "not parked"),
        (1, &["move", "show", "7"], "no move 7"),
        (1, &["remove", "web"], "is in move 1"),
        (1, &["add", "web", HOME, "--to", "d", "--replace", "--no-check"], "is in move 1"),
    ] {
        let said = server.fails(code, arguments);
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = server.fails(1, &["--json", "move", "commit", "1"]);
    let error: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(error["error"]["kind"], "conflict");
}

#[test]
fn a_move_under_way_is_aborted_by_a_stop_and_a_committed_one_kept() {
    let mut server = serving();
    server.ok(&["move", "begin", "web", "--to", "d"]);
    server.ok(&["move", "park", "1"]);
    server.stop();
    assert_eq!(phase(&server), None, "what was held is delivered before it ends");
    server.run().unwrap();
    assert_eq!(target(&server), "192.0.2.3:8080");
    let moved = server.json(&["move", "show", "1"]);
    assert_eq!((&moved["state"], &moved["owner"]), (&"aborted".into(), &"old".into()));

    server.ok(&["move", "begin", "web", "--to", "d"]);
    server.ok(&["move", "park", "2"]);
    server.ok(&["move", "commit", "2"]);
    server.stop();
    server.run().unwrap();
    assert_eq!(target(&server), "192.0.2.4:8080");
    assert_eq!(server.json(&["move", "show", "2"])["owner"], "new");
}

#[test]
fn a_move_nobody_ends_ends_by_itself() {
    let server = serving();
    server.ok(&["move", "begin", "web", "--to", "d", "--timeout", "1ms"]);
    server.ok(&["move", "park", "1"]);
    eventually("it is aborted", || server.json(&["move", "show", "1"])["state"] == "aborted");
    assert!(server.ok(&["move", "show", "1"]).contains("seems to be gone"));
    assert_eq!(phase(&server), None);
}

#[test]
fn a_process_that_is_at_home_has_a_redirect_to_home() {
    let server = Server::start();
    let said = server.ok(&["add", "web", "80", "--to", "home", "--no-check"]);
    assert!(said.contains("tcp 192.0.2.1:80 -> home"), "{said}");
    assert_eq!(server.listed(), ["web active", "web.6 active"]);
    let said = server.ok(&["move", "begin", "web", "--to", "c:8080"]);
    assert!(said.contains("web, web.6, home -> c"), "both go: {said}");
    server.ok(&["move", "park", "1"]);
    server.ok(&["move", "commit", "1"]);
    assert_eq!(target(&server), "192.0.2.3:8080");
    server.ok(&["move", "begin", "web", "--to", "home"]);
    server.ok(&["move", "park", "2"]);
    server.ok(&["move", "commit", "2"]);
    assert_eq!(target(&server), "192.0.2.1:80", "with the home port");
    let said = server.fails(2, &["add", "x", HOME, "--to", "home:81", "--no-check"]);
    assert!(said.contains("with another port"), "{said}");
}

#[test]
fn a_redirect_of_a_file_stays_where_a_move_has_led_it_until_the_file_changes() {
    let file = |target: &str| {
        format!("{CONFIG}redirects:\n  web: {{ home: \"192.0.2.1:80\", to: \"{target}\" }}\n")
    };
    let mut server = Server::start_with(&file("c:8080"));
    server.ok(&["move", "begin", "web", "--to", "d"]);
    server.ok(&["move", "park", "1"]);
    fs::write(server.path("redirectd.yaml"), file("192.0.2.9:8080")).unwrap();
    let said = server.fails(1, &["apply"]);
    assert!(said.contains("is in move 1"), "{said}");
    fs::write(server.path("redirectd.yaml"), file("c:8080")).unwrap();
    server.ok(&["move", "commit", "1"]);
    assert_eq!(target(&server), "192.0.2.4:8080");

    server.ok(&["apply"]);
    server.stop();
    server.run().unwrap();
    assert_eq!(target(&server), "192.0.2.4:8080", "the file says nothing new");
    let said = server.ok(&["show", "web"]);
    assert!(said.contains("file (which says c (192.0.2.3:8080); moved by move 1)"), "{said}");
    fs::write(server.path("redirectd.yaml"), file("192.0.2.9:8080")).unwrap();
    server.ok(&["apply"]);
    assert_eq!(target(&server), "192.0.2.9:8080", "now it does");
}

#[test]
fn every_step_is_an_event() {
    let server = serving();
    let monitor = Following::monitor(&server, &["--json"]);
    server.ok(&["move", "begin", "web", "--to", "d"]);
    server.ok(&["move", "park", "1"]);
    server.fake.fail_group(Some(GroupCall::Commit));
    server.fails(1, &["move", "commit", "1"]);
    server.fake.fail_group(None);
    server.ok(&["move", "commit", "1"]);
    for state in ["prepared", "parked"] {
        let event = monitor.event();
        assert_eq!((&event["event"], &event["move"]["state"]), (&"move".into(), &state.into()));
    }
    assert_eq!(monitor.event()["event"], "redirect-changed");
    let event = monitor.event();
    assert_eq!((&event["move"]["state"], &event["move"]["id"]), (&"committed".into(), &1.into()));
}

#[test]
fn events_are_readable() {
    let server = serving();
    let monitor = Following::monitor(&server, &[]);
    server.ok(&["move", "begin", "web", "--to", "d"]);
    assert!(monitor.line().contains("prepared move 1: web, c -> d"));
}

/// `value` with `[name]` in place of what differs from run to run.
fn without_times(mut value: Value) -> Value {
    for name in
        ["begun", "parked", "returned", "decided", "delivered", "held_seconds", "flip_seconds"]
    {
        if let Some(place) = value.get_mut(name) {
            *place = format!("[{name}]").into();
        }
    }
    value
}

#[test]
fn a_move_as_json_is_what_programs_expect() {
    let server = serving();
    server.ok(&["move", "begin", "web", "--to", "d", "--timeout", "90s"]);
    server.ok(&["move", "park", "1"]);
    let group = server.fake.groups().unwrap()[0].group;
    server.fake.hold(group, Protocol::Tcp, PEER, HOME, 1_500);
    let connection = format!("tcp,{PEER},{HOME}");
    let returned = server.json(&["move", "return", "1", "--connection", &connection]);
    insta::assert_json_snapshot!("returned", returned);
    let committed = server.json(&["move", "commit", "1"]);
    insta::assert_json_snapshot!("committed", without_times(committed));
    let mut list = server.json(&["move", "list"]);
    list["moves"][0] = without_times(list["moves"][0].take());
    insta::assert_json_snapshot!("moves", list);
}

#[test]
fn the_number_completes() {
    let server = serving();
    server.ok(&["move", "begin", "web", "--to", "d"]);
    assert_eq!(crate::shell::names(&server, &["redirect", "move", "park", ""]), ["1"]);
}

#[test]
fn a_destination_that_is_no_configured_host_is_asked_of_the_resolver() {
    let server = serving();
    let said = server.fails(1, &["move", "begin", "web", "--to", "no-such-host.invalid"]);
    assert!(said.contains("does not resolve"), "{said}");
}

/// `redirect hook criu`, as CRIU calls it at that moment.
fn hook(server: &Server, action: &str, folder: &str) -> (i32, String) {
    let output = command(&server.socket())
        .args(["hook", "criu", "--move", "1"])
        .env("CRTOOLS_SCRIPT_ACTION", action)
        .env("CRTOOLS_IMAGE_DIR", folder)
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// What becomes of images is tested with CRIU, in `engine/hook.rs`.
#[test]
fn the_hook_parks_gives_up_what_cannot_be_used_and_ignores_what_it_does_not_know() {
    let server = serving();
    server.ok(&["move", "begin", "web", "--to", "d"]);
    assert_eq!(hook(&server, "orphan-pts-master", "/none").0, 0);
    assert_eq!(hook(&server, "pre-restore", "/none").0, 1, "it is not parked");
    assert_eq!(hook(&server, "pre-dump", "/none").0, 0);
    assert_eq!(phase(&server), Some(Phase::Parked));
    assert_eq!(hook(&server, "pre-restore", "/none").0, 0);
    let (code, said) = hook(&server, "post-dump", "/none");
    assert_eq!(code, 1);
    assert!(said.contains("/none/files.img"), "{said}");
    let moved = server.json(&["move", "show", "1"]);
    assert_eq!(moved["state"], "aborted");
    assert!(moved["why"].as_str().unwrap().contains("/none/files.img"));
    let (code, said) = hook(&server, "post-restore", "/none");
    assert_eq!(code, 1);
    assert!(said.contains("was aborted"), "{said}");
    let said = server.fails(2, &["hook", "criu", "--move", "1"]);
    assert!(said.contains("--action"), "{said}");
}
