//! Moves redirects step by step, as the daemon does for a process that moves:
//! takes the packet path over from a daemon that was killed.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use redirectd::{
    config::Tables,
    dataplane::{
        Attach, Change, Dataplane as _, Group, Held, Relocation, Replayed,
        bpf::{Bpf, Options},
    },
    error::Error,
    rule::{Flows, PortRange, Redirect},
};
use xtask::lab::{Host, soon};

use crate::scene::Scene;

/// The packet path on home, and who moves redirects in it.
pub(crate) struct Mover {
    bpf: Bpf,
    home: Host,
}

impl Mover {
    /// Kills home's daemon and takes over what it has pinned.
    pub(crate) fn take_over(scene: &mut Scene) -> Result<Self> {
        Self::take(scene, false)
    }

    /// As [`Mover::take_over`], but with classic filters instead of TCX.
    pub(crate) fn take_over_by_clsact(scene: &mut Scene) -> Result<Self> {
        let mut mover = Self::take(scene, true)?;
        mover.at_home(|bpf| {
            for attached in bpf.attached() {
                bpf.detach(&attached.interface)?;
                let again = bpf.attach(&attached.interface, Attach::Tc, false)?;
                assert_eq!(again.running, "clsact");
            }
            Ok::<(), Error>(())
        })?;
        Ok(mover)
    }

    /// As when the daemon dies, and another one comes.
    pub(crate) fn die_and_come_again(self, scene: &mut Scene) -> Result<Self> {
        // What the packet path's destructor would take off stays; home goes with its lab.
        std::mem::forget(self.bpf);
        scene.daemon.start_again()?;
        Self::take(scene, true)
    }

    fn take(scene: &mut Scene, clsact: bool) -> Result<Self> {
        scene.daemon.sigkill()?;
        let options = Options {
            pin_dir: scene.daemon.pins().to_owned(),
            tables: Tables { redirects: 64, flows: 8192, half_open: 2048, held_mib: 64 },
            snat_ports: PortRange::new(61_000, 65_535)?,
            clsact,
        };
        let home = scene.lan.home.clone();
        let bpf = home.enter(|| Bpf::open(&options))?;
        Ok(Self { bpf, home })
    }

    /// Calls `code` with the packet path, in home's network.
    pub(crate) fn at_home<T: Send>(&mut self, code: impl FnOnce(&mut Bpf) -> T + Send) -> T {
        let bpf = &mut self.bpf;
        self.home.enter(|| code(bpf))
    }

    /// Adds a redirect for a process that is at home, beside one by that name.
    pub(crate) fn add(&mut self, redirect: Redirect) -> Result<()> {
        Ok(self.at_home(|bpf| bpf.apply(&[Change::Add(redirect)]))?)
    }

    /// The redirect of that name.
    pub(crate) fn redirect(&self, name: &str) -> Result<Redirect> {
        let installed = self.bpf.installed()?.into_iter();
        let mut named = installed.map(|one| one.redirect).filter(|one| one.name == name);
        named.next().with_context(|| format!("no redirect {name}"))
    }

    /// Begins to move redirects to `target`, and parks them.
    pub(crate) fn park(&mut self, names: &[&str], target: &str) -> Result<Group> {
        let group = self.begin(names, target)?;
        self.at_home(|bpf| bpf.group_park(group))?;
        Ok(group)
    }

    /// Begins to move redirects to `target`.
    pub(crate) fn begin(&mut self, names: &[&str], target: &str) -> Result<Group> {
        let target: SocketAddr = target.parse()?;
        let mut redirects = Vec::new();
        for name in names {
            let from = self.redirect(name)?;
            let to = Redirect {
                target: target.ip(),
                target_port: target.port(),
                flows: Flows::Follow,
                ..from.clone()
            };
            redirects.push((from, to));
        }
        Ok(self.at_home(|bpf| bpf.group_begin(&Relocation { redirects }))?)
    }

    /// Waits until `count` packets are held.
    pub(crate) fn held(&mut self, group: Group, count: u64) -> Result<Held> {
        let held = || {
            let held = self.bpf.group_held(group).ok()?;
            (held.traffic.packets >= count).then_some(held)
        };
        soon("packets are held", held)
    }

    /// Leads the redirects to their new target and delivers what was held.
    pub(crate) fn commit(&mut self, group: Group) -> Result<Replayed> {
        Ok(self.at_home(|bpf| bpf.group_commit(group).and_then(|()| bpf.group_replay(group)))?)
    }

    /// Leaves the redirects where they lead and delivers what was held.
    pub(crate) fn abort(&mut self, group: Group) -> Result<Replayed> {
        Ok(self.at_home(|bpf| bpf.group_abort(group).and_then(|()| bpf.group_replay(group)))?)
    }
}
