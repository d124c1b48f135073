//! The series whose positions a run continues.

use crate::id::{EventPosition, Series};

/// The series of a run, and those of the runs before it whose positions it continues.
///
/// Each run gives out ids of a series of its own. So two runs that continue the same one, since the
/// data folder was put back or copied, do not read each other's ids: behind the same position,
/// each has an event of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    present: Series,
    /// Those of earlier runs, each with the last position that it has taken; the latest one last.
    earlier: Vec<(Series, EventPosition)>,
}

impl Lineage {
    /// The limit of earlier series. An id of an older one is of another series, which is a gap.
    pub const EARLIER: usize = 16;

    pub(crate) const fn new(present: Series, earlier: Vec<(Series, EventPosition)>) -> Self {
        Self { present, earlier }
    }

    /// Returns the lineage of a run that continues this one, which has taken its last position.
    #[must_use]
    pub fn continued(self, last: EventPosition) -> Self {
        let Self { present, mut earlier } = self;
        earlier.push((present, last));
        earlier.drain(..earlier.len().saturating_sub(Self::EARLIER));
        Self { present: Series::random(), earlier }
    }

    /// Returns the series of this run.
    pub const fn present(&self) -> Series {
        self.present
    }

    pub(crate) fn earlier(&self) -> &[(Series, EventPosition)] {
        &self.earlier
    }

    /// Returns `true` if a series is that of this run, or one that it continues.
    pub fn has(&self, series: Series) -> bool {
        series == self.present || self.earlier.iter().any(|(earlier, _)| *earlier == series)
    }

    /// Returns `true` if a position of a series is one of this run. Positions of an earlier series
    /// after its last one were taken by another run that continued it.
    pub(crate) fn contains(&self, series: Series, position: EventPosition) -> bool {
        let is_earlier = |(earlier, last): &(Series, EventPosition)| *earlier == series && position <= *last;
        series == self.present || self.earlier.iter().any(is_earlier)
    }
}

impl From<Series> for Lineage {
    /// Returns the lineage of a run that continues none.
    fn from(present: Series) -> Self {
        Self { present, earlier: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_reads_what_the_runs_before_have_given_out() {
        let first = Lineage::from(Series::from_bits(1));
        let second = first.clone().continued(EventPosition(10));
        assert_ne!(second.present(), first.present());
        let third = second.clone().continued(EventPosition(10)).continued(EventPosition(30));
        for (series, position, is_contained) in [
            (first.present(), 10, true),
            (first.present(), 11, false),
            (second.present(), 10, true),
            (second.present(), 11, false),
            (third.present(), 31, true),
            (Series::from_bits(7), 1, false),
        ] {
            assert_eq!(
                third.contains(series, EventPosition(position)),
                is_contained,
                "{series:?} {position}"
            );
        }
        assert!(third.has(first.present()) && third.has(third.present()));
        assert!(!third.has(Series::from_bits(7)) && !first.has(second.present()));
    }

    #[test]
    fn two_runs_that_continue_the_same_one_do_not_read_each_other() {
        let copied = Lineage::from(Series::random());
        let [one, other] = [0; 2].map(|_| copied.clone().continued(EventPosition(10)));
        assert!(!one.has(other.present()) && !other.has(one.present()));
        assert!(one.has(copied.present()) && other.has(copied.present()));
    }

    #[test]
    fn the_oldest_series_is_forgotten_first() {
        let mut lineage = Lineage::from(Series::from_bits(1));
        let mut all = Vec::new();
        for last in 0..=Lineage::EARLIER as u64 {
            all.push(lineage.present());
            lineage = lineage.continued(EventPosition(last));
        }
        assert!(!lineage.has(all[0]));
        assert!(all[1..].iter().all(|series| lineage.has(*series)));
        assert_eq!(lineage.earlier().len(), Lineage::EARLIER);
    }
}
