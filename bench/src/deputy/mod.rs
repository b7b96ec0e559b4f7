//! A stand-in for MOSIX's deputy: what redirectd replaces, as a contestant.
//!
//! In MOSIX a process that has moved is split in two: its user part runs on the
//! host, its system part, the *deputy*, stays at home and performs the system
//! calls that need home, those on sockets among them. The user part waits for
//! each to return. So a byte for the process climbs home's whole TCP stack, a
//! socket and a scheduler, and goes down and up again on its way to the host.
//! (A. Barak and O. La'adan, "The MOSIX multicomputer operating system for high
//! performance cluster computing", 1998; the openMosix HOWTO, "Components"; the
//! MOSIX FAQ on I/O of migrated processes: all of it goes by way of the home
//! node, and where there is much of it the process is better sent home.)
//!
//! # What this keeps of the original
//!
//! - Every socket call of the process is forwarded, one by one, over one TCP
//!   connection (without Nagle's delay) between host and home, and the process
//!   waits for its result: [`forwarding`].
//! - At home there is one deputy for each process, which holds the process's
//!   real sockets, performs its calls, blocks in them for it, and is scheduled
//!   like any other process: [`home`].
//! - If either end dies, so does the other: neither can live alone.
//! - `deputy-gather` has what MOSIX uses against the round trips: *read-ahead*,
//!   data that has arrived is sent on before it is asked for, as far as a
//!   window permits; and *write gathering*, small writes return at once and
//!   travel together. How much of each is ours to choose ([`WINDOW`],
//!   [`GATHERED`]), as nothing we could find says what MOSIX chose.
//!
//! # What it cannot keep
//!
//! - MOSIX forwards calls inside the kernel; here they are messages between
//!   two programs. Each message costs two system calls and a change between
//!   user and kernel space that MOSIX does not have: this stand-in is *more*
//!   expensive there.
//! - MOSIX's deputy also has the process's credentials, files and signals, and
//!   looks at each call to tell whether it needs home (the papers' M µs); here
//!   every call is one for home and nothing is looked up: *less* expensive.
//! - MOSIX's own load balancing, its information exchange and its memory
//!   migration are not there at all.
//! - The kernels differ by 25 years: today's TCP acknowledges less often, puts
//!   segments together (GRO) and scales its windows, all of which helps whoever
//!   handles few large pieces, as a deputy does.

pub(crate) mod forwarding;
mod frame;
pub(crate) mod home;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;

/// Bytes that are sent on to the process before it has asked for them, for each
/// of its sockets.
pub(crate) const WINDOW: usize = 64 << 10;

/// Bytes that are gathered before they are sent off to the deputy.
pub(crate) const GATHERED: usize = 64 << 10;

/// What `length` bytes, sent ahead in one frame, take of the window. A frame
/// has its price, however little is in it: so many tiny ones cannot fill the
/// connection's buffers, and the deputy never waits for the process in a write
/// while the process waits for the deputy in another.
fn charge(length: usize) -> usize {
    length.max(LEAST_CHARGE)
}

/// See [`charge`].
const LEAST_CHARGE: usize = 1024;
