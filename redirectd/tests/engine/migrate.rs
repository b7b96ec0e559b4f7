//! `redirect migrate` from home to a host: what it says, and what is in the way.

use std::{
    fs,
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Daemon, Finished, Machine};

use crate::{
    nodes::{C, PID, Two, binaries, refused},
    programs::{MULTIPATH, SELECT, TARDY, Talk},
};

const SERVER: &str = "10.0.0.2:7000";

#[test]
fn an_open_connection_goes_on_from_home_to_a_host() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let said = two.migrate(&["--json"])?.success()?;
    let report: Value = serde_json::from_str(&said)?;
    ensure!(report["move"]["state"] == "committed" && report["pids"][0] == PID, "{report:#}");
    ensure!(report["bytes"].as_u64() > Some(1 << 16), "{report:#}");
    let took = |stage: &str| {
        report["seconds"][stage].as_f64().with_context(|| format!("no time of {stage}: {report:#}"))
    };
    let mut all = 0.0;
    for stage in ["dump", "transfer", "restore", "end", "flip", "replay", "resume"] {
        all += took(stage)?;
    }
    // Each of them is told to the microsecond.
    ensure!(took("frozen")? > 0.0 && (all - took("frozen")?).abs() < 1e-5, "{report:#}");
    for stage in ["dump", "restore", "flip"] {
        ensure!(took(stage)? > 0.0, "{stage} takes no time: {report:#}");
    }
    ensure!(report["lost"] == Value::Array(Vec::new()), "{report:#}");
    for _ in 0..20 {
        assert_eq!(talk.line()?, "10.0.0.3");
    }
    assert_eq!(Talk::open(two.peer(), SERVER)?.line()?, "10.0.0.3");
    ensure!(two.c.has(PID) && !two.home.has(PID), "{PID} is not on c alone");
    Ok(())
}

/// Lines are asked all the while.
#[test]
fn a_busy_connection_loses_nothing() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let over = AtomicBool::new(false);
    let moved = std::thread::scope(|scope| {
        let talking = scope.spawn(|| {
            let mut seen = vec![talk.line()?];
            while seen.len() < 2 && !over.load(Ordering::Relaxed) {
                let address = talk.line()?;
                if seen.last() != Some(&address) {
                    seen.push(address);
                }
            }
            Ok::<_, anyhow::Error>(seen)
        });
        let moved = two.migrate(&[]).and_then(Finished::success);
        over.store(moved.is_err(), Ordering::Relaxed);
        let seen = talking.join().expect("it does not panic");
        Ok::<_, anyhow::Error>((moved?, seen?))
    })?;
    let (said, addresses) = moved;
    assert_eq!(addresses, ["10.0.0.2", "10.0.0.3"]);
    for told in ["held", "retransmitted", "transferred", "revived", "flipped", "frozen in all"] {
        ensure!(said.contains(told), "{told} in {said}");
    }
    Ok(())
}

/// At any time a server has connections that it has not accepted yet; none is lost.
#[test]
fn peers_may_connect_all_the_while() -> Result<()> {
    let two = Two::joined()?;
    two.serve(TARDY)?;
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let connecting = |_| {
            scope.spawn(|| {
                let mut seen = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    seen.push(Talk::open(two.peer(), SERVER)?.line()?);
                }
                Ok::<_, anyhow::Error>(seen)
            })
        };
        let peers: Vec<_> = (0..4).map(connecting).collect();
        let moved = two.migrate(&[]).and_then(Finished::success);
        over.store(true, Ordering::Relaxed);
        let seen = peers.into_iter().map(|peer| peer.join().expect("it does not panic"));
        moved.and(seen.collect::<Result<Vec<_>>>())
    })?;
    for addresses in seen {
        let there = addresses.iter().position(|address| address == "10.0.0.3");
        let (before, after) = addresses.split_at(there.context("it was never on c")?);
        ensure!(before.iter().all(|address| address == "10.0.0.2"), "{addresses:?}");
        ensure!(after.iter().all(|address| address == "10.0.0.3"), "{addresses:?}");
    }
    Ok(())
}

#[test]
fn a_dry_run_tells_all_and_changes_nothing() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let plan: Value = serde_json::from_str(&two.migrate(&["--dry-run", "--json"])?.success()?)?;
    ensure!(plan["movable"] == true && plan["to"] == "c", "{plan:#}");
    ensure!(plan["processes"][0]["pid"] == PID, "{plan:#}");
    ensure!(plan["sockets"]["inet"].as_array().is_some_and(|all| all.len() == 2), "{plan:#}");
    let said = two.migrate(&["--dry-run"])?.success()?;
    ensure!(said.contains("it can move to c") && said.contains("10.0.0.2:7000"), "{said}");
    assert_eq!(two.moves()?, Vec::<Value>::new());
    two.goes_on_at_home(&mut talk)
}

/// What is home's to refuse is in the way as well.
#[test]
fn a_dry_run_tells_what_home_would_refuse() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    refused(&two.migrate(&["--dry-run", "--redirect", "nobody"])?, 1, "no redirect `nobody`")?;
    two.redirect_on_home(&["lock", &PID.to_string()])?.success()?;
    let said = two.migrate(&["--dry-run"])?.success()?;
    ensure!(said.contains("is locked") && said.contains("it cannot move"), "{said}");
    two.daemon.redirect(&["unlock", &PID.to_string()])?;
    // A node, and no host of home's configuration.
    let token = two.daemon.json(&["node", "invite"])?;
    let token = token["token"].as_str().context("a token")?;
    let machine = Machine::new(&two.lan.d)?;
    let x = Daemon::start_on(&machine, &binaries(), C)?;
    x.json(&["node", "join", token, "--name", "x.invalid", "--listen", "10.0.0.4:9311"])?;
    for options in [&["--dry-run"][..], &[]] {
        refused(&two.run(&[], "x.invalid", options)?, 1, "`x.invalid` does not resolve")?;
    }
    assert_eq!(two.moves()?, Vec::<Value>::new());
    two.goes_on_at_home(&mut talk)
}

#[test]
fn one_that_is_there_already_is_told_so() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    let at_home = "process 3000 (python3) is at home already";
    refused(&two.run(&[], "home", &[])?, 2, at_home)?;
    refused(&two.run(&[], "home", &["--dry-run"])?, 2, at_home)?;
    two.goes_on_at_home(&mut talk)?;
    two.migrate(&[])?.success()?;
    refused(&two.migrate(&[])?, 2, "process 3000 (python3) is at c already")?;
    assert_eq!(talk.line()?, "10.0.0.3");
    Ok(())
}

/// Its state directory takes nothing any more: home would not find the process there.
#[test]
fn a_host_that_cannot_remember_its_guests_takes_none_in() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let in_the_way = two.c_daemon.state().join("guests.new");
    fs::create_dir(&in_the_way)?;
    refused(&two.migrate(&[])?, 1, "guests.json")?;
    two.goes_on_at_home(&mut talk)?;
    fs::remove_dir(&in_the_way)?;
    two.migrate(&[])?.success()?;
    assert_eq!(talk.line()?, "10.0.0.3");
    Ok(())
}

/// Reasons of both machines are told at once, and nothing is begun.
#[test]
fn what_is_in_the_way_is_told_before_anything_is_frozen() -> Result<()> {
    let two = Two::joined()?;
    two.serve(MULTIPATH)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let _port = two.lan.c.enter(|| TcpListener::bind("0.0.0.0:7000"))?;
    two.c.start_as(PID, &["sleep", "60"])?;
    let done = two.migrate(&[])?;
    for part in ["Multipath TCP", "other processes have the ids", "other processes have the ports"]
    {
        refused(&done, 1, part)?;
    }
    assert_eq!(two.moves()?, Vec::<Value>::new());
    assert_eq!(two.redirects()?, Value::Array(Vec::new()));
    assert_eq!(talk.line()?, "10.0.0.2");
    let plan: Value = serde_json::from_str(&two.migrate(&["--dry-run", "--json"])?.success()?)?;
    ensure!(plan["movable"] == false, "{plan:#}");
    Ok(())
}

/// Its tmpfs takes no images.
#[test]
fn a_host_that_fails_leaves_the_process_at_home() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    two.c.run(&["mkdir", "/run/redirectd"])?.success()?;
    let small = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", "/run/redirectd"];
    two.c.run(&small)?.success()?;
    // What is known before is told before.
    refused(&two.migrate(&[])?, 1, "c: there is room for ")?;
    assert_eq!(two.moves()?, Vec::<Value>::new());
    // Too little room for what is not: it fails in the middle of the images, the process frozen.
    refused(&two.migrate(&["--memory", "lazy"])?, 1, "all there is room for where it goes")?;
    let moves = two.moves()?;
    ensure!(moves.len() == 1 && moves[0]["state"] == "aborted", "{moves:#?}");
    two.goes_on_at_home(&mut talk)?;
    // And it can move after that.
    two.c.run(&["umount", "/run/redirectd"])?.success()?;
    two.migrate(&[])?.success()?;
    assert_eq!(talk.line()?, "10.0.0.3");
    Ok(())
}

/// Its redirectd runs as the shipped unit has it, without root's rights.
#[test]
fn a_host_without_the_rights_refuses() -> Result<()> {
    let two = Two::new(|c| {
        let bounded = "setpriv --bounding-set -sys_admin,-sys_ptrace";
        Daemon::start_by(c, &bounded.split(' ').collect::<Vec<_>>(), &binaries(), C)
    })?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let done = two.migrate(&[])?;
    refused(&done, 1, "CAP_SYS_ADMIN")?;
    refused(&done, 1, "configs/systemd/migrate.conf")?;
    assert_eq!(two.moves()?, Vec::<Value>::new());
    two.goes_on_at_home(&mut talk)
}

#[test]
fn an_unknown_node_and_one_that_refuses_are_told() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    refused(&two.run(&[], "nobody", &[])?, 1, "nobody")?;
    // c does not know home any more.
    two.c_daemon.redirect(&["node", "remove", "home-node"])?;
    refused(&two.migrate(&[])?, 1, "does not know this node")?;
    two.goes_on_at_home(&mut talk)
}

#[test]
fn only_root_may() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let nobody = ["setpriv", "--reuid", "65534", "--clear-groups"];
    refused(&two.run(&nobody, "c", &[])?, 4, "only root")
}
