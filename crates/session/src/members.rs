//! The connections of one session, or of one value of another claim.

use std::collections::BTreeMap;
use std::sync::Weak;

use crate::age::Moment;
use crate::clock::Tick;
use crate::connection::Connection;

/// The id of a registration, never used twice.
pub(crate) type Id = u64;

/// A connection, and when its token was issued and expires.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) connection: Weak<dyn Connection>,
    /// When the token says that it was issued, in seconds since 1970; 0 if it does not say.
    pub(crate) issued_at: u32,
    /// When the token expires.
    pub(crate) expires: Tick,
}

/// Selects members by their tokens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tokens {
    /// Every token.
    All,
    /// Those issued up to this second, as judged at this moment.
    IssuedUpTo(u32, Moment),
    /// Those that have expired by this tick.
    ExpiredBy(Tick),
}

impl Tokens {
    pub(crate) fn include(self, member: &Member) -> bool {
        match self {
            Self::All => true,
            Self::IssuedUpTo(last, moment) => moment.earliest(member.issued_at) <= last,
            Self::ExpiredBy(now) => member.expires <= now,
        }
    }
}

/// The members of a session, at least one, under the ids of their registrations.
///
/// Most sessions have one connection and need no collection. A session with many (one token in a
/// public page) is a tree, so that removing a connection stays fast however many there are.
pub(crate) enum Members {
    One(Id, Member),
    #[expect(clippy::box_collection, reason = "keeps sessions with one connection small")]
    Many(Box<BTreeMap<Id, Member>>),
}

impl Members {
    pub(crate) fn insert(&mut self, id: Id, member: Member) {
        match self {
            Self::Many(all) => drop(all.insert(id, member)),
            Self::One(first_id, first) => {
                let both = BTreeMap::from([(*first_id, first.clone()), (id, member)]);
                *self = Self::Many(Box::new(both));
            }
        }
    }

    /// Removes the registration of this id, unless it is the only one. Returns `true` if it was
    /// removed.
    pub(crate) fn remove(&mut self, id: Id) -> bool {
        let Self::Many(all) = self else { return false };
        let found = all.remove(&id).is_some();
        if all.len() == 1
            && let Some((id, last)) = all.pop_first()
        {
            *self = Self::One(id, last);
        }
        found
    }

    /// Returns `true` if the registration of this id is the only one.
    pub(crate) fn is_only(&self, id: Id) -> bool {
        matches!(self, Self::One(only, _) if *only == id)
    }

    /// Splits the members into those that `tokens` selects and the others.
    pub(crate) fn split(self, tokens: Tokens) -> (Option<Self>, Option<Self>) {
        match self {
            Self::One(id, member) if tokens.include(&member) => (Some(Self::One(id, member)), None),
            Self::One(id, member) => (None, Some(Self::One(id, member))),
            Self::Many(all) => {
                let (meant, others) = all.into_iter().partition(|(_, member)| tokens.include(member));
                (Self::of(meant), Self::of(others))
            }
        }
    }

    fn of(mut members: BTreeMap<Id, Member>) -> Option<Self> {
        match members.len() {
            0 => None,
            1 => members.pop_first().map(|(id, member)| Self::One(id, member)),
            _ => Some(Self::Many(Box::new(members))),
        }
    }

    pub(crate) fn find(&mut self, id: Id) -> Option<&mut Member> {
        match self {
            Self::One(only, member) => (*only == id).then_some(member),
            Self::Many(all) => all.get_mut(&id),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Many(all) => all.len(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Member> {
        let (one, many) = match self {
            Self::One(_, member) => (Some(member), None),
            Self::Many(all) => (None, Some(all.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::connection::{Ending, Notified};
    use crate::selector::Fingerprint;

    struct Deaf;

    impl Connection for Deaf {
        fn session_killed(&self, _: &Arc<Ending>) -> Notified {
            Notified::default()
        }
    }

    fn issued(issued_at: u32) -> Member {
        Member { connection: Weak::<Deaf>::new(), issued_at, expires: Tick(issued_at) }
    }

    #[test]
    fn a_session_with_one_connection_is_small() {
        assert!(size_of::<(Fingerprint, Members)>() <= 6 * size_of::<usize>());
    }

    #[test]
    fn a_crowd_that_has_left_costs_no_list() {
        let mut members = Members::One(0, issued(0));
        (1..100).for_each(|id| members.insert(id, issued(0)));
        assert_eq!(members.len(), 100);
        assert!((0..99).all(|id| members.remove(id)));
        assert!(!members.remove(0), "it has left already");
        assert!(!members.remove(99), "the last one is not among others");
        assert!(members.is_only(99) && !members.is_only(0));
        assert!(matches!(members, Members::One(99, _)));
    }

    #[test]
    fn a_crowd_is_divided_by_its_tokens() {
        let crowd = |n: u64| {
            let mut members = Members::One(0, issued(0));
            (1..n).for_each(|id| members.insert(id, issued(id as u32)));
            members
        };
        // Each was issued in the second of its number.
        let ids = |members: Option<Members>| {
            members.map(|members| members.iter().map(|member| member.issued_at).collect::<Vec<_>>())
        };
        let moment = Moment::new(UNIX_EPOCH + Duration::from_secs(60), Duration::ZERO);
        let (meant, others) = crowd(4).split(Tokens::IssuedUpTo(1, moment));
        assert_eq!((ids(meant), ids(others)), (Some(vec![0, 1]), Some(vec![2, 3])));
        let (meant, others) = crowd(2).split(Tokens::ExpiredBy(Tick(0)));
        assert_eq!((ids(meant), ids(others)), (Some(vec![0]), Some(vec![1])));
        let (meant, others) = crowd(1).split(Tokens::All);
        assert_eq!((ids(meant), ids(others)), (Some(vec![0]), None));
    }
}
