//! `cargo xtask TASK`: the project's chores.
//!
//! Each task is a module with a function `run`; a new one is a file here, a
//! variant of [`Task`] and an arm in `main`.

mod bench;
mod demo;
mod lint;
mod progress;
mod setup;
mod test;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "redirectd's chores")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Bring what building, testing and showing redirectd takes, where it is missing.
    Setup,
    /// Show how a server moves to another machine, with real programs.
    Demo(demo::Options),
    /// Set up, run every test, and see that they left nothing behind.
    Test(test::Options),
    /// Check formatting, clippy, the documentation and the dependencies.
    Lint,
    /// Measure redirectd side by side with what it replaces.
    #[command(disable_help_flag = true)]
    Bench {
        /// What to measure and how; `--help` says more.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup => setup::run(),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Lint => lint::run(),
        Task::Bench { arguments } => bench::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
