//! Tables of cases: a packet in, its end, the packet out, the reason counted.

use std::collections::BTreeMap;

use redirectd::dataplane::Traffic;

use crate::{
    check::{assert_sound, describe},
    frame::Frame,
    home::{Entry, Fate, Home, Outcome},
    run::Arrival,
};

/// What is expected of one packet.
#[derive(Debug, Clone)]
pub(crate) enum Expect {
    /// It leaves as this, counted as translated and as the reason, if there is one.
    Sent(Vec<u8>, Option<&'static str>),
    /// It is left to the kernel, for this reason.
    Passed(&'static str),
    /// It is dropped, for this reason.
    Dropped(&'static str),
    /// It is dropped for this reason, and its sender is sent this.
    Told(&'static str, Vec<u8>),
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    what: String,
    frame: Vec<u8>,
    arrival: Arrival,
    expect: Expect,
    by_xdp: bool,
    packets: u64,
}

impl Row {
    fn new(what: &str, frame: Vec<u8>, expect: Expect) -> Self {
        let (what, arrival) = (what.to_owned(), Arrival::default());
        Self { what, frame, arrival, expect, by_xdp: false, packets: 1 }
    }

    /// A packet that leaves as `out`.
    pub(crate) fn sent(what: &str, frame: &Frame, out: &Frame) -> Self {
        Self::new(what, frame.bytes(), Expect::Sent(out.bytes(), None))
    }

    /// A packet that is passed on.
    pub(crate) fn passed(what: &str, frame: &Frame, reason: &'static str) -> Self {
        Self::new(what, frame.bytes(), Expect::Passed(reason))
    }

    /// Bytes that are passed on.
    pub(crate) fn bytes_passed(what: &str, frame: Vec<u8>, reason: &'static str) -> Self {
        Self::new(what, frame, Expect::Passed(reason))
    }

    /// A packet that is dropped.
    pub(crate) fn dropped(what: &str, frame: &Frame, reason: &'static str) -> Self {
        Self::new(what, frame.bytes(), Expect::Dropped(reason))
    }

    /// A packet that is dropped, whose sender is told so.
    pub(crate) fn told(what: &str, frame: &Frame, reason: &'static str, message: &Frame) -> Self {
        Self::new(what, frame.bytes(), Expect::Told(reason, message.bytes()))
    }

    /// A packet that would open a flow and may not, whose sender is told that
    /// communication is prohibited (RFC 5508, REQ-8).
    pub(crate) fn refused(what: &str, frame: &Frame, reason: &'static str) -> Self {
        Self::told(what, frame, reason, &frame.complaint((3, 13), (1, 1), 0))
    }

    /// The XDP program, where there is one, does this by itself.
    pub(crate) fn by_xdp(mut self) -> Self {
        self.by_xdp = true;
        self
    }

    /// Sent for this reason, rather than just as translated.
    pub(crate) fn counted_as(mut self, name: &'static str) -> Self {
        let Expect::Sent(_, reason) = &mut self.expect else { panic!("{self:?} is not sent") };
        *reason = Some(name);
        self
    }

    /// The packet comes in like that.
    pub(crate) fn arriving(mut self, arrival: Arrival) -> Self {
        self.arrival = arrival;
        self
    }

    /// It counts as that many.
    pub(crate) fn counted_times(mut self, packets: u64) -> Self {
        self.packets = packets;
        self
    }
}

impl Home {
    /// Runs the cases in turn.
    pub(crate) fn table(&mut self, rows: &[Row]) {
        for row in rows {
            let outcome = self.receive_with(&row.frame, row.arrival);
            check(self.entry, row, &outcome);
        }
    }
}

fn check(entry: Entry, row: &Row, outcome: &Outcome) {
    let what = format!("{} ({entry:?})", row.what);
    check_fate(&what, row, &outcome.fate);
    assert_eq!(
        outcome.by_xdp,
        row.by_xdp && entry == Entry::XdpAndTc,
        "{what}: whether XDP does it by itself"
    );
    let mut counted: BTreeMap<&str, Traffic> =
        outcome.counted.iter().map(|(reason, traffic)| (reason.as_str(), *traffic)).collect();
    // That XDP has handed it on is beside the point, where there is an XDP.
    if entry == Entry::XdpAndTc && !outcome.by_xdp {
        counted.remove("handed_to_tc");
    }
    let reason = match &row.expect {
        Expect::Sent(_, reason) => reason.unwrap_or("translated"),
        Expect::Passed(reason) | Expect::Dropped(reason) | Expect::Told(reason, _) => reason,
    };
    let seen: Vec<_> = counted.iter().map(|(reason, traffic)| (*reason, traffic.packets)).collect();
    assert_eq!(seen, [(reason, row.packets)], "{what}: the reasons counted");
}

fn check_fate(what: &str, row: &Row, fate: &Fate) {
    match (&row.expect, fate) {
        (Expect::Sent(expected, _) | Expect::Told(_, expected), Fate::Sent(sent)) => {
            assert_sound(expected, &format!("{what}, as the test expects it"));
            assert_sound(sent, what);
            assert!(
                sent == expected,
                "{what}: sent\n{}instead of\n{}differing at {:?}",
                describe(sent),
                describe(expected),
                (0..sent.len().max(expected.len()))
                    .filter(|at| sent.get(*at) != expected.get(*at))
                    .collect::<Vec<_>>(),
            );
        }
        (Expect::Passed(_), Fate::Passed) | (Expect::Dropped(_), Fate::Dropped) => {}
        (expected, Fate::Sent(sent)) => {
            panic!("{what}: sent\n{}instead of {expected:?}", describe(sent))
        }
        (Expect::Sent(_, _), fate) => panic!("{what}: {fate:?} instead of sent"),
        (expected, fate) => panic!("{what}: {fate:?} instead of {expected:?}"),
    }
}
