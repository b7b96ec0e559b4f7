//! `cargo xtask bench`: builds redirectd and the bench, optimised, and runs the
//! bench; what it measures and how is its own affair (`bench/`).

use std::{ffi::OsString, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    progress,
    setup::{self, Purpose},
    workspace,
};

/// Runs the bench with `arguments`, as root.
///
/// # Errors
/// When setup, the build or the bench fails.
pub(crate) fn run(arguments: &[OsString]) -> Result<()> {
    setup::ensure(Purpose::Running)?;
    progress::stage("building for speed");
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--locked", "-p", "redirectd", "-p", "redirectd-bench"]);
    ensure!(build.status().context("cannot run cargo")?.success(), "the bench does not build");

    let bench = workspace::target_dir().join("release/redirectd-bench");
    let mut command = if nix::unistd::geteuid().is_root() {
        Command::new(&bench)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg(&bench);
        sudo
    };
    let status = command
        .args(arguments)
        .status()
        .with_context(|| format!("cannot run {}", bench.display()))?;
    ensure!(status.success(), "the bench failed ({status})");
    Ok(())
}
