//! Bytes as people copy and compare them: two lower-case digits each.

use std::fmt::Write;

/// `bytes` as text.
pub(super) fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of `text`; none if it is not such a text. Capitals are understood.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |pair: &[u32; 2]| u8::try_from(pair[0] << 4 | pair[1]).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        assert_eq!(encode(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(decode("001fFF"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(decode(""), Some(Vec::new()));
        for wrong in ["0", "0g", "+1", " 1", "é"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
