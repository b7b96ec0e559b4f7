//! The pages of one process, from `pagemap-*.img`.

use prost::Message as _;

use super::file::{Image, Malformed};

/// `PE_LAZY`: they may follow when they are asked for.
const LAZY: u32 = 1 << 1;
/// `PE_PRESENT`: they are in an image.
const PRESENT: u32 = 1 << 2;

/// Pages side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where they begin in the process.
    pub address: u64,
    /// How many there are.
    pub pages: u64,
    /// They are in no image: CRIU has left them behind.
    pub left_behind: bool,
}

/// `pagemap_entry`.
#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(uint64, required, tag = "1")]
    address: u64,
    /// In place of `pages`, before CRIU 4.0.
    #[prost(uint32, required, tag = "2")]
    few_pages: u32,
    #[prost(uint32, optional, tag = "4")]
    flags: Option<u32>,
    #[prost(uint64, optional, tag = "5")]
    pages: Option<u64>,
}

/// All pages in `image`, by their addresses.
///
/// # Errors
/// It is no such image.
pub fn extents(image: &[u8]) -> Result<Vec<Extent>, Malformed> {
    // The first record says which image they are in.
    Image::Pagemap.records(image)?.into_iter().skip(1).map(extent).collect()
}

fn extent(record: &[u8]) -> Result<Extent, Malformed> {
    let entry = Entry::decode(record).map_err(|_| Malformed("pages cannot be read"))?;
    let flags = entry.flags.unwrap_or_default();
    Ok(Extent {
        address: entry.address,
        pages: entry.pages.unwrap_or(entry.few_pages.into()),
        left_behind: flags & LAZY != 0 && flags & PRESENT == 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(address: u64, pages: u64, flags: u32) -> Vec<u8> {
        let entry = Entry { address, few_pages: 0, flags: Some(flags), pages: Some(pages) };
        entry.encode_to_vec()
    }

    #[test]
    fn those_left_behind_are_told_from_those_written() {
        let head = vec![8, 1];
        let rows = [record(0x1000, 2, PRESENT), record(0x5000, 1 << 33, LAZY)];
        let both = record(0x9000, 3, LAZY | PRESENT);
        let image = Image::Pagemap.image([head, rows[0].clone(), rows[1].clone(), both]);
        let extent = |address, pages, left_behind| Extent { address, pages, left_behind };
        let expected =
            [extent(0x1000, 2, false), extent(0x5000, 1 << 33, true), extent(0x9000, 3, false)];
        assert_eq!(extents(&image).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn any_record_is_pages_or_an_error(record: Vec<u8>) {
            let _ = extents(&Image::Pagemap.image([vec![], record]));
        }
    }
}
