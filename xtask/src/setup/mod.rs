//! `cargo xtask setup`: brings what is missing, and only that.
//!
//! [`found`] looks, [`plan`] decides, and this file does. Nothing is done
//! before all of it has been announced.

mod criu;
mod found;
mod packages;
mod plan;
pub(crate) mod vm;

use std::process::Command;

use anyhow::{Result, bail, ensure};
use bpf_build::toolchain;

use self::{
    found::{Found, Privilege},
    plan::{BPF_LINKER, CARGO_DENY, Plan, Step, Tool},
};
use crate::{progress, workspace};

/// Where the BPF file system belongs.
const BPFFS: &str = "/sys/fs/bpf";

/// What the machine is to be made fit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Building, testing and showing.
    Running,
    /// The checks of `cargo xtask lint` as well.
    Checking,
    /// Tests with another kernel as well.
    OtherKernel,
    /// All the tasks.
    Everything,
}

impl Purpose {
    fn checks(self) -> bool {
        matches!(self, Self::Checking | Self::Everything)
    }

    fn takes_vm(self) -> bool {
        matches!(self, Self::OtherKernel | Self::Everything)
    }
}

/// Sets up for everything, and says so if there was nothing to do.
///
/// # Errors
/// When a step fails, or something must be installed by hand.
pub(crate) fn run() -> Result<()> {
    if !ensure(Purpose::Everything)? {
        println!("Nothing to do: all that redirectd takes is there.");
    }
    Ok(())
}

/// Sets up for `purpose`; says what it will do before it does it, and is silent
/// when there is nothing to do. Tells whether there was something.
///
/// # Errors
/// When a step fails, or something must be installed by hand.
pub(crate) fn ensure(purpose: Purpose) -> Result<bool> {
    let found = Found::look();
    let plan = plan::plan(&found, purpose);
    if plan == Plan::default() {
        return Ok(false);
    }
    announce(&plan);
    if let Some(refusal) = plan::refusal(&plan, found.privilege) {
        bail!("{refusal}");
    }
    if found.privilege == Privilege::Sudo && plan.steps.iter().any(Step::needs_root) {
        // Asks for the password now, before the steps' own lines.
        ensure!(Command::new("sudo").arg("-v").status()?.success(), "sudo refuses");
    }
    for step in &plan.steps {
        perform(step, found.privilege)?;
    }
    if plan.by_hand.is_empty() {
        return Ok(true);
    }
    bail!(
        "some things setup does not know how to bring to {}; install these and try again:\n  {}",
        found.system.name,
        plan.by_hand.join("\n  ")
    );
}

fn announce(plan: &Plan) {
    if !plan.steps.is_empty() {
        progress::stage("setup: some of what redirectd takes is missing; this will");
    }
    for (number, step) in plan.steps.iter().enumerate() {
        eprintln!("    {}. {step}", number + 1);
    }
}

fn perform(step: &Step, privilege: Privilege) -> Result<()> {
    let logs = workspace::target_dir().join("setup");
    match step {
        Step::Packages { names, services } => {
            let mut apt = as_root(privilege, "env");
            apt.arg(format!("SERVICES={}", services.join(" ")));
            apt.args(["sh", "-c", include_str!("packages.sh"), "setup"]).args(names);
            progress::run_logged("installing Debian packages", &mut apt, &logs.join("apt.log"))
        }
        Step::BpfLinker { llvm } => {
            let mut install = cargo_install(&BPF_LINKER);
            install.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
            let prefix = format!("/usr/lib/llvm-{llvm}");
            install.env("LLVM_PREFIX", prefix);
            progress::run_logged("building bpf-linker", &mut install, &logs.join("bpf-linker.log"))
        }
        Step::CargoDeny => progress::run_logged(
            "building cargo-deny",
            &mut cargo_install(&CARGO_DENY),
            &logs.join("cargo-deny.log"),
        ),
        Step::Criu => {
            progress::run_logged("unpacking CRIU", &mut criu::bring(), &logs.join("criu.log"))
        }
        Step::Vm => progress::run_logged(
            "unpacking QEMU and a kernel",
            &mut vm::bring(),
            &logs.join("vm.log"),
        ),
        Step::MountBpffs => {
            let mut mount = as_root(privilege, "mount");
            mount.args(["-t", "bpf", "bpf", BPFFS]);
            progress::run_logged(
                "mounting the BPF file system",
                &mut mount,
                &logs.join("mount.log"),
            )
        }
    }
}

fn cargo_install(tool: &Tool) -> Command {
    let root = toolchain::tools_dir(&workspace::target_dir());
    let mut cargo = workspace::cargo();
    cargo.args(["install", "--locked", tool.name, "--version", tool.version, "--root"]).arg(root);
    // Its build is no part of the workspace's; without this it would stay there.
    cargo.env_remove("CARGO_TARGET_DIR");
    cargo
}

/// `program`, to be run by root.
fn as_root(privilege: Privilege, program: &str) -> Command {
    if privilege == Privilege::Root {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg(program);
    sudo
}
