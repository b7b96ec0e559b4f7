//! `flows`, `stats`, `status`, `log` and the metrics.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use redirectd::{dataplane::Dataplane, rule::Protocol};
use serde_json::json;

use crate::{
    following::Following,
    reports,
    server::{CONFIG, Server, eventually},
};

#[test]
fn flows_are_listed_and_filtered() {
    let server = Server::start();
    assert!(server.ok(&["flows"]).contains("no open flows"));
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    server.ok(&["add", "dns", "192.0.2.1:53", "--to", "d", "--protocol", "udp"]);
    server.fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40000");
    server.fake.open_flow("web", Protocol::Tcp, "198.51.100.8:40000");
    server.fake.open_flow("dns", Protocol::Udp, "198.51.100.8:5353");

    let matching = |arguments: &[&str]| {
        let list = server.json(&[&["flows"][..], arguments].concat());
        (list["matching"].as_u64().unwrap(), list["flows"].as_array().unwrap().len())
    };
    assert_eq!(matching(&[]), (3, 3));
    assert_eq!(matching(&["--redirect", "web"]), (2, 2));
    assert_eq!(matching(&["--peer", "198.51.100.8"]), (2, 2));
    assert_eq!(matching(&["--redirect", "web", "--peer", "198.51.100.8"]), (1, 1));
    assert_eq!(matching(&["--limit", "1"]), (3, 1));

    let table = server.ok(&["flows", "--redirect", "web", "--peer", "198.51.100.7"]);
    for part in ["198.51.100.7:40000", "192.0.2.1:80", "192.0.2.3:8080", "established"] {
        assert!(table.contains(part), "{part} in {table}");
    }
    assert!(server.redirect(&["flows", "--limit", "1"]).err.contains("2 more"));
    assert!(server.fails(1, &["flows", "--redirect", "ftp"]).contains("no redirect `ftp`"));
    server.fails(2, &["flows", "--peer", "somebody"]);
}

#[test]
fn idle_flows_expire_and_a_drained_redirect_goes() {
    let server = Server::start_with(&format!("{CONFIG}timers: {{ udp: 2m }}\n"));
    server.ok(&["add", "dns", "192.0.2.1:53", "--to", "d", "--protocol", "udp"]);
    server.fake.open_flow("dns", Protocol::Udp, "198.51.100.8:5353");
    server.ok(&["remove", "dns"]);
    assert_eq!(server.listed(), ["dns draining"]);
    server.fake.silence(Duration::from_secs(121));
    eventually("the redirect drains", || server.listed().is_empty());
}

#[test]
fn stats_count_and_rates_follow() {
    let server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    server.fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40000");
    let said = server.ok(&["stats"]);
    for part in ["web", "total", "10 packets, 5.0 kB", "translated", "redirects"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let rates = Following::start(&server, &["stats", "--interval", "1"]);
    assert!(rates.line().contains("BIT/s TO HOST"));
    assert!(rates.line().starts_with("web"));
    server.fails(2, &["stats", "--interval", "0"]);
}

#[test]
fn status_tells_of_home_addresses_that_are_not_here() {
    let server = Server::start();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    let ended = server.redirect(&["status"]);
    assert!(ended.out.contains("runs") && ended.out.contains("1 added"), "{ended:?}");
    assert!(ended.err.contains("192.0.2.1 is on no interface"), "{ended:?}");
}

#[test]
fn the_log_level_changes_while_it_runs() {
    let server = Server::start();
    assert_eq!(server.ok(&["log", "redirectd=debug"]), "redirectd=debug\n");
    assert_eq!(server.ok(&["log"]), "redirectd=debug\n");
    let said = server.fails(2, &["log", "loud=very"]);
    assert!(said.contains("loud=very") && said.contains("cure:"), "{said}");
    assert_eq!(server.ok(&["log"]), "redirectd=debug\n");
}

/// The answer to a GET of `path`, status line and body.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn metrics_are_served_on_loopback() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start_with(&format!("{CONFIG}metrics: {free}\n"));
    let address = free.to_string();
    server.ok(&["add", "web", "192.0.2.1:80", "--to", "c:8080", "--no-check"]);
    server.fake.open_flow("web", Protocol::Tcp, "198.51.100.7:40000");
    server.ok(&["move", "begin", "web", "--to", "d"]);
    server.ok(&["move", "park", "1"]);
    let group = server.fake.groups().unwrap()[0].group;
    server.fake.hold(group, Protocol::Tcp, "198.51.100.7:40000", "192.0.2.1:80", 60);
    server.fake.overflow(group, 60, 3);
    server.ok(&["move", "commit", "1"]);
    reports::carried(&server);

    let (status, body) = get(&address, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    for line in [
        "redirectd_redirect_packets_total{redirect=\"web\",direction=\"to_host\"} 10",
        "redirectd_redirect_bytes_total{redirect=\"web\",direction=\"to_host\"} 5000",
        "redirectd_flows_open{redirect=\"web\"} 1",
        "redirectd_flows_opened_total{redirect=\"web\"} 1",
        "redirectd_packets_total{reason=\"translated\",verdict=\"translated\"} 10",
        "redirectd_table_entries{table=\"redirects\"} 1",
        "redirectd_table_size{table=\"redirects\"} 64",
        "redirectd_moves_total{outcome=\"committed\"} 1",
        "redirectd_moves_total{outcome=\"aborted\"} 0",
        "redirectd_moves_open 0",
        "redirectd_held_packets_total 1",
        "redirectd_held_bytes_total 60",
        "redirectd_held_overflow_packets_total 1",
        "redirectd_held_lost_packets_total 0",
        "redirectd_held_retransmissions_total 3",
        "redirectd_move_held_seconds_count 1",
        "redirectd_move_frozen_seconds_sum 0.021",
        "redirectd_move_frozen_seconds_count 1",
        "# EOF",
    ] {
        assert!(body.contains(line), "{line} in:\n{body}");
    }
    assert_eq!(get(&address, "/live").0, "HTTP/1.1 200 OK");
    assert_eq!(get(&address, "/ready"), ("HTTP/1.1 200 OK".to_owned(), "ready\n".to_owned()));
    assert_eq!(get(&address, "/nothing").0, "HTTP/1.1 404 Not Found");
}

#[test]
fn metrics_tell_of_memory_that_follows() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start_with(&format!("{CONFIG}metrics: {free}\n"));
    let address = free.to_string();
    let told = |lines: [&str; 4]| {
        let (_, body) = get(&address, "/metrics");
        for line in lines {
            assert!(body.contains(&format!("redirectd_{line}\n")), "{line} in:\n{body}");
        }
    };
    let ends = [json!(null), json!("the link was cut")];
    for (n, lost) in (1..).zip(&ends) {
        let endpoint = format!("192.0.2.1:{}", 80 + n);
        let name = format!("web{n}");
        server.ok(&["add", &name, &endpoint, "--to", "c:8080", "--no-check"]);
        let begin = json!({
            "redirects": [name], "to": "d", "process": { "pid": 4710 + n, "name": "web" },
            "memory": { "way": "lazy", "why": "it is large" },
        });
        reports::post(&server, "/v1/moves", &begin);
        let call =
            |what: &str, body| reports::post(&server, &format!("/v1/moves/{n}/{what}"), &body);
        call("park", json!(null));
        call("commit", json!(null));
        call("follow", json!({ "total": 700, "over": 300 }));
        let before = format!("memory_followed_bytes_total {}", (n - 1) * 700);
        told([
            "processes_dependent 1",
            "memory_behind_bytes 400",
            &before,
            "processes_lost_total 0",
        ]);
        let followed = json!({ "bytes": 700, "took_us": 1_000, "lost": lost });
        let stages = json!({
            "dump_us": 0, "transfer_and_restore_us": 0, "end_us": 0, "flip_and_replay_us": 0,
            "resume_us": 0,
        });
        let report = json!({
            "pids": [4711], "files": 30, "bytes": 900, "stages": stages, "lost": [],
            "followed": followed,
        });
        call("report", report);
    }
    told([
        "processes_dependent 0",
        "memory_behind_bytes 0",
        "memory_followed_bytes_total 1400",
        "processes_lost_total 1",
    ]);
}
