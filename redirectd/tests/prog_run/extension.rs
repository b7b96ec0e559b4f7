//! IPv6 extension headers.

/// One extension header.
#[derive(Debug, Clone)]
pub(crate) struct Extension {
    number: u8,
    /// All but the first byte, which says what follows.
    rest: Vec<u8>,
}

impl Extension {
    /// Its protocol number.
    pub(crate) fn number(&self) -> u8 {
        self.number
    }

    /// It, with `next` behind it.
    pub(crate) fn bytes(&self, next: u8) -> Vec<u8> {
        [&[next], &self.rest[..]].concat()
    }

    /// `units` times eight bytes, of which the first two are the header's.
    fn padded(number: u8, units: u8) -> Self {
        // One PadN option that fills the header (RFC 8200, section 4.2).
        let padding = units * 8 - 4;
        let mut rest = vec![units - 1, 1, padding];
        rest.resize(usize::from(units) * 8 - 1, 0);
        Self { number, rest }
    }

    /// Hop-by-hop options of `units` times eight bytes.
    pub(crate) fn hop_by_hop(units: u8) -> Self {
        Self::padded(0, units)
    }

    /// Destination options of `units` times eight bytes.
    pub(crate) fn destination(units: u8) -> Self {
        Self::padded(60, units)
    }

    /// A routing header of an experimental type (RFC 4727).
    pub(crate) fn routing(segments_left: u8) -> Self {
        Self { number: 43, rest: vec![0, 253, segments_left, 0, 0, 0, 0] }
    }

    /// A fragment header that says the packet is whole (RFC 6946).
    pub(crate) fn atomic_fragment(id: u32) -> Self {
        Self { number: 44, rest: [&[0, 0, 0], &id.to_be_bytes()[..]].concat() }
    }

    /// An authentication header (RFC 4302).
    pub(crate) fn authentication() -> Self {
        Self { number: 51, rest: vec![1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] }
    }

    /// An encapsulated security payload (RFC 4303), as far as it can be seen.
    pub(crate) fn encrypted() -> Self {
        Self { number: 50, rest: vec![0; 15] }
    }

    /// A mobility header (RFC 6275).
    pub(crate) fn mobility() -> Self {
        Self { number: 135, rest: vec![0; 7] }
    }
}
