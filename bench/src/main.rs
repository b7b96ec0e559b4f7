//! Measures redirectd side by side with what it replaces. See `--help`, and
//! docs on how the figures come about in each suite's file.

mod alone;
mod arguments;
mod command;
mod compare;
mod console;
mod contestant;
mod daemon;
mod deputy;
mod interrupt;
mod lan;
mod load;
mod machine;
mod measure;
mod nat_rules;
mod netns;
mod pace;
mod pair;
mod pidns;
mod pins;
mod probe;
mod processor;
mod profile;
mod progress;
mod recorder;
mod report;
mod requests;
mod result;
mod route;
mod scenario;
mod statistics;
mod stream;
mod suite;
mod topology;
mod track;
mod traffic;

use std::{
    fs,
    io::{Write, stdout},
    path::Path,
    process::ExitCode,
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::{
    alone::Alone,
    arguments::{Arguments, Command, Measuring},
    machine::Machine,
    progress::Progress,
    recorder::Recorder,
    result::Run,
    suite::{Effort, Suite},
};

/// What `compare --fail-if-worse` ends with, where 1 and 2 are errors.
const WORSE: u8 = 3;

fn main() -> ExitCode {
    let Arguments { command, measuring } = Arguments::parse();
    let result = match command {
        None => bench(&measuring).map(|()| ExitCode::SUCCESS),
        Some(Command::Compare(asked)) => {
            let worse = compare::run(&asked.before, &asked.after, asked.json.as_deref());
            let code = |worse| if worse && asked.fail_if_worse { WORSE } else { 0 };
            worse.map(|worse| ExitCode::from(code(worse)))
        }
        Some(Command::Pair(pair)) => pair.run().map(|()| ExitCode::SUCCESS),
        Some(Command::Report { file, to }) => again(&file, &to).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        console::say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn bench(asked: &Measuring) -> Result<()> {
    interrupt::install()?;
    let effort = asked.effort()?;
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the bench makes network namespaces and loads BPF programs, for which it must be root: \
         `cargo xtask bench` asks for it, by sudo"
    );
    report::prepare(&asked.report)?;
    asked.json.as_deref().map_or(Ok(()), report::try_writing)?;
    // The figures of a quick one mean nothing anyhow.
    let _alone = if effort.quick { None } else { Some(Alone::on_this_machine()?) };
    let mut run = Run {
        version: result::VERSION,
        quick: effort.quick,
        command: command_line(std::env::args().skip(1)),
        date: today(),
        ended_early: None,
        machine: Machine::this(effort.processor),
        suites: Vec::new(),
    };
    let result = measure(&asked.suites(), &effort, &mut run);
    // What was measured before an error is worth as much.
    run.ended_early = result.as_ref().err().map(|error| format!("{error:#}"));
    let written = show(&run, asked);
    if let (Err(_), Err(error)) = (&result, &written) {
        // Beside the reason for the end.
        console::say(&format!("error: {error:#}"));
    }
    result.and(written)
}

/// Shows `run` and writes its report.
///
/// # Errors
/// It cannot be written; or there are no figures in it, and it would only
/// overwrite another that has some.
fn show(run: &Run, asked: &Measuring) -> Result<()> {
    if !run.suites.iter().any(|suite| suite.is_measured()) {
        ensure!(
            run.ended_early.is_some(),
            "nothing was measured, so that no report is written: {}",
            report::absences(run).unwrap_or_else(|| "nobody named by --only takes part".into())
        );
        console::say("nothing was measured, so that no report is written");
        return Ok(());
    }
    // Files first, and each of them: the figures cost an hour.
    let json = asked.json.as_ref().map_or(Ok(()), |path| {
        fs::write(path, report::json(run)?)
            .with_context(|| format!("cannot write {}", path.display()))
    });
    let page = report::write(run, &asked.report);
    print(run);
    say_where(&page?);
    json
}

/// Shows the run in `file` and makes its report again, in the folder `to`.
fn again(file: &Path, to: &Path) -> Result<()> {
    let run = Run::read(file)?;
    let page = report::write(&run, to)?;
    print(&run);
    say_where(&page);
    Ok(())
}

fn print(run: &Run) {
    // Whoever has closed the pipe has seen enough.
    let _ = stdout().write_all(report::terminal::text(run).as_bytes());
}

fn say_where(page: &Path) {
    let others = "report.md, report.json and the plots are beside it";
    let _ = writeln!(stdout(), "\nReport: {} ({others})", page.display());
}

/// Runs `suites` and puts their figures into `run`.
fn measure(suites: &[Suite], effort: &Effort, run: &mut Run) -> Result<()> {
    for (suite, later) in Suite::with_later(suites, effort) {
        let progress = Progress::new(suite.estimate(effort), later);
        let mut recorder = Recorder::new(&suite.name(), suite.title(), progress);
        let result = suite.run(effort, &mut recorder);
        run.suites.push(recorder.finish());
        result.with_context(|| format!("suite {}", suite.name()))?;
    }
    ensure!(!run.suites.is_empty(), "there is nothing to measure");
    Ok(())
}

/// As it was given to `cargo xtask bench`.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    std::iter::once("cargo xtask bench".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// The day in UTC, such as `2026-07-01`.
fn today() -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    now.split('T').next().unwrap_or_default().to_owned()
}
