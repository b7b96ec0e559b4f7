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

/// Becomes the bench with `arguments`, as root.
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
    let mut command = if nix::unistd::geteuid().is_root() {
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
