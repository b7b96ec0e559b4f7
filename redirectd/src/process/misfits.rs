//! What keeps a tree from moving to a certain machine: what the one needs held
//! against what the other has. Pure.

use std::collections::BTreeSet;

use super::{
    files::{FileKind, UsedFile},
    inventory::Inventory,
    obstacle::{Obstacle, Reason},
    obstacles::named,
    offer::{Needs, Offer},
};

/// The oldest CRIU that saves TCP sockets on Linux 6.16 and later.
const OLDEST_ENGINE: (u32, u32) = (4, 2);

/// All that is in the way of `inventory` to the machine called `host`, which has
/// `offer`; those that stop it first.
#[must_use]
pub fn misfits(inventory: &Inventory, offer: &Offer, host: &str) -> Vec<Obstacle> {
    let view = View { inventory, offer, host };
    let mut found = Vec::new();
    found.extend(view.engine());
    match view.architecture() {
        Some(obstacle) => found.push(obstacle),
        None => found.extend(view.cpu_features()),
    }
    found.extend(view.kernel());
    found.extend(view.memory());
    found.extend(view.pids());
    found.extend(view.ports());
    let needed = inventory.files.iter().filter(|file| file.must_exist());
    found.extend(needed.filter_map(|file| view.file(file)));
    found.sort_by_key(|obstacle| !obstacle.stops);
    found
}

struct View<'a> {
    inventory: &'a Inventory,
    offer: &'a Offer,
    host: &'a str,
}

impl View<'_> {
    fn stop(&self, reason: Reason, what: String, cure: String) -> Obstacle {
        Obstacle::stop(reason, self.inventory.root().pid, what, cure)
    }

    fn engine(&self) -> Option<Obstacle> {
        let host = self.host;
        let (major, minor) = OLDEST_ENGINE;
        let cure = format!("install CRIU {major}.{minor} or later on {host}");
        match &self.offer.engine {
            None => Some(self.stop(Reason::Engine, format!("{host} has no CRIU"), cure)),
            Some(version) if numbers(version) < Some(OLDEST_ENGINE) => {
                let what = format!(
                    "{host} has CRIU {version}, which is too old for sockets on today's kernels"
                );
                Some(self.stop(Reason::Engine, what, cure))
            }
            Some(_) => None,
        }
    }

    fn architecture(&self) -> Option<Obstacle> {
        let (here, there) =
            (&self.inventory.machine.architecture, &self.offer.machine.architecture);
        let what = format!("this machine is {here}, but {} is {there}", self.host);
        let cure = format!("move it to a machine that is {here}");
        (here != there).then(|| self.stop(Reason::Architecture, what, cure))
    }

    fn cpu_features(&self) -> Option<Obstacle> {
        let there: BTreeSet<&String> = self.offer.machine.cpu_features.iter().collect();
        let needed = self.inventory.machine.cpu_features.iter();
        let missing: Vec<&str> =
            needed.filter(|feature| !there.contains(feature)).map(String::as_str).collect();
        let what = format!(
            "the processors of {} lack what {} may have found here and use: {}",
            self.host,
            named(self.inventory, self.inventory.root().pid),
            missing.join(", ")
        );
        let cure = "move it to a machine that has these, or start it without them: for programs \
                    with glibc by GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX512F and so on"
            .to_owned();
        (!missing.is_empty()).then(|| self.stop(Reason::CpuFeature, what, cure))
    }

    fn kernel(&self) -> Option<Obstacle> {
        let (here, there) = (&self.inventory.machine.kernel, &self.offer.machine.kernel);
        let what = format!(
            "{} has Linux {there}, which is older than this machine's {here}: what it does not \
             have, a process cannot go on using",
            self.host
        );
        let cure = "if it does not go on there, boot a newer kernel on that machine";
        (numbers(there)? < numbers(here)?)
            .then(|| Obstacle::loss(Reason::Kernel, self.inventory.root().pid, what, cure))
    }

    fn memory(&self) -> Option<Obstacle> {
        let (needed, free) = (self.inventory.memory.to_copy, self.offer.free_memory);
        let what = format!(
            "{} has {} MB to copy, and {} has {} MB free",
            named(self.inventory, self.inventory.root().pid),
            needed.div_ceil(1_000_000),
            self.host,
            free / 1_000_000
        );
        let cure = "end something there, or move it to a machine with more memory".to_owned();
        (needed > free).then(|| self.stop(Reason::Memory, what, cure))
    }

    fn pids(&self) -> Option<Obstacle> {
        let needs = Needs::from(self.inventory).pids;
        let taken: Vec<String> =
            needs.intersection(&self.offer.taken_pids).map(i32::to_string).collect();
        let what = format!(
            "on {}, other processes have the ids it must have again: {}",
            self.host,
            taken.join(", ")
        );
        let cure = "end those, or have it restored in a pid namespace of its own".to_owned();
        (!taken.is_empty()).then(|| self.stop(Reason::PidTaken, what, cure))
    }

    fn ports(&self) -> Option<Obstacle> {
        let needs = Needs::from(self.inventory).endpoints;
        let taken: Vec<String> =
            needs.intersection(&self.offer.taken_endpoints).map(ToString::to_string).collect();
        let what = format!(
            "on {}, other processes have the ports it listens at: {}",
            self.host,
            taken.join(", ")
        );
        let cure = "end those, or move it to a machine where nobody has them".to_owned();
        (!taken.is_empty()).then(|| self.stop(Reason::PortTaken, what, cure))
    }

    fn file(&self, file: &UsedFile) -> Option<Obstacle> {
        let UsedFile { path, kind, sha256, .. } = file;
        let host = self.host;
        let users = file.open.iter().map(|holder| holder.pid);
        let users = users.chain(file.mapped.iter().copied()).chain(file.folder_of.iter().copied());
        let pid = users.min().unwrap_or(self.inventory.root().pid);
        let who = named(self.inventory, pid);
        let copy = if file.written {
            format!(
                "let it write to a file system that both machines have, or copy {path} to {host}"
            )
        } else if *kind == FileKind::File {
            format!("`rsync --archive --relative {path} {host}:/`")
        } else {
            format!("make {path} on {host}")
        };
        let Some(there) = self.offer.files.get(path) else {
            let what = format!("{host} has no {path}, which {who} uses");
            return Some(Obstacle::stop(Reason::MissingFile, pid, what, copy));
        };
        let what = if there.kind != *kind {
            format!("{path}, which {who} uses, is something else on {host}")
        } else if *kind != FileKind::File || (sha256.is_some() && there.sha256 == *sha256) {
            return None;
        } else if sha256.is_some() && there.sha256.is_some() {
            format!("{path}, which {who} uses, is another one on {host}")
        } else {
            format!("whether {path}, which {who} uses, is the same on {host} cannot be told")
        };
        Some(Obstacle::stop(Reason::DifferentFile, pid, what, copy))
    }
}

/// The first two numbers of a version: (6, 18) of `6.18.3-cloud`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
