//! Moves as a script drives them, by the command line: packets are held, and
//! delivered where the process is then, whatever becomes of script and daemon.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xtask::lab::soon;

use crate::{
    echo::{self, Echo, ask},
    numbered::Numbered,
    parking::{Ends, V4, V6},
    scene::Scene,
};

/// Redirects `home` to `target`, which may be `home`.
fn redirect(scene: &Scene, ends: &Ends, target: &str) -> Result<()> {
    scene.add(&["echo", ends.home, "--to", target, "--protocol", "tcp,udp", "--no-check"])
}

/// Begins a move to `target`; its number.
fn begin(scene: &Scene, target: &str) -> Result<String> {
    let begun = scene.daemon.json(&["move", "begin", "echo", "--to", target])?;
    Ok(begun["id"].to_string())
}

/// Begins a move to `target` and parks it; its number.
fn park(scene: &Scene, target: &str) -> Result<String> {
    let id = begin(scene, target)?;
    let parked = scene.daemon.json(&["move", "park", &id])?;
    ensure!(parked["state"] == "parked", "{parked:#}");
    Ok(id)
}

fn show(scene: &Scene, id: &str) -> Result<Value> {
    scene.daemon.json(&["move", "show", id])
}

/// Waits until `count` packets are held.
fn held(scene: &Scene, id: &str, count: u64) -> Result<()> {
    soon("packets are held", || {
        let moved = show(scene, id).ok()?;
        (moved["held"]["traffic"]["packets"].as_u64()? >= count).then_some(())
    })
}

/// Ends a move by `step`; asserts that all that was held was delivered.
fn end(scene: &Scene, id: &str, step: &str) -> Result<Value> {
    let moved = scene.daemon.json(&["move", step, id])?;
    ensure!(moved["held"]["lost"] == 0, "{moved:#}");
    ensure!(moved["held"]["overflow"]["packets"] == 0, "{moved:#}");
    ensure!(moved["delivered"].is_string() && moved["held_seconds"].is_number(), "{moved:#}");
    Ok(moved)
}

fn datagrams(ends: &Ends) -> Result<()> {
    let scene = Scene::alone()?;
    scene.lan.keep_order()?;
    let _servers = [
        Echo::udp(&scene.lan.c, ends.c, b'c')?,
        Echo::udp(&scene.lan.d, ends.d, b'd')?,
        Echo::udp(&scene.lan.home, ends.home, b'h')?,
    ];
    redirect(&scene, ends, "home")?;
    let stream = Numbered::start(&scene.lan.peer, ends.peer, ends.home, 1000)?;
    assert_eq!(stream.hear_more(50)?.by, 'h');
    for (target, name) in [(ends.c, 'c'), (ends.d, 'd'), ("home", 'h')] {
        let id = park(&scene, target)?;
        held(&scene, &id, 50)?;
        let moved = end(&scene, &id, "commit")?;
        assert_eq!(moved["owner"], "new");
        assert!(moved["held"]["traffic"]["packets"].as_u64().context("packets")? >= 50);
        stream.hear_from(name)?;
        // And once that it does not go on, but stays.
        let id = park(&scene, if name == 'd' { ends.c } else { ends.d })?;
        held(&scene, &id, 50)?;
        end(&scene, &id, "abort")?;
        stream.hear_more(50)?;
        stream.hear_from(name)?;
    }
    stream.finish().assert_in_turn(&['h', 'c', 'd', 'h']);
    Ok(())
}

#[test]
fn datagrams_follow_from_home_to_host_to_host_and_home_again() -> Result<()> {
    datagrams(&V4)?;
    datagrams(&V6)
}

/// A request that is held, and a connection that is opened meanwhile.
fn connections(ends: &Ends) -> Result<()> {
    let scene = Scene::tc()?;
    let _servers = (Echo::tcp(&scene.lan.c, ends.c, b'c')?, Echo::tcp(&scene.lan.d, ends.d, b'd')?);
    redirect(&scene, ends, ends.c)?;
    let mut connection = echo::connect(&scene.lan.peer, ends.home)?;
    assert_eq!(ask(&mut connection, b"before")?, 'c');

    let id = park(&scene, ends.d)?;
    let mut same = connection.try_clone()?;
    let asked = std::thread::spawn(move || ask(&mut same, b"while it is parked"));
    held(&scene, &id, 1)?;
    let flows = &show(&scene, &id)?["held"]["flows"];
    assert_eq!(flows[0]["peer"], connection.local_addr()?.to_string());
    end(&scene, &id, "abort")?;
    assert_eq!(asked.join().expect("it asks")?, 'c');
    assert_eq!(ask(&mut connection, b"after")?, 'c');
    drop(connection);

    let id = park(&scene, ends.d)?;
    let (peer, home) = (scene.lan.peer.clone(), ends.home);
    let connecting = std::thread::spawn(move || echo::connect(&peer, home));
    held(&scene, &id, 1)?;
    end(&scene, &id, "commit")?;
    let mut connection = connecting.join().expect("it connects")?;
    assert_eq!(ask(&mut connection, b"hello")?, 'd');
    Ok(())
}

#[test]
fn a_held_request_is_answered_where_the_process_stays_and_new_ones_where_it_goes() -> Result<()> {
    connections(&V4)?;
    connections(&V6)
}

/// What was prepared at a new host is gone when the process stays, and the
/// connections go on; to prepare it twice is as good as once.
fn prepared(ends: &Ends) -> Result<()> {
    let scene = Scene::tc()?;
    let _server = Echo::tcp(&scene.lan.home, ends.home, b'h')?;
    redirect(&scene, ends, "home")?;
    let mut connection = echo::connect(&scene.lan.peer, ends.home)?;
    assert_eq!(ask(&mut connection, b"before")?, 'h');
    let id = park(&scene, ends.c)?;
    let peer = connection.local_addr()?;
    let what = format!("tcp,{peer},{}", ends.home);
    let prepare = ["move", "return", &id, "--connection", &what];
    let first = scene.daemon.json(&prepare)?;
    assert_eq!(first["connections"][0]["host"], ends.c);
    assert_eq!(first["connections"][0]["snat_port"], peer.port());
    assert_eq!(scene.daemon.json(&prepare)?, first, "again");
    end(&scene, &id, "abort")?;
    assert_eq!(ask(&mut connection, b"after")?, 'h');
    assert_eq!(scene.flows()?, [Value::Null; 0]);
    Ok(())
}

#[test]
fn what_was_prepared_at_a_host_is_gone_when_the_process_stays() -> Result<()> {
    prepared(&V4)?;
    prepared(&V6)
}

/// The daemon dies while packets are held: the next one delivers, or lets go, what
/// is left, and all goes on where the process is.
#[test]
fn a_daemon_that_dies_with_a_move_parked_leaves_the_process_where_it_was() -> Result<()> {
    let mut scene = Scene::tc()?;
    let _servers = (Echo::udp(&scene.lan.c, V4.c, b'c')?, Echo::udp(&scene.lan.d, V4.d, b'd')?);
    redirect(&scene, &V4, V4.c)?;
    let stream = Numbered::start(&scene.lan.peer, V4.peer, V4.home, 1000)?;
    assert_eq!(stream.hear_more(50)?.by, 'c');
    let id = park(&scene, V4.d)?;
    held(&scene, &id, 50)?;
    scene.daemon.sigkill()?;
    stream.send_more(50)?;
    scene.daemon.start_again()?;
    stream.hear_from('c')?;
    let moved = show(&scene, &id)?;
    assert_eq!((&moved["state"], &moved["owner"]), (&"aborted".into(), &"old".into()));
    assert!(moved["delivered"].is_string(), "{moved:#}");

    let id = park(&scene, V4.d)?;
    held(&scene, &id, 50)?;
    end(&scene, &id, "commit")?;
    scene.daemon.sigkill()?;
    scene.daemon.start_again()?;
    stream.hear_from('d')?;
    assert_eq!(show(&scene, &id)?["owner"], "new");
    let report = stream.finish_with_loss();
    let last = report.answers.iter().max_by_key(|answer| answer.number);
    assert_eq!(last.map(|answer| answer.by), Some('d'));
    Ok(())
}

#[test]
fn packets_go_on_by_themselves_when_the_engine_has_gone() -> Result<()> {
    let scene = Scene::alone()?;
    let _server = Echo::udp(&scene.lan.c, V4.c, b'c')?;
    redirect(&scene, &V4, V4.c)?;
    let stream = Numbered::start(&scene.lan.peer, V4.peer, V4.home, 1000)?;
    assert_eq!(stream.hear_more(50)?.by, 'c');
    let begin = ["move", "begin", "echo", "--to", V4.d, "--timeout", "100ms"];
    let id = scene.daemon.json(&begin)?["id"].to_string();
    scene.daemon.redirect(&["move", "park", &id])?;
    stream.hear_from('c')?;
    stream.finish().assert_complete();
    let moved = show(&scene, &id)?;
    assert_eq!(moved["state"], "aborted", "{moved:#}");
    Ok(())
}
