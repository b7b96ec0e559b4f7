//! What CRIU's lazy-pages daemon and its page server say to each other
//! (`criu/page-xfer.c` of CRIU 4.2, `struct page_server_iov`): a command, how many
//! pages, where, of which process; then the pages. In the machine's byte order.

use super::Range;
use crate::error::{Error, Kind};

/// The bytes of a command.
pub(super) const LENGTH: usize = 32;

/// `PS_IOV_GET`: some pages are asked for.
const GET: u32 = 7;
/// `PS_IOV_ADD_F` with `PE_PRESENT`: pages follow.
const PAGES: u32 = 6 | 4 << 16;
/// `PS_IOV_CLOSE` and `PS_IOV_FORCE_CLOSE`: nothing more will be asked for.
const CLOSE: [u32; 2] = [0x1023, 0x1024];

/// The answer to a close: all is well.
pub(super) const CLOSED: [u8; 4] = [0; 4];

/// What a CRIU says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// These, please; some of them are enough, if they are the first.
    Get(Range),
    /// These follow.
    Pages(Range),
    /// That was all.
    Close,
}

impl Command {
    pub(super) fn encode(self) -> [u8; LENGTH] {
        let (command, range) = match self {
            Self::Get(range) => (GET, range),
            Self::Pages(range) => (PAGES, range),
            Self::Close => (CLOSE[0], Range { pid: 0, address: 0, pages: 0 }),
        };
        let mut bytes = [0; LENGTH];
        bytes[..4].copy_from_slice(&command.to_ne_bytes());
        bytes[8..16].copy_from_slice(&range.pages.to_ne_bytes());
        bytes[16..24].copy_from_slice(&range.address.to_ne_bytes());
        bytes[24..].copy_from_slice(&u64::from(range.pid).to_ne_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; LENGTH]) -> Result<Self, Error> {
        let number = |at: usize| {
            let bytes = bytes[at..at + 8].try_into().expect("these are eight bytes");
            u64::from_ne_bytes(bytes)
        };
        let [a, b, c, d, ..] = *bytes;
        let command = u32::from_ne_bytes([a, b, c, d]);
        let range = || {
            let pid = u32::try_from(number(24)).ok()?;
            Some(Range { pid, address: number(16), pages: number(8) })
        };
        match (command, range()) {
            (GET, Some(range)) => Ok(Self::Get(range)),
            (PAGES, Some(range)) => Ok(Self::Pages(range)),
            (command, _) if CLOSE.contains(&command) => Ok(Self::Close),
            _ => Err(Error::new(
                Kind::Failed,
                format!("CRIU speaks of pages in a way that is not known: {bytes:02x?}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let range = Range { pid: 7, address: 0x7f00_1234_5000, pages: 1 << 33 };
        for command in [Command::Get(range), Command::Pages(range), Command::Close] {
            assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
        assert!(Command::decode(&[9; LENGTH]).is_err());
    }
}
