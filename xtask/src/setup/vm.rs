//! The virtual machine whose kernel tests are run with: what it takes, and how to
//! bring that.

use std::{path::PathBuf, process::Command};

use bpf_build::toolchain;

use crate::workspace;

/// QEMU, where setup puts it.
pub(crate) fn qemu() -> PathBuf {
    toolchain::tools_dir(&workspace::target_dir()).join("bin/qemu-system-x86_64")
}

/// The folder of QEMU's files (`qemu`), of the kernel and its modules as their
/// package has them (`kernel`), and of `busybox`, likewise.
pub(crate) fn files() -> PathBuf {
    toolchain::tools_dir(&workspace::target_dir()).join("vm")
}

/// Whether setup has brought all of it: QEMU comes last.
pub(super) fn is_there() -> bool {
    qemu().is_file()
}

/// The command that brings it.
pub(super) fn bring() -> Command {
    let mut sh = Command::new("sh");
    sh.args(["-c", concat!(include_str!("suite.sh"), include_str!("vm.sh")), "setup"]);
    sh.arg(files()).arg(qemu());
    sh
}
