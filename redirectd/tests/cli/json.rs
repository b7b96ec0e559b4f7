//! What `--json` prints, word for word: programs depend on it. A change here that
//! takes away or renames anything needs a new version in `api/types.rs`.

use std::fs;

use insta::assert_json_snapshot;
use redirectd::rule::Protocol;
use serde_json::{Value, json};

use crate::{
    program::Program,
    server::{CONFIG, Server},
};

/// A daemon with a redirect of each origin and a flow.
fn busy() -> Server {
    let server = Server::start_with(&format!(
        "{CONFIG}redirects:\n  web: {{ home: 80, to: \"c:8080\", flows: follow }}\n"
    ));
    server.ok(&[
        "add",
        "dns",
        "192.0.2.1:53",
        "--to",
        "d",
        "--protocol",
        "tcp,udp",
        "--peer",
        "198.51.100.0/24",
        "--no-check",
    ]);
    server.fake.open_flow("dns", Protocol::Udp, "198.51.100.7:40000");
    server
}

/// Puts `[name]` where `value` differs from run to run.
fn without(mut value: Value, pointers: &[&str]) -> Value {
    for pointer in pointers {
        let place = value.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"));
        *place = json!(format!("[{}]", pointer.rsplit('/').next().unwrap()));
    }
    value
}

#[test]
fn list() {
    assert_json_snapshot!(busy().json(&["list"]));
}

#[test]
fn show() {
    assert_json_snapshot!(busy().json(&["show", "dns"]));
}

#[test]
fn add() {
    let server = busy();
    let add = ["add", "mail", "192.0.2.1:25", "--to", "d:2525", "--no-check"];
    assert_json_snapshot!(server.json(&add));
}

#[test]
fn replace() {
    let add = ["add", "dns", "192.0.2.1:53", "--to", "c", "--replace", "--no-check"];
    assert_json_snapshot!(busy().json(&add));
}

#[test]
fn remove() {
    assert_json_snapshot!(busy().json(&["remove", "dns"]));
}

#[test]
fn apply_dry_run() {
    let server = busy();
    let file = server.path("mine.yaml");
    fs::write(&file, "version: 1\nredirects:\n  mail: { home: \"192.0.2.1:25\", to: d }\n")
        .unwrap();
    assert_json_snapshot!(server.json(&["apply", "--dry-run", "-f", file.to_str().unwrap()]));
}

#[test]
fn check() {
    let server = busy();
    let file = server.path("redirectd.yaml");
    let checked = server.json(&["check", file.to_str().unwrap()]);
    assert_json_snapshot!(without(checked, &["/file"]));
}

#[test]
fn flows() {
    assert_json_snapshot!(busy().json(&["flows"]));
}

#[test]
fn stats() {
    assert_json_snapshot!(busy().json(&["stats"]));
}

#[test]
fn status() {
    let status = busy().json(&["status"]);
    let varying = [
        "/daemon/pid",
        "/daemon/release",
        "/daemon/uptime_seconds",
        "/configuration/path",
        "/configuration/loaded",
    ];
    assert_json_snapshot!(without(status, &varying));
}

/// The form of what differs from machine to machine: each list by its first item,
/// and of each value the kind.
fn form(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields.into_iter().map(|(k, v)| (k, form(v))).collect(),
        Value::Array(items) => items.into_iter().take(1).map(form).collect(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("true or false"),
        Value::Null => Value::Null,
    }
}

#[test]
fn inspect() {
    let program = Program::start(
        "p, q = socket.socketpair()\n\
         n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n\
         t = bound(TCP, V4, '127.0.0.1', 0)\n\
         c = socket.create_connection(t.getsockname())\n\
         m = mmap.mmap(-1, 4096)\n\
         import select; e = select.epoll()",
    );
    let mut inspected = busy().json(&["inspect", &program.pid(), "--hash"]);
    // The connected one of the two.
    let sockets = inspected["sockets"]["inet"].as_array_mut().unwrap();
    sockets.sort_by_key(|socket| socket["remote"].is_null());
    let files = inspected["files"].as_array_mut().unwrap();
    files.retain(|file| !file["sha256"].is_null() && !file["mapped"].is_null());
    let pipes = inspected["pipes"].as_array_mut().unwrap();
    pipes.retain(|pipe| !pipe["strangers"].is_null());
    assert_json_snapshot!(form(inspected));
}

#[test]
fn log() {
    assert_json_snapshot!(without(busy().json(&["log"]), &["/filter"]));
}

#[test]
fn failure() {
    let server = busy();
    let said = server.fails(1, &["--json", "show", "nothing"]);
    assert_json_snapshot!(serde_json::from_str::<Value>(&said).unwrap());
}
