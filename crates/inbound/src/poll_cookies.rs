//! The cookies of long polling, which name a connection and the last event that its page received
//! (RIG), and where its page stands if the connection is gone.
//!
//! Browsers send them with the requests of any page. So a connection token is bound to the origin
//! of the page that opened the connection: another page cannot poll with it, and gets cookies with
//! other names if these names are taken.

use std::fmt;
use std::sync::Arc;

use auth::{Sender, cookies, parameters};
use bytes::Bytes;
use connection::{Connection, Cursor, EventId, Hub, Located};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_encode};
use seal::Incarnation;

use crate::resume::{cursor_of, is_asked_for};

/// The value of `last_event_id` before the first event (RIG).
pub(crate) const FIRST_EVENT: &str = "first_event";

const CONNECTION_TOKEN: &str = "connection_token";
const LAST_EVENT_ID: &str = "last_event_id";
const POSITION: &str = "position";

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
    /// The name of the cookie of the position; `None` if there are no positions.
    position: Option<String>,
    /// What the query says, if it asks for resume.
    read: Option<Read>,
}

/// How far a page says that it has read: a cursor of its connection, and the id with which it comes
/// back if that is gone. The gateway has given it both with an answer.
#[derive(Default)]
struct Read {
    cursor: Option<Cursor>,
    id: Option<Box<str>>,
}

impl Read {
    fn parse(text: &str) -> Self {
        let (cursor, id) = text.split_once('-').unwrap_or((text, ""));
        let id = (!id.is_empty()).then(|| cursor_of(id.as_bytes()));
        Self { cursor: Cursor::parse(cursor), id }
    }
}

impl<'r> PollCookies<'r> {
    pub(crate) fn new(headers: &'r HeaderMap, sender: Sender<'r>, secure: bool, keeps_history: bool) -> Self {
        let page = match sender {
            Sender::Unnamed | Sender::Own => b"",
            Sender::Page(origin) => origin.as_bytes(),
            Sender::Hidden => b"null",
        };
        let attributes = if secure { "; SameSite=None; Secure" } else { "" };
        let position = keeps_history.then(|| position_name(page));
        Self { headers, page, suffix: String::new(), attributes, position, read: None }
    }

    /// Takes from the query how far the page has read: with `resume=true`, each answer says in
    /// `read` how far it goes. It counts before the cookies, since a browser may have stored those
    /// of an answer that was cut off.
    pub(crate) fn with_query(self, query: Option<&str>) -> Self {
        let query = query.unwrap_or_default();
        let read = || parameters(query, "read").last().map(|read| Read::parse(&read)).unwrap_or_default();
        Self { read: is_asked_for(query).then(read), ..self }
    }

    /// Returns `true` if the page asks for resume.
    pub(crate) const fn ask_for_resume(&self) -> bool {
        self.read.is_some()
    }

    /// Returns the body of an answer, a JSON object, that ends at this cursor and this id; `None`:
    /// at the id with which the page came.
    pub(crate) fn body(&self, body: Bytes, cursor: impl fmt::Display, id: Option<EventId>) -> Bytes {
        let (Some(read), Some(start)) = (&self.read, body.strip_suffix(b"}")) else { return body };
        // Whatever else the page has sent is not given back: it may not fit into a string.
        let id = id.or_else(|| EventId::from_text(read.id.as_deref()?));
        let id = id.map(|id| format!("-{id}")).unwrap_or_default();
        [start, format!(r#","read":"{cursor}{id}"}}"#).as_bytes()].concat().into()
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
        if let Some(cursor) = self.read.as_ref().and_then(|read| read.cursor) {
            return Some(cursor);
        }
        cookies(self.headers, &format!("{LAST_EVENT_ID}{}", self.suffix)).find_map(cursor)
    }

    /// Returns the cursor with which a new connection of the page continues an earlier one.
    pub(crate) fn position(&self) -> Option<Box<str>> {
        let read = self.position.as_ref().and(self.read.as_ref()).and_then(|read| read.id.clone());
        if read.is_some() {
            return read;
        }
        let values = cookies(self.headers, self.position.as_deref()?);
        values.map(without_quotes).find(|value| !value.is_empty()).map(cursor_of)
    }

    /// Sets RIG's cookies. RIG's `last_event_id` is the publisher's id of the newest event; here it
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

    /// Sets the cookie of the position, if there is one.
    pub(crate) fn set_position(&self, position: Option<EventId>, answer: &mut HeaderMap) {
        if let (Some(name), Some(position)) = (&self.position, position) {
            self.append(answer, format!("{name}={position}; path=/; HttpOnly{}", self.attributes));
        }
    }

    /// Clears all cookies: what follows must not continue this connection.
    pub(crate) fn clear_all(&self, answer: &mut HeaderMap) {
        self.clear(answer);
        if let Some(name) = &self.position {
            self.append(answer, format!("{name}=; path=/; HttpOnly; Max-Age=0{}", self.attributes));
        }
    }

    /// Clears RIG's cookies: the connection is closed, and a new one may continue it.
    pub(crate) fn clear(&self, answer: &mut HeaderMap) {
        let Self { suffix, attributes, .. } = self;
        for name in [CONNECTION_TOKEN, LAST_EVENT_ID] {
            self.append(answer, format!("{name}{suffix}=; path=/; HttpOnly; Max-Age=0{attributes}"));
        }
    }

    fn append(&self, answer: &mut HeaderMap, cookie: String) {
        answer.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer.append(SET_COOKIE, cookie.parse().expect("names, tokens, cursors and ids are plain ASCII"));
    }
}

/// Returns the name of the cookie of the position for a page. Each page has its own one, from the
/// first connection on: another page could find out when this one has polled last.
fn position_name(page: &[u8]) -> String {
    if page.is_empty() {
        return POSITION.to_owned();
    }
    let page = &page[..page.len().min(MAX_SUFFIX)];
    format!("{POSITION}-{}", percent_encode(page, NON_ALPHANUMERIC))
}

/// Returns a value without the quotes that some clients add (RFC 6265, section 4.1.1).
fn without_quotes(value: &[u8]) -> &[u8] {
    let value = value.strip_prefix(b"\"").unwrap_or(value);
    value.strip_suffix(b"\"").unwrap_or(value)
}

/// Bytes that `read` adds to an answer, at most: a cursor has 20, an id 22.
pub(crate) const READ: usize = 64;

/// Returns the cursor in a cookie; `None` if the gateway has not set it, and the page has received
/// no event.
fn cursor(value: &[u8]) -> Option<Cursor> {
    Cursor::parse(percent_decode(value).decode_utf8().ok()?.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position_in(cookie: &'static str, sender: Sender<'_>, keeps_history: bool) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::COOKIE, HeaderValue::from_static(cookie));
        let position = PollCookies::new(&headers, sender, false, keeps_history).position();
        position.map(String::from)
    }

    #[test]
    fn r27_each_page_has_its_own_position() {
        let cookie = "position=own; position-http%3A%2F%2Fa%2Eb=dot; position-http%3A%2F%2Fa%2Db=dash; position-null=n";
        let [dot, dash, other] = ["http://a.b", "http://a-b", "http://a"].map(HeaderValue::from_static);
        for (sender, expected) in [
            (Sender::Own, Some("own")),
            (Sender::Unnamed, Some("own")),
            (Sender::Page(&dot), Some("dot")),
            (Sender::Page(&dash), Some("dash")),
            (Sender::Page(&other), None),
            (Sender::Hidden, Some("n")),
        ] {
            assert_eq!(position_in(cookie, sender, true).as_deref(), expected, "{sender:?}");
            assert_eq!(position_in(cookie, sender, false), None, "{sender:?}");
        }
    }

    #[test]
    fn r27_a_position_is_a_cursor_whatever_it_contains() {
        for (cookie, expected) in [
            ("position=x", Some("x")),
            ("position=\"x\"", Some("x")),
            ("a=b; position=; position=y", Some("y")),
            ("position=", None),
            ("position=\"\"", None),
            ("position", None),
            ("Position=x; last_event_id=7", None),
            ("position=a b=c%00", Some("a b=c%00")),
        ] {
            assert_eq!(position_in(cookie, Sender::Own, true).as_deref(), expected, "{cookie}");
        }
        let long: &'static str = Box::leak(format!("position={}", "x".repeat(10_000)).into());
        assert_eq!(position_in(long, Sender::Own, true).as_deref(), Some("too long"));
    }

    #[test]
    fn r27_a_kill_clears_the_position_and_another_end_does_not() {
        let headers = HeaderMap::new();
        let page = HeaderValue::from_static("http://a.b");
        let set_cookies = |keeps_history, is_killed: bool| {
            let mut answer = HeaderMap::new();
            let cookies = PollCookies::new(&headers, Sender::Page(&page), true, keeps_history);
            if is_killed {
                cookies.clear_all(&mut answer)
            } else {
                cookies.clear(&mut answer)
            }
            let values = answer.get_all(SET_COOKIE).into_iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let of_rig = set_cookies(false, false);
        assert_eq!(of_rig.len(), 2);
        assert_eq!(set_cookies(true, false), of_rig);
        assert_eq!(set_cookies(false, true), of_rig);
        let position = "position-http%3A%2F%2Fa%2Eb=; path=/; HttpOnly; Max-Age=0; SameSite=None; Secure";
        let all = [&of_rig[..], &[position.to_owned()]].concat();
        assert_eq!(set_cookies(true, true), all);
    }

    #[test]
    fn a_page_says_in_the_query_how_far_it_has_read() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::COOKIE, HeaderValue::from_static("last_event_id=9"));
        let cookies = |query| PollCookies::new(&headers, Sender::Own, false, true).with_query(Some(query));
        let seven = Cursor::parse("7");
        for (query, expected) in [
            ("resume=true&read=7", "7"),
            ("resume=true&read=7-", "7"),
            ("resume=true&read=7-AAAAAAAAAAAAAAAAAAA-AA", "7"),
            ("read=1&resume=true&read=7", "7"),
            ("resume=true", "9"),
            ("resume=true&read=", "9"),
            ("resume=true&read=x", "9"),
            ("read=7", "9"),
        ] {
            assert_eq!(cookies(query).cursor(), Cursor::parse(expected), "{query}");
        }
        let body = Bytes::from_static(br#"{"events":[]}"#);
        let answer = |query, id| cookies(query).body(body.clone(), seven.unwrap(), id);
        assert_eq!(answer("resume=true", None), r#"{"events":[],"read":"7"}"#);
        assert_eq!(answer("read=7", None), body);
        let [id, other] = ["AAAAAAAAAAAAAAAAAAA-AA", "BBBBBBBBBBBBBBBBBBBBBB"];
        let with_id = |id: &str| format!(r#"{{"events":[],"read":"7-{id}"}}"#);
        assert_eq!(answer("resume=true&read=5", EventId::from_text(id)), with_id(id));
        assert_eq!(answer("resume=true&read=5-BBBBBBBBBBBBBBBBBBBBBB", EventId::from_text(id)), with_id(id));
        assert_eq!(answer("resume=true&read=5-BBBBBBBBBBBBBBBBBBBBBB", None), with_id(other));
        assert_eq!(answer("resume=true&read=5-%22%7D", None), r#"{"events":[],"read":"7"}"#);
    }

    #[test]
    fn r27_a_page_says_in_the_query_where_it_comes_back_to() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::COOKIE, HeaderValue::from_static("position=cookie"));
        let position = |query, keeps_history| {
            let cookies = PollCookies::new(&headers, Sender::Own, false, keeps_history);
            cookies.with_query(Some(query)).position().map(String::from)
        };
        for (query, expected) in [
            ("resume=true&read=7-AAAAAAAAAAAAAAAAAAA-AA", "AAAAAAAAAAAAAAAAAAA-AA"),
            ("resume=true&read=x-junk", "junk"),
            ("resume=true&read=7-", "cookie"),
            ("resume=true&read=7", "cookie"),
            ("read=7-AAAAAAAAAAAAAAAAAAA-AA", "cookie"),
        ] {
            assert_eq!(position(query, true).as_deref(), Some(expected), "{query}");
            assert_eq!(position(query, false), None, "{query}");
        }
    }

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
