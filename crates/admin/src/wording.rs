//! The answers to requests that are refused before a handler runs: `/v4` has its own form, every
//! other path has RIG's.

use axum::response::{IntoResponse, Response};

use crate::access::Denied;
use crate::answer::RigError;
use crate::turned_away::TurnedAway;
use crate::v4::problem::Problem;

/// Why a request does not reach a handler.
#[derive(Debug)]
pub(crate) enum Unhandled {
    /// The path does not exist.
    NotFound,
    /// Its caller is not known, or has not the right.
    Denied(Denied),
    /// It comes from a web page, or names a host that is not the port's.
    Away(TurnedAway),
    /// Its body has a content coding.
    Coded,
}

impl Unhandled {
    /// Returns the answer for this path.
    pub(crate) fn answer(self, path: &str) -> Response {
        match is_v4(path) {
            true => self.problem().into_response(),
            false => self.rig_error().into_response(),
        }
    }

    fn problem(self) -> Problem {
        match self {
            Self::NotFound => Problem::NOTHING_HERE,
            Self::Denied(denied) => Problem::Denied(denied),
            Self::Away(reason) => Problem::TurnedAway(reason),
            Self::Coded => Problem::Coded,
        }
    }

    fn rig_error(self) -> RigError {
        match self {
            Self::NotFound => RigError::NotFound,
            Self::Denied(denied) => RigError::Denied(denied),
            Self::Away(reason) => RigError::TurnedAway(reason),
            Self::Coded => RigError::Coded,
        }
    }
}

fn is_v4(path: &str) -> bool {
    path == "/v4" || path.starts_with("/v4/")
}
