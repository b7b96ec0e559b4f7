//! What is there already; looks, and changes nothing.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use bpf_build::toolchain::{self, Compiler};

use super::{
    criu,
    packages::{self, Package},
    plan::{BPF_LINKER, CARGO_DENY, Tool},
    vm,
};
use crate::workspace;

/// All that the plan depends on.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) system: System,
    pub(super) privilege: Privilege,
    pub(super) compiler: Option<Compiler>,
    /// The major version of the compiler's LLVM.
    pub(super) llvm: Option<u32>,
    /// Whether the compiler has its clippy.
    pub(super) clippy: bool,
    pub(super) bpf_linker: bool,
    pub(super) cargo_deny: bool,
    /// Whether there is a CRIU that is new enough.
    pub(super) criu: bool,
    /// Whether there is a virtual machine with another kernel.
    pub(super) vm: bool,
    /// Whether this is an x86-64.
    pub(super) x86: bool,
    /// Those of [`packages::TOOLS`] that are not there.
    pub(super) missing_tools: Vec<&'static Package>,
    /// Those of [`packages::LINKER_LIBRARIES`] that are not there.
    pub(super) missing_libraries: Vec<&'static Package>,
    /// The LLVM versions whose development files are there.
    pub(super) llvm_dev: Vec<u32>,
    pub(super) bpffs: bool,
}

/// The operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct System {
    /// Its name for people.
    pub(super) name: String,
    /// Whether setup knows its packages.
    pub(super) known: bool,
}

/// How root's rights are to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Privilege {
    Root,
    Sudo,
    None,
}

impl Found {
    /// Looks at this machine.
    pub(super) fn look() -> Self {
        let path = workspace::search_path();
        let compiler = toolchain::find_compiler(native_target());
        let missing = |packages: &'static [Package]| {
            packages.iter().filter(|package| !package.is_there(&path)).collect()
        };
        Self {
            system: System::from_os_release(
                &fs::read_to_string("/etc/os-release").unwrap_or_default(),
            ),
            privilege: privilege(&path),
            llvm: compiler.as_ref().and_then(Compiler::llvm_major),
            clippy: compiler.as_ref().is_some_and(has_clippy),
            compiler,
            bpf_linker: has_tool(&BPF_LINKER, &path),
            cargo_deny: has_tool(&CARGO_DENY, &path),
            criu: criu::is_there(&path),
            vm: vm::is_there(),
            x86: cfg!(target_arch = "x86_64"),
            missing_tools: missing(packages::TOOLS),
            missing_libraries: missing(packages::LINKER_LIBRARIES),
            llvm_dev: (20..40).filter(|version| has_llvm_dev(*version)).collect(),
            bpffs: has_bpffs(&fs::read_to_string("/proc/self/mounts").unwrap_or_default()),
        }
    }
}

impl System {
    /// Reads the text of `/etc/os-release`.
    fn from_os_release(text: &str) -> Self {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"'))
        };
        Self {
            name: value("PRETTY_NAME").unwrap_or("an unknown system").to_owned(),
            known: value("ID") == Some("debian") && value("VERSION_ID") == Some("12"),
        }
    }
}

fn privilege(path: &[PathBuf]) -> Privilege {
    // The owner of /proc/self is the effective user.
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        Privilege::Root
    } else if path.iter().any(|dir| dir.join("sudo").is_file()) {
        Privilege::Sudo
    } else {
        Privilege::None
    }
}

fn native_target() -> &'static str {
    toolchain::bpf_target(if cfg!(target_endian = "big") { "big" } else { "little" })
}

fn has_clippy(compiler: &Compiler) -> bool {
    compiler.rustc().with_file_name("clippy-driver").is_file()
}

fn has_llvm_dev(version: u32) -> bool {
    Path::new(&format!("/usr/lib/llvm-{version}/bin/llvm-config")).exists()
        && Path::new(&format!("/usr/lib/llvm-{version}/include/llvm-c/Core.h")).is_file()
}

/// Whether setup has built this version of `tool`, or somebody installed one.
fn has_tool(tool: &Tool, path: &[PathBuf]) -> bool {
    let own = toolchain::tools_dir(&workspace::target_dir());
    let list = fs::read_to_string(own.join(".crates.toml")).unwrap_or_default();
    let built = own.join("bin").join(tool.name);
    if built.is_file() {
        return is_installed(&list, tool);
    }
    path.iter().any(|dir| dir.join(tool.name).is_file())
}

/// Whether Cargo's list of installed crates names this version of `tool`.
fn is_installed(list: &str, tool: &Tool) -> bool {
    list.contains(&format!("\"{} {} (", tool.name, tool.version))
}

/// Whether the BPF file system is at its place, from the text of
/// `/proc/self/mounts`.
fn has_bpffs(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(super::BPFFS) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_12_is_known_and_others_are_named() {
        let debian = |version| {
            System::from_os_release(&format!(
                "PRETTY_NAME=\"Debian GNU/Linux {version}\"\nID=debian\nVERSION_ID=\"{version}\"\n"
            ))
        };
        assert_eq!(debian(12), System { name: "Debian GNU/Linux 12".into(), known: true });
        assert!(!debian(11).known);
        let fedora = System::from_os_release("PRETTY_NAME=Fedora\nID=fedora\nVERSION_ID=12\n");
        assert_eq!(fedora, System { name: "Fedora".into(), known: false });
        assert_eq!(System::from_os_release("").name, "an unknown system");
    }

    #[test]
    fn the_bpf_file_system_counts_only_at_its_place() {
        assert!(has_bpffs("proc /proc proc rw 0 0\nbpf /sys/fs/bpf bpf rw,relatime 0 0\n"));
        assert!(!has_bpffs("none /mnt bpf rw 0 0\n"));
        assert!(!has_bpffs("tmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!has_bpffs(""));
    }

    #[test]
    fn another_version_of_a_tool_is_not_the_tool() {
        let tool = Tool { name: "bpf-linker", version: "0.13.0", minutes: 1 };
        assert!(is_installed("\"bpf-linker 0.13.0 (registry+x)\" = [\"bpf-linker\"]", &tool));
        assert!(!is_installed("\"bpf-linker 0.12.0 (registry+x)\" = [\"bpf-linker\"]", &tool));
        assert!(!is_installed("", &tool));
    }
}
