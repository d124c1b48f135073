//! Values of several systems, one for each round.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;

use crate::stats::Spread;

/// Values by what they are of, in the order of the rounds.
#[derive(Debug, Default)]
pub(super) struct Rounds(BTreeMap<String, Vec<f64>>);

impl Rounds {
    pub(super) fn add(&mut self, what: impl Into<String>, value: f64) {
        self.0.entry(what.into()).or_default().push(value);
    }

    /// Returns the median of all rounds.
    ///
    /// # Errors
    /// There is no such value.
    pub(super) fn median(&self, what: &str) -> anyhow::Result<f64> {
        median(self.values(what)?.iter().copied())
    }

    /// Returns the median of what one is to the other, round by round.
    ///
    /// # Errors
    /// There is no such value.
    pub(super) fn ratio(&self, one: &str, other: &str) -> anyhow::Result<f64> {
        median(self.values(one)?.iter().zip(self.values(other)?).map(|(one, other)| one / other))
    }

    /// Returns the median of what one is more than the other, round by round.
    ///
    /// # Errors
    /// There is no such value.
    pub(super) fn difference(&self, one: &str, other: &str) -> anyhow::Result<f64> {
        median(self.values(one)?.iter().zip(self.values(other)?).map(|(one, other)| one - other))
    }

    fn values(&self, what: &str) -> anyhow::Result<&Vec<f64>> {
        self.0.get(what).with_context(|| format!("no values of {what}"))
    }
}

fn median(values: impl IntoIterator<Item = f64>) -> anyhow::Result<f64> {
    Spread::of(values).map(|spread| spread.median).context("no rounds")
}

/// Returns the microseconds for each of a number of operations.
pub(super) fn micros_each(time: Duration, operations: u64) -> f64 {
    time.as_secs_f64() * 1e6 / operations as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_is_of_the_same_round() {
        let mut rounds = Rounds::default();
        for (one, other) in [(2.0, 1.0), (5.0, 10.0), (12.0, 4.0)] {
            rounds.add("one", one);
            rounds.add("other", other);
        }
        let (ratio, difference) =
            (rounds.ratio("one", "other").unwrap(), rounds.difference("one", "other").unwrap());
        assert_eq!((ratio, difference, rounds.median("one").unwrap()), (2.0, 1.0, 5.0));
        assert!(rounds.median("nothing").is_err());
    }
}
