//! `cargo xtask lint`: formatting, clippy, documentation, dependencies.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use bpf_build::{Program, toolchain};

use crate::{
    progress,
    setup::{self, Purpose},
    workspace,
};

/// The BPF programs, whose code the machine's own clippy does not see.
const BPF_PROGRAMS: &[Program<'_>] = &[
    Program { package: "redirectd-ebpf", bin: "redirectd-bpf", features: &["log"], object: "" },
    Program {
        package: "redirectd-bench-bpf",
        bin: "redirectd-bench-bpf",
        features: &[],
        object: "",
    },
];

type Check = fn() -> Result<()>;

/// Runs all checks, also after one has failed.
///
/// # Errors
/// Names the checks that failed; what they found they have printed.
pub(crate) fn run() -> Result<()> {
    setup::ensure(Purpose::Checking)?;
    let checks: [(&str, Check); 5] = [
        ("formatting", formatting),
        ("clippy", clippy),
        ("clippy for BPF", clippy_for_bpf),
        ("documentation", documentation),
        ("dependencies", dependencies),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        progress::stage(name);
        if let Err(error) = check() {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "these checks failed: {}", failed.join(", "));
    Ok(())
}

fn formatting() -> Result<()> {
    succeed(workspace::cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    succeed(workspace::cargo().args(arguments))
}

fn clippy_for_bpf() -> Result<()> {
    for program in BPF_PROGRAMS {
        if let Err(error) = bpf_build::clippy(workspace::root(), program) {
            bail!(error);
        }
    }
    Ok(())
}

fn documentation() -> Result<()> {
    let mut doc = workspace::cargo();
    doc.args(["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings");
    succeed(&mut doc)
}

fn dependencies() -> Result<()> {
    let own = toolchain::tools_dir(&workspace::target_dir()).join("bin/cargo-deny");
    let program = if own.is_file() { own } else { PathBuf::from("cargo-deny") };
    // Not `advisories`: see deny.toml.
    let arguments = ["--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    succeed(Command::new(program).current_dir(workspace::root()).args(arguments))
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "{program} failed ({status})");
    Ok(())
}
