//! All sockets of a tree: who holds them, what they are bound and connected to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
};

use serde::{Deserialize, Serialize};

use super::{
    descriptors::{Descriptor, Open},
    diag,
    namespace::{inside_network_of, network_of},
    socket_kind::{is_multipath, protocol_of},
    strangers::Stranger,
    tree::Tree,
};
use crate::{
    error::{Error, Kind},
    rule::Protocol,
};

/// The sockets of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sockets {
    /// TCP and UDP sockets that have a port, by their endpoints.
    pub inet: Vec<InetSocket>,
    /// Unix sockets.
    pub unix: Vec<UnixSocket>,
    /// All others, and those without a port.
    pub other: Vec<OtherSocket>,
    /// Endpoints of processes outside of the tree that peers reach by the same
    /// ports: a parent that still listens, another process with `SO_REUSEPORT`.
    pub strangers: Vec<Endpoint>,
}

/// A TCP or UDP socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InetSocket {
    /// What tells it from all others.
    pub inode: u64,
    /// Who has it open.
    pub holders: Vec<Holder>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What it is bound to; IPv4 also where an IPv6 socket speaks it.
    pub local: SocketAddr,
    /// What it is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<SocketAddr>,
    /// It takes connections.
    pub listening: bool,
    /// It is bound to `[::]` and takes IPv4 as well.
    pub both_families: bool,
    /// It is one of Multipath TCP (RFC 8684).
    pub multipath: bool,
}

/// A Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixSocket {
    /// What tells it from all others.
    pub inode: u64,
    /// Who has it open.
    pub holders: Vec<Holder>,
    /// What it is bound to: a path, or `@` and a name without a path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It sends datagrams, each by itself.
    pub datagram: bool,
    /// What it is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<UnixPeer>,
}

/// The other end of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixPeer {
    /// What tells it from all others.
    pub inode: u64,
    /// What it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// No process of the tree has it.
    pub stranger: bool,
    /// Those others that have it, as far as they could be looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<Stranger>,
}

/// A socket that is neither of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherSocket {
    /// What tells it from all others.
    pub inode: u64,
    /// Who has it open.
    pub holders: Vec<Holder>,
    /// The kernel's name for its protocol, such as `NETLINK`.
    pub protocol: String,
}

/// A descriptor of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Holder {
    /// The process.
    pub pid: i32,
    /// The descriptor's number there.
    pub fd: i32,
}

/// An endpoint that packets can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address, perhaps that of none in particular, and the port.
    pub at: SocketAddr,
    /// It is `[::]` and takes IPv4 as well.
    pub both_families: bool,
}

impl InetSocket {
    /// Where it takes packets of anybody.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        let Self { protocol, local: at, both_families, .. } = *self;
        let open = self.listening || protocol == Protocol::Udp;
        (open && self.remote.is_none()).then_some(Endpoint { protocol, at, both_families })
    }
}

impl Sockets {
    /// Whether the other end of `socket` is the tree's own, too: it has it, or it
    /// will when it accepts it.
    #[must_use]
    pub fn is_within(&self, socket: &InetSocket) -> bool {
        let Some(remote) = socket.remote else { return false };
        // Other machines have the same port.
        let here = remote.ip().is_loopback() || remote.ip() == socket.local.ip();
        self.inet.iter().any(|other| {
            let end = other.local == remote && other.remote == Some(socket.local);
            let taker = other.endpoint().is_some_and(|own| own.takes(socket.protocol, remote));
            other.protocol == socket.protocol && (end || (here && taker))
        })
    }
}

impl Endpoint {
    /// Whether what is sent to `at` by `protocol` comes here, unless a connected
    /// socket takes it first.
    #[must_use]
    pub fn takes(&self, protocol: Protocol, at: SocketAddr) -> bool {
        let family = self.at.is_ipv4() == at.is_ipv4() || self.both_families;
        let address = self.at.ip() == at.ip() || (self.at.ip().is_unspecified() && family);
        self.protocol == protocol && self.at.port() == at.port() && address
    }

    /// Whether something can be sent that both take.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let wildcards = self.at.ip().is_unspecified() && other.at.ip().is_unspecified();
        let both = self.both_families || other.both_families;
        self.takes(other.protocol, other.at)
            || other.takes(self.protocol, self.at)
            || (wildcards
                && both
                && self.protocol == other.protocol
                && self.at.port() == other.at.port())
    }
}

/// As an [`Endpoint`] is written; connected ones with `<-` and their peer.
impl fmt::Display for InetSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, local: at, both_families, .. } = *self;
        write!(f, "{}", Endpoint { protocol, at, both_families })?;
        self.remote.map_or(Ok(()), |remote| write!(f, " <- {remote}"))
    }
}

/// `tcp 192.0.2.1:80`, `udp *:53` for both families
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.both_families {
            true => write!(f, "{} *:{}", self.protocol, self.at.port()),
            false => write!(f, "{} {}", self.protocol, self.at),
        }
    }
}

/// What the kernel tells of all sockets of some networks.
#[derive(Debug, Default)]
struct Seen {
    inet: Vec<diag::Inet>,
    unix: BTreeMap<u64, diag::Unix>,
}

/// The sockets of `tree`, whose descriptors are `descriptors`.
///
/// A socket is looked for in the networks that the tree's processes are in now;
/// one that was made in another is taken for one without a port.
///
/// # Errors
/// This user may not go to the tree's network, or the kernel does not tell.
pub(super) fn of(tree: &Tree, descriptors: &[Descriptor]) -> Result<Sockets, Error> {
    let seen = look(tree)?;
    let mut holders: BTreeMap<u64, Vec<Holder>> = BTreeMap::new();
    for &Descriptor { pid, fd, ref open, .. } in descriptors {
        if let Open::Socket(inode) = open {
            holders.entry(*inode).or_default().push(Holder { pid, fd });
        }
    }
    let kinds = holders.iter().map(|(&inode, holders)| (inode, kind(holders))).collect();
    Ok(sort(seen, &holders, &kinds))
}

/// The protocol of the socket that `holders` have; a question mark if they have
/// all closed it meanwhile.
fn kind(holders: &[Holder]) -> String {
    let known = holders.iter().find_map(|holder| protocol_of(holder.pid, holder.fd).ok());
    known.unwrap_or_else(|| "?".to_owned())
}

/// Asks in each network that processes of `tree` are in.
fn look(tree: &Tree) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    let mut networks = BTreeSet::new();
    for process in tree.running() {
        let pid = process.pid;
        let network = match network_of(pid) {
            Ok(network) => network,
            // A child that has ended since the tree was read.
            Err(error) if error.kind == Kind::NotFound && pid != tree.root().pid => continue,
            Err(error) => return Err(error),
        };
        if !networks.insert(network) {
            continue;
        }
        let (inet, unix) = inside_network_of(pid, || {
            let told = diag::inet().and_then(|inet| Ok((inet, diag::unix()?)));
            told.map_err(|why| {
                Error::new(Kind::Failed, format!("the kernel does not list sockets: {why}")).cure(
                    "`modprobe -a tcp_diag udp_diag unix_diag`, if the kernel has them as modules",
                )
            })
        })?;
        seen.inet.extend(inet);
        seen.unix.extend(unix.into_iter().map(|socket| (socket.inode, socket)));
    }
    Ok(seen)
}

/// Tells the tree's sockets from strangers', and what they are.
fn sort(
    seen: Seen,
    holders: &BTreeMap<u64, Vec<Holder>>,
    kinds: &BTreeMap<u64, String>,
) -> Sockets {
    let mut sockets = Sockets::default();
    let mut placed = BTreeSet::new();
    let mut strangers = BTreeSet::new();
    for socket in seen.inet {
        let endpoint = socket.endpoint();
        let diag::Inet { inode, protocol, local, remote, listening, both_families, .. } = socket;
        match holders.get(&inode) {
            Some(holders) => {
                let holders = holders.clone();
                let multipath = kinds.get(&inode).is_some_and(|kind| is_multipath(kind));
                placed.insert(inode);
                sockets.inet.push(InetSocket {
                    inode,
                    holders,
                    protocol,
                    local,
                    remote,
                    listening,
                    both_families,
                    multipath,
                });
            }
            None => strangers.extend(endpoint),
        }
    }
    sockets.inet.sort_by_key(|s| (s.protocol, s.local, s.remote, s.inode));
    for (&inode, holders) in holders.iter().filter(|(inode, _)| !placed.contains(inode)) {
        let holders = holders.clone();
        match seen.unix.get(&inode) {
            Some(socket) => sockets.unix.push(unix_socket(socket, &seen.unix, holders, kinds)),
            None => {
                let protocol = kinds.get(&inode).cloned().unwrap_or_default();
                sockets.other.push(OtherSocket { inode, holders, protocol });
            }
        }
    }
    let shared = |stranger: &Endpoint| {
        let own = |socket: &InetSocket| match socket.endpoint() {
            Some(endpoint) => endpoint.meets(stranger),
            None => stranger.takes(socket.protocol, socket.local),
        };
        sockets.inet.iter().any(own)
    };
    sockets.strangers = strangers.into_iter().filter(shared).collect();
    sockets
}

fn unix_socket(
    socket: &diag::Unix,
    all: &BTreeMap<u64, diag::Unix>,
    holders: Vec<Holder>,
    own: &BTreeMap<u64, String>,
) -> UnixSocket {
    let peer = socket.peer.map(|inode| UnixPeer {
        inode,
        name: all.get(&inode).and_then(|peer| peer.name.clone()),
        stranger: !own.contains_key(&inode),
        held_by: Vec::new(),
    });
    let diag::Unix { inode, datagram, .. } = *socket;
    UnixSocket { inode, holders, name: socket.name.clone(), datagram, peer }
}

#[cfg(test)]
mod tests;
