//! The names of the kernel's functions.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use aya::util::kernel_symbols;

/// What is at which address in the kernel, BPF programs included.
#[derive(Debug)]
pub(crate) struct Symbols(BTreeMap<u64, String>);

impl Symbols {
    /// As it is now: programs loaded later have no names.
    ///
    /// # Errors
    /// /proc/kallsyms cannot be read, or hides the addresses.
    pub(crate) fn now() -> Result<Self> {
        let known = kernel_symbols().context("cannot read /proc/kallsyms")?;
        ensure!(
            known.keys().next_back().is_some_and(|&last| last > 0),
            "/proc/kallsyms hides addresses: `sysctl kernel.kptr_restrict=1` and be root"
        );
        Ok(Self(known.into_iter().map(|(address, name)| (address, plain(&name))).collect()))
    }

    /// These, for tests.
    #[cfg(test)]
    pub(crate) fn of(known: &[(u64, &str)]) -> Self {
        Self(known.iter().map(|&(address, name)| (address, name.to_owned())).collect())
    }

    /// The function that `address` is in.
    pub(crate) fn name(&self, address: u64) -> Option<&str> {
        self.0.range(..=address).next_back().map(|(_, name)| name.as_str())
    }

    /// Whether there is a function called `name`: if not, the compiler has made
    /// it part of others, or this kernel has none.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.values().any(|known| known == name)
    }
}

/// Without what the compiler and kallsyms add to it (`.constprop.0`, `[bpf]`).
fn plain(name: &str) -> String {
    let end = name.find(['.', '\t']).filter(|&at| at > 0).unwrap_or(name.len());
    name[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_the_compiler_adds() {
        assert_eq!(plain("__netif_receive_skb_core.constprop.0"), "__netif_receive_skb_core");
        assert_eq!(plain("bpf_prog_1_x\t[bpf]"), "bpf_prog_1_x");
        assert_eq!(plain("ip_rcv"), "ip_rcv");
    }

    #[test]
    fn an_address_belongs_to_the_function_that_begins_before_it() {
        let symbols = Symbols([(100, "a".to_owned()), (200, "b".to_owned())].into());
        assert_eq!(symbols.name(99), None);
        assert_eq!(symbols.name(199), Some("a"));
        assert_eq!(symbols.name(200), Some("b"));
        assert!(symbols.has("b") && !symbols.has("c"));
    }
}
