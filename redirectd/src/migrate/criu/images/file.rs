//! An image file: two magic words, then records.

use std::fmt;

/// The first word of all images but CRIU's own notes; `IMG_COMMON_MAGIC`.
const COMMON_MAGIC: u32 = 0x5456_4319;

/// What kind of image it is: the second word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// `files.img`; `FILES_MAGIC`.
    Files,
    /// `pstree.img`; `PSTREE_MAGIC`.
    Tree,
    /// `pagemap-*.img`; `PAGEMAP_MAGIC`.
    Pagemap,
    /// `tcp-stream-*.img`, a record and the bytes of the queues; `TCP_STREAM_MAGIC`.
    Stream,
}

/// Why bytes are not what they ought to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub(super) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

impl Image {
    /// The two words at its begin.
    fn magic(self) -> [u8; 8] {
        let second: u32 = match self {
            Self::Files => 0x5630_3138,
            Self::Tree => 0x5027_3030,
            Self::Pagemap => 0x5608_4025,
            Self::Stream => 0x5146_5506,
        };
        let mut magic = [0; 8];
        magic[..4].copy_from_slice(&COMMON_MAGIC.to_le_bytes());
        magic[4..].copy_from_slice(&second.to_le_bytes());
        magic
    }

    /// The records of an image of this kind.
    ///
    /// # Errors
    /// It is of another kind, or cut off.
    pub fn records(self, image: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
        let mut rest = self.behind_magic(image)?;
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (record, after) = record(rest)?;
            records.push(record);
            rest = after;
        }
        Ok(records)
    }

    /// The first record of an image of this kind, and what is behind it.
    ///
    /// # Errors
    /// As for [`Image::records`].
    pub(super) fn first_record(self, image: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
        record(self.behind_magic(image)?)
    }

    fn behind_magic(self, image: &[u8]) -> Result<&[u8], Malformed> {
        image
            .strip_prefix(&self.magic())
            .ok_or(Malformed("it does not begin as such an image does"))
    }

    /// An image of these records.
    ///
    /// # Panics
    /// When a record has 4 GiB.
    pub fn image<R: AsRef<[u8]>>(self, records: impl IntoIterator<Item = R>) -> Vec<u8> {
        let mut image = self.magic().to_vec();
        for record in records {
            let record = record.as_ref();
            let length = u32::try_from(record.len()).expect("a record has less than 4 GiB");
            image.extend_from_slice(&length.to_le_bytes());
            image.extend_from_slice(record);
        }
        image
    }
}

/// A record, and what is behind it.
fn record(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (length, after) =
        bytes.split_first_chunk().ok_or(Malformed("a record's length is cut off"))?;
    let length = u32::from_le_bytes(*length) as usize;
    after.split_at_checked(length).ok_or(Malformed("a record is cut off"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_records_or_an_error_and_records_are_all_the_bytes(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let image = [&Image::Files.magic()[..], &bytes].concat();
            if let Ok(records) = Image::Files.records(&image) {
                prop_assert_eq!(Image::Files.image(records), image);
            }
            prop_assert!(Image::Files.records(&bytes).is_err());
        }

        #[test]
        fn what_is_written_is_read(records: Vec<Vec<u8>>) {
            let image = Image::Tree.image(&records);
            prop_assert_eq!(Image::Tree.records(&image), Ok(records.iter().map(Vec::as_slice).collect()));
            prop_assert!(Image::Files.records(&image).is_err());
        }
    }

    #[test]
    fn an_image_that_is_cut_off_is_an_error() {
        let image = Image::Files.image([b"record"]);
        for length in (0..image.len()).filter(|length| *length != 8) {
            assert!(Image::Files.records(&image[..length]).is_err(), "{length} bytes");
        }
    }
}
