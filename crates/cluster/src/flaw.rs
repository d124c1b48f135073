//! Planted bugs: a simulator is measured by the bugs that it finds.
//!
//! Each is one step of the protocol left out, and is switched on at run time. They exist in this
//! crate's own tests only; in any other build [`Flaws::has`] is a constant.

/// A step of the protocol that is left out or done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(dead_code, reason = "they are switched on in tests only")]
pub(crate) enum Flaw {
    /// The fence is not asked before payload is written.
    NoFence,
    /// A gap in the sequence is ignored.
    NoContiguity,
    /// Messages that were replaced before they were read count as applied.
    SkippedIsApplied,
    /// Messages of another epoch count.
    NoEpoch,
    /// Numbers of operations that a beat names are not compared with those applied.
    NoNumbers,
    /// The set of live nodes is taken before the own operation has come back.
    OwnNotSeen,
    /// A node acknowledges an operation before it has applied it.
    EarlyAcknowledgement,
    /// The lease counts from when the beat comes back, not from when it was sent.
    LeaseFromReturn,
    /// The lease of a silent node counts from its last beat, not from the storing of the operation.
    ExpiryFromBeat,
    /// A silent node counts as expired whatever its policy.
    ExpiredWithoutPolicy,
    /// A stream that went back is taken as it is.
    NoRollback,
    /// The digests of repeated messages are not compared.
    RepeatByNumber,
    /// After a rollback the node does not publish what it knows.
    NoRepair,
    /// In a repair the first copy wins, whatever its revision.
    FirstCopyWins,
    /// A lift removes a revocation without a compare-and-set.
    LiftWithoutRead,
    /// A conflict of ids is answered as success.
    ConflictIsSuccess,
    /// A timeout counts as stored.
    UnknownIsStored,
    /// Messages wait for no earlier ones while a batch is applied.
    ApplyInParallel,
    /// An early operation is applied although a later state of its id is known.
    EarlyIgnoresRevision,
    /// A message of a newer version is skipped.
    SkipNewer,
    /// The last page of a fetch from a lagging server counts as the end.
    LaggingIsEnd,
    /// A page counts as everything that the stream has.
    PageIsEnd,
    /// An empty answer counts as the end, although the server may lag behind.
    EmptyIsEnd,
    /// A node that catches up waits for messages that have expired.
    WaitsForExpired,
    /// An operation expires in the stream before it does on the nodes.
    ShortTtl,
    /// An acknowledgement counts whatever life it was sent to.
    AnyAcknowledgement,
    /// A lift that was given up is published all the same.
    LiftGoesOn,
    /// A node that stores an operation ignores the bound of the one that it replaces.
    OwnBoundWins,
}

impl Flaw {
    /// All planted bugs.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 28] = [
        Self::NoFence,
        Self::NoContiguity,
        Self::SkippedIsApplied,
        Self::NoEpoch,
        Self::NoNumbers,
        Self::OwnNotSeen,
        Self::EarlyAcknowledgement,
        Self::LeaseFromReturn,
        Self::ExpiryFromBeat,
        Self::ExpiredWithoutPolicy,
        Self::NoRollback,
        Self::RepeatByNumber,
        Self::NoRepair,
        Self::FirstCopyWins,
        Self::LiftWithoutRead,
        Self::ConflictIsSuccess,
        Self::UnknownIsStored,
        Self::ApplyInParallel,
        Self::EarlyIgnoresRevision,
        Self::SkipNewer,
        Self::LaggingIsEnd,
        Self::PageIsEnd,
        Self::EmptyIsEnd,
        Self::WaitsForExpired,
        Self::ShortTtl,
        Self::AnyAcknowledgement,
        Self::LiftGoesOn,
        Self::OwnBoundWins,
    ];
}

/// The planted bugs that are switched on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flaws(#[cfg(test)] pub(crate) Option<Flaw>);

impl Flaws {
    #[cfg(test)]
    pub(crate) fn has(self, flaw: Flaw) -> bool {
        self.0 == Some(flaw)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the same signature as in tests")]
    pub(crate) const fn has(self, _: Flaw) -> bool {
        false
    }
}

/// The product has no planted bugs: it does not compile otherwise.
#[cfg(not(test))]
const _: () = assert!(size_of::<Flaws>() == 0 && !Flaws().has(Flaw::NoFence));
