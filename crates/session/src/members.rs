//! The connections of one session, or of one value of another claim.

use std::collections::BTreeMap;
use std::sync::Weak;

use crate::age::Moment;
use crate::clock::Tick;
use crate::connection::Connection;

/// The id of a registration, never used twice.
pub(crate) type Id = u64;

/// A connection, and what its token says of itself.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) connection: Weak<dyn Connection>,
    /// When the token says that it was issued, in seconds since 1970; zero where it does not say.
    pub(crate) issued_at: u32,
    /// When the token expires.
    pub(crate) expires: Tick,
}

/// Which members are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tokens {
    /// Every token.
    All,
    /// Those issued up to this second, seen from this moment.
    IssuedUpTo(u32, Moment),
    /// Those that have ended by this tick.
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
/// Most sessions have one connection; those cost no list. A session that is shared by a crowd (one
/// token in a public page) is a tree, so that leaving it does not become slower with the number of
/// those who stay.
pub(crate) enum Members {
    One(Id, Member),
    #[expect(clippy::box_collection, reason = "makes the session with one connection smaller")]
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

    /// Removes the registration of this id from among others. Returns whether it was there.
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

    /// Whether the registration of this id is all there is.
    pub(crate) fn is_only(&self, id: Id) -> bool {
        matches!(self, Self::One(only, _) if *only == id)
    }

    /// Divides these into those that are meant and those that are not.
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
