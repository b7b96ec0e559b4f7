//! Pages that have come; pure.

use std::collections::BTreeMap;

use super::{PAGE, Range};

/// Pages by where they belong. They stay: a process that forks before all its
/// memory is there has CRIU ask for the same pages once more, for its child.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Process and address → bytes from there on.
    pieces: BTreeMap<(u32, u64), Vec<u8>>,
}

impl Shelf {
    /// Puts whole pages there.
    pub(super) fn put(&mut self, pid: u32, address: u64, bytes: Vec<u8>) {
        self.pieces.insert((pid, address), bytes);
    }

    /// As many of `wanted` as lie side by side, from its first on; nothing if the
    /// first has not come.
    pub(super) fn get(&self, wanted: Range) -> Option<&[u8]> {
        let Range { pid, address, pages } = wanted;
        let (&(_, start), bytes) = self.pieces.range((pid, 0)..=(pid, address)).next_back()?;
        let from = usize::try_from(address - start).ok()?;
        let found = bytes.get(from..).filter(|found| !found.is_empty())?;
        let most = usize::try_from(pages.saturating_mul(PAGE)).unwrap_or(usize::MAX);
        Some(&found[..found.len().min(most)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_found_where_they_were_put_as_often_as_asked_for() {
        let mut shelf = Shelf::default();
        let bytes: Vec<u8> = (0..3).flat_map(|page| vec![page; 4096]).collect();
        shelf.put(7, 2 * PAGE, bytes.clone());
        let get = |pid, page, pages| shelf.get(Range { pid, address: page * PAGE, pages });
        assert_eq!(get(7, 2, 99), Some(&bytes[..]));
        assert_eq!(get(7, 3, 1), Some(&bytes[4096..8192]));
        assert_eq!(get(7, 3, 1), Some(&bytes[4096..8192]));
        assert_eq!(get(7, 1, 2), None);
        assert_eq!(get(7, 5, 1), None);
        assert_eq!(get(8, 2, 1), None);
    }
}
