//! The cookies of long polling (RIG), which name a connection and the newest event that its page knows.
//!
//! Browsers send them whichever page asks, so a connection token is bound to the origin of the page that opened the
//! connection: another page cannot poll with it, and gets cookies under names of its own where these are taken.

use std::borrow::Cow;

use auth::{Sender, cookies};
use connection::{Connection, Hub};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use std::sync::Arc;

/// The value of `last_event_id` before the first event (RIG).
pub(crate) const FIRST_EVENT: &str = "first_event";

const CONNECTION_TOKEN: &str = "connection_token";
const LAST_EVENT_ID: &str = "last_event_id";

/// The most bytes of an origin that the name of a cookie repeats.
const MAX_SUFFIX: usize = 100;

/// What may not stand in a cookie value (RFC 6265, section 4.1.1), and the sign that escapes it. The quotes of the
/// JSON string are RIG's.
const NOT_IN_COOKIES: &AsciiSet = &CONTROLS.add(b' ').add(b',').add(b';').add(b'\\').add(b'%');

/// The cookies of one page.
pub(crate) struct PollCookies<'r> {
    headers: &'r HeaderMap,
    /// What connection tokens are bound to: the origin of the page; empty for the gateway's own and for plain clients.
    page: &'r [u8],
    /// What the names end with; empty for RIG's names.
    suffix: String,
    /// What a browser needs to send them with the requests of pages of other sites, which works over TLS only.
    attributes: &'static str,
}

impl<'r> PollCookies<'r> {
    pub(crate) fn new(headers: &'r HeaderMap, sender: Sender<'r>, secure: bool) -> Self {
        let page = match sender {
            Sender::Unnamed | Sender::Own => b"",
            Sender::Page(origin) => origin.as_bytes(),
            Sender::Hidden => b"null",
        };
        let attributes = if secure { "; SameSite=None; Secure" } else { "" };
        Self { headers, page, suffix: String::new(), attributes }
    }

    /// Whether the request names any connection, whoever's.
    pub(crate) fn name_any(&self) -> bool {
        cookies(self.headers, CONNECTION_TOKEN).next().is_some()
    }

    /// Returns the connection of this page. From here on the names are those under which it was found or, if there is
    /// none, under which a new one is kept without touching another page's.
    pub(crate) fn find(&mut self, hub: &Hub) -> Option<Arc<Connection>> {
        let find = |name: &str| {
            let tokens = cookies(self.headers, name).filter_map(|token| std::str::from_utf8(token).ok());
            tokens.filter_map(|token| hub.find_for(token, self.page).ok().flatten()).next()
        };
        if let found @ Some(_) = find(CONNECTION_TOKEN) {
            return found;
        }
        if self.page.is_empty() || !self.name_any() {
            return None;
        }
        let in_name = |byte: &u8| if byte.is_ascii_alphanumeric() { char::from(*byte) } else { '-' };
        let suffix = format!("-{}", self.page.iter().take(MAX_SUFFIX).map(in_name).collect::<String>());
        let found = find(&format!("{CONNECTION_TOKEN}{suffix}"));
        self.suffix = suffix;
        found
    }

    /// Returns the id of the newest event that the page knows.
    pub(crate) fn last_event_id(&self) -> Cow<'static, str> {
        let value = cookies(self.headers, &format!("{LAST_EVENT_ID}{}", self.suffix)).next().map(from_cookie);
        value.map_or(FIRST_EVENT.into(), Cow::Owned)
    }

    pub(crate) fn set(
        &self,
        hub: &Hub,
        connection: &Connection,
        last_event_id: &str,
        answer: &mut HeaderMap,
    ) {
        let id = serde_json::to_string(last_event_id).expect("a string is JSON");
        let id = utf8_percent_encode(&id, NOT_IN_COOKIES);
        let token = hub.token_of(connection, self.page);
        let Self { suffix, attributes, .. } = self;
        self.append(answer, format!("{CONNECTION_TOKEN}{suffix}={token}; path=/; HttpOnly{attributes}"));
        self.append(answer, format!("{LAST_EVENT_ID}{suffix}={id}; path=/; HttpOnly{attributes}"));
    }

    pub(crate) fn clear(&self, answer: &mut HeaderMap) {
        let Self { suffix, attributes, .. } = self;
        for name in [CONNECTION_TOKEN, LAST_EVENT_ID] {
            self.append(answer, format!("{name}{suffix}=; path=/; HttpOnly; Max-Age=0{attributes}"));
        }
    }

    fn append(&self, answer: &mut HeaderMap, cookie: String) {
        answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer.append(SET_COOKIE, cookie.parse().expect("what a cookie may not hold is escaped"));
    }
}

/// RIG writes the id as a JSON string; anything else is taken as it is.
fn from_cookie(value: &[u8]) -> String {
    let decoded = percent_decode(value).decode_utf8_lossy();
    serde_json::from_str(&decoded).unwrap_or_else(|_| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_cookie() {
        for id in ["e2", "a b", "a;b=c", "50%", "\"quoted\"", "é\n", "first_event", "%41"] {
            let json = serde_json::to_string(id).unwrap();
            let value = utf8_percent_encode(&json, NOT_IN_COOKIES).to_string();
            assert!(HeaderValue::from_str(&value).is_ok() && !value.contains(';'), "{value}");
            assert_eq!(from_cookie(value.as_bytes()), id);
        }
    }

    #[test]
    fn an_id_that_is_not_json_is_taken_as_it_is() {
        assert_eq!(from_cookie(b"notjson"), "notjson");
    }
}
