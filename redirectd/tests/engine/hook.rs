//! Whoever calls `criu` by hand has `redirect hook criu` as its action script.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::{Context as _, Result, ensure};
use redirectd::migrate::criu::workdir::WorkDir;
use xtask::lab::{Finished, criu};

use crate::{
    programs::{self, SELECT, Talk},
    scene::{Place, Scene},
};

const AT: &str = "10.0.0.2:7000";

/// A move, by hand.
struct ByHand<'a> {
    scene: &'a Scene,
    id: String,
    images: WorkDir,
    script: String,
}

impl<'a> ByHand<'a> {
    /// Begins to move the server to `to`.
    fn begin(scene: &'a Scene, to: &str) -> Result<Self> {
        let begun = scene.daemon.json(&["move", "begin", "four", "--to", to])?;
        let id = begun["id"].to_string();
        let images = scene.folder("images")?;
        let script = images.path().join("hook").to_str().context("a plain path")?.to_owned();
        let by_hand = Self { scene, id, images, script };
        by_hand.write_script("")?;
        Ok(by_hand)
    }

    /// The script, with `option` for the hook.
    fn write_script(&self, option: &str) -> Result<()> {
        let (redirect, socket) = (env!("CARGO_BIN_EXE_redirect"), self.scene.daemon.socket());
        let socket = socket.display();
        let line = format!("exec {redirect} --socket {socket} hook criu --move {}", self.id);
        fs::write(&self.script, format!("#!/bin/sh\n{line} {option}\n"))?;
        fs::set_permissions(&self.script, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    fn criu(&self, place: &Place, verb: &[&str]) -> Result<Finished> {
        let criu = criu();
        let (criu, images) = (criu.to_str(), self.images.path().to_str());
        let (criu, images) = (criu.context("a plain path")?, images.context("a plain path")?);
        let rest = ["--tcp-established", "--network-lock", "skip", "--action-script", &self.script];
        place.machine.run(&[&[criu][..], verb, &["-D", images], &rest].concat())
    }

    fn dump(&self, place: &Place, pid: i32) -> Result<Finished> {
        self.criu(place, &["dump", "-t", &pid.to_string()])
    }

    fn restore(&self, place: &Place) -> Result<Finished> {
        self.criu(place, &["restore", "-d"])
    }

    fn state(&self) -> Result<String> {
        let moved = self.scene.daemon.json(&["move", "show", &self.id])?;
        Ok(moved["state"].as_str().context("a move has a state")?.to_owned())
    }
}

/// A server at home, and a peer's connection to it.
fn serving() -> Result<(Scene, i32, Talk)> {
    let scene = Scene::new()?;
    let pid = programs::start(&scene.home.machine, SELECT, "0.0.0.0")?;
    let mut talk = Talk::open(&scene.lan.peer, AT)?;
    assert_eq!(talk.line()?, "10.0.0.2");
    Ok((scene, pid, talk))
}

#[test]
fn moves_from_home_to_host_to_host_and_home_again() -> Result<()> {
    let (scene, pid, mut talk) = serving()?;
    let trips =
        [(&scene.home, &scene.c, "c"), (&scene.c, &scene.d, "d"), (&scene.d, &scene.home, "home")];
    for (from, to, name) in trips {
        let by_hand = ByHand::begin(&scene, name)?;
        by_hand.dump(from, pid)?.success()?;
        // What comes while the process is nowhere is held.
        talk.say()?;
        by_hand.restore(to)?.success()?;
        assert_eq!(by_hand.state()?, "committed");
        assert_eq!(talk.hear()?, to.v4);
        assert_eq!(talk.line()?, to.v4);
        assert_eq!(Talk::open(&scene.lan.peer, AT)?.line()?, to.v4);
    }
    Ok(())
}

#[test]
fn a_dump_that_cannot_be_used_is_refused_and_the_process_goes_on() -> Result<()> {
    let (scene, pid, mut talk) = serving()?;
    let by_hand = ByHand::begin(&scene, "c:7001")?;
    let dumped = by_hand.dump(&scene.home, pid)?;
    assert!(dumped.success().is_err(), "another port cannot be");
    let moved = scene.daemon.json(&["move", "show", &by_hand.id])?;
    assert_eq!(moved["state"], "aborted");
    assert!(moved["why"].as_str().context("a reason")?.contains("another port"), "{moved:#}");
    assert_eq!(talk.line()?, "10.0.0.2");
    Ok(())
}

#[test]
fn a_process_can_be_restored_where_it_was() -> Result<()> {
    let (scene, pid, mut talk) = serving()?;
    let by_hand = ByHand::begin(&scene, "c")?;
    by_hand.dump(&scene.home, pid)?.success()?;
    talk.say()?;
    let file = |name: &str| by_hand.images.path().join(name);
    fs::rename(file("files.img.before-move"), file("files.img"))?;
    by_hand.write_script("--back")?;
    by_hand.restore(&scene.home)?.success()?;
    assert_eq!(by_hand.state()?, "aborted");
    assert_eq!(talk.hear()?, "10.0.0.2");
    assert_eq!(talk.line()?, "10.0.0.2");
    Ok(())
}

#[test]
fn a_restore_is_refused_when_the_move_was_aborted_meanwhile() -> Result<()> {
    let (scene, pid, _talk) = serving()?;
    let by_hand = ByHand::begin(&scene, "c")?;
    by_hand.dump(&scene.home, pid)?.success()?;
    scene.daemon.redirect(&["move", "abort", &by_hand.id])?;
    let restored = by_hand.restore(&scene.c)?;
    assert!(restored.success().is_err(), "nobody waits for it");
    ensure!(!scene.c.machine.has(pid), "there is no second copy");
    Ok(())
}
