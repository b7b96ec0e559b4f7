//! Processes that cannot move, or not as usual: stopped, traced, ended, threads, in
//! another network; and two commands for one process.

use std::{fs, path::Path, thread};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::{Finished, soon};

use crate::{
    nodes::{PID, Two, refused},
    programs::{SELECT, THREADS, Talk},
};

const SERVER: &str = "10.0.0.2:7000";
/// Traces a process, as a debugger does (`PTRACE_SEIZE`).
const TRACES: &str = "
import ctypes, sys, time
assert ctypes.CDLL(None).ptrace(0x4206, int(sys.argv[1]), 0, 0) == 0
print('traces it', flush=True)
time.sleep(60)
";

/// Has a child that ends, takes no note of it, and says its number.
const FORGETS: &str = "
import os, time
print(os.fork() or os._exit(0), flush=True)
time.sleep(60)
";

/// `redirect migrate` for the process `pid` at home.
fn migrate(two: &Two, pid: i32) -> Result<Finished> {
    let state = two.daemon.state().display().to_string();
    two.redirect_on_home(&["migrate", &pid.to_string(), "--to", "c", "--state-dir", &state])
}

/// Waits until the process at home is in the state that the kernel calls `state`.
fn comes_to(proc: &Path, pid: i32, state: &str) -> Result<()> {
    let status = proc.join(pid.to_string()).join("status");
    let wanted = format!("State:\t{state}");
    let there = || fs::read_to_string(&status).ok().filter(|text| text.contains(&wanted));
    soon("a process comes to a state", there).map(drop)
}

#[test]
fn what_is_no_process_to_be_moved_is_named_and_left_alone() -> Result<()> {
    let two = Two::joined()?;
    two.serve(THREADS)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let threads = fs::read_dir(two.home.proc().join(PID.to_string()).join("task"))?;
    let threads: Vec<String> = threads
        .map(|one| Ok(one?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    let thread = threads.iter().find(|one| **one != PID.to_string()).context("it has a thread")?;
    refused(&migrate(&two, thread.parse()?)?, 2, "is a thread of process 3000 (python3)")?;
    refused(&migrate(&two, 1)?, 1, "is the first of this machine")?;
    refused(&migrate(&two, 2_999_999)?, 1, "there is no process 2999999")?;

    let (_, log) = two.home.start(&["python3", "-c", FORGETS])?;
    let child = soon("it has a child", || fs::read_to_string(&log).ok()?.trim().parse().ok())?;
    comes_to(&two.home.proc(), child, "Z")?;
    refused(&migrate(&two, child)?, 1, "has ended, and waits for its parent")?;

    two.home.start_as(5000, &["unshare", "--net", "sleep", "60"])?;
    let network = |pid: &str| fs::read_link(two.home.proc().join(pid).join("ns/net")).ok();
    soon("it has left the network", || (network("5000") != network("1")).then_some(()))?;
    refused(&migrate(&two, 5000)?, 1, "is in another network namespace")?;

    let (_, log) = two.home.start(&["python3", "-c", TRACES, &PID.to_string()])?;
    soon("it is traced", || fs::read_to_string(&log).ok().filter(|log| log.contains("traces")))?;
    refused(&migrate(&two, PID)?, 1, "is held by a debugger")?;
    assert_eq!(two.moves()?, Vec::<Value>::new());
    assert_eq!(two.redirects()?, Value::Array(Vec::new()));
    assert_eq!(talk.line()?, "10.0.0.2");
    Ok(())
}

#[test]
fn one_that_is_stopped_moves_and_stays_stopped() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let pid = PID.to_string();
    two.home.run(&["kill", "-STOP", &pid])?.success()?;
    comes_to(&two.home.proc(), PID, "T")?;
    talk.say()?;
    two.migrate(&[])?.success()?;
    comes_to(&two.c.proc(), PID, "T")?;
    two.c.run(&["kill", "-CONT", &pid])?.success()?;
    assert_eq!(talk.hear()?, "10.0.0.3");
    assert_eq!(talk.line()?, "10.0.0.3");
    Ok(())
}

/// The other one is told what is in its way, whenever it comes.
#[test]
fn of_two_commands_for_one_process_one_moves_it() -> Result<()> {
    let two = Two::joined()?;
    two.serve(SELECT)?;
    let mut talk = Talk::open(two.peer(), SERVER)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    let done = thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| two.migrate(&[]))).collect();
        both.into_iter().map(|one| one.join().expect("no panic")).collect::<Result<Vec<_>>>()
    })?;
    let failed: Vec<&Finished> = done.iter().filter(|done| done.code != 0).collect();
    let [failed] = failed[..] else { anyhow::bail!("not one of two: {done:?}") };
    ensure!(failed.stderr.contains("cure:"), "{failed}");
    for _ in 0..20 {
        assert_eq!(talk.line()?, "10.0.0.3");
    }
    ensure!(two.c.has(PID) && !two.home.has(PID), "{PID} is not on c alone");
    let moves = two.moves()?;
    ensure!(moves.iter().filter(|one| one["state"] == "committed").count() == 1, "{moves:#?}");
    ensure!(moves.iter().all(|one| one["state"] != "parked"), "{moves:#?}");
    Ok(())
}
