//! What the programs log: only in a build with the feature `log`, whose
//! programs do.

use std::{os::fd::AsFd as _, thread};

use aya::Ebpf;
use aya_log::EbpfLogger;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::warn;

use super::load::refused;
use crate::error::{Error, Kind};

/// Passes the programs' records on to the daemon's log from now on. The thread
/// ends with the process.
pub(super) fn follow(ebpf: &mut Ebpf) -> Result<(), Error> {
    let mut logger =
        EbpfLogger::init(ebpf).map_err(|error| refused("follow the programs' log", &error))?;
    thread::Builder::new()
        .name("bpf-log".to_owned())
        .spawn(move || {
            loop {
                let mut waiting = [PollFd::new(logger.as_fd(), PollFlags::POLLIN)];
                match poll(&mut waiting, PollTimeout::NONE) {
                    Ok(_) => logger.flush(),
                    Err(nix::errno::Errno::EINTR) => {}
                    Err(error) => {
                        warn!(%error, "the programs' log is not followed any more");
                        return;
                    }
                }
            }
        })
        .map_err(|error| Error::new(Kind::Failed, format!("cannot start a thread: {error}")))?;
    Ok(())
}
