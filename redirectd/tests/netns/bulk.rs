//! iperf3 in both directions, with its control connection and its streams
//! through home.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::iperf3_server;

use crate::scene::Scene;

/// By TCP at least so many bytes are sent, by UDP so many datagrams: however long
/// that takes, as it ends with the last of them.
const BYTES: &str = "256M";
const DATAGRAMS: &str = "893";

/// Runs iperf3 on the peer against `home`, and gives its `end` summary.
fn iperf3(scene: &Scene, home: &str, args: &[&str]) -> Result<Value> {
    let line = ["iperf3", "--client", home, "--json"];
    let said = scene.lan.peer.run(&[&line[..], args].concat())?;
    let report: Value = serde_json::from_str(&said).context("iperf3 writes JSON")?;
    ensure!(report.get("error").is_none(), "{said}");
    Ok(report["end"].clone())
}

fn streams(scene: &Scene) -> Result<()> {
    let _server = iperf3_server(&scene.lan.c, 5201)?;
    scene.add_both("iperf", "tcp,udp", 5201, 5201)?;
    for home in ["10.0.0.2", "fd00::2"] {
        for direction in [&[][..], &["--reverse"]] {
            // Of a fixed size, or the kernel makes buffers of up to 32 MB.
            let tcp = ["--bytes", BYTES, "--window", "2M"];
            let end = iperf3(scene, home, &[&tcp[..], direction].concat())?;
            let (sent, received) = (bytes(&end, "sum_sent")?, bytes(&end, "sum_received")?);
            // What was still under way at the end is no more than the buffers.
            ensure!(received > 10_000_000 && sent - received < 16_000_000, "{end:#}");

            // Slow enough that the 256 places in a cable's queue for XDP suffice
            // on a busy machine, so that a loss is ours; with room for all of it at
            // a receiver that does not run for a while.
            let udp = ["--udp", "--blockcount", DATAGRAMS, "--bitrate", "10M"];
            let udp = [&udp[..], &["--length", "1400", "--window", "2M"]].concat();
            let end = iperf3(scene, home, &[&udp[..], direction].concat())?;
            ensure!(end["sum"]["lost_packets"] == 0, "datagrams were lost: {end:#}");
            ensure!(end["sum"]["packets"].as_u64() >= Some(DATAGRAMS.parse()?), "{end:#}");
        }
    }
    Ok(())
}

fn bytes(end: &Value, sum: &str) -> Result<i64> {
    end[sum]["bytes"].as_i64().with_context(|| format!("no {sum}: {end:#}"))
}

#[test]
fn tcp_and_udp_by_tc() -> Result<()> {
    streams(&Scene::alone()?)
}

#[test]
fn tcp_and_udp_by_xdp() -> Result<()> {
    streams(&Scene::in_lab(xtask::lab::Lab::alone()?, "xdp")?)
}
