//! Numbers as people read them.

use crate::dataplane::Traffic;

/// Bytes in decimal units: `999 B`, `1.5 kB`, `2.0 GB`.
pub(super) fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1_000.0, " B", &[" kB", " MB", " GB", " TB", " PB", " EB"])
}

/// A count, shortened from ten thousand on: `9999`, `12.3k`, `4.6M`.
pub(super) fn count(count: u64) -> String {
    if count < 10_000 {
        return count.to_string();
    }
    scaled(count as f64, 1_000.0, "", &["k", "M", "G", "T", "P", "E"])
}

fn scaled(value: f64, step: f64, unit: &str, larger: &[&str]) -> String {
    let (mut value, mut unit, mut larger) = (value, unit, larger.iter());
    if value < step {
        return format!("{value:.0}{unit}");
    }
    while value >= step {
        let Some(next) = larger.next() else { break };
        value /= step;
        unit = next;
    }
    format!("{value:.1}{unit}")
}

/// Packets and bytes in one field.
pub(super) fn traffic(traffic: Traffic) -> String {
    format!("{} packets, {}", count(traffic.packets), bytes(traffic.bytes))
}

/// Seconds as people say them: `0.2s`, `59s`, `2m 5s`, `1h 3m`, `4d 2h`.
pub(super) fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1}s");
    }
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (minutes, hours, days) {
        (0, ..) => format!("{seconds}s"),
        (_, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (_, _, 0) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Seconds to the tenth of a millisecond below one: `93.2 ms`, `1.72 s`, `2m 5s`.
pub(super) fn short(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.1} ms", seconds * 1e3),
        ..60.0 => format!("{seconds:.2} s"),
        _ => duration(seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_readable() {
        let cases = [(0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2_000_000_000, "2.0 GB")];
        for (value, expected) in cases {
            assert_eq!(bytes(value), expected);
        }
        for (value, expected) in [(0, "0"), (9_999, "9999"), (12_345, "12.3k"), (4_560_000, "4.6M")]
        {
            assert_eq!(count(value), expected);
        }
        assert!(bytes(u64::MAX).ends_with(" EB"));
        let cases = [(0.25, "0.2s"), (59.9, "59s"), (125.0, "2m 5s"), (3_780.0, "1h 3m")];
        for (value, expected) in cases {
            assert_eq!(duration(value), expected);
        }
        assert_eq!(duration(352_800.0), "4d 2h");
        for (value, expected) in [(0.0932, "93.2 ms"), (1.724, "1.72 s"), (125.0, "2m 5s")] {
            assert_eq!(short(value), expected);
        }
    }
}
