//! Medians, ranges and ratios.

/// A median with the range around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The middle value, or the mean of the two middle ones.
    pub(crate) median: f64,
    /// The smallest value.
    pub(crate) min: f64,
    /// The largest value.
    pub(crate) max: f64,
}

impl Summary {
    /// Of `values`; `None` when there are none.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }

    /// Of `values` over `base`, round by round: what both saw at the same time
    /// cancels out. Rounds that only one of them has are left out.
    pub(crate) fn of_ratios(values: &[f64], base: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = values.iter().zip(base).map(|(value, base)| value / base).collect();
        Self::of(&ratios)
    }
}

/// The value that the fraction `p` (0 to 1) of `values` does not exceed
/// (nearest rank); `None` when there are none.
pub(crate) fn percentile(values: &[f64], p: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (p * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_nothing_there_is_no_median() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn the_median_does_not_depend_on_order() {
        let summary = Summary::of(&[9.0, 1.0, 5.0]).unwrap();
        assert_eq!(summary, Summary { median: 5.0, min: 1.0, max: 9.0 });
    }

    #[test]
    fn of_an_even_number_it_is_the_mean_of_the_middle_two() {
        assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 100.0]).unwrap().median, 3.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine was twice as fast in the second round: the ratio is steady.
        let ratio = Summary::of_ratios(&[3.0, 6.0], &[1.0, 2.0]).unwrap();
        assert_eq!(ratio, Summary { median: 3.0, min: 3.0, max: 3.0 });
    }

    #[test]
    fn a_round_without_a_partner_is_left_out() {
        let ratio = Summary::of_ratios(&[3.0, 6.0, 50.0], &[1.0, 2.0]).unwrap();
        assert_eq!(ratio.max, 3.0);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0];
        assert_eq!(percentile(&values, 0.99), Some(10.0));
        assert_eq!(percentile(&values, 0.5), Some(5.0));
        assert_eq!(percentile(&values, 0.0), Some(1.0));
    }
}
