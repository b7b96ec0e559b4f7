//! nginx on the host, curl on the peer.

use anyhow::{Result, ensure};
use xtask::lab::{Finished, Host, Nginx};

use crate::scene::Scene;

/// curl's exit code for a refused connection.
const REFUSED: i32 = 7;

fn curl(host: &Host, url: &str) -> Result<Finished> {
    host.try_run(&["curl", "--silent", "--show-error", "--max-time", "10", url])
}

/// A page is refused before, answered during, and refused after its redirect.
fn page(attach: &str) -> Result<()> {
    let scene = Scene::attached(attach)?;
    let nginx = Nginx::start(&scene.lan.c, &["10.0.0.3:8080", "[fd00::3]:8080"])?;
    nginx.page("who", "served by c\n")?;
    let peer = &scene.lan.peer;
    for (home, host) in [("10.0.0.2", "10.0.0.3"), ("[fd00::2]", "[fd00::3]")] {
        let url = format!("http://{home}/who");
        assert_eq!(curl(peer, &url)?.code, REFUSED, "before the redirect");
        scene.add(&["web", &format!("{home}:80"), "--to", &format!("{host}:8080")])?;
        assert_eq!(curl(peer, &url)?.success()?, "served by c\n");
        scene.daemon.redirect(&["remove", "web"])?;
        assert_eq!(curl(peer, &url)?.code, REFUSED, "after the redirect");
    }
    Ok(())
}

#[test]
fn page_by_tc() -> Result<()> {
    page("tc")
}

#[test]
fn page_by_xdp() -> Result<()> {
    page("xdp")
}

#[test]
fn several_requests_on_one_connection() -> Result<()> {
    let scene = Scene::tc()?;
    let nginx = Nginx::start(&scene.lan.c, &["10.0.0.3:8080", "[fd00::3]:8080"])?;
    let pages: Vec<String> = (1..=20).map(|number| format!("page{number}")).collect();
    for page in &pages {
        nginx.page(page, &format!("this is {page}\n"))?;
    }
    scene.add_both("web", "tcp", 80, 8080)?;
    for home in ["10.0.0.2", "[fd00::2]"] {
        // curl takes all pages of one address over one connection.
        let urls: Vec<String> = pages.iter().map(|page| format!("http://{home}/{page}")).collect();
        let mut line = vec!["curl", "--silent", "--write-out", "%{num_connects} connected\n"];
        line.extend(urls.iter().map(String::as_str));
        let wanted: String = pages
            .iter()
            .enumerate()
            .map(|(n, page)| format!("this is {page}\n{} connected\n", u8::from(n == 0)))
            .collect();
        assert_eq!(scene.lan.peer.run(&line)?, wanted);
    }
    Ok(())
}

/// 100 MB go down and another 100 MB go up, and the hashes agree.
fn large_files(attach: &str, home: &str, host: &str) -> Result<()> {
    let scene = Scene::attached(attach)?;
    let nginx = Nginx::start(&scene.lan.c, &[&format!("{host}:8080")])?;
    scene.add(&["web", &format!("{home}:80"), "--to", &format!("{host}:8080")])?;
    let peer = &scene.lan.peer;

    let served = nginx.root().join("down");
    let given = scene.lab.dir().join("up");
    for file in [&served, &given] {
        peer.run(&["sh", "-c", &format!("head -c 100000000 /dev/urandom > {}", file.display())])?;
    }
    let hash = |file: &std::path::Path| -> Result<String> {
        let line = peer.run(&["sha256sum", &file.to_string_lossy()])?;
        Ok(line.split_whitespace().next().unwrap_or_default().to_owned())
    };
    let curl = "curl --silent --show-error --fail --max-time 50";
    let down = peer.run(&["sh", "-c", &format!("{curl} http://{home}/down | sha256sum")])?;
    assert_eq!(down.split_whitespace().next(), Some(hash(&served)?.as_str()));

    let up = format!("{curl} --upload-file {} http://{home}/upload/up", given.display());
    peer.run(&["sh", "-c", &up])?;
    assert_eq!(hash(&nginx.root().join("upload/up"))?, hash(&given)?);

    let counters = scene.counters("web")?;
    for direction in ["to_host", "to_peer"] {
        let bytes = counters[direction]["bytes"].as_u64();
        ensure!(bytes > Some(100_000_000), "less was counted than came through: {counters:#}");
    }
    // Which entry did the work: XDP leaves to tc only how connections begin and end.
    let translated = scene.reason("translated")?;
    let by_tc = if attach == "xdp" { scene.reason("handed_to_tc")? } else { translated };
    ensure!((by_tc < translated / 10) == (attach == "xdp"), "{by_tc} of {translated} by tc");
    Ok(())
}

#[test]
fn large_files_over_ipv4() -> Result<()> {
    large_files("tc", "10.0.0.2", "10.0.0.3")
}

#[test]
fn large_files_over_ipv6() -> Result<()> {
    large_files("tc", "[fd00::2]", "[fd00::3]")
}

#[test]
fn large_files_over_ipv4_by_xdp() -> Result<()> {
    large_files("xdp", "10.0.0.2", "10.0.0.3")
}

#[test]
fn large_files_over_ipv6_by_xdp() -> Result<()> {
    large_files("xdp", "[fd00::2]", "[fd00::3]")
}
