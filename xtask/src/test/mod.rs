//! `cargo xtask test`: every test of the workspace, and a look at what they
//! left behind.
//!
//! With `--kernel`, some of them in a virtual machine with another kernel ([`vm`]).
//!
//! Plain `cargo test` runs them: it is there wherever Cargo is, runs the
//! documentation's examples as well, and ends each of its programs with a line
//! that continuous integration reads.

mod processes;
mod summary;
mod traces;
mod vm;

use std::{
    io::{self, BufRead, BufReader, IsTerminal, Write},
    process::{ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::{summary::Summary, traces::Traces};
use crate::{
    progress::{self, Seconds},
    setup::{self, Purpose},
    workspace,
};

/// How many tests run at once at most: those in network namespaces each keep
/// several programs busy, and their timings mean little on a machine that is
/// busier still.
const MOST_AT_ONCE: usize = 4;

/// What is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// In a virtual machine with this kernel, tests of the engine that take it.
    #[arg(long)]
    kernel: Option<Kernel>,
    /// Those tests that have one of these in their names, in place of the usual ones.
    #[arg(requires = "kernel")]
    names: Vec<String>,
}

/// A kernel that is not the machine's own.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kernel {
    /// Debian's, of the release that this machine has.
    Debian,
}

/// Sets up and runs what is asked for.
///
/// # Errors
/// When setup or a test fails, when a test does not run, or when something is
/// left behind.
pub(crate) fn run(options: &Options) -> Result<()> {
    match options.kernel {
        Some(Kernel::Debian) => vm::run(&options.names),
        None => run_everything(),
    }
}

fn run_everything() -> Result<()> {
    setup::ensure(Purpose::Running)?;
    let start = Instant::now();
    let before = Traces::take()?;
    progress::stage("cargo test");
    let (passed, summary) = run_cargo_test()?;

    progress::stage("looking for what the tests left behind");
    let processes = processes::left_behind();
    let traces = before.left_behind()?;
    let left: Vec<String> = processes
        .iter()
        .map(ToString::to_string)
        .chain(traces.iter().map(ToString::to_string))
        .collect();
    for thing in &left {
        eprintln!("    left behind: {thing}");
    }
    println!("tests: {summary}, {} left behind, in {}", left.len(), Seconds(start.elapsed()));
    ensure!(passed, "some tests failed");
    ensure!(left.is_empty(), "the tests left something behind");
    summary.check()
}

/// Runs the tests, shows what they print, and tells whether all succeeded.
fn run_cargo_test() -> Result<(bool, Summary)> {
    let mut cargo = workspace::cargo();
    if let Some(setting) = runner()? {
        cargo.args(["--config", setting]);
    }
    cargo.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    if io::stdout().is_terminal() {
        cargo.args(["--", "--color", "always"]);
    }
    let at_once = thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE);
    cargo.env("RUST_TEST_THREADS", at_once.to_string()).stdout(Stdio::piped());

    processes::adopt_orphans()?;
    let mut child = cargo.spawn().context("cannot run cargo")?;
    let output = child.stdout.take().expect("it is piped");
    let summary = Arc::new(Mutex::new(Summary::default()));
    let (done, ended) = mpsc::channel();
    let seen = Arc::clone(&summary);
    thread::spawn(move || done.send(show(output, &seen)));
    let status = processes::wait_for(&mut child)?;
    // A process that was left behind may hold the pipe open for ever.
    if let Ok(shown) = ended.recv_timeout(Duration::from_secs(2)) {
        shown.context("cannot show the tests' output")?;
    }
    let summary = *summary.lock().expect("nobody panics with it");
    Ok((status.success(), summary))
}

/// Shows the tests' output and adds it up.
fn show(output: ChildStdout, summary: &Mutex<Summary>) -> io::Result<()> {
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        summary.lock().expect("nobody panics with it").read(&String::from_utf8_lossy(&line));
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.write_all(b"\n")?;
    }
    Ok(())
}

/// The setting that makes Cargo run the tests as root, which namespaces and BPF
/// programs take, when this is not root.
fn runner() -> Result<Option<&'static str>> {
    if nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let sudo = Command::new("sudo").arg("-v").status();
    ensure!(
        sudo.is_ok_and(|status| status.success()),
        "the tests make network namespaces and load BPF programs: run them as root, or with sudo"
    );
    Ok(Some("target.'cfg(unix)'.runner = ['sudo', '--preserve-env']"))
}
