//! The kernel settings the programs depend on: set at start, put back when
//! everything is taken off.
//!
//! Next hops are looked up as if packets had come in by `lo`, so that the answer
//! does not depend on the interface; the kernel answers only where forwarding is
//! on. Packets from a peer on home itself carry a local source (`accept_local`).
//! The ports home uses towards hosts are reserved, so that the kernel gives none
//! of them to a socket that asks for any port.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::{
    error::{Error, Kind},
    rule::PortRange,
};

/// Where the old values are kept, in the state directory.
const FILE: &str = "sysctls.json";

const RESERVED_PORTS: &str = "net/ipv4/ip_local_reserved_ports";

const SWITCHED_ON: [&str; 3] = [
    "net/ipv4/conf/lo/forwarding",
    "net/ipv4/conf/lo/accept_local",
    // Not there when IPv6 is off; then there is nothing to look up either.
    "net/ipv6/conf/lo/forwarding",
];

/// One setting that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Changed {
    before: String,
    ours: String,
}

/// The settings under `/proc/sys`, or under another root for tests.
#[derive(Debug)]
pub struct Sysctls {
    root: PathBuf,
    record: PathBuf,
}

impl Sysctls {
    /// The machine's settings; what they were is kept in `state_dir`.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { root: PathBuf::from("/proc/sys"), record: state_dir.join(FILE) }
    }

    /// Sets what is not yet set, after noting down what it was.
    ///
    /// # Errors
    /// The record cannot be written, or the kernel refuses a value.
    pub fn set(&self, snat_ports: PortRange) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for name in SWITCHED_ON {
            if let Some(before) = self.read(name)? {
                wanted.push((name, before, "1".to_owned()));
            }
        }
        if let Some(before) = self.read(RESERVED_PORTS)? {
            let ours = with_ports(&before, snat_ports);
            wanted.push((RESERVED_PORTS, before, ours));
        }
        wanted.retain(|(_, before, ours)| before != ours);
        if wanted.is_empty() {
            return Ok(());
        }
        let mut record = self.recorded()?;
        for (name, before, ours) in &wanted {
            let first = record.get(*name).map_or(before, |changed| &changed.before).clone();
            record.insert((*name).to_owned(), Changed { before: first, ours: ours.clone() });
        }
        self.keep(&record)?;
        for (name, before, ours) in &wanted {
            self.write(name, ours)?;
            info!(sysctl = name.replace('/', "."), before, now = ours, "set");
        }
        Ok(())
    }

    /// Puts back what [`Sysctls::set`] changed, unless somebody changed it since.
    ///
    /// # Errors
    /// The record cannot be read, or the kernel refuses a value.
    pub fn restore(&self) -> Result<(), Error> {
        for (name, Changed { before, ours }) in self.recorded()? {
            match self.read(&name)? {
                Some(now) if now == ours => self.write(&name, &before)?,
                Some(now) => warn!(sysctl = name, now, ours, "changed by somebody else, left"),
                None => {}
            }
        }
        match fs::remove_file(&self.record) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &self.record, &error))
            }
            _ => Ok(()),
        }
    }

    /// The value, or none if this kernel has no such setting.
    fn read(&self, name: &str) -> Result<Option<String>, Error> {
        match fs::read_to_string(self.root.join(name)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &self.root.join(name), &error)),
        }
    }

    fn write(&self, name: &str, value: &str) -> Result<(), Error> {
        // An empty list is written as a bare line; an empty write is no write.
        fs::write(self.root.join(name), format!("{value}\n")).map_err(|error| {
            failed("set", &self.root.join(name), &error).cure(format!(
                "`sysctl -w {}='{value}'`, or let redirectd write to /proc/sys/net",
                name.replace('/', ".")
            ))
        })
    }

    fn recorded(&self) -> Result<BTreeMap<String, Changed>, Error> {
        match fs::read(&self.record) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                let what = format!("{} is damaged: {error}", self.record.display());
                Error::new(Kind::Failed, what).cure(
                    "remove it; then the settings it remembers stay as they are when redirectd \
                     is taken off",
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(failed("read", &self.record, &error)),
        }
    }

    fn keep(&self, record: &BTreeMap<String, Changed>) -> Result<(), Error> {
        let new = self.record.with_extension("json.new");
        let text = serde_json::to_vec(record)
            .map_err(|error| Error::new(Kind::Failed, error.to_string()))?;
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &self.record))
            .map_err(|error| failed("write", &self.record, &error))
    }
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(Kind::Failed, format!("cannot {verb} {}: {error}", path.display()))
}

/// The list of reserved ports with `ours` in it, in the kernel's own form: sorted
/// and merged, as it will be read back.
fn with_ports(list: &str, ours: PortRange) -> String {
    let bound = |text: &str| text.trim().parse::<u32>().ok();
    let mut ranges: Vec<(u32, u32)> = list
        .split(',')
        .filter_map(|item| match item.split_once('-') {
            Some((first, last)) => Some((bound(first)?, bound(last)?)),
            None => bound(item).map(|port| (port, port)),
        })
        .collect();
    ranges.push((ours.first().into(), ours.last().into()));
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    let text = merged.iter().map(|&(first, last)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    });
    text.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> (tempfile::TempDir, Sysctls) {
        let folder = tempfile::tempdir().unwrap();
        let sysctls = Sysctls { root: folder.path().join("sys"), record: folder.path().join(FILE) };
        for name in SWITCHED_ON.iter().take(2) {
            fs::create_dir_all(sysctls.root.join(name).parent().unwrap()).unwrap();
            fs::write(sysctls.root.join(name), "0\n").unwrap();
        }
        fs::write(sysctls.root.join(RESERVED_PORTS), "8080,9000-9010\n").unwrap();
        (folder, sysctls)
    }

    fn ports(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).unwrap()
    }

    #[test]
    fn what_was_changed_is_put_back() {
        let (_folder, sysctls) = machine();
        sysctls.set(ports(61_000, 65_535)).unwrap();
        assert_eq!(sysctls.read(SWITCHED_ON[0]).unwrap().unwrap(), "1");
        let reserved = sysctls.read(RESERVED_PORTS).unwrap().unwrap();
        assert_eq!(reserved, "8080,9000-9010,61000-65535");
        // The second start finds its own values and still knows the first ones.
        sysctls.set(ports(60_000, 65_535)).unwrap();
        sysctls.restore().unwrap();
        assert_eq!(sysctls.read(SWITCHED_ON[0]).unwrap().unwrap(), "0");
        assert_eq!(sysctls.read(RESERVED_PORTS).unwrap().unwrap(), "8080,9000-9010");
        assert!(!sysctls.record.exists());
    }

    #[test]
    fn what_somebody_else_changed_is_left() {
        let (_folder, sysctls) = machine();
        sysctls.set(ports(61_000, 65_535)).unwrap();
        sysctls.write(RESERVED_PORTS, "1234").unwrap();
        sysctls.restore().unwrap();
        assert_eq!(sysctls.read(RESERVED_PORTS).unwrap().unwrap(), "1234");
    }

    #[test]
    fn reserved_ports_are_merged_as_the_kernel_does() {
        for (list, expected) in [
            ("", "61000-65535"),
            ("80", "80,61000-65535"),
            ("60000-60999", "60000-65535"),
            ("61000-65535", "61000-65535"),
            ("64000,80", "80,61000-65535"),
        ] {
            assert_eq!(with_ports(list, ports(61_000, 65_535)), expected, "{list}");
        }
    }
}
