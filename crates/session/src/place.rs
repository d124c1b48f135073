//! Where an operation stands in the stream that all nodes of a cluster follow, and what that means
//! for what a log knows already.

use std::fmt;
use std::time::Duration;

use crate::log::Operation;
use crate::revocation::{Mode, Revocation};

/// Identifies a stream: a new one has another epoch. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u128);

impl Epoch {
    /// No stream: what a log held is known, but not up to where any stream has it.
    pub const NONE: Self = Self(u128::MAX);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A position in the stream; the default is before the first message of any stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Which stream.
    pub epoch: Epoch,
    /// The sequence of a message; 0 before the first.
    pub sequence: u64,
}

impl Position {
    /// Returns `true` if this position takes the place of `known`: it is in another stream, or
    /// further on in the same one.
    pub fn supersedes(self, known: Self) -> bool {
        self.epoch != known.epoch || self.sequence > known.sequence
    }
}

/// Where an operation stands in the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The position.
    pub position: Position,
    /// The number of changes of its id, with this one; 0 if the stream has none.
    pub revision: u32,
}

impl Place {
    /// Returns `true` if this place takes the place of `known`.
    ///
    /// The stream is read in its order, so what is read later counts, even if its sequence is not a
    /// later one: the stream has gone back since it had what is known. What did not come through
    /// the stream has the sequence 0, and takes the place of nothing in the same stream.
    fn supersedes(self, known: Self) -> bool {
        let is_read = self.position.epoch != known.position.epoch || self.position.sequence > 0;
        self.revision > known.revision || self.revision == known.revision && is_read
    }

    /// Returns the later of two places of one id.
    #[must_use]
    pub fn latest(self, known: Self) -> Self {
        if self.supersedes(known) { self } else { known }
    }
}

/// What a log knows of an id.
#[derive(Clone, Copy, Debug)]
pub struct KnownState<'k> {
    /// The revocation and the time for which its record is still kept; `None` if it was lifted.
    pub revocation: Option<(&'k Revocation, Duration)>,
    /// Where the stream had this id last, as far as this node knows.
    pub place: Place,
    /// `false` if a change of this node is not in the stream yet.
    pub in_stream: bool,
}

/// What an operation of the stream changes in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// The log knows a later state.
    Nothing,
    /// The state stays, and its place is noted.
    Noted {
        /// Whether the state is in the stream now.
        in_stream: bool,
    },
    /// The known revocation lasts longer in the stream, or has a later bound there: the later of
    /// each counts.
    Extended {
        /// Whether the stream has the state with both now.
        in_stream: bool,
    },
    /// The operation replaces whatever is known.
    Taken,
}

/// Two expiries that differ by less are the same: the remaining validity is rounded and measured by
/// two clocks on its way through the stream.
const SAME_END: Duration = Duration::from_millis(100);

impl KnownState<'_> {
    /// Returns what an operation of the stream changes. All logs decide alike, whatever order they
    /// learn operations in:
    ///
    /// - If there are two states of an id, the one with the higher revision wins.
    /// - Two revocations that select the same merge: the later end wins, and the later bound of two
    ///   that [extend](Revocation::extends).
    /// - If the revision is the same and the content is not, what the stream has now wins: each was
    ///   stored without the other, so the stream has lost the one that is known.
    ///   A log that has missed a lift between the two keeps the later ones.
    /// - A lift removes only what its author has seen. A revocation that was accepted here and is
    ///   not in the stream yet stays; it comes after the lift when it gets there.
    pub fn change(&self, operation: &Operation, place: Place) -> StateChange {
        let is_newer = place.revision > self.place.revision;
        if self.revocation.is_some_and(|(known, _)| known.is_local()) {
            // The stream never has its id.
            return StateChange::Nothing;
        }
        match (self.revocation, operation) {
            _ if place.revision < self.place.revision => StateChange::Nothing,
            (Some((known, left)), Operation::Revoke(revocation)) if known.is_same(revocation) => {
                if revocation.mode == Mode::Disconnect {
                    return StateChange::Noted { in_stream: true };
                }
                let covers =
                    revocation.validity.saturating_add(SAME_END) >= left && revocation.covers_ages_of(known);
                let in_stream = self.in_stream || covers;
                match revocation.validity > left || !known.covers_ages_of(revocation) {
                    true => StateChange::Extended { in_stream },
                    false => StateChange::Noted { in_stream },
                }
            }
            (Some(_), Operation::Lift { .. }) if !self.in_stream => match is_newer {
                true => StateChange::Noted { in_stream: false },
                false => StateChange::Nothing,
            },
            (None, Operation::Lift { .. }) if !is_newer => StateChange::Noted { in_stream: true },
            _ if is_newer || self.in_stream && place.supersedes(self.place) => StateChange::Taken,
            _ => StateChange::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_shown_as_32_hexadecimal_digits() {
        assert_eq!(Epoch(0xab).to_string(), format!("{}ab", "0".repeat(30)));
        assert_eq!(Epoch(u128::MAX).to_string(), "f".repeat(32));
    }

    #[test]
    fn a_position_moves_on_in_a_stream_and_to_another_stream() {
        let at = |epoch, sequence| Position { epoch: Epoch(epoch), sequence };
        assert!(at(1, 2).supersedes(at(1, 1)) && at(2, 1).supersedes(at(1, 9)));
        assert!(!at(1, 1).supersedes(at(1, 1)) && !at(1, 1).supersedes(at(1, 2)));
    }

    /// One of the two was stored in a stream that has gone back since, behind more messages.
    #[test]
    fn of_two_changes_with_the_same_number_the_one_that_the_stream_has_now_counts() {
        let place = |sequence| Place { position: Position { epoch: Epoch(1), sequence }, revision: 3 };
        let name = "s".parse().expect("a name");
        let revocation = Revocation::blacklist(&name, Duration::from_secs(60));
        let lift = Operation::Lift { id: revocation.id.clone(), by: None };
        let known = |sequence, in_stream| KnownState {
            revocation: Some((&revocation, revocation.validity)),
            place: place(sequence),
            in_stream,
        };
        assert_eq!(known(29, true).change(&lift, place(14)), StateChange::Taken);
        assert_eq!(known(14, true).change(&lift, place(14)), StateChange::Taken);
        assert_eq!(known(14, true).change(&lift, place(29)), StateChange::Taken);
        assert_eq!(known(29, false).change(&lift, place(14)), StateChange::Nothing);
        assert_eq!(known(29, true).change(&lift, place(0)), StateChange::Nothing, "not from the stream");
        assert_eq!(place(14).latest(place(29)), place(14));
        let lifted = KnownState { revocation: None, place: place(29), in_stream: true };
        assert_eq!(lifted.change(&Operation::Revoke(revocation.clone()), place(14)), StateChange::Taken);
    }
}
