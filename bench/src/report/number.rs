//! Numbers as people read them.

use crate::statistics::Summary;

/// What stands where nothing was measured.
pub(super) const NOTHING: &str = "–";

/// `value` with `digits` after the point and commas between thousands.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) && digit.is_ascii_digit() {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// The range of `summary`; `None` if it is but one value.
pub(super) fn range(summary: &Summary, digits: usize) -> Option<String> {
    let (min, max) = (number(summary.min, digits), number(summary.max, digits));
    (min != max).then(|| format!("{min}–{max}"))
}

/// Median and range, such as `2.00 (1.90–2.10)`.
pub(crate) fn with_range(summary: &Summary, digits: usize) -> String {
    let median = number(summary.median, digits);
    range(summary, digits).map_or(median.clone(), |range| format!("{median} ({range})"))
}

/// `value` and its unit, which may be empty.
pub(super) fn with_unit(value: &str, unit: &str) -> String {
    if unit.is_empty() { value.to_owned() } else { format!("{value} {unit}") }
}

/// Digits after the point that tell `value` from its neighbours: those it has,
/// and one more; at least two.
pub(super) fn telling_digits(value: f64) -> usize {
    let own = value.to_string().split_once('.').map_or(0, |(_, digits)| digits.len());
    (own + 1).clamp(2, 6)
}

/// A length of time, such as `4 min 05 s`.
pub(crate) fn minutes(seconds: f64) -> String {
    let whole = seconds as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted() {
        assert_eq!(number(1_234_567.891, 2), "1,234,567.89");
        assert_eq!(number(-1_234.0, 0), "-1,234");
        assert_eq!(number(-123.0, 0), "-123");
        assert_eq!(number(999.0, 0), "999");
        assert_eq!(number(f64::NAN, 1), "NaN");
    }

    #[test]
    fn a_range_of_one_value_is_none() {
        let steady = Summary { median: 2.0, min: 2.0, max: 2.001 };
        assert_eq!(with_range(&steady, 2), "2.00");
        let moving = Summary { median: 2.0, min: 1.9, max: 2.1 };
        assert_eq!(with_range(&moving, 1), "2.0 (1.9–2.1)");
    }

    #[test]
    fn bounds_are_told_from_what_just_misses_them() {
        assert_eq!(telling_digits(1.005), 4);
        assert_eq!(telling_digits(2.7), 2);
        assert_eq!(telling_digits(3.0), 2);
    }

    #[test]
    fn times_are_given_in_hours_minutes_and_seconds() {
        assert_eq!(minutes(59.9), "59 s");
        assert_eq!(minutes(61.0), "1 min 01 s");
        assert_eq!(minutes(3_660.0), "1 h 01 min");
    }
}
