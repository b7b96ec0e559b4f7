//! What a machine has for a process that is to move there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use procfs::{Current, Meminfo};
use serde::{Deserialize, Serialize};

use super::{
    diag,
    files::{self, FileKind, UsedFile},
    inventory::{Inventory, Machine},
    sockets::{Endpoint, InetSocket},
};
use crate::error::{Error, Kind};

/// What is asked of the machine: what of an [`Inventory`] it has to have, and what
/// nobody there may have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Ids of processes and threads.
    pub pids: BTreeSet<i32>,
    /// Endpoints, as they will be bound there.
    pub endpoints: BTreeSet<Endpoint>,
    /// Paths of files and folders, with what they are.
    pub files: BTreeMap<String, FileKind>,
}

/// The machine's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What programs will count on.
    pub machine: Machine,
    /// The version of CRIU, such as `4.2.1`, if it is there.
    pub engine: Option<String>,
    /// What programs can still have, in bytes.
    pub free_memory: u64,
    /// Those of the ids that are taken.
    pub taken_pids: BTreeSet<i32>,
    /// Those of the endpoints that are taken.
    pub taken_endpoints: BTreeSet<Endpoint>,
    /// Those of the files that are there.
    pub files: BTreeMap<String, FileThere>,
}

/// A file of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileThere {
    /// What it is.
    pub kind: FileKind,
    /// What it holds, as `sha256sum` prints it, if it is an ordinary file that can
    /// be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl From<&Inventory> for Needs {
    fn from(inventory: &Inventory) -> Self {
        let needed = inventory.files.iter().filter(|file| file.must_exist());
        let ids = inventory.processes.iter().flat_map(|process| process.threads.iter().copied());
        Self {
            pids: ids.collect(),
            endpoints: inventory.sockets.inet.iter().filter_map(bound_there).collect(),
            files: needed.map(|UsedFile { path, kind, .. }| (path.clone(), *kind)).collect(),
        }
    }
}

/// What `socket` takes packets at elsewhere: home's addresses become the host's,
/// which are not known yet.
fn bound_there(socket: &InetSocket) -> Option<Endpoint> {
    let mut endpoint = socket.endpoint()?;
    if !endpoint.at.ip().is_loopback() {
        endpoint.at.set_ip(match endpoint.at.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        });
    }
    Some(endpoint)
}

impl Offer {
    /// What this machine, in this thread's network, has of `needs`. `engine` is
    /// the version of CRIU that would be used.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn for_needs(needs: &Needs, engine: Option<String>) -> Result<Self, Error> {
        let unknown = |what: &str, why: &dyn std::fmt::Display| {
            Error::new(Kind::Failed, format!("this machine does not tell {what}: {why}"))
        };
        let memory = Meminfo::current().map_err(|why| unknown("how much memory is free", &why))?;
        let here = diag::inet().map_err(|why| unknown("which ports are taken", &why))?;
        let here: Vec<Endpoint> = here.iter().filter_map(diag::Inet::endpoint).collect();
        let taken = |id: &&i32| Path::new(&format!("/proc/{id}")).exists();
        let meets = |endpoint: &&Endpoint| here.iter().any(|other| other.meets(endpoint));
        let file = |path: &String| Some((path.clone(), look(Path::new(path))?));
        Ok(Self {
            machine: Machine::this()?,
            engine,
            // Kernels before 3.14 do not tell, and are too old for everything else.
            free_memory: memory.mem_available.unwrap_or(memory.mem_free),
            taken_pids: needs.pids.iter().filter(taken).copied().collect(),
            taken_endpoints: needs.endpoints.iter().filter(meets).copied().collect(),
            files: needs.files.keys().filter_map(file).collect(),
        })
    }
}

fn look(path: &Path) -> Option<FileThere> {
    let metadata = fs::metadata(path).ok()?;
    let kind = files::kind(&path.to_string_lossy(), &metadata);
    let sha256 = (kind == FileKind::File).then(|| files::sha256(path).ok()).flatten();
    Some(FileThere { kind, sha256 })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn this_machine_says_what_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let text = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        fs::write(text("there"), "abc").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = |port| Endpoint {
            protocol: crate::rule::Protocol::Tcp,
            at: (Ipv4Addr::UNSPECIFIED, port).into(),
            both_families: false,
        };
        let taken = endpoint(listener.local_addr().unwrap().port());
        let own = std::process::id().cast_signed();
        let needs = Needs {
            // The kernel's greatest is 4,194,304 and never given.
            pids: [own, 4_194_304].into(),
            // Port 0 is nobody's.
            endpoints: [taken, endpoint(0)].into(),
            files: [(text("there"), FileKind::File), (text("missing"), FileKind::File)].into(),
        };
        let offer = Offer::for_needs(&needs, None).unwrap();
        assert_eq!(offer.taken_pids, [own].into());
        assert_eq!(offer.taken_endpoints, [taken].into());
        assert_eq!(offer.files.len(), 1);
        let there = &offer.files[&text("there")];
        assert!(there.kind == FileKind::File && there.sha256.as_ref().unwrap().starts_with("ba78"));
        assert!(offer.free_memory > 0);
    }
}
