//! `cargo xtask TASK`: the project's chores.
//!
//! Each task is a module with a function `run`; a new one is a file here, a
//! variant of [`Task`] and an arm in `main`.

mod lint;
mod progress;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

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
    /// Set up, run every test, and see that they left nothing behind.
    Test,
    /// Check formatting, clippy, the documentation and the dependencies.
    Lint,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup => setup::run(),
        Task::Test => test::run(),
        Task::Lint => lint::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
