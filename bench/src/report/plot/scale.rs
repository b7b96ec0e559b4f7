//! From values to places on the paper.

use crate::report::number::number;

/// A stretch of numbers laid on a stretch of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    /// Whether equal ratios, not equal differences, are equally far apart.
    logarithmic: bool,
    /// Where `from` and `to` are.
    pixels: (f64, f64),
}

/// Values further apart than this are laid out by their ratios.
const FAR: f64 = 100.0;
/// Ticks to aim at.
const TICKS: f64 = 6.0;

impl Scale {
    /// One that shows `values` on `pixels`; with 0, unless it is logarithmic.
    pub(super) fn showing(values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Self {
        Self::of(values, pixels, 1.0)
    }

    /// As [`Self::showing`], with room under the least value, so that it has a bar.
    pub(super) fn of_bars(values: impl Iterator<Item = f64>, pixels: (f64, f64)) -> Self {
        Self::of(values, pixels, 0.9)
    }

    fn of(values: impl Iterator<Item = f64>, pixels: (f64, f64), room: f64) -> Self {
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (min, max) = (min.min(value), max.max(value));
        }
        if min > 0.0 && max / min > FAR {
            let (from, to) =
                (10_f64.powf((min * room).log10().floor()), 10_f64.powf(max.log10().ceil()));
            return Self { from, to, logarithmic: true, pixels };
        }
        let (min, max) = (min.min(0.0), max.max(0.0));
        let (from, to) = if min < max { (min, max) } else { (0.0, 1.0) };
        let step = step(from, to);
        let (from, to) = ((from / step).floor() * step, (to / step).ceil() * step);
        Self { from, to, logarithmic: false, pixels }
    }

    /// Where `value` is.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        self.pixels.0 + part * (self.pixels.1 - self.pixels.0)
    }

    /// Where bars begin: at 0, or at the lower end.
    pub(super) fn base(&self) -> f64 {
        if self.logarithmic { self.pixels.0 } else { self.at(0.0) }
    }

    /// Whether it is logarithmic.
    pub(super) fn is_logarithmic(&self) -> bool {
        self.logarithmic
    }

    /// Values to mark, with what to write beside them.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            let (from, to) = (self.from.log10().round() as i32, self.to.log10().round() as i32);
            return (from..=to)
                .map(|power| (10_f64.powi(power), number(10_f64.powi(power), below_one(power))))
                .collect();
        }
        let step = step(self.from, self.to);
        let digits = below_one(step.log10().floor() as i32);
        let count = ((self.to - self.from) / step).round() as usize;
        (0..=count)
            .map(|n| self.from + n as f64 * step)
            // No -0.
            .map(|value| if value.abs() < step / 2.0 { 0.0 } else { value })
            .map(|value| (value, number(value, digits)))
            .collect()
    }
}

/// 1, 2 or 5 times a power of ten, about as many as [`TICKS`] in the stretch.
fn step(from: f64, to: f64) -> f64 {
    let raw = (to - from) / TICKS;
    let power = 10_f64.powf(raw.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= raw * 0.999);
    factor.unwrap_or(10.0) * power
}

/// Digits after the point that a multiple of ten to the `power` has.
fn below_one(power: i32) -> usize {
    usize::try_from(-power).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(values: &[f64]) -> Scale {
        Scale::showing(values.iter().copied(), (0.0, 100.0))
    }

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn near_values_are_laid_out_by_difference_from_0() {
        let scale = scale(&[30.0, 60.0]);
        assert_eq!((scale.at(0.0), scale.at(30.0), scale.at(60.0)), (0.0, 50.0, 100.0));
        assert_eq!(labels(&scale), ["0", "10", "20", "30", "40", "50", "60"]);
    }

    #[test]
    fn far_values_are_laid_out_by_ratio() {
        let scale = scale(&[1.0, 900.0]);
        assert!(scale.is_logarithmic());
        assert_eq!(scale.at(1.0), scale.base());
        assert_eq!(labels(&scale), ["1", "10", "100", "1,000"]);
        assert!((scale.at(10.0) - 100.0 / 3.0).abs() < 1e-9);
        let bars = Scale::of_bars([1.0, 900.0].into_iter(), (0.0, 100.0));
        assert!(bars.at(1.0) > bars.base());
    }

    #[test]
    fn negative_values_are_on_the_other_side_of_0() {
        let scale = scale(&[-1.0, 2.0]);
        assert!(scale.at(-1.0) < scale.base() && scale.base() < scale.at(2.0));
        assert!(labels(&scale).contains(&"0.0".to_owned()), "{:?}", labels(&scale));
    }

    #[test]
    fn nothing_and_zero_can_be_shown_too() {
        assert_eq!(scale(&[]).at(0.0), 0.0);
        assert_eq!(scale(&[0.0, f64::NAN]).at(0.0), 0.0);
    }
}
