//! The egress program that turns held packets round, on each interface they may
//! have come in by, while there are groups. Its links are not pinned: it goes
//! with the daemon. On kernels without TCX it is a filter that the next start
//! removes; it acts on nothing but our mark.

use std::collections::HashMap;

use aya::{
    Ebpf,
    programs::{
        LinkOrder, TcAttachType,
        tc::{NlOptions, SchedClassifierLink, TcAttachOptions},
    },
};

use nix::net::if_::if_nametoindex;

use crate::{
    dataplane::bpf::{
        attach::{HANDLE, PRIORITY, is_unknown_to_kernel},
        load::{REPLAY, refused, tc_program},
    },
    error::Error,
};

/// The links, by the interface's index.
#[derive(Default)]
pub(super) struct Turns(HashMap<u32, SchedClassifierLink>);

impl Turns {
    /// Puts the program on `interface`, if it is not there.
    pub(super) fn put_on(
        &mut self,
        ebpf: &mut Ebpf,
        interface: &str,
        clsact: bool,
    ) -> Result<(), Error> {
        let Ok(index) = if_nametoindex(interface) else { return Ok(()) };
        if self.are_on(index) {
            return Ok(());
        }
        let program = tc_program(ebpf, REPLAY)?;
        let egress = TcAttachType::Egress;
        let filter = NlOptions { priority: PRIORITY, handle: HANDLE, ..NlOptions::default() };
        let filter = || TcAttachOptions::Netlink(filter);
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = if clsact {
            program.attach_with_options(interface, egress, filter())
        } else {
            match program.attach_with_options(interface, egress, first) {
                Err(error) if is_unknown_to_kernel(&error) => {
                    program.attach_with_options(interface, egress, filter())
                }
                done => done,
            }
        };
        let link = id
            .and_then(|id| program.take_link(id))
            .map_err(|error| refused(&format!("attach to {interface} at egress"), &error))?;
        self.0.insert(index, link);
        Ok(())
    }

    /// Whether the program is on the interface of that index: what is sent there
    /// comes in again, and does not leave.
    pub(super) fn are_on(&self, index: u32) -> bool {
        self.0.contains_key(&index)
    }
}
