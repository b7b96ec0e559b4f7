//! Which TCP segments a peer sends again while its process is frozen: those with
//! sequence numbers that have come already since it was parked. Pure.
//!
//! Counted as the peer's kernel counts what it sends again (`TcpRetransSegs`): by
//! segments, each one of a batch for itself. Not counted are segments that take no
//! sequence numbers, which are pure acknowledgements, however often they come, and
//! the keep-alives and window probes of most systems; nor those that take one byte
//! and do not push it (RFC 9293, section 3.9.1.2, has senders push their last
//! byte), which are the same of the other systems (RFC 1122, sections 4.2.2.17 and
//! 4.2.3.6).

#[cfg(test)]
mod tests;

/// More ranges than these are not remembered of one connection: only what is
/// dropped for want of room leaves gaps between them.
const MOST_RANGES: usize = 64;

/// What a frame takes of its connection's sequence numbers. Most are one segment,
/// some a batch of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Segments {
    /// The first number.
    pub(super) first: u32,
    /// Bytes of data, in all of them.
    pub(super) data: u32,
    /// Bytes of data in each but the last; 0 for a single one.
    pub(super) each: u32,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) push: bool,
}

impl Segments {
    /// How many numbers it takes (RFC 9293, section 3.4).
    fn length(&self) -> i64 {
        i64::from(self.data) + i64::from(self.syn) + i64::from(self.fin)
    }

    /// Whether it only asks for an answer.
    fn is_probe(&self) -> bool {
        self.length() == 0 || (self.data == 1 && !self.push && !self.syn && !self.fin)
    }

    /// The offsets from its first number at which its segments begin and end.
    fn pieces(&self) -> impl Iterator<Item = (i64, i64)> {
        let (end, each) = (self.length(), i64::from(self.each));
        let count = match self.each {
            0 => 1,
            each => i64::from(self.data.div_ceil(each)).max(1),
        };
        // The last one is shorter, or has a FIN behind its data.
        (0..count).map(move |n| (n * each, if n + 1 == count { end } else { (n + 1) * each }))
    }
}

/// The sequence numbers that have come from one end of a connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    /// That from which the ranges are counted: numbers wrap around.
    origin: u32,
    /// From here until before there; in order, and apart from each other.
    ranges: Vec<(i64, i64)>,
}

impl Numbers {
    /// Takes a frame's; returns how many of its segments have such as came before.
    pub(super) fn take(&mut self, segments: &Segments) -> u64 {
        if segments.is_probe() {
            return 0;
        }
        if self.ranges.is_empty() {
            self.origin = segments.first;
        }
        let mut start = self.offset(segments.first);
        if segments.syn && !self.have(start, start + 1) {
            // Another connection between the same endpoints.
            (self.origin, start) = (segments.first, 0);
            self.ranges.clear();
        }
        let end = start + segments.length();
        let again = match self.have(start, end) {
            false => 0,
            true => segments.pieces().filter(|(a, b)| self.have(start + a, start + b)).count(),
        };
        self.add(start, end);
        again as u64
    }

    /// How far after the origin a number is; or before it.
    fn offset(&self, number: u32) -> i64 {
        i64::from(number.wrapping_sub(self.origin).cast_signed())
    }

    /// Whether any number of that range has come.
    fn have(&self, start: i64, end: i64) -> bool {
        let next = self.ranges.partition_point(|range| range.1 <= start);
        self.ranges.get(next).is_some_and(|range| range.0 < end)
    }

    fn add(&mut self, start: i64, end: i64) {
        // All that it overlaps or touches becomes one.
        let from = self.ranges.partition_point(|range| range.1 < start);
        let to = self.ranges.partition_point(|range| range.0 <= end);
        if from == to {
            if self.ranges.len() < MOST_RANGES {
                self.ranges.reserve_exact(1);
                self.ranges.insert(from, (start, end));
            }
            return;
        }
        let whole = (start.min(self.ranges[from].0), end.max(self.ranges[to - 1].1));
        self.ranges.splice(from..to, [whole]);
    }
}
