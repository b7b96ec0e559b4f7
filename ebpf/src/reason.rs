//! Why a packet was translated, passed or dropped: each reason is counted.

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Rewritten and sent.
    Translated,
    /// Left to the kernel, untouched.
    Passed,
    /// Dropped.
    Dropped,
    /// Taken out of the way and kept, to be delivered later.
    Held,
}

impl Fate {
    /// The word for it in output: `translated`, `passed`, `dropped` or `held`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Translated => "translated",
            Self::Passed => "passed",
            Self::Dropped => "dropped",
            Self::Held => "held",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $fate:ident, $meaning:literal;)*) => {
        /// Index into the array of reasons.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Reason {
            $(#[doc = $meaning] $variant,)*
        }

        impl Reason {
            /// All of them, in the order of their indices.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// A stable identifier.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What becomes of a packet for this reason.
            #[inline(always)]
            #[must_use]
            pub const fn fate(self) -> Fate {
                match self { $(Self::$variant => Fate::$fate,)* }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

reasons! {
    Translated = "translated", Translated, "Rewritten and sent on.";
    IcmpTranslated = "icmp_translated", Translated, "An ICMP error about a flow, rewritten with the packet it quotes.";
    FragmentTranslated = "fragment_translated", Translated, "A later fragment of a flow's datagram.";
    FragmentReleased = "fragment_released", Passed, "A copy of an early fragment, received once more after the first one.";
    NotIp = "not_ip", Passed, "Neither IPv4 nor IPv6.";
    Truncated = "truncated", Passed, "Shorter than its headers say.";
    BadHeader = "bad_header", Passed, "A header that contradicts itself.";
    OtherHost = "other_host", Passed, "A frame for another station.";
    OtherProtocol = "other_protocol", Passed, "Neither TCP, UDP nor an ICMP error.";
    ExtensionHeader = "extension_header", Passed, "An IPv6 extension header that must be left alone.";
    NoRedirect = "no_redirect", Passed, "No redirect or flow names it: home's own.";
    AtHome = "at_home", Passed, "The process it is for is at home.";
    OtherPeer = "other_peer", Passed, "The redirect is for other peers.";
    NotAnOpening = "not_an_opening", Passed, "TCP to a redirected endpoint that opens no connection and belongs to none.";
    StrangeSource = "strange_source", Passed, "From an address that no peer can have, or that home has no way back to.";
    LinkLocalPeer = "link_local_peer", Passed, "A peer with a link-local address cannot be reached through home.";
    IcmpNotOurs = "icmp_not_ours", Passed, "An ICMP error about no flow.";
    FragmentEarly = "fragment_early", Passed, "A fragment before its first one: copied, and passed in case it is home's own.";
    FragmentOwn = "fragment_own", Passed, "A later fragment of home's own datagram.";
    FragmentTooLong = "fragment_too_long", Passed, "An early fragment that is too long to be copied.";
    NotReady = "not_ready", Passed, "The programs have no settings yet.";
    HandedToTc = "handed_to_tc", Passed, "XDP leaves it to the tc program of the interface.";
    Parked = "parked", Held, "For a process that is being moved: held, and delivered when it runs again.";
    ParkOverflow = "park_overflow", Dropped, "For a process that is being moved, and there was no room to hold it.";
    NotAnswered = "not_answered", Dropped, "TCP that belongs to a half-open flow but does not complete it.";
    TableFull = "table_full", Dropped, "A new flow, refused as the flow table is full; its sender was told.";
    PortsExhausted = "ports_exhausted", Dropped, "A new flow, refused as no port on the SNAT side is free; its sender was told.";
    CannotFollow = "cannot_follow", Dropped, "A flow that cannot follow its redirect: its port is taken at the new host.";
    NoRoute = "no_route", Dropped, "No route to where it should go.";
    TtlExpired = "ttl_expired", Dropped, "Its time to live ran out here; its sender was told.";
    TooBig = "too_big", Dropped, "Larger than the way on takes; its sender was told.";
    NoEffect = "no_effect", Dropped, "The kernel refused a step of the rewrite, or the flow changed under it.";
}

impl Reason {
    /// How many there are.
    pub const COUNT: u32 = Self::ALL.len() as u32;

    /// The reason with that index.
    #[inline(always)]
    #[must_use]
    pub const fn from_index(index: u32) -> Option<Self> {
        if index < Self::COUNT {
            // SAFETY: the discriminants are 0 to COUNT - 1, without gaps (a test shows it).
            Some(unsafe { core::mem::transmute::<u32, Self>(index) })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn indices_follow_the_order() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{}", reason.name());
            assert_eq!(Reason::from_index(index as u32), Some(*reason));
        }
    }

    #[test]
    fn there_is_none_behind_the_last() {
        assert_eq!(Reason::from_index(Reason::COUNT), None);
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
