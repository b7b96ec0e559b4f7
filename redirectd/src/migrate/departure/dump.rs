//! Writes the processes down that leave, and waits at each stage for what home says.

use std::{fs, path::Path, thread, time::Duration};

use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::{failed, given_up};
use crate::{
    error::Error,
    migrate::{
        criu::{
            Criu, Dump, DumpStage, datagrams, huge,
            images::{TREE, tree},
            pages::give::{self, Giver, Stages},
            precopy::Ahead,
            remnants, sockopts,
        },
        handover::Remains,
        memory,
    },
    process::{self, Tree},
};

/// How often a server is let run to accept connections before it is given up.
const ATTEMPTS: usize = 20;
/// How long it may run for that, each time.
const ACCEPTING: Duration = Duration::from_millis(10);

/// A stage of the dump, which waits for an answer.
pub(super) struct Halt {
    pub(super) stage: Halted,
    pub(super) answer: oneshot::Sender<Result<(), Error>>,
}

/// Which.
pub(super) enum Halted {
    /// All runs, and a round of its memory is written.
    Copied,
    /// All is frozen, nothing is written but that.
    Frozen,
    /// All is written.
    Written(Written),
}

/// What there is then.
pub(super) struct Written {
    /// What is not in the images.
    pub(super) remains: Remains,
    /// The memory, if that is to follow.
    pub(super) behind: Option<(Stages, Giver)>,
}

/// Writes the processes down, and ends them if each stage is answered well; before that
/// their memory is copied while they run, if it is to go so. Where a
/// server has connections that it has not accepted, of which CRIU writes none down,
/// it is let run for a moment; as packets are held, no more come meanwhile.
///
/// Where their memory is to follow, who answers the last stage well has ended them; this
/// comes back when all of it has gone over, or cannot.
pub(super) fn dump(
    pid: i32,
    images: &Path,
    memory: memory::Way,
    halts: &mpsc::Sender<Halt>,
) -> Result<Vec<i32>, Error> {
    if memory == memory::Way::Lazy {
        huge::gather(Tree::of(pid)?.pids(), huge::LONGEST, &|| !halts.is_closed());
    }
    let dump = Dump { pid, images: images.to_owned(), shell_job: false };
    let ahead = match memory {
        memory::Way::Precopy => Some(whole(pid, copy_ahead(&dump, halts))?),
        memory::Way::Copy | memory::Way::Lazy => None,
    };
    let mut held = false;
    for _ in 0..ATTEMPTS {
        let mut unaccepted = 0;
        let mut frozen = || {
            if !std::mem::replace(&mut held, true) {
                halt(halts, Halted::Frozen)?;
            }
            unaccepted = process::unaccepted(&Tree::of(pid)?)?;
            if unaccepted == 0 { Ok(()) } else { Err(failed("it has to accept connections")) }
        };
        let dumped = attempt(&dump, (memory, ahead.as_ref()), halts, &mut frozen);
        if unaccepted > 0 {
            debug!(pid, unaccepted, "let run to accept the connections that it has");
            thread::sleep(ACCEPTING);
            continue;
        }
        return whole(pid, dumped);
    }
    Err(failed("it does not accept the connections that it has")
        .cure("try again when the server is less busy"))
}

/// Has the process go on if something went wrong: CRIU may have been killed in the middle.
fn whole<T>(pid: i32, done: Result<T, Error>) -> Result<T, Error> {
    if done.is_err()
        && let Err(other) = remnants::go_on(pid)
    {
        warn!(pid, error = other.one_line(), "a process that stays is not whole");
    }
    done
}

/// Copies its memory while it runs, until that gains no more, or it is given up.
fn copy_ahead(dump: &Dump, halts: &mpsc::Sender<Halt>) -> Result<Ahead, Error> {
    let pid = dump.pid;
    let ahead = Criu::new("criu").copy_ahead(dump, &mut |bytes| {
        debug!(pid, bytes, "memory has been copied ahead");
        halt(halts, Halted::Copied)
    })?;
    info!(pid, rounds = ?ahead.rounds, then = ?ahead.then, "memory has gone ahead of a process");
    Ok(ahead)
}

fn attempt(
    dump: &Dump,
    (memory, ahead): (memory::Way, Option<&Ahead>),
    halts: &mpsc::Sender<Halt>,
    frozen: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<Vec<i32>, Error> {
    let (mut pids, mut behind, mut source) = (Vec::new(), None, None);
    if memory == memory::Way::Lazy {
        let (its, stages, giver) = give::leave()?;
        (source, behind) = (Some(its), Some((stages, giver)));
    }
    let stages = &mut |stage| match stage {
        DumpStage::Running => Ok(()),
        DumpStage::Frozen => frozen(),
        DumpStage::Written => {
            let remains = remains(&dump.images)?;
            pids.clone_from(&remains.pids);
            halt(halts, Halted::Written(Written { remains, behind: behind.take() }))
        }
    };
    let criu = Criu::new("criu");
    match (source, ahead) {
        (Some(source), _) => criu.dump_lazily(dump, source, stages)?,
        (None, Some(ahead)) => criu.dump_rest(dump, ahead, stages)?,
        (None, None) => criu.dump(dump, stages)?,
    }
    Ok(pids)
}

/// Waits here until `stage` is answered.
fn halt(halts: &mpsc::Sender<Halt>, stage: Halted) -> Result<(), Error> {
    let (answer, answered) = oneshot::channel();
    halts.blocking_send(Halt { stage, answer }).map_err(|_| given_up())?;
    answered.blocking_recv().map_err(|_| given_up())?
}

fn remains(images: &Path) -> Result<Remains, Error> {
    let path = images.join(TREE);
    let tree =
        fs::read(&path).map_err(|why| failed(&format!("cannot read {}: {why}", path.display())))?;
    let tree = tree::processes(&tree).map_err(|why| failed(&why.to_string()))?;
    let pids: Vec<i32> = tree.iter().map(|process| process.pid).collect();
    let mut options = Vec::new();
    for pid in &pids {
        options.push((*pid, sockopts::keep(*pid)?));
    }
    let waiting = datagrams::waiting(&pids)?;
    Ok(Remains { pids, options, waiting })
}
