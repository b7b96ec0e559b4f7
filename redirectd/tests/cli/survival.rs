//! What is left of changes when something fails in the middle, and of everything
//! when the daemon is started anew.

use std::fs;

use redirectd::{
    dataplane::{Dataplane, State},
    rule::Protocol,
};

use crate::server::Server;

#[test]
fn redirects_survive_a_restart_and_so_do_their_flows() {
    let mut server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    server.fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40000");
    let before = server.fake.installed().unwrap();
    server.stop();
    assert_eq!(server.fake.installed().unwrap(), before, "a stop leaves everything in place");

    server.run().unwrap();
    assert_eq!(server.fake.installed().unwrap(), before, "a start adopts it, slot and all");
    assert_eq!(server.listed(), ["web active"]);
    assert_eq!(server.json(&["flows"])["matching"], 1);
}

#[test]
fn a_start_brings_the_kernel_to_what_is_desired() {
    let mut server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    server.ok(&["add", "old", "192.0.2.1:81", "--to", "c:8081", "--no-check"]);
    let state = server.path("state/redirects.journal");
    let with_both = fs::read_to_string(&state).unwrap();
    server.ok(&["remove", "old"]);
    let with_one = fs::read_to_string(&state).unwrap();
    server.stop();

    // As after a crash between the change in the kernel and the one on disk.
    fs::write(&state, with_both).unwrap();
    server.run().unwrap();
    assert_eq!(server.listed(), ["old active", "web active"]);
    server.stop();
    fs::write(&state, with_one).unwrap();
    server.run().unwrap();
    assert_eq!(server.listed(), ["web active"]);
}

#[test]
fn a_change_that_fails_midway_leaves_nothing_behind() {
    let mut server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    let rules = server.path("rules.yaml");
    fs::write(
        &rules,
        "version: 1\nredirects:\n  mail: { home: \"192.0.2.1:25\", to: d }\n  web: { home: \
         \"192.0.2.1:80\", to: d }\n  zoo: { home: \"192.0.2.1:81\", to: d }\n",
    )
    .unwrap();
    let before = server.fake.installed().unwrap();
    for step in 0..3 {
        server.fake.fail_change(Some(step));
        let said = server.fails(1, &["apply", "-f", rules.to_str().unwrap()]);
        assert!(said.contains(&format!("change {step} failed")), "{said}");
        assert_eq!(server.fake.installed().unwrap(), before, "step {step}");
        assert_eq!(server.listed(), ["web active"], "step {step}");
    }
    server.fake.fail_change(Some(0));
    server.fails(1, &["add", "mail", "192.0.2.1:25", "--to", "d", "--no-check"]);
    server.fails(1, &["remove", "web"]);
    server.fake.fail_change(None);

    server.stop();
    server.run().unwrap();
    assert_eq!(server.fake.installed().unwrap(), before, "nor on disk");
}

#[test]
fn a_damaged_state_file_is_an_error_and_is_not_overwritten() {
    let mut server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    server.stop();
    for (name, damaged) in [
        ("redirects.json", "{\"version\":1,\"redire"),
        ("redirects.json", ""),
        ("redirects.json", "{\"version\":9,\"redirects\":[]}"),
        ("redirects.journal", "garbage\n"),
    ] {
        let path = server.path("state").join(name);
        let before = fs::read(&path).ok();
        fs::write(&path, damaged).unwrap();
        let error = server.run().unwrap_err();
        assert!(error.what.contains(name) && error.cure.is_some(), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
    }
    let active = server.fake.installed().unwrap();
    assert_eq!(active.len(), 1, "the kernel goes on");
    assert_eq!(active[0].state, State::Active);
    server.run().unwrap();
    assert_eq!(server.listed(), ["web active"]);
}

#[test]
fn a_second_daemon_is_refused_and_the_first_one_unharmed() {
    let mut server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    let second = Server::try_beside(&server).unwrap_err();
    assert!(second.what.contains("another redirectd"), "{second}");
    assert_eq!(server.listed(), ["web active"]);
    server.stop();
    assert!(!server.socket().exists(), "a stop removes the socket");
}

#[test]
fn a_full_table_is_an_error_with_its_cure() {
    let server = Server::start();
    for port in 1000..1064 {
        let home = format!("192.0.2.1:{port}");
        server.ok(&["add", &format!("r{port}"), &home, "--to", "c", "--no-check"]);
    }
    let said = server.fails(1, &["add", "more", "192.0.2.1:80", "--to", "c", "--no-check"]);
    assert!(said.contains("full") && said.contains("cure:"), "{said}");
    assert_eq!(server.listed().len(), 64);
}
