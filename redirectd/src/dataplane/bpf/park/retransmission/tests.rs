use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn data(first: u32, data: u32) -> Segments {
    Segments { first, data, push: true, ..Segments::default() }
}

fn batch(first: u32, data: u32, each: u32) -> Segments {
    Segments { each, ..self::data(first, data) }
}

fn syn(first: u32) -> Segments {
    Segments { first, syn: true, ..Segments::default() }
}

fn fin(first: u32, data: u32) -> Segments {
    Segments { fin: true, ..self::data(first, data) }
}

/// How many came again of each frame in turn.
fn again(frames: &[Segments]) -> Vec<u64> {
    let mut numbers = Numbers::default();
    frames.iter().map(|frame| numbers.take(frame)).collect()
}

#[test]
fn what_follows_is_new_and_what_comes_again_is_not() {
    assert_eq!(again(&[data(100, 10), data(110, 10), data(100, 10), data(120, 5)]), [0, 0, 1, 0]);
    assert_eq!(again(&[data(100, 10), data(100, 10), data(100, 10)]), [0, 1, 1]);
}

#[test]
fn part_of_what_came_is_enough() {
    let first = data(100, 10);
    for (second, expected) in [
        (data(109, 10), 1),
        (data(110, 10), 0),
        (data(91, 10), 1),
        (data(90, 10), 0),
        (data(95, 20), 1),
        (data(104, 2), 1),
    ] {
        assert_eq!(again(&[first, second]), [0, expected], "{second:?}");
    }
}

#[test]
fn of_a_batch_each_segment_counts() {
    let all = batch(0, 4_500, 1_000);
    assert_eq!(again(&[all, all]), [0, 5]);
    assert_eq!(again(&[data(1_500, 1), all]), [0, 1], "the second of five");
    assert_eq!(again(&[all, data(4_000, 500), batch(3_500, 2_000, 1_000)]), [0, 1, 1]);
    let last = Segments { fin: true, ..batch(0, 3_000, 1_000) };
    assert_eq!(again(&[fin(3_000, 0), last]), [0, 1], "the FIN is of the last of three");
}

#[test]
fn openings_and_ends_come_again_as_well() {
    assert_eq!(again(&[syn(7), syn(7), data(8, 3)]), [0, 1, 0]);
    assert_eq!(again(&[fin(7, 0), fin(7, 0)]), [0, 1]);
    assert_eq!(again(&[fin(7, 3), data(7, 3), fin(10, 0)]), [0, 1, 1]);
    assert_eq!(again(&[syn(7), data(8, 9), syn(10_000), data(8, 9)]), [0, 0, 0, 0], "another one");
}

#[test]
fn what_takes_no_numbers_is_not_counted() {
    let pure = data(100, 0);
    assert_eq!(again(&[pure, pure, pure, data(100, 5)]), [0; 4]);
    // As Linux asks whether the other end lives: an empty one, one before what is next.
    assert_eq!(again(&[data(100, 5), data(104, 0)]), [0, 0]);
}

#[test]
fn a_byte_that_is_not_pushed_only_asks() {
    let probe = |first| Segments { push: false, ..data(first, 1) };
    assert_eq!(again(&[probe(99), probe(99), data(99, 5)]), [0, 0, 0], "they leave no trace");
    assert_eq!(again(&[data(99, 5), probe(103)]), [0, 0]);
    assert_eq!(again(&[data(99, 1), data(99, 1)]), [0, 1], "a key that was hit");
}

#[test]
fn numbers_wrap_around() {
    let first = u32::MAX - 4;
    assert_eq!(again(&[data(first, 10), data(5, 5), data(0, 1), data(10, 1)]), [0, 0, 1, 0]);
}

#[test]
fn a_bounded_number_of_gaps_is_remembered() {
    let mut numbers = Numbers::default();
    for n in 0..2 * MOST_RANGES as u32 {
        assert_eq!(numbers.take(&data(n * 10, 5)), 0);
    }
    assert_eq!(numbers.ranges.len(), MOST_RANGES);
    assert_eq!(numbers.take(&data(0, 5)), 1);
    assert_eq!(numbers.take(&data(MOST_RANGES as u32 * 10, 5)), 0, "forgotten");
}

fn frames() -> impl Strategy<Value = Segments> {
    let each = prop_oneof![Just(0), 1..40_u32];
    (0..300_u32, 0..90_u32, each, any::<(bool, bool)>()).prop_map(|(first, data, each, flags)| {
        let (fin, push) = flags;
        Segments { first, data, each, fin, push, syn: false }
    })
}

proptest! {
    /// As if each number were remembered by itself; wherever the numbers begin.
    #[test]
    fn ranges_are_as_good_as_all_numbers(
        frames in prop::collection::vec(frames(), 0..40),
        origin: u32,
    ) {
        let (mut numbers, mut all) = (Numbers::default(), HashSet::new());
        for frame in frames {
            let frame = Segments { first: origin.wrapping_add(frame.first), ..frame };
            let expected = model(&mut all, &frame);
            prop_assert_eq!(numbers.take(&frame), expected, "{:?}", frame);
            prop_assert!(numbers.ranges.is_sorted());
            prop_assert!(numbers.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }

    /// Whatever a stranger sends: never more than there are segments.
    #[test]
    fn nothing_is_counted_that_is_not_there(
        frames in prop::collection::vec(any::<(u32, u16, u16, bool, bool, bool)>(), 0..40),
    ) {
        let mut numbers = Numbers::default();
        for (first, data, each, syn, fin, push) in frames {
            let (data, each) = (u32::from(data), u32::from(each));
            let frame = Segments { first, data, each, syn, fin, push };
            let most = if each == 0 { 1 } else { data.div_ceil(each).max(1) };
            prop_assert!(numbers.take(&frame) <= u64::from(most));
        }
    }
}

/// How many segments of `frame` have numbers of `all`, which has its own then.
fn model(all: &mut HashSet<u32>, frame: &Segments) -> u64 {
    let length = frame.data + u32::from(frame.fin);
    if length == 0 || (frame.data == 1 && !frame.fin && !frame.push) {
        return 0;
    }
    let last = frame.data.max(1) - 1;
    let segment = |n: u32| n.min(last).checked_div(frame.each).unwrap_or(0);
    let number = |n: u32| frame.first.wrapping_add(n);
    let again: HashSet<u32> =
        (0..length).filter(|n| all.contains(&number(*n))).map(segment).collect();
    all.extend((0..length).map(number));
    again.len() as u64
}
