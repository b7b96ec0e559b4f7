//! What a machine can do for processes of others: told to the nodes that know it,
//! asked before anything is frozen.

use std::{collections::BTreeSet, env, fs};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::{
    members::Member,
    protocol,
    service::{Later, NodeService, no_such},
};
use crate::{
    error::{Error, Kind},
    migrate::criu::Criu,
    process,
};

/// What a node can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abilities {
    /// Its redirectd's version.
    pub release: String,
    /// The version of what it says to other nodes.
    pub protocol: u32,
    /// Its processor's architecture, such as `x86_64`.
    pub architecture: String,
    /// Its kernel's release, such as `6.18.2-amd64`.
    pub kernel: String,
    /// What programs can count on of its processors, by the kernel's names.
    pub cpu_features: BTreeSet<String>,
    /// What programs can still have of its memory.
    pub free_memory_bytes: u64,
    /// What moves processes there.
    pub criu: CriuThere,
}

/// Whether there is a CRIU that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CriuThere {
    /// Its version, such as `4.2`.
    Version(String),
    /// Why there is none.
    Missing(Error),
}

impl Abilities {
    /// This machine's. Runs CRIU, and so blocks for some milliseconds.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn here() -> Result<Self, Error> {
        let unknown = |what: &str, why: &dyn std::fmt::Display| {
            Error::new(Kind::Failed, format!("this machine does not tell {what}: {why}"))
        };
        let read = |path: &str, what: &str| {
            fs::read_to_string(path).map_err(|why| unknown(what, &format!("{path}: {why}")))
        };
        let memory = read("/proc/meminfo", "how much memory is free")?;
        let kernel = read("/proc/sys/kernel/osrelease", "its kernel")?;
        Ok(Self {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: protocol::VERSION,
            architecture: env::consts::ARCH.to_owned(),
            kernel: kernel.trim().to_owned(),
            cpu_features: process::features().map_err(|why| unknown("its processors", &why))?,
            free_memory_bytes: available(&memory)
                .ok_or_else(|| unknown("how much memory is free", &"no `MemAvailable`"))?,
            criu: match Criu::new("criu").check() {
                Ok(version) => CriuThere::Version(version.to_string()),
                Err(error) => CriuThere::Missing(error),
            },
        })
    }

    /// This machine's, without blocking.
    ///
    /// # Errors
    /// As for [`Abilities::here`].
    pub(super) async fn ask() -> Result<Self, Error> {
        let lost = |why| Error::new(Kind::Failed, format!("cannot ask this machine: {why}"));
        spawn_blocking(Self::here).await.map_err(lost)?
    }
}

/// What `text`, a `/proc/meminfo`, says of memory that programs can have, in bytes.
fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The service `node`: who and how we are.
pub(super) struct Describe;

/// Its name.
pub(super) const SERVICE: &str = "node";

/// Its one request.
pub(super) const REQUEST: &str = "abilities";

impl NodeService for Describe {
    fn name(&self) -> &'static str {
        SERVICE
    }

    fn request<'a>(
        &'a self,
        _from: &'a Member,
        name: &'a str,
        _body: Value,
    ) -> Later<'a, Result<Value, Error>> {
        Box::pin(async move {
            if name != REQUEST {
                return Err(no_such("request", SERVICE, name));
            }
            let failed = |why| Error::new(Kind::Failed, format!("cannot be told: {why}"));
            serde_json::to_value(Abilities::ask().await?).map_err(failed)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_do_something() {
        let abilities = Abilities::here().unwrap();
        assert!(abilities.free_memory_bytes > 1 << 20, "{abilities:?}");
        assert!(abilities.cpu_features.len() > 3 && !abilities.kernel.is_empty());
        if let CriuThere::Missing(error) = &abilities.criu {
            assert!(error.cure.is_some(), "{error}");
        }
        let text = serde_json::to_string(&abilities).unwrap();
        assert_eq!(serde_json::from_str::<Abilities>(&text).unwrap(), abilities);
    }

    #[test]
    fn free_memory_is_what_programs_can_have() {
        let text = "MemTotal: 9 kB\nMemFree:   1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(available(text), Some(1 << 20));
        assert_eq!(available("MemFree: 1 kB\n"), None);
    }
}
