//! Runs the system's tools (ip, nft, iptables, ethtool) and says what failed.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Runs `command` with `input` on its standard input; returns what it printed.
///
/// # Errors
/// It cannot be started or ends with a failure; the message has the command
/// and what it wrote to standard error.
pub(crate) fn run(command: &mut Command, input: &str) -> Result<String> {
    let shown = format!("{command:?}").replace('"', "");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{shown}`; `cargo xtask setup` installs the tools"))?;
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    let input = input.to_owned();
    // A thread of its own: a child that prints before it has read everything
    // would wait for us as we wait for it. If it stops reading, it says why.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().with_context(|| format!("cannot wait for `{shown}`"))?;
    writer.join().expect("the writer does not panic");
    if !output.status.success() {
        bail!("`{shown}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
