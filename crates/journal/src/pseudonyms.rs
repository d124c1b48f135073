//! How names of sessions and users appear outside of the revocation log.

use aws_lc_rs::hmac;
use session::Revocation;

use crate::audit::hex;

/// Replaces names of sessions and users: the same name by the same text, which
/// tells the name only to those who have the key (`AUDIT_KEY`).
#[derive(Clone)]
pub struct Pseudonyms(hmac::Key);

impl Pseudonyms {
    /// Returns the pseudonyms of a key.
    pub fn new(key: &str) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()))
    }

    /// Returns what a name is replaced by.
    pub fn of(&self, name: &str) -> String {
        format!("hmac-sha256:{}", hex(hmac::sign(&self.0, name.as_bytes()).as_ref()))
    }
}

/// Shows names as they are, or, with a key, their pseudonyms.
#[derive(Clone)]
pub(crate) struct Shown(Option<Pseudonyms>);

impl Shown {
    pub(crate) fn new(key: Option<&str>) -> Self {
        Self(key.map(Pseudonyms::new))
    }

    /// Returns how the name of a session, or the value of a claim, is shown.
    pub(crate) fn value(&self, value: &str) -> String {
        self.0.as_ref().map_or_else(|| value.to_owned(), |pseudonyms| pseudonyms.of(value))
    }

    /// Returns how the id of a revocation is shown: that of a blacklisting contains the session's
    /// name, and that of a standing revocation the value of the claim.
    pub(crate) fn id(&self, revocation: &Revocation) -> String {
        let id = revocation.id.as_str();
        if revocation.extends { self.value(id) } else { id.to_owned() }
    }
}
