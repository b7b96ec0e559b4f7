//! What `redirect add` finds out about a target. The daemon runs in a network of
//! its own, where the host c is an address of `lo`, and reads a hosts file of its
//! own.

use std::{fs, net::TcpListener};

use crate::{
    apart::{apart, instead_of, ip},
    server::Server,
};

/// Runs `test` where the host c is this machine, and nobody else is anywhere.
fn with_c_here(test: fn()) {
    apart(move || {
        let hosts = "127.0.0.1 localhost\n192.0.2.3 moved.example\n2001:db8::3 moved.example\n";
        instead_of("/etc/hosts", hosts);
        ip("address add 192.0.2.3/32 dev lo");
        test();
    });
}

#[test]
fn a_target_that_refuses_is_an_error_unless_unchecked() {
    with_c_here(|| {
        let server = Server::start();
        let add = ["add", "web", "192.0.2.1:80", "--to", "c:8080"];
        let said = server.fails(1, &add);
        assert!(said.contains("192.0.2.3:8080") && said.contains("refuses"), "{said}");
        assert!(said.contains("--no-check"), "{said}");
        assert_eq!(server.listed(), [""; 0]);
        server.ok(&[&add[..], &["--no-check"]].concat());

        let _listener = TcpListener::bind("192.0.2.3:8081").unwrap();
        server.ok(&["add", "two", "192.0.2.1:81", "--to", "c:8081"]);
        assert_eq!(server.listed(), ["two active", "web active"]);
    });
}

#[test]
fn a_target_that_is_nowhere_is_an_error_at_once_or_soon() {
    with_c_here(|| {
        let server = Server::start();
        // No route in this network.
        let said = server.fails(1, &["add", "web", "192.0.2.1:80", "--to", "d:80"]);
        assert!(said.contains("192.0.2.4:80"), "{said}");
        // A route to where nobody is.
        ip("link add void type veth peer name void2");
        ip("address add 192.0.2.9/24 dev void");
        ip("link set void up");
        ip("link set void2 up");
        let said = server.fails(1, &["add", "web", "192.0.2.1:80", "--to", "d:80"]);
        assert!(said.contains("no answer within 2 seconds"), "{said}");
    });
}

#[test]
fn udp_targets_ranges_and_files_are_not_tried() {
    with_c_here(|| {
        let server = Server::start();
        server.ok(&["add", "dns", "192.0.2.1:53", "--to", "c", "--protocol", "udp"]);
        server.ok(&["add", "range", "192.0.2.1:8000-8099", "--to", "c"]);
        let file = server.path("mine.yaml");
        let rules = "version: 1\nredirects:\n  web: { home: \"192.0.2.1:80\", to: c }\n";
        fs::write(&file, rules).unwrap();
        server.ok(&["apply", "-f", file.to_str().unwrap()]);
        assert_eq!(server.listed(), ["web active"]);
    });
}

#[test]
fn names_are_resolved_if_they_are_no_hosts_of_the_configuration() {
    with_c_here(|| {
        let server = Server::start();
        server.ok(&["add", "web", "80", "--to", "moved.example:8080", "--no-check"]);
        let said = server.ok(&["show", "web"]);
        assert!(said.contains("moved.example (192.0.2.3:8080)"), "{said}");
        assert!(said.contains("moved.example ([2001:db8::3]:8080)"), "{said}");

        let unknown = ["add", "x", "192.0.2.1:81", "--to", "nowhere.invalid:80"];
        let said = server.fails(1, &unknown);
        assert!(said.contains("`nowhere.invalid` does not resolve"), "{said}");
        let said = server.fails(1, &["add", "x", "192.0.2.1:81", "--to", "localhost"]);
        assert!(said.contains("127.0.0.1 is a loopback address"), "{said}");
    });
}
