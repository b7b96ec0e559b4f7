//! `add`, `remove`, `list`, `show`: from what is typed to what is installed.

use redirectd::{
    dataplane::{Dataplane, State},
    rule::Protocol,
};

use crate::server::Server;

/// What the packet path has: name, target, state.
fn installed(server: &Server) -> Vec<(String, String, State)> {
    let mut installed: Vec<_> = server
        .fake
        .installed()
        .unwrap()
        .into_iter()
        .map(|there| (there.redirect.name.clone(), there.redirect.to_string(), there.state))
        .collect();
    installed.sort_by(|a, b| a.0.cmp(&b.0));
    installed
}

#[test]
fn a_redirect_is_added_listed_and_removed() {
    let server = Server::start();
    assert!(server.ok(&["list"]).contains("redirect add"), "an empty list says what to do next");

    let said = server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    assert!(said.contains("added web: tcp 192.0.2.1:80 -> c (192.0.2.3:8080)"), "{said}");
    assert_eq!(server.listed(), ["web active"]);
    let [(name, what, state)] = installed(&server).try_into().unwrap();
    assert_eq!((name.as_str(), state), ("web", State::Active));
    assert_eq!(what, "tcp 192.0.2.1:80 -> c (192.0.2.3:8080)");

    server.ok(&["remove", "web"]);
    assert_eq!(server.listed(), [""; 0]);
    assert_eq!(installed(&server), []);
}

#[test]
fn ports_alone_mean_every_home_address_and_one_name_removes_them_all() {
    let server = Server::start();
    server.ok(&["add", "web", "80", "--to", "c:8080", "--no-check"]);
    assert_eq!(server.listed(), ["web active", "web.6 active"]);
    assert!(server.ok(&["show", "web"]).contains("[2001:db8::1]:80"));
    server.ok(&["remove", "web"]);
    assert_eq!(server.listed(), [""; 0]);
}

#[test]
fn adding_the_same_again_says_so_and_a_different_one_needs_replace() {
    let server = Server::start();
    let add = ["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"];
    server.ok(&add);
    assert!(server.ok(&add).contains("exists and is the same; nothing changed"));

    let other = ["add", "web", "192.0.2.1:80", "--to", "d:8080", "--no-check"];
    let said = server.fails(1, &other);
    assert!(said.contains("`web` exists") && said.contains("--replace"), "{said}");
    assert!(server.ok(&["show", "web"]).contains("192.0.2.3:8080"), "nothing changed");

    let said = server.ok(&[&other[..], &["--replace"]].concat());
    assert!(said.contains("changed web"), "{said}");
    assert!(server.ok(&["show", "web"]).contains("192.0.2.4:8080"));
}

#[test]
fn a_removed_redirect_drains_unless_it_is_cut() {
    let server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    server.fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40000");
    server.ok(&["remove", "web"]);
    assert_eq!(server.listed(), ["web draining"]);

    // The name is free again, though its old flows still go on.
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "d:8080", "--no-check"]);
    assert_eq!(server.listed(), ["web active", "web draining"]);
    server.fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40001");
    server.ok(&["remove", "web", "--now"]);
    assert_eq!(server.listed(), ["web draining"]);
}

#[test]
fn of_several_names_all_are_removed_or_none() {
    let server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    let said = server.fails(1, &["remove", "web", "mail"]);
    assert!(said.contains("no redirect `mail`"), "{said}");
    assert_eq!(server.listed(), ["web active"]);
}

#[test]
fn what_contradicts_another_redirect_is_refused_and_both_are_named() {
    let server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    let said = server.fails(1, &["add", "www", "192.0.2.1:80", "--to", "d:80", "--no-check"]);
    assert!(said.contains("`web`") && said.contains("`www`"), "{said}");
    assert_eq!(server.listed(), ["web active"]);
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let server = Server::start();
    for (arguments, expected) in [
        (&["add", "web", "80000", "--to", "c:80"][..], "80000"),
        (&["add", "web", "80", "--to", "[2001:db8::3"], "]"),
        (&["add", "web", "80", "--to", "c:80", "--protocol", "sctp"], "sctp"),
        (&["add", "web", "80", "--to", "c:80", "--peer", "everyone"], "everyone"),
        (&["add", "a b", "80", "--to", "c:80"], "a b"),
        (&["remove"], "NAME"),
        (&["frobnicate"], "frobnicate"),
    ] {
        let said = server.fails(2, arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(server.listed(), [""; 0]);
}
