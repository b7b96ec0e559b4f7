//! The clock of a TCP connection (RFC 7323) in `tcp-stream-*.img`.
//!
//! CRIU has the clock of a revived connection go on from where it was when it was
//! written down. But the frozen socket may have spoken since: the kernel still
//! acknowledges what had come, and sends again what nobody acknowledges. What the
//! revived one says would then be older to the peer than what it has heard, and
//! the peer drops that (RFC 7323, section 5) until the clock has caught up. So it
//! is put forward.

use super::{
    file::{Image, Malformed},
    wire::{self, Value},
};

/// A field of `tcp_stream_entry`.
const TIMESTAMP: u32 = 9;
/// Set if the clock counts microseconds instead of milliseconds (Linux 6.7).
const MICROSECONDS: u32 = 1;

/// `image` with the clock put forward by so many milliseconds. A connection without
/// time stamps stays as it is, to the byte, and so does all else.
///
/// # Errors
/// It is no such image.
pub fn put_forward(image: &[u8], milliseconds: u32) -> Result<Vec<u8>, Malformed> {
    // Behind the record are the bytes of the queues.
    let (record, queues) = Image::Stream.first_record(image)?;
    let mut edited = Vec::with_capacity(record.len());
    for field in wire::fields(record)? {
        match (field.number, field.value) {
            (TIMESTAMP, Value::Number(clock)) => {
                let clock = u32::try_from(clock)
                    .map_err(|_| Malformed("a connection's clock has more than 32 bits"))?;
                wire::put_number(&mut edited, TIMESTAMP, later(clock, milliseconds).into());
            }
            (TIMESTAMP, _) => return Err(Malformed("a connection's clock is no number")),
            _ => edited.extend_from_slice(field.bytes),
        }
    }
    Ok([Image::Stream.image([edited]), queues.to_vec()].concat())
}

/// What the clock shows later. It goes round after 2^32.
fn later(clock: u32, milliseconds: u32) -> u32 {
    let units = if clock & MICROSECONDS == 0 { 1 } else { 1000 };
    clock.wrapping_add(milliseconds.wrapping_mul(units) & !MICROSECONDS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A connection as CRIU writes it, with three bytes in its queues.
    fn image(clock: Option<u32>) -> Vec<u8> {
        let mut record = Vec::new();
        for (field, number) in [(1, 1), (2, 4_000_000_000), (3, 2), (4, 7), (5, 15)] {
            wire::put_number(&mut record, field, number);
        }
        if let Some(clock) = clock {
            wire::put_number(&mut record, TIMESTAMP, clock.into());
        }
        wire::put_number(&mut record, 11, 1);
        [Image::Stream.image([record]), b"abc".to_vec()].concat()
    }

    #[test]
    fn the_clock_is_put_forward_in_its_own_units() {
        for (before, after) in [(1_000, 1_250), (1_001, 251_001), (u32::MAX - 49, 200)] {
            assert_eq!(put_forward(&image(Some(before)), 250), Ok(image(Some(after))), "{before}");
        }
        // The lowest bit tells the unit, and stays.
        assert_eq!(put_forward(&image(Some(1_000)), 251), Ok(image(Some(1_250))));
    }

    #[test]
    fn without_a_clock_nothing_changes() {
        assert_eq!(put_forward(&image(None), 250), Ok(image(None)));
    }

    #[test]
    fn another_image_is_refused() {
        assert!(put_forward(&Image::Files.image([b"\x48\x01"]), 250).is_err());
        let image = image(Some(1));
        assert!((0..image.len() - 3).all(|length| put_forward(&image[..length], 1).is_err()));
    }

    proptest! {
        #[test]
        fn all_else_stays(clock in any::<u32>().prop_map(|clock| clock & !1), rest: Vec<u8>) {
            let image = [image(Some(clock)), rest].concat();
            prop_assert_eq!(put_forward(&image, 0).unwrap(), image.clone());
            let there = put_forward(&image, 1_000_000).unwrap();
            prop_assert_eq!(put_forward(&there, 0_u32.wrapping_sub(1_000_000)).unwrap(), image);
        }
    }
}
