//! Where the figures come from: without it they cannot be compared.

use std::{fs, process::Command};

use serde::{Deserialize, Serialize};

use crate::command::run;

/// The kind of machine and the tools of a run; nothing that names the one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Model of the processors.
    pub(crate) processor: String,
    /// How many the bench may use.
    pub(crate) processors: usize,
    /// The number of the one that did home's work.
    pub(crate) used: usize,
    /// Whether a hypervisor stands between kernel and processor.
    pub(crate) virtual_machine: bool,
    /// Memory, MiB.
    pub(crate) memory: u64,
    /// Version of the kernel, without what its builder has added.
    pub(crate) kernel: String,
    /// Name and version of the distribution.
    pub(crate) distribution: String,
    /// What the kernel takes the time from.
    pub(crate) clock_source: String,
    /// What the kernel says about each weakness that this kind of processor has.
    pub(crate) mitigations: Vec<(String, String)>,
    /// Version of each program that takes part and is there.
    pub(crate) versions: Vec<(String, String)>,
}

/// What tells the version of a program.
const TOOLS: &[(&str, &str)] =
    &[("nft", "--version"), ("iptables", "--version"), ("haproxy", "-v"), ("socat", "-V")];

impl Machine {
    /// This one, with the processor `used` doing the work.
    pub(crate) fn this(used: usize) -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        Self {
            processor: model(&cpuinfo),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            used,
            virtual_machine: flags(&cpuinfo).any(|flag| flag == "hypervisor"),
            memory: memory(&read("/proc/meminfo")),
            kernel: release(&read("/proc/sys/kernel/osrelease")).to_owned(),
            distribution: distribution(&read("/etc/os-release")),
            clock_source: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            mitigations: mitigations(),
            versions: versions(),
        }
    }

    /// The same for people, line by line: what, and its value.
    pub(crate) fn lines(&self) -> Vec<(String, String)> {
        let line = |what: &str, value: String| (what.to_owned(), value);
        let kind = if self.virtual_machine { " (virtual machine)" } else { "" };
        let (processor, processors, used) = (&self.processor, self.processors, self.used);
        let mut lines = vec![
            line("processor", format!("{processor}{kind}")),
            line("processors", format!("{processors}; home's work on number {used} (from 0)")),
            line("memory", format!("{:.1} GiB", self.memory as f64 / 1024.0)),
            line("kernel", format!("Linux {}", self.kernel)),
            line("distribution", self.distribution.clone()),
            line("clock source", self.clock_source.clone()),
        ];
        lines.extend(self.versions.iter().map(|(name, version)| line(name, version.clone())));
        let weaknesses = self.mitigations.iter();
        lines.extend(weaknesses.map(|(name, state)| line(name, state.clone())));
        lines
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Of redirectd, the compiler, and the tools that are installed.
fn versions() -> Vec<(String, String)> {
    let mut versions = vec![("redirectd".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    if let Some(rustc) = option_env!("REDIRECTD_BENCH_RUSTC") {
        versions.push(("rustc".into(), version(rustc)));
    }
    for (tool, option) in TOOLS {
        if let Ok(text) = run(Command::new(tool).arg(option), "") {
            versions.push(((*tool).into(), version(&text)));
        }
    }
    versions
}

/// The version in what a program says about itself: the first line with a number
/// after a word, without the words before it and without addresses.
fn version(text: &str) -> String {
    let is_version =
        |word: &str| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit());
    let line = text.lines().find(|line| line.split_whitespace().skip(1).any(is_version));
    let words = line.unwrap_or_default().split_whitespace();
    let from_number: Vec<_> = words
        .skip_while(|word| !is_version(word))
        .take_while(|word| *word != "-" && *word != "on")
        .collect();
    match from_number.join(" ") {
        none if none.is_empty() => "unknown".into(),
        version => version.trim_start_matches('v').to_owned(),
    }
}

/// The model name in the text of /proc/cpuinfo; processors of some
/// architectures have none.
fn model(cpuinfo: &str) -> String {
    field(cpuinfo, "model name").unwrap_or("unknown processor").to_owned()
}

/// The version in a kernel's release: what comes before its builder's own part.
fn release(text: &str) -> &str {
    text.split(['-', '+']).next().unwrap_or_default()
}

fn flags(cpuinfo: &str) -> impl Iterator<Item = &str> {
    field(cpuinfo, "flags").unwrap_or_default().split_whitespace()
}

/// Total memory in the text of /proc/meminfo, MiB.
fn memory(meminfo: &str) -> u64 {
    let kib = field(meminfo, "MemTotal").and_then(|value| value.split(' ').next()?.parse().ok());
    kib.map_or(0, |kib: u64| kib / 1024)
}

/// The first value of `name` in lines such as `name   : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

/// The name for people in the text of /etc/os-release.
fn distribution(release: &str) -> String {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("unknown distribution", |name| name.trim_matches('"')).to_owned()
}

/// The weaknesses that the processor has, and what is done about each.
fn mitigations() -> Vec<(String, String)> {
    let folder = "/sys/devices/system/cpu/vulnerabilities";
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut all: Vec<_> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .map(|name| (name.clone(), read(&format!("{folder}/{name}"))))
        .filter(|(_, state)| state != "Not affected")
        .collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_named_by_its_version() {
        assert_eq!(release("6.1.0-28-amd64"), "6.1.0");
        assert_eq!(release("6.18.44+"), "6.18.44");
    }

    #[test]
    fn the_processor_is_found() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\nflags\t\t: fpu hypervisor\nx\t: y";
        assert_eq!(model(text), "A CPU: fast");
        assert!(flags(text).any(|flag| flag == "hypervisor"));
        assert_eq!(model("processor\t: 0"), "unknown processor");
    }

    #[test]
    fn memory_and_distribution_are_found() {
        assert_eq!(memory("MemTotal:       24684096 kB\nMemFree: 1 kB"), 24_105);
        assert_eq!(distribution("A=b\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        assert_eq!(distribution(""), "unknown distribution");
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let haproxy = "HAProxy version 2.6.12-1 2026/10/17 - https://haproxy.org/\nStatus: 2";
        assert_eq!(version(haproxy), "2.6.12-1 2026/10/17");
        let socat = "socat by Somebody - see www.example\nsocat version 1.7.4 on 06 Nov 2022";
        assert_eq!(version(socat), "1.7.4");
        assert_eq!(version("nftables v1.0.6 (Lester Gooch #5)"), "1.0.6 (Lester Gooch #5)");
        assert_eq!(version("rustc 1.95.0 (59807616e 2026-04-14)"), "1.95.0 (59807616e 2026-04-14)");
        assert_eq!(version("no number"), "unknown");
    }
}
