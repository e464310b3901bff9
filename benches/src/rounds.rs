//! Interleaved rounds: every contestant runs once a round, so that a slow minute of the machine hits all alike.

use core::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How many rounds to make: the most there are time for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// At least the first number, at most the last.
    pub count: RangeInclusive<usize>,
    /// After this time no further round begins, once the least number is done.
    pub patience: Duration,
}

impl Rounds {
    /// Exactly so many.
    #[must_use]
    pub fn exactly(count: usize) -> Self {
        Self { count: count..=count, patience: Duration::MAX }
    }

    /// What a newcomer waits for: from five to nine, as far as a second and a half goes.
    #[must_use]
    pub fn usual() -> Self {
        Self { count: 5..=9, patience: Duration::from_millis(1500) }
    }

    /// The passes that time operations one by one: two, and a third if it does not take long.
    #[must_use]
    pub fn of_single_operations() -> Self {
        Self { count: 2..=3, patience: Duration::from_millis(700) }
    }

    /// The most.
    #[must_use]
    pub fn most(&self) -> usize {
        *self.count.end()
    }

    /// `9`, or `5 to 9`.
    #[must_use]
    pub fn phrase(&self) -> String {
        let (least, most) = (self.count.start(), self.count.end());
        if least == most { most.to_string() } else { format!("{least} to {most}") }
    }
}

/// Runs `rounds` rounds of all contestants whose index `active` holds and returns each one's results.
///
/// Odd rounds run backwards, so that nobody always follows the same predecessor.
pub fn interleave<T>(
    contestants: usize,
    rounds: usize,
    active: impl Fn(usize) -> bool,
    run: impl FnMut(usize, usize) -> T,
) -> Vec<Vec<T>> {
    interleave_within(contestants, &Rounds::exactly(rounds), active, run)
}

/// As [`interleave`], with as many rounds as there is time for.
pub fn interleave_within<T>(
    contestants: usize,
    rounds: &Rounds,
    active: impl Fn(usize) -> bool,
    mut run: impl FnMut(usize, usize) -> T,
) -> Vec<Vec<T>> {
    let mut results: Vec<Vec<T>> = (0..contestants).map(|_| Vec::with_capacity(rounds.most())).collect();
    let begin = Instant::now();
    for round in 0..rounds.most() {
        if round >= *rounds.count.start() && begin.elapsed() >= rounds.patience {
            break;
        }
        for turn in 0..contestants {
            let who = if round % 2 == 0 { turn } else { contestants - 1 - turn };
            if active(who) {
                results[who].push(run(round, who));
            }
        }
    }
    results
}

/// The middle value; of an even number of values the mean of the two in the middle. `None` of no values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The geometric mean of positive values; `None` of no values.
#[must_use]
pub fn geometric_mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for value in values {
        sum += value.max(f64::MIN_POSITIVE).ln();
        count += 1;
    }
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_alternate_their_direction_and_skip_the_inactive() {
        let mut order = Vec::new();
        let results = interleave(
            3,
            2,
            |who| who != 1,
            |round, who| {
                order.push((round, who));
                round * 10 + who
            },
        );
        assert_eq!(order, [(0, 0), (0, 2), (1, 2), (1, 0)]);
        assert_eq!(results, [vec![0, 10], vec![], vec![2, 12]]);
    }

    #[test]
    fn rounds_end_when_the_time_is_up_but_not_before_the_least() {
        let count = |patience| {
            let rounds = Rounds { count: 3..=6, patience };
            interleave_within(1, &rounds, |_| true, |_, _| std::thread::sleep(Duration::from_millis(1)))[0]
                .len()
        };
        assert_eq!([count(Duration::ZERO), count(Duration::MAX)], [3, 6]);
        assert_eq!(Rounds::exactly(4).phrase(), "4");
        assert_eq!(Rounds::usual().phrase(), "5 to 9");
    }

    #[test]
    fn the_means_are_right() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert!((geometric_mean([1.0, 4.0, 16.0]).unwrap() - 4.0).abs() < 1e-12);
        assert_eq!(geometric_mean([]), None);
    }
}
