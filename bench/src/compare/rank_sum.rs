//! Whether two samples differ by more than chance: the test of Mann, Whitney
//! and Wilcoxon, which asks nothing of how the values are distributed.
//!
//! All values are ranked together. If both samples came from one source, every
//! share of the ranks between them would be as likely as any other; they are
//! taken to differ if a share as uneven as theirs has a chance of less than 5 %.

/// Values a sample needs: with three on each side even the most uneven share
/// has a chance of 10 %.
pub(super) const ENOUGH: usize = 4;

/// Up to this many values in a sample every share is counted, beyond it the
/// distribution of the shares is as good as normal.
pub(super) const COUNTED: usize = 25;

/// Chance below which samples are taken to differ, and the deviation that the
/// normal distribution exceeds (both ways together) with that chance.
const CHANCE: f64 = 0.05;
const DEVIATION: f64 = 1.96;

/// Whether `a` and `b` differ; `None` if they are too few to tell.
pub(super) fn differ(a: &[f64], b: &[f64]) -> Option<bool> {
    if a.len().min(b.len()) < ENOUGH {
        return None;
    }
    let ranks = doubled_ranks(a, b);
    let sum: usize = ranks[..a.len()].iter().sum();
    // The expected sum: as many times the mean (doubled) rank.
    let expected = a.len() * (ranks.len() + 1);
    let off = sum.abs_diff(expected);
    Some(if a.len().max(b.len()) <= COUNTED {
        chance(&ranks, a.len(), expected, off) < CHANCE
    } else {
        deviation(&ranks, a.len(), b.len(), off) > DEVIATION
    })
}

/// Twice the rank of each value of `a`, then of `b`, among all; equal values
/// share the mean of their ranks (hence twice: so it is whole).
fn doubled_ranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let rank = |value: &f64| {
        let less = all.iter().filter(|other| *other < value).count();
        let equal = all.iter().filter(|other| *other == value).count();
        2 * less + equal + 1
    };
    all.iter().map(rank).collect()
}

/// The chance that `n` of `ranks`, drawn at random, sum up to something at
/// least `off` away from `expected`.
fn chance(ranks: &[usize], n: usize, expected: usize, off: usize) -> f64 {
    let most: usize = ranks.iter().sum();
    // How many ways there are to draw k ranks with a sum of s.
    let mut ways = vec![vec![0.0; most + 1]; n + 1];
    ways[0][0] = 1.0;
    for &rank in ranks {
        for k in (1..=n).rev() {
            let (fewer, these) = ways.split_at_mut(k);
            for sum in rank..=most {
                these[0][sum] += fewer[k - 1][sum - rank];
            }
        }
    }
    let all: f64 = ways[n].iter().sum();
    let uneven = ways[n].iter().enumerate().filter(|(sum, _)| sum.abs_diff(expected) >= off);
    uneven.map(|(_, ways)| ways).sum::<f64>() / all
}

/// How many standard deviations `off` is, one step between two sums taken off
/// because sums are whole.
fn deviation(ranks: &[usize], n: usize, m: usize, off: usize) -> f64 {
    let all = (n + m) as f64;
    let mean = all + 1.0;
    let squares: f64 = ranks.iter().map(|&rank| (rank as f64 - mean).powi(2)).sum();
    let variance = (n * m) as f64 * squares / (all * (all - 1.0));
    if variance > 0.0 { (off as f64 - 1.0).max(0.0) / variance.sqrt() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chance_of(a: &[f64], b: &[f64]) -> f64 {
        let ranks = doubled_ranks(a, b);
        let sum: usize = ranks[..a.len()].iter().sum();
        let expected = a.len() * (ranks.len() + 1);
        chance(&ranks, a.len(), expected, sum.abs_diff(expected))
    }

    #[test]
    fn chances_are_those_of_the_books_tables() {
        // The most uneven of 8!/(4! 4!) = 70 shares, both ways.
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        assert!((chance_of(&a, &b) - 2.0 / 70.0).abs() < 1e-12);
        // U = 1: 2 of 70 shares are as uneven each way.
        let (a, b) = ([1.0, 2.0, 3.0, 5.0], [4.0, 6.0, 7.0, 8.0]);
        assert!((chance_of(&a, &b) - 4.0 / 70.0).abs() < 1e-12);
        // Equal samples: every share is as uneven.
        assert!((chance_of(&[1.0; 4], &[1.0; 4]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn samples_apart_differ_and_samples_among_each_other_do_not() {
        assert_eq!(differ(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]), Some(true));
        assert_eq!(differ(&[1.0, 3.0, 5.0, 7.0], &[2.0, 4.0, 6.0, 8.0]), Some(false));
        assert_eq!(differ(&[1.0; 9], &[1.0; 9]), Some(false));
    }

    #[test]
    fn a_chance_of_one_in_twenty_is_the_bound() {
        // As uneven are 4 of 70 shares (5.7 %), and 8 of 252 (3.2 %).
        assert_eq!(differ(&[1.0, 2.0, 3.0, 5.0], &[4.0, 6.0, 7.0, 8.0]), Some(false));
        let (a, b) = ([1.0, 2.0, 3.0, 4.0, 7.0], [5.0, 6.0, 8.0, 9.0, 10.0]);
        assert_eq!(differ(&a, &b), Some(true));
        // Of larger samples the deviation: 1.84 and 2.21.
        let sample = |shift: f64| (0..30).map(|n| f64::from(n) + shift).collect::<Vec<_>>();
        assert_eq!(differ(&sample(0.0), &sample(4.5)), Some(false));
        assert_eq!(differ(&sample(0.0), &sample(5.5)), Some(true));
    }

    #[test]
    fn values_that_are_equal_deviate_less() {
        // By the books, n m / 12 × (N + 1 − Σ(t³ − t) / (N (N − 1))), here of doubled
        // ranks and hence four times as much.
        let halves: Vec<f64> = [0.0; 30].into_iter().chain([1.0; 30]).collect();
        let ranks = doubled_ranks(&halves[..30], &halves[30..]);
        let ties = 2.0 * (30.0_f64.powi(3) - 30.0) / (60.0 * 59.0);
        let variance: f64 = 4.0 * 900.0 / 12.0 * (61.0 - ties);
        let found = deviation(&ranks, 30, 30, 201);
        assert!((found - 200.0 / variance.sqrt()).abs() < 1e-9, "{found}");
    }

    #[test]
    fn three_values_are_too_few() {
        assert_eq!(differ(&[1.0; 3], &[2.0; 100]), None);
        assert_eq!(differ(&[1.0; 4], &[2.0; 3]), None);
    }

    #[test]
    fn many_values_are_judged_like_few() {
        let sample = |n: usize, shift: f64| -> Vec<f64> {
            (0..n).map(|i| ((i * 7919) % n) as f64 / n as f64 + shift).collect()
        };
        for n in [COUNTED, COUNTED + 1, 500] {
            assert_eq!(differ(&sample(n, 0.0), &sample(n, 0.01)), Some(false), "{n}");
            assert_eq!(differ(&sample(n, 0.0), &sample(n, 0.5)), Some(true), "{n}");
            assert_eq!(differ(&vec![1.0; n], &vec![1.0; n]), Some(false), "{n}");
        }
    }
}
