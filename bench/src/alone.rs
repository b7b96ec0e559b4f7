//! One run at a time: two that measure at once would measure each other, and
//! each would put back the kernel's settings as the other has changed them.

use std::os::{
    linux::net::SocketAddrExt as _,
    unix::net::{SocketAddr, UnixListener, UnixStream},
};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// A name that one process at a time can listen at. It is in no file system, so
/// that nothing is left of it when the process ends, however it ends.
const NAME: &str = "redirectd-bench";

/// The right to measure, until dropped.
#[derive(Debug)]
pub(crate) struct Alone(#[expect(dead_code, reason = "held, not used")] UnixListener);

impl Alone {
    /// Takes it.
    ///
    /// # Errors
    /// Another process has it.
    pub(crate) fn on_this_machine() -> Result<Self> {
        let name = SocketAddr::from_abstract_name(NAME).context("the name is too long")?;
        match UnixListener::bind_addr(&name) {
            Ok(listener) => Ok(Self(listener)),
            Err(_) => {
                let who =
                    holder(&name).map_or("another process".into(), |id| format!("process {id}"));
                bail!(
                    "{who} measures already, and two at once would measure each other: wait until \
                     it has ended, or end it (`kill -INT`)"
                )
            }
        }
    }
}

/// The process that listens at `name`.
fn holder(name: &SocketAddr) -> Option<i32> {
    let stream = UnixStream::connect_addr(name).ok()?;
    Some(getsockopt(&stream, PeerCredentials).ok()?.pid())
}
