//! A UDP server and numbered datagrams: none is lost, none comes twice, and all
//! come in order.

use anyhow::{Context as _, Result, ensure};

use super::tour::{Pace, Tour};
use crate::{
    programs::{self, Datagrams, UDP},
    scene::Scene,
};

/// So many are under way at most: all have room in the socket that they come to.
const UNDER_WAY: u64 = 32;

/// Sends numbers, and compares what comes back.
fn number(peer: &Datagrams, pace: &Pace) -> Result<()> {
    let (mut sent, mut came) = (0, 0);
    while came < sent || !pace.is_over() {
        while sent < came + UNDER_WAY && !pace.is_over() {
            sent += 1;
            peer.say(format!("number {sent}").as_bytes())?;
        }
        came += 1;
        let answer = peer.hear().with_context(|| format!("nothing comes for {came}"))?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // The server counts as well.
        let expected = format!("{came} number {came}");
        ensure!(answer.split_once(' ').is_some_and(|(_, rest)| rest == expected), "{answer}");
        pace.add(1);
    }
    Ok(())
}

#[test]
fn none_is_lost_or_doubled_and_order_is_kept() -> Result<()> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, UDP, "0.0.0.0")?;
    let peer = Datagrams::open(&scene.lan.peer, "10.0.0.2:7000")?;
    Tour::of(&scene, &["four"], pid).go(200, vec![Box::new(move |pace| number(&peer, pace))])
}
