//! Where the figures come from: without it they cannot be compared.

use std::{fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::command::run;

/// The machine and the tools of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    /// The one that did the work.
    used: usize,
    nft: String,
    iptables: String,
}

impl Machine {
    /// This one, with the processor `used` doing the work.
    pub(crate) fn this(used: usize) -> Self {
        let version = |tool: &str| {
            run(Command::new(tool).arg("--version"), "").unwrap_or_default().trim().to_owned()
        };
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            processor: model(&read("/proc/cpuinfo")),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            used,
            nft: version("nft"),
            iptables: version("iptables"),
        }
    }

    /// One line for people.
    pub(crate) fn text(&self) -> String {
        let Self { kernel, processor, processors, used, nft, iptables } = self;
        format!(
            "Linux {kernel}, {processor}, processor {used} of {processors}; {nft}; {iptables}\n"
        )
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The model name in the text of /proc/cpuinfo; processors of some
/// architectures have none.
fn model(cpuinfo: &str) -> String {
    cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found() {
        assert_eq!(model("processor\t: 0\nmodel name\t: A CPU: fast\nx\t: y"), "A CPU: fast");
        assert_eq!(model("processor\t: 0"), "unknown processor");
    }
}
