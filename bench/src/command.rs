//! Runs the system's tools (ip, nft, iptables, ethtool) and says what failed, or
//! is missing.

use std::{
    io::Write,
    os::unix::process::CommandExt as _,
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
        // Ctrl-C is for the bench, which would be left without its tools.
        .process_group(0)
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

/// Why `program` cannot be run, if it is not installed.
pub(crate) fn not_installed(program: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    (!found).then(|| format!("{program} is not installed; `cargo xtask setup` installs it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ctrl-C on a terminal goes to everyone in the group of the foreground: a
    /// second one would end the tools that take away what the bench has made.
    #[test]
    fn tools_are_out_of_reach_of_the_terminals_ctrl_c() {
        let script = "cut -d ' ' -f 5 /proc/self/stat";
        let group = run(Command::new("sh").args(["-c", script]), "").unwrap();
        assert_ne!(group.trim(), nix::unistd::getpgrp().to_string());
    }

    #[test]
    fn a_failure_is_told_with_the_command_and_its_complaint() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), "").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.ends_with("failed: why"), "{text}");
    }
}
