//! Who may do what at the internal port (d18): callers with their rights, and the right that each
//! route needs.
//!
//! | file | contents |
//! | --- | --- |
//! | `right` | the rights |
//! | `needs` | the right of each route |
//! | `token` | tokens, from the settings and from files |
//! | `entry` | what a caller proves, and the rights that it has then |
//! | `check` | finds the caller of a request, and whether it has the right |
//! | `denied` | why a request is refused |
//! | `caller` | who makes a request, as the audit log names it |

mod caller;
mod check;
mod denied;
mod entry;
pub(crate) mod needs;
mod right;
mod token;

use std::sync::Arc;

pub(crate) use caller::Caller;
pub(crate) use check::{AccessCheck, Connected, require};
pub(crate) use denied::{Denied, DeniedReason};
pub use entry::{AccessEntry, Proof};
pub use right::Right;
pub use token::{ApiToken, ApiTokenError, TokenFile, TokenFileError};

/// Who may call the internal port: with `API_TOKEN`, with an entry of `API_ACCESS`, or everyone.
/// Clones share the tokens.
#[derive(Clone, Debug, Default)]
pub struct Access(Arc<Callers>);

#[derive(Debug, Default)]
struct Callers {
    token: Option<ApiToken>,
    entries: Vec<AccessEntry>,
}

impl Access {
    /// Returns the access of whoever presents `token`, which gives all rights, and of the entries.
    /// Without any, everyone has all rights.
    pub fn new(token: Option<ApiToken>, entries: Vec<AccessEntry>) -> Self {
        Self(Arc::new(Callers { token, entries }))
    }

    /// Returns whether everyone has all rights.
    pub fn is_open(&self) -> bool {
        self.0.token.is_none() && self.0.entries.is_empty()
    }

    /// Reads the files of tokens again that have changed, or all if `forced`. A file that cannot be
    /// used leaves its old token in use, and so does one with the token of another caller, whose
    /// rights would otherwise be those of the first. May block on disk I/O.
    pub fn refresh(&self, forced: bool) {
        let Callers { token, entries } = &*self.0;
        for entry in entries {
            let Proof::Token(file) = &entry.proof else { continue };
            let is_taken = |fresh: &ApiToken| {
                let by_another = |other: &AccessEntry| match &other.proof {
                    Proof::Token(other) => !std::ptr::eq(other, file) && other.holds(fresh),
                    Proof::Jwt { .. } | Proof::Certificate(_) => false,
                };
                token.as_ref().is_some_and(|token| token.is(fresh)) || entries.iter().any(by_another)
            };
            file.refresh(forced, is_taken, &entry.name);
        }
    }
}

#[cfg(test)]
mod tests;
