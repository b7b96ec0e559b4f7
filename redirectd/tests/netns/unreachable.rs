//! Hosts that cannot be reached: the peer is told, and does not wait.

use anyhow::Result;

use crate::{echo, scene::Scene};

/// The error of a connection to a redirect of `home` to `host`. One that just
/// waits times out after five seconds, which is not among the errors expected.
fn told(scene: &Scene, home: &str, host: &str) -> Result<Option<i32>> {
    scene.add(&["away", home, "--to", host, "--no-check"])?;
    let connected = echo::connect(&scene.lan.peer, home);
    Ok(connected.map(drop).expect_err("nobody is there").raw_os_error())
}

/// Home has no way to the host's network, or a route that says so; `expected`
/// are the errors over IPv4 and over IPv6.
fn no_way(route: Option<&str>, expected: [i32; 2]) -> Result<()> {
    for ((home, host, network), code) in [
        ("10.0.0.2:7", "10.9.0.3:7000", "10.9.0.0/24"),
        ("[fd00::2]:7", "[fd09::3]:7000", "fd09::/64"),
    ]
    .into_iter()
    .zip(expected)
    {
        let scene = Scene::tc()?;
        if let Some(kind) = route {
            scene.lan.home.ip(&["route", "add", kind, network])?;
        }
        assert_eq!(told(&scene, home, host)?, Some(code), "{home} with a route {route:?}");
    }
    Ok(())
}

#[test]
fn without_a_route() -> Result<()> {
    no_way(None, [libc::ENETUNREACH, libc::ENETUNREACH])
}

#[test]
fn by_an_unreachable_route() -> Result<()> {
    no_way(Some("unreachable"), [libc::EHOSTUNREACH, libc::ENETUNREACH])
}

#[test]
fn by_a_prohibited_route() -> Result<()> {
    no_way(Some("prohibit"), [libc::EHOSTUNREACH, libc::EACCES])
}

/// The network is there, the host is not.
#[test]
fn without_a_neighbour() -> Result<()> {
    for (home, host) in [("10.0.0.2:7", "10.0.0.99:7000"), ("[fd00::2]:7", "[fd00::99]:7000")] {
        let scene = Scene::tc()?;
        // The kernel asks for a neighbour three times before it gives up, by default
        // one second apart: too near to what the client waits.
        for family in ["ipv4", "ipv6"] {
            let between = format!("net/{family}/neigh/eth0/retrans_time_ms");
            scene.lan.home.sysctl(&between, "200")?;
        }
        assert_eq!(told(&scene, home, host)?, Some(libc::EHOSTUNREACH), "{home}");
    }
    Ok(())
}
