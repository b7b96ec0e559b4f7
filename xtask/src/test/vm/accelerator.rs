//! How the virtual machine's processors are had.

use std::{
    fmt,
    fs::{self, OpenOptions},
    thread,
};

use crate::test::MOST_AT_ONCE;

/// One way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    /// This machine's own processors, by KVM.
    Kvm,
    /// QEMU's, which translates: everything works, some ten times slower.
    Tcg,
}

impl Accelerator {
    /// The best that this machine has.
    pub(super) fn best() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let opens = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        Self::of(&cpuinfo, opens)
    }

    /// Whoever has `/dev/kvm` need not have processors for it: where KVM is made of
    /// software, only kernels that are made for that run.
    fn of(cpuinfo: &str, opens: bool) -> Self {
        let flags = cpuinfo.lines().filter(|line| line.starts_with("flags"));
        let can = flags.flat_map(str::split_whitespace).any(|flag| matches!(flag, "vmx" | "svm"));
        if can && opens { Self::Kvm } else { Self::Tcg }
    }

    /// How many processors it takes. One, if its clock counts instructions: several wait
    /// for each other without end.
    pub(super) fn processors(self) -> usize {
        match self {
            Self::Kvm => thread::available_parallelism().map_or(1, usize::from).min(MOST_AT_ONCE),
            Self::Tcg => 1,
        }
    }

    /// What QEMU is told of it. A translated processor's clock counts instructions, one
    /// a nanosecond, whatever time they take here, and goes with this machine's while
    /// there is nothing to do: so no test waits in vain because the machine is slow or
    /// busy.
    pub(super) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => &["-accel", "tcg", "-cpu", "max", "-icount", "shift=0,sleep=on"],
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "QEMU's translation, as there is no KVM for any kernel here",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_takes_its_device_and_processors_for_it() {
        for (flags, opens, best) in [
            ("fpu svm sse", true, Accelerator::Kvm),
            ("fpu vmx sse", true, Accelerator::Kvm),
            ("fpu vmx sse", false, Accelerator::Tcg),
            ("fpu sse vmx_like", true, Accelerator::Tcg),
        ] {
            let cpuinfo = format!("model name\t: vmx of svm\nflags\t\t: {flags}\n");
            assert_eq!(Accelerator::of(&cpuinfo, opens), best, "{flags} {opens}");
        }
    }
}
