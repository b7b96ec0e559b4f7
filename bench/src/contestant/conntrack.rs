//! Room in the kernel's table of connections. Its limit and its number of hash
//! buckets belong to the whole machine, and only its first network namespace
//! can change them.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::console::say;

/// Most connections of a namespace.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// Buckets of the hash table, which all namespaces share.
const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// Room for many connections; as it was when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    limit: Setting,
    buckets: Setting,
}

impl Room {
    /// Makes room for `flows` flows in each of `tables` namespaces: the limit at
    /// twice the flows, and a bucket for each entry (a flow has two, one for
    /// each direction). Linux itself makes at most 262,144 buckets, which
    /// would mean long chains, and no fair comparison. What is larger stays.
    ///
    /// # Errors
    /// The kernel does not track connections, or refuses.
    pub(crate) fn new(flows: u32, tables: u32) -> Result<Self> {
        Ok(Self {
            // First, so that a failure of the other leaves nothing changed.
            limit: Setting::raise(LIMIT, limit(flows))?,
            buckets: Setting::raise(BUCKETS, buckets(flows, tables))?,
        })
    }

    /// Limit and buckets now in force.
    pub(crate) fn now(&self) -> (u32, u32) {
        (self.limit.now, self.buckets.now)
    }
}

/// Makes sure that there is room for `flows` flows.
///
/// # Errors
/// There is not.
pub(crate) fn check(flows: u32) -> Result<()> {
    is_enough(read(LIMIT)?, flows)
}

fn is_enough(limit: u32, flows: u32) -> Result<()> {
    // 0 is no limit.
    ensure!(
        limit == 0 || limit > flows,
        "conntrack has room for {limit} flows and {flows} are needed: \
         `sysctl net.netfilter.nf_conntrack_max={}`",
        self::limit(flows),
    );
    Ok(())
}

/// Twice the flows: room for those that the kernel has not forgotten yet.
fn limit(flows: u32) -> u32 {
    2 * flows
}

/// A bucket for each entry, as a power of two.
fn buckets(flows: u32, tables: u32) -> u32 {
    (2 * flows * tables).next_power_of_two()
}

/// A number in a file of the kernel's; put back when dropped.
#[derive(Debug)]
struct Setting {
    path: &'static str,
    before: u32,
    now: u32,
}

impl Setting {
    /// Makes it `least`, if it is less (0 is no limit).
    fn raise(path: &'static str, least: u32) -> Result<Self> {
        let before = read(path)?;
        if before == 0 || before >= least {
            return Ok(Self { path, before, now: before });
        }
        fs::write(path, least.to_string())
            .with_context(|| format!("cannot write {least} to {path}"))?;
        // The kernel may have rounded it up.
        Ok(Self { path, before, now: read(path)? })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // Unless somebody else has changed it meanwhile.
        if self.now == self.before || read(self.path).ok() != Some(self.now) {
            return;
        }
        if let Err(error) = fs::write(self.path, self.before.to_string()) {
            say(&format!(
                "warning: {} stays at {} (was {}): {error}",
                self.path, self.now, self.before
            ));
        }
    }
}

fn read(path: &str) -> Result<u32> {
    fs::read_to_string(path)
        .with_context(|| format!("cannot read {path}; is conntrack in this kernel?"))?
        .trim()
        .parse()
        .with_context(|| format!("{path} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_of_each_flow_has_a_bucket() {
        assert_eq!(buckets(1, 2), 4);
        assert_eq!(buckets(1_000_000, 2), 4_194_304);
    }

    #[test]
    fn the_limit_is_well_above_the_flows() {
        assert_eq!(limit(1_000_000), 2_000_000);
        assert!(is_enough(limit(32_768), 32_768).is_ok());
    }

    #[test]
    fn too_little_room_is_an_error_with_its_cure() {
        assert!(is_enough(0, 1_000_000).is_ok() && is_enough(1_001, 1_000).is_ok());
        let error = is_enough(1_000, 1_000).unwrap_err().to_string();
        assert!(error.contains("`sysctl net.netfilter.nf_conntrack_max=2000`"), "{error}");
    }

    #[test]
    fn a_setting_is_only_raised_and_put_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("setting");
        // The setting lives as long as a constant would.
        let path: &'static str = file.to_str().unwrap().to_owned().leak();
        fs::write(path, "10\n").unwrap();
        drop(Setting::raise(path, 5).unwrap());
        assert_eq!(read(path).unwrap(), 10);
        let raised = Setting::raise(path, 20).unwrap();
        assert_eq!((raised.now, read(path).unwrap()), (20, 20));
        drop(raised);
        assert_eq!(read(path).unwrap(), 10);
        let raised = Setting::raise(path, 20).unwrap();
        fs::write(path, "30").unwrap();
        drop(raised);
        assert_eq!(read(path).unwrap(), 30);
    }
}
