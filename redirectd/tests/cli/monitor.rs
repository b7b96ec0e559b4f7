//! `monitor`: what happens, as it happens.

use std::{fs, time::Duration};

use redirectd::rule::Protocol;

use crate::{
    following::Following,
    server::{CONFIG, Server},
};

const ADD: [&str; 6] = ["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"];

#[test]
fn every_change_is_told_in_order() {
    let mut server = Server::start();
    let monitor = Following::monitor(&server, &["--json"]);
    server.ok(&ADD);
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "d:80", "--replace", "--no-check"]);
    server.ok(&["remove", "web", "--now"]);
    for kind in ["redirect-added", "redirect-changed", "redirect-removed"] {
        let event = monitor.event();
        assert_eq!((&event["event"], &event["version"]), (&kind.into(), &1.into()));
    }

    let main = server.path("redirectd.yaml");
    fs::write(&main, "version: 1\nhome: nowhere\n").unwrap();
    server.fails(1, &["apply"]);
    let refused = monitor.event();
    assert_eq!(refused["event"], "configuration-refused");
    assert!(refused["error"]["what"].as_str().unwrap().contains("nowhere"));

    fs::write(&main, CONFIG.replace("eth7", "eth8")).unwrap();
    server.ok(&["apply"]);
    for kind in ["interface-attached", "interface-detached", "configuration-reloaded"] {
        assert_eq!(monitor.event()["event"], kind);
    }

    server.stop();
    assert_eq!(monitor.event()["event"], "stopping");
    monitor.ends(0);
}

#[test]
fn an_event_as_json_is_what_programs_expect() {
    let server = Server::start();
    let monitor = Following::monitor(&server, &["--json"]);
    server.ok(&ADD);
    let mut event = monitor.event();
    event["at"] = "[at]".into();
    insta::assert_json_snapshot!(event);
}

#[test]
fn the_end_of_the_last_flow_is_told() {
    let server = Server::start();
    server.ok(&ADD);
    server.fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40000");
    let monitor = Following::monitor(&server, &[]);
    server.ok(&["remove", "web"]);
    assert!(monitor.line().contains("removed web; open flows go on"));
    server.fake.silence(Duration::from_secs(86_400));
    assert!(monitor.line().contains("drained web"));
}

#[test]
fn a_table_that_fills_is_told_of() {
    let server = Server::start();
    let rules: String = (1..=60)
        .map(|port| format!("  r{port}: {{ home: \"192.0.2.1:{port}\", to: c }}\n"))
        .collect();
    let file = server.path("many.yaml");
    fs::write(&file, format!("version: 1\nredirects:\n{rules}")).unwrap();
    let monitor = Following::monitor(&server, &[]);
    server.ok(&["apply", "-f", file.to_str().unwrap()]);
    for _ in 1..=60 {
        assert!(monitor.line().contains("added r"));
    }
    let said = monitor.line();
    assert!(said.contains("table redirects fills: 60 of 64 entries"), "{said}");
}
