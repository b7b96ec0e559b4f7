//! Home's network, in a namespace of its own: who is there, under which
//! addresses, and behind which MAC address.
//!
//! ```text
//!            gateway ─┐                  ┌─ host
//!   peers ── gateway ─┴─ front home back ┴─ second host
//! ```
//!
//! Only home exists. The others are addresses whose MAC addresses home knows.

use std::{
    fs,
    io::Write as _,
    net::IpAddr,
    panic,
    process::{Command, Stdio},
    thread,
};

use nix::sched::{CloneFlags, unshare};

/// A MAC address.
pub(crate) type Mac = [u8; 6];

/// Home's interface towards the peers.
pub(crate) const FRONT: &str = "front";
/// Home's interface towards the hosts.
pub(crate) const BACK: &str = "back";

pub(crate) const FRONT_MAC: Mac = [2, 0, 0, 0, 0, 1];
pub(crate) const BACK_MAC: Mac = [2, 0, 0, 0, 0, 2];
pub(crate) const GATEWAY_MAC: Mac = [2, 0, 0, 0, 0, 0x11];
pub(crate) const HOST_MAC: Mac = [2, 0, 0, 0, 0, 0x21];
pub(crate) const SECOND_MAC: Mac = [2, 0, 0, 0, 0, 0x22];
/// Nobody's.
pub(crate) const STRANGER_MAC: Mac = [2, 0, 0, 0, 0, 0x33];
/// What `lo` has.
pub(crate) const NO_MAC: Mac = [0; 6];

/// The addresses of one family.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// Home's, which peers know.
    pub(crate) home: IpAddr,
    /// A peer's, behind the gateway.
    pub(crate) peer: IpAddr,
    /// Another one's.
    pub(crate) other_peer: IpAddr,
    /// The host's.
    pub(crate) host: IpAddr,
    /// The host's to which redirects move.
    pub(crate) second: IpAddr,
    /// A host's behind a route with an MTU of [`NARROW_MTU`].
    pub(crate) narrow: IpAddr,
    /// A host's whose MAC address home does not know.
    pub(crate) unresolved: IpAddr,
    /// One to which home has no route.
    pub(crate) unreachable: IpAddr,
}

/// The MTU of the route to [`Family::narrow`], in bytes.
pub(crate) const NARROW_MTU: u16 = 1280;

const fn v4(last: [u8; 4]) -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::from_octets(last))
}

const fn v6(subnet: u16, last: u16) -> IpAddr {
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, last))
}

/// IPv4.
pub(crate) const V4: Family = Family {
    home: v4([192, 0, 2, 1]),
    peer: v4([198, 51, 100, 7]),
    other_peer: v4([203, 0, 113, 9]),
    host: v4([10, 1, 0, 3]),
    second: v4([10, 1, 0, 4]),
    narrow: v4([10, 1, 0, 5]),
    unresolved: v4([10, 1, 0, 6]),
    unreachable: v4([10, 9, 0, 1]),
};

/// IPv6.
pub(crate) const V6: Family = Family {
    home: v6(1, 1),
    peer: v6(7, 7),
    other_peer: v6(9, 9),
    host: v6(2, 3),
    second: v6(2, 4),
    narrow: v6(2, 5),
    unresolved: v6(2, 6),
    unreachable: v6(0xdead, 1),
};

/// Both.
pub(crate) const FAMILIES: [Family; 2] = [V4, V6];

/// The interfaces. The far ends are in the same namespace, for want of others.
const LINKS: &str = "\
link set lo up
link add front address 02:00:00:00:00:01 type veth peer name front-far
link add back address 02:00:00:00:00:02 type veth peer name back-far
";

/// The addresses and ways. Peers are behind the gateway, by two routes, so that
/// there are addresses without a route.
const WAYS: &str = "\
link set front up
link set front-far up
link set back up
link set back-far up
addr add 192.0.2.1/24 dev front
addr add 2001:db8:1::1/64 dev front nodad
addr add 10.1.0.1/24 dev back
addr add 2001:db8:2::1/64 dev back nodad
neigh add 192.0.2.254 lladdr 02:00:00:00:00:11 dev front nud permanent
neigh add 2001:db8:1::fe lladdr 02:00:00:00:00:11 dev front nud permanent
route add 198.51.100.0/24 via 192.0.2.254
route add 203.0.113.0/24 via 192.0.2.254
route add 2001:db8:7::/48 via 2001:db8:1::fe
route add 2001:db8:9::/48 via 2001:db8:1::fe
neigh add 10.1.0.3 lladdr 02:00:00:00:00:21 dev back nud permanent
neigh add 10.1.0.4 lladdr 02:00:00:00:00:22 dev back nud permanent
neigh add 10.1.0.5 lladdr 02:00:00:00:00:21 dev back nud permanent
neigh add 2001:db8:2::3 lladdr 02:00:00:00:00:21 dev back nud permanent
neigh add 2001:db8:2::4 lladdr 02:00:00:00:00:22 dev back nud permanent
neigh add 2001:db8:2::5 lladdr 02:00:00:00:00:21 dev back nud permanent
route add 10.1.0.5/32 dev back mtu lock 1280
route add 2001:db8:2::5/128 dev back mtu lock 1280
";

/// What the kernel is told: to route packets as if they came in through `lo`,
/// which is what the programs ask for; and to send nothing of its own to home.
const SETTINGS: [(&str, &str); 4] = [
    ("ipv4/conf/lo/forwarding", "1"),
    ("ipv6/conf/lo/forwarding", "1"),
    ("ipv6/conf/front-far/disable_ipv6", "1"),
    ("ipv6/conf/back-far/disable_ipv6", "1"),
];

/// Runs `test` on a thread of its own, in a network namespace of its own that
/// has home's interfaces.
pub(crate) fn inside(test: impl FnOnce() + Send) {
    let test = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace of its own; this needs root");
        ip(LINKS);
        for (setting, value) in SETTINGS {
            let path = format!("/proc/sys/net/{setting}");
            fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        ip(WAYS);
        test();
    };
    let result = thread::scope(|scope| scope.spawn(test).join());
    if let Err(panic) = result {
        panic::resume_unwind(panic);
    }
}

/// Runs `ip` with `commands`, one a line, in this thread's namespace.
pub(crate) fn ip(commands: &str) {
    ip_with(&[], commands);
}

/// As [`ip`], with options of its own, such as the family of rules.
pub(crate) fn ip_with(options: &[&str], commands: &str) {
    let mut child = Command::new("ip")
        .args(options)
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("ip of iproute2 is installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(commands.as_bytes()).expect("ip reads its commands");
    drop(stdin);
    let status = child.wait().expect("ip ends");
    assert!(status.success(), "ip refuses one of:\n{commands}");
}

/// Where a packet to `address` goes: the MAC address of the next hop, and of
/// home's interface.
pub(crate) fn way_to(address: IpAddr) -> (Mac, Mac) {
    let is = |pick: fn(&Family) -> IpAddr| FAMILIES.iter().any(|family| pick(family) == address);
    if is(|family| family.home) {
        (NO_MAC, NO_MAC)
    } else if is(|family| family.host) || is(|family| family.narrow) {
        (HOST_MAC, BACK_MAC)
    } else if is(|family| family.second) {
        (SECOND_MAC, BACK_MAC)
    } else {
        (GATEWAY_MAC, FRONT_MAC)
    }
}
