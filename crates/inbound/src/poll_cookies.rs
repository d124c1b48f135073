//! The cookies of long polling (RIG), which name a connection and the last event that its page
//! received.
//!
//! Browsers send them with the requests of any page. So a connection token is bound to the origin
//! of the page that opened the connection: another page cannot poll with it, and gets cookies with
//! other names if these names are taken.

use std::fmt;
use std::sync::Arc;

use auth::{Sender, cookies};
use connection::{Connection, Cursor, Hub, Located};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use seal::Incarnation;

/// The value of `last_event_id` before the first event (RIG).
pub(crate) const FIRST_EVENT: &str = "first_event";

const CONNECTION_TOKEN: &str = "connection_token";
const LAST_EVENT_ID: &str = "last_event_id";

/// Limit of the bytes of an origin in the name of a cookie.
const MAX_SUFFIX: usize = 100;

/// Limit of the other nodes that may have to be asked for one name of a cookie.
const LIVES: usize = 4;

/// A connection that a cookie names.
pub(crate) struct Found {
    /// The suffix of the names of its cookies.
    pub(crate) suffix: String,
    pub(crate) place: Place,
}

/// Where a connection is.
pub(crate) enum Place {
    Here(Arc<Connection>),
    /// At this life of a node, unless it has exited or the connection is closed.
    Elsewhere(Incarnation),
}

impl Found {
    fn is_here(&self) -> bool {
        matches!(self.place, Place::Here(_))
    }
}

/// The cookies of one page.
pub(crate) struct PollCookies<'r> {
    headers: &'r HeaderMap,
    /// The origin that connection tokens are bound to; empty for the gateway's own origin and for
    /// clients that are not browsers.
    page: &'r [u8],
    /// The suffix of the names of the cookies; empty for RIG's names.
    suffix: String,
    /// The attributes that make browsers send the cookies for pages of other sites too; only over
    /// TLS.
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

    /// Returns `true` if the request names a connection, of whatever page.
    pub(crate) fn name_any(&self) -> bool {
        cookies(self.headers, CONNECTION_TOKEN).next().is_some()
    }

    /// Returns where the connection of this page may be, in the order in which to try: a connection
    /// at this node is the last. Most requests name one.
    pub(crate) fn find(&self, hub: &Hub) -> Vec<Found> {
        let mut found = self.find_under(String::new(), hub);
        if !found.iter().any(Found::is_here)
            && let Some(suffix) = self.suffix_of_page()
        {
            found.append(&mut self.find_under(suffix, hub));
        }
        found
    }

    fn find_under(&self, suffix: String, hub: &Hub) -> Vec<Found> {
        let name = format!("{CONNECTION_TOKEN}{suffix}");
        let tokens = cookies(self.headers, &name).filter_map(|token| std::str::from_utf8(token).ok());
        // Some clients return values in quotes (RFC 6265, section 4.1.1).
        let tokens = tokens.map(|token| token.trim_matches('"'));
        let mut found: Vec<Found> = Vec::new();
        for place in tokens.filter_map(|token| hub.locate(token, self.page).ok()) {
            let suffix = suffix.clone();
            match place {
                Located::Here(Some(connection)) => {
                    return vec![Found { suffix, place: Place::Here(connection) }];
                }
                Located::Here(None) => {}
                Located::Elsewhere(life) if found.len() < LIVES => {
                    found.push(Found { suffix, place: Place::Elsewhere(life) });
                }
                Located::Elsewhere(_) => {}
            }
        }
        found
    }

    /// Returns the suffix of the names that do not overwrite the cookies of another page; `None` if
    /// there are none.
    fn suffix_of_page(&self) -> Option<String> {
        if self.page.is_empty() || !self.name_any() {
            return None;
        }
        let in_name = |byte: &u8| if byte.is_ascii_alphanumeric() { char::from(*byte) } else { '-' };
        Some(format!("-{}", self.page.iter().take(MAX_SUFFIX).map(in_name).collect::<String>()))
    }

    /// Selects the names of the cookies: those with this suffix, which name a connection.
    pub(crate) fn select(&mut self, suffix: String) {
        self.suffix = suffix;
    }

    /// Selects the names of the cookies of a new connection.
    pub(crate) fn select_new(&mut self) {
        self.suffix = self.suffix_of_page().unwrap_or_default();
    }

    /// Returns the cursor of the events that the page has received.
    pub(crate) fn cursor(&self) -> Option<Cursor> {
        cookies(self.headers, &format!("{LAST_EVENT_ID}{}", self.suffix)).find_map(cursor)
    }

    /// Sets both cookies. RIG's `last_event_id` is the publisher's id of the newest event; here it
    /// is a cursor, in RIG's quotes, because ids of publishers are neither unique nor ordered.
    pub(crate) fn set(
        &self,
        hub: &Hub,
        connection: &Connection,
        cursor: &dyn fmt::Display,
        answer: &mut HeaderMap,
    ) {
        let token = hub.token_of(connection, self.page);
        let Self { suffix, attributes, .. } = self;
        self.append(answer, format!("{CONNECTION_TOKEN}{suffix}={token}; path=/; HttpOnly{attributes}"));
        self.append(answer, format!("{LAST_EVENT_ID}{suffix}=\"{cursor}\"; path=/; HttpOnly{attributes}"));
    }

    pub(crate) fn clear(&self, answer: &mut HeaderMap) {
        let Self { suffix, attributes, .. } = self;
        for name in [CONNECTION_TOKEN, LAST_EVENT_ID] {
            self.append(answer, format!("{name}{suffix}=; path=/; HttpOnly; Max-Age=0{attributes}"));
        }
    }

    fn append(&self, answer: &mut HeaderMap, cookie: String) {
        answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer.append(SET_COOKIE, cookie.parse().expect("tokens, cursors and suffixes are plain ASCII"));
    }
}

/// Returns the cursor in a cookie; `None` if the gateway has not set it, and the page has received
/// no event.
fn cursor(value: &[u8]) -> Option<Cursor> {
    Cursor::parse(percent_decode(value).decode_utf8().ok()?.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f45_an_invalid_cursor_counts_as_missing() {
        let seven = Cursor::parse("7");
        for value in ["7", "\"7\"", "%227%22", "007"] {
            assert_eq!(cursor(value.as_bytes()), seven, "{value}");
        }
        for value in
            ["", "\"\"", "e2", "first_event", "-7", "+7", "7.0", "7 ", "%FF", "99999999999999999999999"]
        {
            assert_eq!(cursor(value.as_bytes()), None, "{value}");
        }
    }
}
