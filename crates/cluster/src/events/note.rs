//! What a node says between its events, in the row of their numbers.

/// Takes a number of a publisher and bucket, as an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// Nothing follows for now, so whoever lacks a number before this one has lost it.
    Head,
    /// This many numbers, up to its own, are those of events that could not be sent.
    /// The publisher has counted them as lost.
    Unsent(u64),
}

const HEAD: u8 = b'h';
const UNSENT: u8 = b'u';

impl Note {
    /// Returns how many events it stands for.
    pub(super) const fn unsent(self) -> u64 {
        match self {
            Self::Head => 0,
            Self::Unsent(count) => count,
        }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Head => vec![HEAD],
            Self::Unsent(count) => [&[UNSENT][..], &count.to_be_bytes()].concat(),
        }
    }

    /// Returns `None` for a note that this version does not know.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&HEAD, []) => Some(Self::Head),
            (&UNSENT, count) => Some(Self::Unsent(u64::from_be_bytes(count.try_into().ok()?).max(1))),
            _ => None,
        }
    }
}
