//! How a move went, as `redirect move show` tells it: of each flow, and of each stage.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

use redirectd::{dataplane::Dataplane as _, rule::Protocol};
use serde_json::{Value, json};

use crate::server::Server;

const HOME: &str = "192.0.2.1:80";

/// Tells the daemon how the engine has carried the process of move 1 over: within 21 ms.
pub(crate) fn carried(server: &Server) {
    let stages = json!({
        "dump_us": 3_000,
        "transfer_and_restore_us": 7_000, "transfer_us": 2_000, "restore_us": 5_000,
        "end_us": 2_000,
        "flip_and_replay_us": 8_000, "flip_us": 1_000, "replay_us": 7_000,
        "resume_us": 1_000,
    });
    let body = json!({ "pids": [4711], "files": 30, "bytes": 900, "stages": stages, "lost": [] });
    post(server, "/v1/moves/1/report", &body);
}

/// Asks the daemon as an engine does.
pub(crate) fn post(server: &Server, path: &str, body: &Value) {
    let body = body.to_string();
    let mut stream = UnixStream::connect(server.socket()).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: home\r\nconnection: close");
    let length = body.len();
    write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A daemon with move 1, parked, and a packet held of each of so many flows: the later
/// ones with more bytes. One more of the last has found no room, and was sent again.
fn moving(flows: u16) -> Server {
    let server = Server::start();
    server.ok(&["add", "web", HOME, "--to", "c:8080", "--no-check"]);
    server.ok(&["move", "begin", "web", "--to", "d"]);
    server.ok(&["move", "park", "1"]);
    let group = server.fake.groups().unwrap()[0].group;
    for n in 0..flows {
        let peer = format!("198.51.100.7:{}", 40_000 + n);
        server.fake.hold(group, Protocol::Tcp, &peer, HOME, 60 + u64::from(n));
    }
    server.fake.overflow(group, 100, 1);
    server
}

/// The rows of the table of flows.
fn rows(said: &str) -> Vec<&str> {
    said.lines().skip_while(|line| !line.starts_with("PROTO")).collect()
}

#[test]
fn what_was_held_of_each_flow_is_shown_and_kept() {
    let mut server = moving(2);
    for told in ["so far", "at the end", "after a restart"] {
        let said = server.ok(&["move", "show", "1"]);
        assert!(said.contains("retransmitted  1 TCP segments"), "{told}: {said}");
        let table = [
            "PROTO  PEER                HOME          PACKETS  BYTES  OVERFLOW  RETRANSMITTED",
            "tcp    198.51.100.7:40001  192.0.2.1:80        1   61 B         1              1",
            "tcp    198.51.100.7:40000  192.0.2.1:80        1   60 B         0              0",
        ];
        assert_eq!(rows(&said), table, "{told}");
        let held = &server.json(&["move", "show", "1"])["held"];
        let flow = &held["flows"][0];
        assert_eq!((&held["retransmissions"], &flow["retransmissions"]), (&json!(1), &json!(1)));
        assert_eq!(flow["overflow"], json!({ "packets": 1, "bytes": 100 }));
        match told {
            "so far" => drop(server.ok(&["move", "commit", "1"])),
            _ => {
                server.stop();
                server.run().unwrap();
            }
        }
    }
}

/// People see the largest, programs as many as are kept.
#[test]
fn of_many_flows_the_largest_are_shown_and_the_others_counted() {
    for (flows, more) in [(20, None), (21, Some("… and 1 flows more, of which less was held;"))] {
        let server = moving(flows);
        server.ok(&["move", "commit", "1"]);
        let said = server.ok(&["move", "show", "1"]);
        let rows = rows(&said);
        assert!(rows[1].contains(&format!(":{}", 40_000 + flows - 1)), "{said}");
        assert_eq!(rows.len(), 21 + usize::from(more.is_some()), "{said}");
        if let Some(more) = more {
            assert!(rows[21].starts_with(more) && rows[21].contains("`--json` lists 21"), "{said}");
        }
        let held = server.json(&["move", "show", "1"])["held"].take();
        assert_eq!(held["flows"].as_array().map(Vec::len), Some(usize::from(flows)));
    }
    let server = moving(300);
    server.ok(&["move", "commit", "1"]);
    let held = server.json(&["move", "show", "1"])["held"].take();
    assert_eq!(held["flow_count"], 300);
    assert_eq!(held["flows"].as_array().map(Vec::len), Some(256));
    let said = server.ok(&["move", "show", "1"]);
    assert!(said.contains("… and 280 flows more") && said.contains("lists 256"), "{said}");
}

#[test]
fn each_stage_is_shown_by_its_name_and_kept() {
    let mut server = moving(1);
    server.ok(&["move", "commit", "1"]);
    carried(&server);
    for _ in 0..2 {
        let said = server.ok(&["move", "show", "1"]);
        for stage in [
            "written        3.0 ms",
            "transferred    2.0 ms",
            "revived        5.0 ms",
            "ended before   2.0 ms",
            "flipped        1.0 ms",
            "delivered in   7.0 ms",
            "resumed        1.0 ms",
            "frozen in all  21.0 ms",
        ] {
            assert!(said.contains(stage), "{stage} in {said}");
        }
        let moved: Value = server.json(&["move", "show", "1"]);
        let stages = &moved["carried"]["stages"];
        for (name, micros) in [
            ("transfer_us", 2_000),
            ("restore_us", 5_000),
            ("flip_us", 1_000),
            ("replay_us", 7_000),
        ] {
            assert_eq!(stages[name], micros, "{name}");
        }
        assert!(moved["flip_seconds"].is_number() && said.contains("flip "), "{said}");
        server.stop();
        server.run().unwrap();
    }
}
