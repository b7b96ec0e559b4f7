//! Nodes: daemons on several machines come to know each other, and refuse all
//! others.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Daemon, Finished, Host, Lab, Lan, soon};

use crate::scene::binaries;

/// Where home's node listens in all of these tests.
const HOME: &str = "10.0.0.2:9311";
const C: &str = "10.0.0.3:9311";

/// Home and c, each with a daemon, and neither a node yet. The fields are in the
/// order in which they must go.
struct Two {
    home: Daemon,
    c: Daemon,
    lan: Lan,
    _lab: Lab,
}

fn daemon(host: &Host, rest: &str) -> Result<Daemon> {
    let tables = "tables: { redirects: 64, flows: 1024, half_open: 512 }";
    let yaml = format!("interfaces: {{ eth0: {{ attach: tc }} }}\n{tables}\n{rest}\n");
    Daemon::start(host, &binaries(), &yaml)
}

impl Two {
    fn strangers() -> Result<Self> {
        let lab = Lab::new()?;
        let lan = Lan::new(&lab)?;
        // One is told by its configuration where to listen, the other by its user.
        let listen = format!("node: {{ listen: '{HOME}' }}\nmetrics: 127.0.0.1:9310");
        Ok(Self { home: daemon(&lan.home, &listen)?, c: daemon(&lan.c, "")?, lan, _lab: lab })
    }

    fn joined() -> Result<Self> {
        let two = Self::strangers()?;
        let begun = two.home.json(&["node", "init", "--name", "home-node"])?;
        let token = begun["invitation"]["token"].as_str().context("a token")?;
        let joined = two.c.json(&["node", "join", token, "--name", "c", "--listen", C])?;
        ensure!(joined["joined"]["name"] == "home-node", "{joined:#}");
        Ok(two)
    }

    /// One more invitation of home.
    fn invite(&self, options: &[&str]) -> Result<String> {
        let invitation = self.home.json(&[&["node", "invite"], options].concat())?;
        Ok(invitation["token"].as_str().context("a token")?.to_owned())
    }

    /// How many callers home has refused for this reason.
    fn refused(&self, reason: &str) -> Result<u64> {
        let text = self.lan.home.run(&["curl", "-sS", "http://127.0.0.1:9310/metrics"])?;
        let name = format!("redirectd_node_refused_total{{reason=\"{reason}\"}} ");
        let count =
            text.lines().find_map(|line| line.strip_prefix(&*name)).context(text.clone())?;
        Ok(count.parse()?)
    }

    /// Waits until home has refused so many callers for this reason: it counts
    /// them after they have been told.
    fn refuses(&self, reason: &str, count: u64) -> Result<()> {
        soon(&format!("{count} are counted as {reason}"), || {
            self.refused(reason).ok().filter(|&refused| refused >= count).map(drop)
        })
    }
}

/// The one node that `daemon` knows.
fn only(daemon: &Daemon) -> Result<Value> {
    let list = daemon.json(&["node", "list"])?;
    let nodes = list["nodes"].as_array().context("nodes")?;
    ensure!(nodes.len() == 1, "{list:#}");
    Ok(nodes[0].clone())
}

fn failed(done: &Finished, part: &str) -> Result<()> {
    ensure!(done.code == 1 && done.stderr.contains(part), "not {part:?}: {done}");
    ensure!(done.stderr.contains("cure:"), "{done}");
    Ok(())
}

#[test]
fn two_nodes_join_and_each_sees_what_the_other_can_do() -> Result<()> {
    let two = Two::joined()?;
    for (daemon, name, address) in [(&two.home, "c", C), (&two.c, "home-node", HOME)] {
        let node = only(daemon)?;
        ensure!(node["name"] == name && node["address"] == address, "{node:#}");
        ensure!(node["state"] == "reachable" && node["last_contact"].is_string(), "{node:#}");
        let abilities = &node["abilities"];
        ensure!(abilities["cpu_features"].as_array().is_some_and(|f| f.len() > 3), "{node:#}");
        ensure!(abilities["free_memory_bytes"].as_u64().is_some_and(|free| free > 0), "{node:#}");
        ensure!(abilities["kernel"].is_string() && abilities["criu"].is_object(), "{node:#}");
        let said = daemon.redirect(&["node", "list"])?;
        ensure!(said.contains("reachable") && said.contains("this one"), "{said}");
    }
    Ok(())
}

#[test]
fn a_stranger_is_refused_and_counted() -> Result<()> {
    let mut two = Two::joined()?;
    // c gets a new key, and forgets nothing else: it knows home, and home not it.
    two.c.sigkill()?;
    fs::remove_file(two.c.state().join("node/identity.json"))?;
    two.c.start_again()?;
    two.c.json(&["node", "init", "--name", "c", "--listen", C])?;
    let node = only(&two.c)?;
    ensure!(node["state"] == "unreachable", "{node:#}");
    let why = node["why"]["what"].as_str().unwrap_or_default();
    ensure!(why.contains("does not know this node"), "{node:#}");
    ensure!(node["abilities"].is_null() && node["last_contact"].is_null(), "{node:#}");
    soon("home tells of it in its log", || {
        two.home.log().contains("not known here").then_some(())
    })?;
    two.refuses("stranger", 1)?;
    // Home sees that who answers for c is not c.
    let node = only(&two.home)?;
    let why = node["why"]["what"].as_str().unwrap_or_default();
    ensure!(node["state"] == "unreachable" && why.contains("another key"), "{node:#}");
    Ok(())
}

#[test]
fn a_removed_node_is_refused_and_may_be_invited_again() -> Result<()> {
    let two = Two::joined()?;
    ensure!(only(&two.c)?["state"] == "reachable");
    two.home.redirect(&["node", "remove", "c"])?;
    ensure!(two.home.json(&["node", "list"])?["nodes"] == Value::Array(Vec::new()));
    let node = only(&two.c)?;
    ensure!(node["state"] == "unreachable" && node["since"].is_string(), "{node:#}");
    two.refuses("stranger", 1)?;
    two.c.redirect(&["node", "join", &two.invite(&[])?])?;
    ensure!(only(&two.c)?["state"] == "reachable");
    ensure!(only(&two.home)?["state"] == "reachable");
    Ok(())
}

#[test]
fn an_invitation_is_good_for_one_node_and_for_its_time() -> Result<()> {
    let two = Two::joined()?;
    let d = daemon(&two.lan.d, "")?;
    let join = |token: &str| d.try_redirect(&["node", "join", token, "--name", "d"]);
    let late = two.invite(&["--expires", "1ms"])?;
    sleep(Duration::from_millis(2));
    failed(&join(&late)?, "expired, was used")?;
    two.refuses("uninvited", 1)?;

    let used = two.invite(&[])?;
    two.c.redirect(&["node", "join", &used])?;
    failed(&join(&used)?, "expired, was used")?;
    // Another one that is open does not help, nor one with another secret.
    let open = two.invite(&[])?;
    failed(&join(&used)?, "expired, was used")?;
    failed(&join(&with_another_secret(&open)?)?, "expired, was used")?;
    two.refuses("join_failed", 2)?;
    ensure!(d.json(&["node", "list"])?["nodes"] == Value::Array(Vec::new()));
    // d does not listen: home knows it, and cannot call it.
    join(&open)?.success()?;
    ensure!(only(&d)?["state"] == "reachable");
    let list = two.home.json(&["node", "list"])?;
    ensure!(list["nodes"][1]["name"] == "d" && list["nodes"][1]["state"] == "calling", "{list:#}");
    Ok(())
}

/// `token` with the first byte of its secret changed, and the checksum that goes
/// with it.
fn with_another_secret(token: &str) -> Result<String> {
    let (prefix, digits) = token.rsplit_once('-').context("a prefix")?;
    let byte = |n: usize| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16);
    let mut bytes = (0..digits.len() / 2 - 4).map(byte).collect::<Result<Vec<u8>, _>>()?;
    bytes[32] ^= 1;
    let sum = ring::digest::digest(&ring::digest::SHA256, &bytes);
    bytes.extend(&sum.as_ref()[..4]);
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{prefix}-{digits}"))
}

#[test]
fn who_does_not_speak_tls_is_told_nothing() -> Result<()> {
    let two = Two::joined()?;
    for said in ["GET / HTTP/1.1\r\n\r\n", "\x16 and then no TLS either"] {
        let mut connection = two.lan.peer.enter(|| TcpStream::connect(HOME))?;
        connection.set_read_timeout(Some(Duration::from_secs(20)))?;
        connection.write_all(said.as_bytes())?;
        let mut heard = Vec::new();
        // The connection is closed, or reset as not all was read.
        let _ = connection.read_to_end(&mut heard);
        // At most TLS's own word that this is none: an alert of seven bytes.
        let most = if said.starts_with('G') { 0 } else { 7 };
        ensure!(heard.len() <= most, "{said:?} was answered with {heard:?}");
    }
    two.refuses("not_tls", 2)?;
    ensure!(only(&two.c)?["state"] == "reachable");
    Ok(())
}

#[test]
fn nodes_know_each_other_after_a_crash() -> Result<()> {
    let mut two = Two::joined()?;
    let token = two.invite(&[])?;
    for daemon in [&mut two.home, &mut two.c] {
        daemon.sigkill()?;
        daemon.start_again()?;
    }
    for daemon in [&two.home, &two.c] {
        let node = only(daemon)?;
        ensure!(node["state"] == "reachable", "{node:#}");
    }
    // An invitation ends with the daemon that gave it.
    failed(&two.c.try_redirect(&["node", "join", &token])?, "expired, was used")?;
    two.c.sigkill()?;
    let node = only(&two.home)?;
    ensure!(node["state"] == "unreachable", "{node:#}");
    ensure!(node["abilities"].is_object() && node["last_contact"].is_string(), "{node:#}");
    let said = two.home.try_redirect(&["node", "list"])?;
    ensure!(said.code == 0 && said.stderr.contains("firewall"), "{said}");
    Ok(())
}
