//! The lab itself: hosts reach each other, and nothing of a lab is left,
//! however its run ends.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use xtask::lab::{Lab, Lan, Program, ProgramType, soon};

#[test]
fn hosts_reach_each_other() -> Result<()> {
    let lab = Lab::new()?;
    let lan = Lan::new(&lab)?;
    for address in ["10.0.0.2", "10.0.0.4", "fd00::2", "fd00::4"] {
        lan.peer.run(&["ping", "-c", "1", "-W", "1", address])?;
    }
    ensure!(lan.peer.try_run(&["ping", "-c", "1", "-W", "1", "10.0.0.9"])?.code != 0);
    Ok(())
}

#[test]
fn labs_do_not_see_each_other() -> Result<()> {
    let (first, second) = (Lab::new()?, Lab::new()?);
    let (first, second) = (Lan::new(&first)?, Lan::new(&second)?);
    first.home.address("eth0", "10.0.0.100/24")?;
    first.peer.run(&["ping", "-c", "1", "-W", "1", "10.0.0.100"])?;
    ensure!(second.peer.try_run(&["ping", "-c", "1", "-W", "1", "10.0.0.100"])?.code != 0);
    Ok(())
}

#[test]
fn programs_stay_on_their_interfaces() -> Result<()> {
    let lab = Lab::new()?;
    let lan = Lan::for_xdp(&lab)?;
    lan.home.attach_tc("eth0", "ingress", &[Program::pass(ProgramType::Tc)?])?;
    lan.home.attach_xdp("eth0", &Program::pass(ProgramType::Xdp)?)?;
    let link = lan.home.run(&["ip", "-details", "link", "show", "dev", "eth0"])?;
    ensure!(link.contains("xdp") && link.contains("lab_pass"), "{link}");
    let filters = lan.home.run(&["tc", "filter", "show", "dev", "eth0", "ingress"])?;
    ensure!(filters.contains("direct-action"), "{filters}");
    lan.peer.run(&["ping", "-c", "1", "-W", "1", "10.0.0.2"]).map(drop)
}

#[test]
fn a_program_that_fails_says_all() -> Result<()> {
    let lab = Lab::new()?;
    let host = lab.host("lonely")?;
    let told = host.run(&["sh", "-c", "echo out; echo err >&2; exit 3"]).unwrap_err();
    let told = format!("{told:#}");
    for part in ["on lonely", "ended with 3", "stdout: out", "stderr: err"] {
        ensure!(told.contains(part), "{told}");
    }
    Ok(())
}

/// What is there of labs that the process `pid` made.
fn left_of(pid: u32) -> Vec<String> {
    let prefix = format!("redirectd-test-{pid}-");
    let folders = [Path::new("/run/netns"), Path::new("/sys/fs/bpf"), &env::temp_dir()];
    let entries = folders.into_iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten());
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&prefix)).collect()
}

/// Runs the program `lab` up to where its lab stands; gives its process and
/// that of a program in its lab.
fn start_another(ending: &str) -> Result<(Child, u32)> {
    let mut run = Command::new(env!("CARGO_BIN_EXE_lab"))
        .arg(ending)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = BufReader::new(run.stdout.take().context("it has an output")?);
    for line in output.lines() {
        if let Some(program) = line?.strip_prefix("program ") {
            return Ok((run, program.parse()?));
        }
    }
    bail!("the other run ended early")
}

fn gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn nothing_is_left_after_signals() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let (mut run, program) = start_another("wait")?;
        ensure!(left_of(run.id()).len() > 5, "the lab stands: {:?}", left_of(run.id()));
        kill(Pid::from_raw(run.id().cast_signed()), signal)?;
        let status = run.wait()?;
        ensure!(status.code() == Some(130), "{signal}: {status}");
        ensure!(left_of(run.id()).is_empty(), "{signal} leaves {:?}", left_of(run.id()));
        soon("the program is gone", || gone(program).then_some(()))?;
    }
    Ok(())
}

#[test]
fn nothing_is_left_after_a_panic() -> Result<()> {
    let (mut run, program) = start_another("panic")?;
    ensure!(!run.wait()?.success());
    ensure!(left_of(run.id()).is_empty(), "a panic leaves {:?}", left_of(run.id()));
    soon("the program is gone", || gone(program).then_some(()))
}

/// Nobody can clean up at SIGKILL. The programs go with the run all the same,
/// and the next run removes the rest.
#[test]
fn the_next_run_removes_what_a_killed_one_left() -> Result<()> {
    let (mut killed, program) = start_another("wait")?;
    killed.kill()?;
    ensure!(killed.wait()?.signal() == Some(libc::SIGKILL));
    soon("the program is gone", || gone(program).then_some(()))?;
    // A run of another test may have come first; the outcome is the same.
    let (mut next, _) = start_another("panic")?;
    next.wait()?;
    ensure!(left_of(killed.id()).is_empty(), "still there: {:?}", left_of(killed.id()));
    Ok(())
}
