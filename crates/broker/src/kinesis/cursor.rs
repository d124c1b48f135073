//! Where the reader of a shard is, and where it goes on after a failure.

use super::lease::Position;

/// How often the time of a shard at [`Position::Latest`] is moved back, by 255 s in all. After
/// that, records that came before are passed by.
const EARLIER: u32 = 8;

/// Where a reader is.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) at: Position,
    /// From which time on a shard at [`Position::Latest`] is read, in milliseconds since 1970.
    pub(crate) since: Option<i64>,
    pub(crate) iterator: Option<String>,
    /// How often `since` was moved back.
    earlier: u32,
}

impl Cursor {
    /// Returns a cursor without an iterator.
    pub(crate) fn new(at: Position, since: Option<i64>) -> Self {
        Self { at, since, iterator: None, earlier: 0 }
    }

    /// Goes to another place, as this one does not exist, or not any more: the records after it
    /// may still be there.
    ///
    /// Kinesis refuses a time in the future, which a clock that is ahead has. It is moved back by
    /// 1, 2, 4, … seconds, so that records are not missed that came since the lease was taken.
    pub(crate) fn leave_unknown(&mut self) {
        self.iterator = None;
        match (&self.at, self.since) {
            (Position::Latest, Some(since)) if self.earlier < EARLIER => {
                self.since = Some(since.saturating_sub(1000 << self.earlier));
                self.earlier += 1;
            }
            (Position::Latest, _) => self.since = None,
            _ => self.at = Position::TrimHorizon,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_future_is_moved_back_before_records_are_missed() {
        let mut cursor = Cursor::new(Position::Latest, Some(1_000_000));
        let tried: Vec<_> = (0..=EARLIER)
            .map(|_| {
                cursor.leave_unknown();
                cursor.since
            })
            .collect();
        assert_eq!(tried[..3], [Some(999_000), Some(997_000), Some(993_000)]);
        assert_eq!(tried[7..], [Some(745_000), None], "in the end it begins with what comes");
        assert_eq!(cursor.at, Position::Latest);
        let place = super::super::lease::Place { sequence: "1".into(), part: 0 };
        let mut cursor = Cursor::new(Position::At(place), None);
        cursor.leave_unknown();
        assert_eq!(cursor.at, Position::TrimHorizon);
    }
}
