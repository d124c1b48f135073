//! The connections of one session.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use crate::connection::Connection;

/// The id of a registration, never used twice.
pub(crate) type Id = u64;

/// The connections of a session, at least one, under the ids of their registrations.
///
/// Most sessions have one connection; those cost no list. A session that is shared by a crowd (one token in a public
/// page) is a tree, so that leaving it does not become slower with the number of those who stay.
pub(crate) enum Members {
    One(Id, Weak<dyn Connection>),
    #[expect(clippy::box_collection, reason = "makes the session with one connection 8 bytes smaller")]
    Many(Box<BTreeMap<Id, Weak<dyn Connection>>>),
}

impl Members {
    pub(crate) fn insert(&mut self, id: Id, connection: Weak<dyn Connection>) {
        match self {
            Self::Many(all) => drop(all.insert(id, connection)),
            Self::One(first_id, first) => {
                let both = BTreeMap::from([(*first_id, first.clone()), (id, connection)]);
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

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(..) => 1,
            Self::Many(all) => all.len(),
        }
    }

    /// The connections that have not been dropped, in the order of their registration.
    pub(crate) fn alive(&self) -> impl Iterator<Item = Arc<dyn Connection>> {
        let (one, many) = match self {
            Self::One(_, connection) => (Some(connection), None),
            Self::Many(all) => (None, Some(all.values())),
        };
        one.into_iter().chain(many.into_iter().flatten()).filter_map(Weak::upgrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::SessionName;

    struct Deaf;

    impl Connection for Deaf {
        fn session_killed(&self, _: &SessionName) {}
    }

    fn gone() -> Weak<dyn Connection> {
        Weak::<Deaf>::new()
    }

    #[test]
    fn a_session_with_one_connection_is_small() {
        assert!(size_of::<(SessionName, Members)>() <= 5 * size_of::<usize>());
    }

    #[test]
    fn a_crowd_that_has_left_costs_no_list() {
        let mut members = Members::One(0, gone());
        (1..100).for_each(|id| members.insert(id, gone()));
        assert_eq!(members.len(), 100);
        assert!((0..99).all(|id| members.remove(id)));
        assert!(!members.remove(0), "it has left already");
        assert!(!members.remove(99), "the last one is not among others");
        assert!(members.is_only(99) && !members.is_only(0));
        assert!(matches!(members, Members::One(99, _)));
    }
}
