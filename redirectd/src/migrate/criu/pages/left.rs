//! Which pages are still to go; pure, but for reading the images.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::{PAGE, Range};
use crate::{
    error::{Error, Kind},
    migrate::criu::images::{TREE, file::Malformed, pagemap, tree},
};

/// Pages that have not gone yet.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Process and address → how many pages from there. No two overlap.
    ranges: BTreeMap<(u32, u64), u64>,
}

impl Left {
    /// What CRIU has left behind of the processes in the folder `images`.
    pub(super) fn behind(images: &Path) -> Result<Self, Error> {
        let path = images.join(TREE);
        let tree = fs::read(&path).map_err(|why| unreadable(&path, &why))?;
        let mut left = Self::default();
        for process in tree::processes(&tree).map_err(|why| unfit(&path, why))? {
            let path = images.join(format!("pagemap-{}.img", process.pid));
            let image = match fs::read(&path) {
                // A process that is dead already has none.
                Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                image => image.map_err(|why| unreadable(&path, &why))?,
            };
            let pid = process.pid.unsigned_abs();
            for extent in pagemap::extents(&image).map_err(|why| unfit(&path, why))? {
                if extent.left_behind && extent.pages > 0 {
                    left.put(Range { pid, address: extent.address, pages: extent.pages });
                }
            }
        }
        Ok(left)
    }

    /// So many bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.ranges.values().sum::<u64>() * PAGE
    }

    /// The next ones in order, at most so many, which are then no longer left.
    pub(super) fn next(&mut self, most: u64) -> Option<Range> {
        let (&(pid, address), _) = self.ranges.first_key_value()?;
        self.take(Range { pid, address, pages: most })
    }

    /// As many of `wanted` as are left, from its first on, which are then no
    /// longer left; nothing if the first is not, or they are no pages at all.
    pub(super) fn take(&mut self, wanted: Range) -> Option<Range> {
        let Range { pid, address, .. } = wanted;
        if address % PAGE != 0 || wanted.pages == 0 {
            return None;
        }
        let (&(_, start), &pages) = self.ranges.range((pid, 0)..=(pid, address)).next_back()?;
        let before = (address - start) / PAGE;
        let after = pages.checked_sub(before).filter(|after| *after > 0)?;
        let taken = after.min(wanted.pages);
        self.ranges.remove(&(pid, start));
        self.put(Range { pid, address: start, pages: before });
        self.put(Range { pid, address: address + taken * PAGE, pages: after - taken });
        Some(Range { pid, address, pages: taken })
    }

    /// These are left after all.
    pub(super) fn put(&mut self, range: Range) {
        if range.pages > 0 {
            self.ranges.insert((range.pid, range.address), range.pages);
        }
    }
}

fn unreadable(path: &Path, why: &io::Error) -> Error {
    Error::new(Kind::Failed, format!("cannot read {}: {why}", path.display()))
}

fn unfit(path: &Path, why: Malformed) -> Error {
    Error::new(Kind::Failed, format!("{} cannot be used: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(pid: u32, page: u64, pages: u64) -> Range {
        Range { pid, address: page * PAGE, pages }
    }

    fn left(ranges: &[Range]) -> Left {
        let mut left = Left::default();
        ranges.iter().for_each(|range| left.put(*range));
        left
    }

    #[test]
    fn what_is_asked_for_goes_first_and_once() {
        let mut left = left(&[range(7, 0, 10), range(8, 4, 2)]);
        assert_eq!(left.take(range(7, 3, 2)), Some(range(7, 3, 2)));
        assert_eq!(left.take(range(7, 4, 1)), None);
        assert_eq!(left.take(range(8, 5, 9)), Some(range(8, 5, 1)));
        assert_eq!(left.take(range(8, 6, 1)), None);
        assert_eq!(left.take(range(9, 0, 1)), None);
        assert_eq!(left.take(range(7, 0, 0)), None);
        assert_eq!(left.take(Range { pid: 7, address: 17, pages: 1 }), None);
        assert_eq!(left.bytes(), 9 * PAGE);
        let rest: Vec<_> = std::iter::from_fn(|| left.next(4)).collect();
        assert_eq!(rest, [range(7, 0, 3), range(7, 5, 4), range(7, 9, 1), range(8, 4, 1)]);
    }

    proptest! {
        /// Whatever is asked for in between, each page goes exactly once.
        #[test]
        fn each_page_goes_once(
            wants in prop::collection::vec((1..4_u32, 0..40_u64, 1..9_u64), 0..60),
            most in 1..9_u64,
        ) {
            let all = [range(1, 0, 13), range(1, 20, 7), range(3, 5, 30)];
            let mut left = left(&all);
            let mut gone = BTreeSet::new();
            let mut go = |range: Range| {
                (0..range.pages).all(|page| gone.insert((range.pid, range.address / PAGE + page)))
            };
            for (pid, page, pages) in wants {
                if let Some(taken) = left.take(range(pid, page, pages)) {
                    prop_assert!(taken.pages <= pages && go(taken));
                }
            }
            while let Some(taken) = left.next(most) {
                prop_assert!(taken.pages <= most && go(taken));
            }
            prop_assert_eq!(gone.len() as u64, all.iter().map(|range| range.pages).sum::<u64>());
        }
    }
}
