//! Moves of real processes, with CRIU.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    by_criu::Criu,
    by_redirectd::Redirectd,
    explain::Of,
    machines::Mover,
    peer::{self, Heard, Traffic},
};
use crate::{
    command::not_installed,
    interrupt,
    lan::HOME,
    measure::order,
    pair::{clocked::frozen, server::READY},
    pidns::no_criu,
    recorder::Recorder,
    suite::Effort,
};

/// Who moves.
pub(super) const COPY: &str = "redirectd-copy";
/// As [`COPY`].
pub(super) const LAZY: &str = "redirectd-lazy";
/// As [`COPY`].
pub(super) const CRIU: &str = "criu";

/// The size whose gap is held to a target.
pub(super) const SMALL: &str = "small server";
/// The size whose gap is held to that of [`SMALL`], where its memory follows.
pub(super) const LARGE: &str = "4 GB";
/// Another metric.
pub(super) const IMAGES: &str = "move: images";

/// The server's port.
const PORT: u16 = 7000;
/// Before the move begins.
const BEFORE: Duration = Duration::from_millis(200);
/// Numbers of servers: the first one, and how far apart they are. What runs for a
/// move has the numbers that follow, on both machines.
const FIRST_PID: i32 = 10_000;
/// As [`FIRST_PID`].
const APART: i32 = 100;
/// So many times its memory are taken at once: the process, the images on both
/// machines, the process that is revived; and something to spare.
const TIMES: f64 = 4.5;

/// How much memory a server has.
pub(super) struct Size {
    /// The case.
    pub(super) name: &'static str,
    /// Megabytes that it has written to.
    megabytes: u64,
    /// Rounds.
    pub(super) rounds: usize,
}

/// The sizes of a run.
pub(super) fn sizes(effort: &Effort) -> Vec<Size> {
    let size = |name, megabytes, rounds| Size { name, megabytes, rounds: effort.rounds(rounds) };
    if effort.quick {
        return vec![size(SMALL, 0, 1), size("20 MB", 20, 1)];
    }
    vec![size(SMALL, 0, 11), size("100 MB", 100, 5), size("1 GB", 1_000, 3), size(LARGE, 4_000, 2)]
}

/// Who takes part, in the order of reports.
const CONTESTANTS: [Contestant; 3] = [
    Contestant {
        name: COPY,
        unavailable: no_criu,
        set_up: || Ok(Box::new(Redirectd::set_up(&["--memory", "copy"])?)),
    },
    Contestant {
        name: LAZY,
        unavailable: no_criu,
        set_up: || Ok(Box::new(Redirectd::set_up(&["--memory", "lazy"])?)),
    },
    Contestant {
        name: CRIU,
        unavailable: neither_criu_nor_nft,
        set_up: || Ok(Box::new(Criu::set_up()?)),
    },
];

/// Someone who moves processes.
struct Contestant {
    name: &'static str,
    /// Why it cannot be set up here, if so.
    unavailable: fn() -> Option<String>,
    set_up: fn() -> Result<Box<dyn Mover>>,
}

fn neither_criu_nor_nft() -> Option<String> {
    no_criu().or_else(|| not_installed("nft"))
}

fn wanted(effort: &Effort) -> impl Iterator<Item = &'static Contestant> {
    CONTESTANTS.iter().filter(|contestant| effort.wants(contestant.name))
}

/// How many steps of progress it has.
pub(super) fn steps(effort: &Effort) -> usize {
    let rounds: usize = sizes(effort).iter().map(|size| size.rounds).sum();
    wanted(effort).count() * (1 + rounds)
}

/// Measures all sizes, all contestants in turns.
///
/// # Errors
/// The run was interrupted.
pub(super) fn run(effort: &Effort, recorder: &mut Recorder) -> Result<()> {
    let mut field = Vec::new();
    for contestant in wanted(effort) {
        interrupt::check()?;
        let name = contestant.name;
        recorder.progress.step("moves", &format!("setting up {name}"));
        match (contestant.unavailable)()
            .map_or_else(contestant.set_up, |why| Err(anyhow::anyhow!(why)))
        {
            Ok(mover) => field.push((name, mover)),
            Err(error) => {
                interrupt::check()?;
                recorder.absent(name, None, &format!("{error:#}"));
            }
        }
    }
    let mut pid = FIRST_PID;
    for size in sizes(effort) {
        // They are not asked again.
        let mut failed = Vec::new();
        for (round, n) in order(field.len(), size.rounds) {
            interrupt::check()?;
            let (name, mover) = &mut field[n];
            recorder
                .progress
                .step(&format!("moves, {}", size.name), &format!("round {}, {name}", round + 1));
            if failed.contains(name) {
                continue;
            }
            pid += APART;
            let moved = room_for(&size).and_then(|()| once(mover.as_mut(), pid, &size));
            // It may have ended the tools too.
            interrupt::check()?;
            match moved {
                Ok((bytes, heard)) => {
                    let frozen = frozen(&heard.last);
                    Of::Move.record(recorder, size.name, name, frozen, &heard);
                    recorder.record(IMAGES, size.name, name, bytes as f64 / 1e6);
                }
                Err(error) => {
                    recorder.absent(name, Some(size.name), &format!("{error:#}"));
                    failed.push(*name);
                }
            }
        }
    }
    Ok(())
}

/// Moves a new process, number `pid`, under requests: the bytes of its images, and
/// what the peer has heard.
fn once(mover: &mut dyn Mover, pid: i32, size: &Size) -> Result<(u64, Heard)> {
    mover.prepare()?;
    let folder = tempfile::tempdir()?;
    let log: PathBuf = folder.path().join("log");
    let bench = std::env::current_exe()?.display().to_string();
    let (port, megabytes) = (PORT.to_string(), size.megabytes.to_string());
    let line = [&bench, "pair", "clocked", "--port", &port, "--memory", &megabytes];
    mover.machines().home.start(pid, &line, &log, READY)?;
    let moved = moved(mover, pid);
    let machines = mover.machines();
    let (at_home, there) = (machines.home.has(pid), machines.host.has(pid));
    for (machine, has) in [(&machines.home, at_home), (&machines.host, there)] {
        if has {
            machine.kill(pid)?;
        }
    }
    let moved = moved?;
    // Images that stay are memory that the next one may need.
    mover.prepare()?;
    ensure!(there && !at_home, "process {pid} is not on the host alone");
    Ok(moved)
}

fn moved(mover: &mut dyn Mover, pid: i32) -> Result<(u64, Heard)> {
    let connection = peer::connect(&mover.machines().lan.peer, HOME, PORT)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| peer::send(&connection, Traffic::Requests, &over));
        thread::sleep(BEFORE);
        let bytes = mover.migrate(pid);
        over.store(true, Ordering::Relaxed);
        if bytes.is_err() {
            // Nobody may answer any more.
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        let heard = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((bytes?, heard?))
    })
}

/// Makes sure that the machine has memory for a move of `size`.
fn room_for(size: &Size) -> Result<()> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let available = available(&text).context("the kernel does not say what memory is available")?;
    let needed = (size.megabytes as f64 * TIMES) as u64 + 500;
    ensure!(
        available >= needed,
        "it takes {needed} MB of memory, and {available} MB are available"
    );
    Ok(())
}

/// Megabytes (10^6 bytes) that programs can have, by `/proc/meminfo`.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024 / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::NAMES;

    #[test]
    fn all_can_be_chosen_by_their_names() {
        assert!(CONTESTANTS.iter().all(|contestant| NAMES.contains(&contestant.name)));
    }

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24683024 kB\nMemAvailable:   23437500 kB\nBuffers: 1 kB\n";
        assert_eq!(available(text), Some(24_000));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn a_move_that_nothing_has_room_for_is_refused() {
        let huge = Size { name: "", megabytes: 1 << 40, rounds: 1 };
        let error = room_for(&huge).unwrap_err().to_string();
        assert!(error.contains("MB of memory") && error.contains("available"), "{error}");
    }
}
