//! Tables that are in the kernel keep their sizes, whatever the file says next.

use anyhow::{Context as _, Result, ensure};
use xtask::lab::Daemon;

use crate::{
    echo::Echo,
    scene::{Scene, binaries},
};

const REST: &str = "home: [10.0.0.4]\ninterfaces: { eth0: { attach: tc } }";

/// Starts with small tables, asks for `tables`, and starts again.
fn kept(tables: &str) -> Result<()> {
    let scene = Scene::tc()?;
    let home = &scene.lan.d;
    let small = "tables: { redirects: 64, flows: 512, half_open: 256 }";
    let mut daemon = Daemon::start(home, &binaries(), &format!("{REST}\n{small}\n"))?;
    let _echo = Echo::udp(&scene.lan.c, "10.0.0.3:7000", b'c')?;
    let add = ["add", "echo", "10.0.0.4:7", "--to", "10.0.0.3:7000", "--protocol", "udp"];
    daemon.redirect(&add)?;
    daemon.sigkill()?;

    daemon.configure(&format!("{REST}\n{tables}\n"))?;
    daemon.start_again()?;
    let list = daemon.json(&["list"])?;
    ensure!(list["redirects"][0]["name"] == "echo", "{list:#}");
    let status = daemon.json(&["status"])?;
    let sizes = status["tables"].as_array().context("tables")?;
    for (table, size) in [("redirects", 64), ("flows", 512), ("half_open", 256)] {
        let found = sizes.iter().find(|found| found["table"] == table).context("a table")?;
        ensure!(found["size"] == size, "{found:#}");
    }
    daemon.redirect(&[
        "add",
        "more",
        "10.0.0.4:8",
        "--to",
        "10.0.0.3:7000",
        "--protocol",
        "udp",
    ])?;
    Ok(())
}

#[test]
fn larger_ones_are_not_made() -> Result<()> {
    kept("tables: { redirects: 128, flows: 1024, half_open: 512 }")
}

#[test]
fn smaller_ones_are_not_made() -> Result<()> {
    kept("tables: { redirects: 8, flows: 16, half_open: 16 }")
}
