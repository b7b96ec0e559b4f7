//! `cargo xtask bench`: builds redirectd and the bench, optimised, and runs the
//! bench; what it measures and how is its own affair (`bench/`).

use std::{ffi::OsString, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    progress,
    setup::{self, Purpose},
    workspace,
};

/// Tells the bench where its report goes, if nobody says so on the command line.
const REPORT: &str = "REDIRECTD_BENCH_REPORT";

/// Becomes the bench with `arguments`, as root if that is needed.
///
/// # Errors
/// When setup or the build fails, or the bench cannot be started.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    setup::ensure(Purpose::Running)?;
    progress::stage("building for speed");
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--locked", "-p", "redirectd", "-p", "redirectd-bench"]);
    ensure!(build.status().context("cannot run cargo")?.success(), "the bench does not build");

    let bench = workspace::target_dir().join("release/redirectd-bench");
    let report = std::env::var_os(REPORT)
        .map_or_else(|| workspace::target_dir().join("bench"), PathBuf::from);
    let mut command = if nix::unistd::geteuid().is_root() || !measures(arguments) {
        Command::new("env")
    } else {
        // It keeps no variables, so that `env` sets this one behind it.
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        sudo
    };
    let mut variable = OsString::from(format!("{REPORT}="));
    variable.push(report);
    command.arg(variable);
    command.arg(&bench);
    // In place of this process, so that signals and the exit code are the bench's.
    let error = command.args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", bench.display()))
}

/// Whether the bench measures something if it is given `arguments`: it can also
/// say what it could do, and compare or show what was measured.
fn measures(arguments: &[OsString]) -> bool {
    const ASKS: [&str; 4] = ["-h", "--help", "-V", "--version"];
    const READS: [&str; 3] = ["compare", "report", "help"];
    let is = |argument: &OsString, known: &[&str]| known.iter().any(|known| argument == known);
    !arguments.first().is_some_and(|first| is(first, &READS))
        && !arguments.iter().any(|argument| is(argument, &ASKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_need_be_root_to_read() {
        let measures = |words: &str| {
            measures(&words.split_whitespace().map(OsString::from).collect::<Vec<_>>())
        };
        for words in ["", "pps", "--quick", "latency --only direct", "--json compare"] {
            assert!(measures(words), "{words}");
        }
        for words in ["compare a b", "report a --to b", "help", "--help", "pps -h", "--version"] {
            assert!(!measures(words), "{words}");
        }
    }
}
