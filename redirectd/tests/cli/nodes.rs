//! `redirect node`: what is typed, what is said, and who may. How nodes talk is
//! tested in `netns/nodes.rs` and beside the code.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    process,
    sync::atomic::{AtomicU8, Ordering},
};

use crate::server::{CONFIG, Server, redirect};

/// An address that nobody else listens on or calls from: it has a loopback address of its
/// own.
fn free() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (process::id() as u16).to_be_bytes();
    SocketAddr::from(([127, high | 0x80, low, COUNT.fetch_add(1, Ordering::Relaxed)], 9311))
}

/// Two daemons, the first a node that has invited; and the invitation.
fn invited() -> (Server, Server, String) {
    let (a, b) = (Server::start(), Server::start());
    let listen = free().to_string();
    let said = a.json(&["node", "init", "--name", "a", "--listen", &listen]);
    assert_eq!((&said["new"], &said["name"]), (&true.into(), &"a".into()), "{said:#}");
    let token = said["invitation"]["token"].as_str().unwrap().to_owned();
    (a, b, token)
}

#[test]
fn each_step_says_what_comes_next() {
    let a = Server::start();
    let said = a.ok(&["node", "list"]);
    assert!(said.contains("not a node") && said.contains("node init"), "{said}");
    let said = a.ok(&["node", "init", "--name", "a"]);
    assert!(said.contains("fingerprint") && said.contains("--listen ADDRESS:PORT"), "{said}");
    let listen = free().to_string();
    let said = a.ok(&["node", "init", "--listen", &listen]);
    let line = said.lines().find(|line| line.contains("redirect node join ")).unwrap();
    let token = line.trim().strip_prefix("redirect node join ").unwrap();
    assert!(said.contains("as you keep a password"), "{said}");
    assert!(a.ok(&["node", "list"]).contains("node invite"));
    let b = Server::start();
    let said = b.ok(&["node", "join", token, "--name", "b"]);
    assert!(said.contains("joined a"), "{said}");
    let said = b.ok(&["node", "ls"]);
    assert!(said.contains("reachable") && said.contains(&listen), "{said}");
    let said = a.ok(&["node", "list"]);
    assert!(said.contains("only calls"), "b listens nowhere: {said}");
    let said = a.ok(&["node", "remove", "b"]);
    assert!(said.contains("removed b"), "{said}");
    let ended = b.redirect(&["node", "list"]);
    assert!(ended.code == 0 && ended.out.contains("unreachable"), "{ended:?}");
    assert!(ended.err.contains("does not know this node"), "{ended:?}");
}

#[test]
fn what_cannot_be_is_refused_with_a_stable_exit_code() {
    let (a, b, token) = invited();
    let mut cut = token.clone();
    cut.pop();
    for (server, code, arguments, part) in [
        (&a, 2, &["node", "init", "--listen", "here"][..], "--listen"),
        (&a, 2, &["node", "init", "--name", "home"], "home"),
        (&a, 2, &["node", "init", "--listen", "127.0.0.1:0"], "port 0"),
        (&a, 1, &["node", "init", "--listen", "192.0.2.99:9311"], "192.0.2.99"),
        (&a, 2, &["node", "invite", "--expires", "soon"], "--expires"),
        (&a, 2, &["node", "invite", "--expires", "2days"], "up to a day"),
        (&a, 2, &["node", "invite", "--address", "0.0.0.0"], "--address"),
        (&a, 2, &["node", "join", &token], "this node itself"),
        (&b, 1, &["node", "invite"], "not a node"),
        (&b, 2, &["node", "join", &cut], "not copied whole"),
        (&b, 2, &["node", "join", "secret"], "node invite"),
        (&b, 2, &["node", "join"], "TOKEN"),
        (&b, 2, &["node", "join", &token, "--name", "a b"], "a b"),
        (&b, 1, &["node", "join", &token, "--name", "a"], "called `a` itself"),
        (&b, 1, &["node", "remove", "nobody"], "no node `nobody`"),
    ] {
        let said = server.fails(code, arguments);
        assert!(said.contains(part), "{arguments:?}: {part} in {said}");
    }
    assert_eq!(b.json(&["node", "list"])["nodes"].as_array().unwrap().len(), 0);
    b.ok(&["node", "join", &token, "--name", "b"]);
    let said = b.fails(1, &["node", "init", "--name", "c"]);
    assert!(said.contains("known to others"), "{said}");
    let none = redirect(&b.path("none.sock"), &["node", "list"]);
    assert_eq!(none.code, 3, "{none:?}");
}

#[test]
fn a_node_that_nobody_answers_for_is_told_where_it_should_be() {
    let (mut a, b, token) = invited();
    b.ok(&["node", "join", &token, "--name", "b"]);
    a.stop();
    let list = b.json(&["node", "list"]);
    let node = &list["nodes"][0];
    assert_eq!((&node["name"], &node["state"]), (&"a".into(), &"unreachable".into()));
    let what = node["why"]["what"].as_str().unwrap();
    assert!(what.contains(node["address"].as_str().unwrap()), "{what}");
    let unused = b.fails(1, &["node", "join", &token]);
    assert!(unused.contains("does not answer"), "{unused}");
}

#[test]
fn the_key_is_root_s_alone_and_not_taken_if_it_was_not() {
    let (mut a, _b, _token) = invited();
    let identity = a.path("state/node/identity.json");
    assert_eq!(fs::metadata(&identity).unwrap().mode() & 0o777, 0o600);
    let folder = fs::metadata(a.path("state/node")).unwrap();
    assert_eq!(folder.mode() & 0o777, 0o700);
    a.stop();
    fs::set_permissions(&identity, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let error = a.run().unwrap_err();
    assert!(error.what.contains("identity.json") && error.cure.unwrap().contains("chmod 600"));
}

#[test]
fn the_configuration_has_the_last_word_on_where_a_node_listens() {
    let (listen, other) = (free(), free());
    let a = Server::start_with(&format!("{CONFIG}node: {{ listen: {listen} }}\n"));
    let said = a.fails(1, &["node", "init", "--name", "a", "--listen", &other.to_string()]);
    assert!(said.contains(&listen.to_string()) && said.contains("cure:"), "{said}");
    let said = a.json(&["node", "init", "--name", "a"]);
    assert_eq!(said["listen"], listen.to_string());
    // A change of it counts from the next start.
    let config = format!("{CONFIG}node: {{ listen: {other} }}\n");
    fs::write(a.path("redirectd.yaml"), config).unwrap();
    let report = a.json(&["apply"]);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("`node` changed"), "{warnings}");
}
