//! Home and the host, each with processes of its own, and a peer: where processes
//! are moved from and to.

use anyhow::Result;

use super::simulated::WIRE;
use crate::{lan::Lan, pidns::Pidns};

/// The machines. Dropped in the order of its fields.
pub(super) struct Machines {
    /// Home's processes.
    pub(super) home: Pidns,
    /// The host's.
    pub(super) host: Pidns,
    /// What they are plugged into.
    pub(super) lan: Lan,
}

impl Machines {
    /// Makes them.
    ///
    /// # Errors
    /// A namespace cannot be made.
    pub(super) fn new() -> Result<Self> {
        let lan = Lan::new(&WIRE)?;
        Ok(Self { home: Pidns::new(&lan.home)?, host: Pidns::new(&lan.host)?, lan })
    }
}

/// Someone who moves processes from home to the host.
pub(super) trait Mover {
    /// Between which machines.
    fn machines(&self) -> &Machines;

    /// Makes everything as if nothing had ever moved.
    ///
    /// # Errors
    /// Something stays.
    fn prepare(&mut self) -> Result<()>;

    /// Moves the process of this number; gives how many bytes of images that took.
    ///
    /// # Errors
    /// It has not moved.
    fn migrate(&mut self, pid: i32) -> Result<u64>;
}
