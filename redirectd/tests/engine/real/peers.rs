//! Peers on every machine: also on home, and on the hosts that the server comes to.

use anyhow::Result;

use super::tour::{Pace, Task, Tour};
use crate::{
    programs::{SELECT, Talk},
    scene::Scene,
};

/// Asks line after line.
pub(super) fn talk(mut talk: Talk, pace: &Pace) -> Result<()> {
    while !pace.is_over() {
        talk.line()?;
        pace.add(1);
    }
    Ok(())
}

#[test]
fn on_home_and_on_the_hosts() -> Result<()> {
    let scene = Scene::new()?;
    let (mut tour, _) = Tour::of_server(&scene, &["python3", "-c", SELECT, "::"])?;
    let mut tasks: Vec<Task<'_>> = Vec::new();
    for host in [&scene.lan.peer, &scene.lan.home, &scene.lan.c, &scene.lan.d] {
        for endpoint in ["10.0.0.2:7000", "[fd00::2]:7000"] {
            let open = Talk::open(host, endpoint)?;
            tasks.push(Box::new(move |pace| talk(open, pace)));
        }
    }
    tour.go(20, tasks)
}
