//! From what is there to what is to be done; decides, and does nothing.

use std::fmt;

use bpf_build::toolchain::Compiler;

use super::{
    Purpose,
    found::{Found, Privilege},
    packages,
};

/// A program that setup builds with `cargo install`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tool {
    /// The crate and its program.
    pub(super) name: &'static str,
    pub(super) version: &'static str,
    /// How long the build takes on two cores.
    pub(super) minutes: u32,
}

/// Links what the BPF compiler makes.
pub(super) const BPF_LINKER: Tool = Tool { name: "bpf-linker", version: "0.13.0", minutes: 2 };
/// Checks the dependencies' licences and sources.
pub(super) const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", minutes: 3 };

/// The LLVM of Debian 12's compiler for BPF.
const DEBIANS_LLVM: u32 = 22;
/// The LLVM versions that [`BPF_LINKER`] can be built with.
const LINKERS_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// What setup will do, and what it leaves to the user.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// In this order.
    pub(super) steps: Vec<Step>,
    /// What the user must install, one a line, because setup does not know how.
    pub(super) by_hand: Vec<String>,
}

/// One thing to do; displayed as what will be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Install Debian packages.
    Packages {
        names: Vec<String>,
        /// Services that they would start.
        services: Vec<&'static str>,
    },
    /// Build bpf-linker with this major version of LLVM.
    BpfLinker { llvm: u32 },
    /// Build cargo-deny.
    CargoDeny,
    /// Unpack CRIU and its libraries from Debian's newest suite.
    Criu,
    /// Unpack a virtual machine: QEMU, Debian's kernel, and busybox to start it with.
    Vm,
    /// Mount the BPF file system.
    MountBpffs,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packages { names, services } => {
                write!(f, "install Debian packages with apt-get: {}", names.join(" "))?;
                if !services.is_empty() {
                    write!(f, " (these services stay off: {})", services.join(" "))?;
                }
                Ok(())
            }
            Self::BpfLinker { .. } => BPF_LINKER.fmt(f),
            Self::CargoDeny => CARGO_DENY.fmt(f),
            Self::Criu => f.write_str("unpack CRIU from Debian sid into the target folder"),
            Self::Vm => f.write_str("unpack QEMU and Debian's kernel into the target folder"),
            Self::MountBpffs => write!(f, "mount the BPF file system at {}", super::BPFFS),
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, version, minutes } = self;
        write!(f, "build {name} {version} into the target folder (about {minutes} min)")
    }
}

impl Step {
    /// Whether it takes root's rights.
    pub(super) fn needs_root(&self) -> bool {
        matches!(self, Self::Packages { .. } | Self::MountBpffs)
    }
}

/// What it takes to make a machine where `found` is there fit for `purpose`.
pub(super) fn plan(found: &Found, purpose: Purpose) -> Plan {
    let mut plan = Plan::default();
    let llvm = found.llvm.unwrap_or(DEBIANS_LLVM);
    if found.system.known {
        plan.packages(found, purpose, llvm);
    } else {
        plan.name_what_is_missing(found, purpose);
    }
    if !found.bpf_linker {
        let can_build = found.system.known || found.llvm_dev.contains(&llvm);
        if can_build && LINKERS_LLVM.contains(&llvm) {
            plan.steps.push(Step::BpfLinker { llvm });
        } else {
            plan.by_hand.push(linker_by_hand(llvm));
        }
    }
    if purpose.checks() && !found.cargo_deny {
        plan.steps.push(Step::CargoDeny);
    }
    if !found.criu && found.system.known {
        plan.steps.push(Step::Criu);
    } else if !found.criu {
        plan.by_hand.push("CRIU 4.2 or later, as the program criu".into());
    }
    let lacks_vm = purpose.takes_vm() && !found.vm;
    if lacks_vm && found.system.known && found.x86 {
        plan.steps.push(Step::Vm);
    } else if lacks_vm && purpose == Purpose::OtherKernel {
        plan.by_hand.push("Debian 12 on x86-64: its kernel is what tests are run with".into());
    }
    if !found.bpffs {
        plan.steps.push(Step::MountBpffs);
    }
    plan
}

impl Plan {
    fn packages(&mut self, found: &Found, purpose: Purpose, llvm: u32) {
        let mut names: Vec<String> = Vec::new();
        if found.compiler.is_none() {
            names.extend(packages::COMPILER.iter().map(|&name| name.to_owned()));
        }
        let nightly = matches!(found.compiler, Some(Compiler::BuildStd { .. }));
        if purpose.checks() && !found.clippy {
            if nightly {
                self.by_hand
                    .push("clippy: `rustup component add --toolchain nightly clippy`".into());
            } else {
                names.push(packages::COMPILERS_CLIPPY.to_owned());
            }
        }
        if !found.bpf_linker {
            if !found.llvm_dev.contains(&llvm) {
                names.push(format!("llvm-{llvm}-dev"));
            }
            names.extend(found.missing_libraries.iter().map(|package| package.name.to_owned()));
        }
        names.extend(found.missing_tools.iter().map(|package| package.name.to_owned()));
        let services = found.missing_tools.iter().filter_map(|package| package.service).collect();
        if !names.is_empty() {
            self.steps.push(Step::Packages { names, services });
        }
    }

    fn name_what_is_missing(&mut self, found: &Found, purpose: Purpose) {
        match &found.compiler {
            None => self.by_hand.push(
                "a Rust compiler for BPF: `rustup toolchain install nightly --component rust-src`"
                    .into(),
            ),
            Some(compiler) if purpose.checks() && !found.clippy => {
                self.by_hand.push(format!("clippy beside {}", compiler.rustc().display()));
            }
            Some(_) => {}
        }
        if !found.missing_tools.is_empty() {
            let names: Vec<_> = found.missing_tools.iter().map(|package| package.name).collect();
            self.by_hand.push(format!(
                "the programs that Debian has in these packages: {}",
                names.join(" ")
            ));
        }
    }
}

fn linker_by_hand(llvm: u32) -> String {
    let Tool { name, version, .. } = BPF_LINKER;
    if !LINKERS_LLVM.contains(&llvm) {
        return format!("a {name} that is built with LLVM {llvm} or later ({version} cannot be)");
    }
    format!(
        "{name}, with the development files of LLVM {llvm}, zlib and zstd: `cargo install {name} \
         --version {version} --no-default-features --features llvm-{llvm}`"
    )
}

/// Why `plan` cannot be carried out with `privilege`, if so.
pub(super) fn refusal(plan: &Plan, privilege: Privilege) -> Option<&'static str> {
    (privilege == Privilege::None && plan.steps.iter().any(Step::needs_root)).then_some(
        "this takes root's rights and there is no sudo: run `cargo xtask setup` as root once",
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::setup::found::System;

    /// A machine with everything.
    fn complete() -> Found {
        Found {
            system: System { name: "Debian GNU/Linux 12".into(), known: true },
            privilege: Privilege::Root,
            compiler: Some(Compiler::Prebuilt { rustc: "/usr/bin/rustc".into() }),
            llvm: Some(22),
            clippy: true,
            bpf_linker: true,
            cargo_deny: true,
            criu: true,
            vm: true,
            x86: true,
            missing_tools: Vec::new(),
            missing_libraries: Vec::new(),
            llvm_dev: vec![22],
            bpffs: true,
        }
    }

    /// A machine with nothing.
    fn bare(known: bool) -> Found {
        Found {
            system: System { name: "this machine".into(), known },
            compiler: None,
            llvm: None,
            clippy: false,
            bpf_linker: false,
            cargo_deny: false,
            criu: false,
            vm: false,
            missing_tools: packages::TOOLS.iter().collect(),
            missing_libraries: packages::LINKER_LIBRARIES.iter().collect(),
            llvm_dev: Vec::new(),
            bpffs: false,
            ..complete()
        }
    }

    fn packages_of(plan: &Plan) -> Vec<&str> {
        plan.steps
            .iter()
            .flat_map(|step| match step {
                Step::Packages { names, .. } => names.iter().map(String::as_str).collect(),
                _ => Vec::new(),
            })
            .collect()
    }

    #[test]
    fn where_nothing_is_missing_nothing_is_done() {
        assert_eq!(plan(&complete(), Purpose::Everything), Plan::default());
        let elsewhere =
            Found { system: System { name: "Fedora".into(), known: false }, ..complete() };
        assert_eq!(plan(&elsewhere, Purpose::Everything), Plan::default());
    }

    #[test]
    fn a_bare_debian_gets_everything_and_packages_first() {
        let plan = plan(&bare(true), Purpose::Everything);
        assert_eq!(plan.by_hand, Vec::<String>::new());
        assert_eq!(
            plan.steps[1..],
            [
                Step::BpfLinker { llvm: DEBIANS_LLVM },
                Step::CargoDeny,
                Step::Criu,
                Step::Vm,
                Step::MountBpffs
            ]
        );
        let Step::Packages { names, services } = &plan.steps[0] else { panic!("{plan:?}") };
        for name in
            ["rustc-web", "libstd-rust-web-dev-bpf", "rust-web-clippy", "llvm-22-dev", "g++"]
        {
            assert!(names.iter().any(|named| named == name), "{name} is not in {names:?}");
        }
        assert_eq!(names.len(), packages::TOOLS.len() + packages::LINKER_LIBRARIES.len() + 4);
        assert_eq!(*services, ["haproxy", "nginx", "ssh", "postgresql", "redis-server"]);
    }

    #[test]
    fn running_takes_nothing_that_only_lint_uses() {
        let plan = plan(&bare(true), Purpose::Running);
        assert!(!plan.steps.contains(&Step::CargoDeny));
        assert!(!packages_of(&plan).contains(&packages::COMPILERS_CLIPPY));
        // The demonstration moves a process.
        assert!(plan.steps.contains(&Step::Criu));
        assert!(!plan.steps.contains(&Step::Vm));
    }

    #[test]
    fn another_kernel_is_brought_only_to_those_who_run_it() {
        let found = Found { vm: false, ..complete() };
        for (purpose, steps) in [
            (Purpose::Running, vec![]),
            (Purpose::Checking, vec![]),
            (Purpose::OtherKernel, vec![Step::Vm]),
            (Purpose::Everything, vec![Step::Vm]),
        ] {
            assert_eq!(plan(&found, purpose).steps, steps, "{purpose:?}");
        }
        let elsewhere = Found { vm: false, x86: false, ..complete() };
        assert_eq!(plan(&elsewhere, Purpose::Everything), Plan::default());
        let refused = plan(&elsewhere, Purpose::OtherKernel);
        assert!(refused.steps.is_empty() && refused.by_hand[0].contains("x86-64"), "{refused:?}");
    }

    #[test]
    fn one_missing_program_is_one_package() {
        let nginx =
            packages::TOOLS.iter().filter(|package| package.name == "nginx-light").collect();
        let plan = plan(&Found { missing_tools: nginx, ..complete() }, Purpose::Everything);
        let names = vec!["nginx-light".to_owned()];
        assert_eq!(plan.steps, [Step::Packages { names, services: vec!["nginx"] }]);
    }

    #[test]
    fn a_users_nightly_is_taken_and_its_llvm_decides_the_linkers() {
        let nightly = Found {
            compiler: Some(Compiler::BuildStd {
                rustc: PathBuf::from("/n/rustc"),
                cargo: PathBuf::from("/n/cargo"),
            }),
            llvm: Some(23),
            bpf_linker: false,
            ..complete()
        };
        let plan = plan(&nightly, Purpose::Everything);
        assert_eq!(packages_of(&plan), ["llvm-23-dev"]);
        assert!(plan.steps.contains(&Step::BpfLinker { llvm: 23 }));
    }

    #[test]
    fn an_unknown_system_is_told_what_to_install() {
        let plan = plan(&bare(false), Purpose::Everything);
        assert_eq!(plan.steps, [Step::CargoDeny, Step::MountBpffs]);
        let told = plan.by_hand.join("\n");
        for named in [
            "rustup toolchain install nightly",
            "cargo install bpf-linker",
            "nginx-light",
            "CRIU 4.2",
        ] {
            assert!(told.contains(named), "{named} is not in {told}");
        }
    }

    #[test]
    fn a_linker_that_cannot_be_built_is_not_attempted() {
        let found = Found { llvm: Some(24), bpf_linker: false, ..complete() };
        let plan = plan(&found, Purpose::Running);
        assert!(plan.steps.iter().all(|step| !matches!(step, Step::BpfLinker { .. })));
        assert!(plan.by_hand[0].contains("LLVM 24"), "{plan:?}");
    }

    #[test]
    fn only_steps_that_take_root_are_refused_without_it() {
        let unmounted = plan(&Found { bpffs: false, ..complete() }, Purpose::Running);
        assert!(refusal(&unmounted, Privilege::None).is_some());
        assert_eq!(refusal(&unmounted, Privilege::Sudo), None);
        let deny = plan(&Found { cargo_deny: false, ..complete() }, Purpose::Everything);
        assert_eq!(refusal(&deny, Privilege::None), None);
    }
}
