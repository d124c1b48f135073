//! What the driver shows of the protocol.

use std::time::Duration;

use session::{NodeName, Receipt, RevocationId};

use super::Core;
use super::members::Confirmation;
use super::own::{Outcome, Progress};

impl Core {
    /// Returns whether the node has caught up with the stream.
    pub fn is_following(&self) -> bool {
        self.recovery.is_following()
    }

    /// Returns whether everything in the log is compared with the stream.
    pub fn is_sharing(&self) -> bool {
        self.recovery.is_sharing()
    }

    /// Returns the newest version of messages that each live node reads.
    pub fn versions(&self) -> impl Iterator<Item = u32> {
        self.members.versions(self.now)
    }

    /// Returns the ids of operations that are on their way to the stream.
    pub fn publishing(&self) -> impl Iterator<Item = &RevocationId> {
        self.publishing.ids()
    }

    /// Returns the number of operations in the stream that some node has not confirmed.
    pub fn unconfirmed(&self) -> usize {
        self.publishing.unconfirmed_count()
    }

    /// Returns the time since the last own beat came back; `None` before the node follows the
    /// stream.
    pub fn beat_age(&self) -> Option<Duration> {
        self.is_following().then(|| self.now.saturating_sub(self.lease.last_returned()))
    }
}

impl Outcome {
    /// Returns whether nothing more will change.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Conflict | Self::GivenUp { .. })
    }
}

impl Progress {
    /// Returns whether nothing more will change.
    pub fn is_final(&self) -> bool {
        self.outcome.is_final()
    }

    /// Returns the receipts that nodes have sent.
    pub fn receipts(&self) -> impl Iterator<Item = (&NodeName, Receipt)> {
        self.nodes.iter().filter_map(|(node, confirmation)| match confirmation {
            Confirmation::Applied(Some(receipt)) => Some((node, *receipt)),
            _ => None,
        })
    }
}
