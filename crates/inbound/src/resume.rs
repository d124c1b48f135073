//! Where a client stands that comes back.

use auth::parameters;
use connection::Resume;
use http::{HeaderMap, HeaderValue};

/// The header in which an event stream comes back with the id of its last event (WHATWG HTML,
/// section 9.2.4).
const LAST_EVENT_ID: &str = "last-event-id";

/// Parameters with the same meaning, for clients that cannot set headers: RIG's spelling, and that
/// of replacements for `EventSource`. The last one that is not empty counts, since these append
/// theirs to a URL that may have one of the page.
const PARAMETERS: [&str; 2] = ["last_event_id", "lastEventId"];

/// Limit of the bytes of a cursor. An id has 22.
const MAX_CURSOR: usize = 512;

/// Stands for a longer cursor. It is not an id either: there is no blank in Base64.
const TOO_LONG: &str = "too long";

/// Returns what a request that connects says about an earlier connection. A header counts before
/// the query, because the URL of an `EventSource` stays as it was at the first connect; `position`,
/// that of a mailbox, counts last. `is_complete` is `true` if the request names subscriptions.
pub(crate) fn resume(
    headers: &HeaderMap,
    query: &str,
    position: Option<Box<str>>,
    is_complete: bool,
) -> Resume {
    let cursor = of_header(headers).or_else(|| of_query(query)).or(position);
    Resume { cursor, ids_in_heartbeats: is_asked_for(query), is_complete, elsewhere: None }
}

/// Returns `true` if a client asks in the query for what helps it to come back: `resume=true`.
pub(crate) fn is_asked_for(query: &str) -> bool {
    parameters(query, "resume").last().is_some_and(|value| value == "true")
}

/// Returns the cursor in the header. Of several, the last that is not empty counts, as in a query.
fn of_header(headers: &HeaderMap) -> Option<Box<str>> {
    let mut values = headers.get_all(LAST_EVENT_ID).into_iter().map(HeaderValue::as_bytes);
    values.rfind(|value| !value.is_empty()).map(cursor_of)
}

/// Returns the cursor in the query.
fn of_query(query: &str) -> Option<Box<str>> {
    let of_pair = |pair| PARAMETERS.into_iter().find_map(|name| parameters(pair, name).next());
    query.rsplit('&').find_map(of_pair).map(|value| cursor_of(value.as_bytes()))
}

/// Returns the cursor as it is kept; what is not UTF-8 is replaced. Whatever it is, it refuses no
/// client: one that is not an id is answered with a gap.
pub(crate) fn cursor_of(bytes: &[u8]) -> Box<str> {
    if bytes.len() > MAX_CURSOR {
        return TOO_LONG.into();
    }
    let text = String::from_utf8_lossy(bytes);
    if text.len() > MAX_CURSOR { TOO_LONG.into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "AAECAwQFBgcICQoLDA0ODw";

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LAST_EVENT_ID, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn found(values: &[&[u8]], query: &str, position: Option<&[u8]>) -> Option<String> {
        resume(&headers(values), query, position.map(super::cursor_of), false).cursor.map(String::from)
    }

    fn in_query(query: &str) -> Option<String> {
        found(&[], query, None)
    }

    #[test]
    fn r11_the_header_counts_before_the_query_and_that_before_the_mailbox() {
        let header = [&b"header"[..]];
        let both = "lastEventId=camel&last_event_id=query";
        for (values, query, position, expected) in [
            (&header[..], both, Some(&b"mailbox"[..]), Some("header")),
            (&[], both, Some(b"mailbox"), Some("query")),
            (&[], "last_event_id=query&lastEventId=camel", None, Some("camel")),
            (&[], "lastEventId=camel", Some(b"mailbox"), Some("camel")),
            (&[], "", Some(b"mailbox"), Some("mailbox")),
            (&[], "", None, None),
            // What is empty counts as missing.
            (&[b""], both, None, Some("query")),
            (&[b"", b"first", b"last", b""], "", None, Some("last")),
            (&[b""], "last_event_id=&lastEventId=", Some(b"mailbox"), Some("mailbox")),
            (&[], "lastEventId=camel&last_event_id=", None, Some("camel")),
            (&[b""], "last_event_id=", None, None),
        ] {
            let cursor = found(values, query, position);
            assert_eq!(cursor.as_deref(), expected, "{query}");
        }
    }

    #[test]
    fn r11_the_last_parameter_counts_whatever_its_name() {
        // A page appends the newest one to the URL of its first connect.
        let cursor = in_query(&format!("last_event_id=old&subscriptions=[]&last_event_id={ID}"));
        assert_eq!(cursor.as_deref(), Some(ID));
        assert_eq!(in_query("lastEventId=old&lastEventId=new").as_deref(), Some("new"));
        assert_eq!(in_query("last_event_id=old&last_event_id=").as_deref(), Some("old"));
        assert_eq!(in_query("last_event_id=old&lastEventId=new").as_deref(), Some("new"));
        assert_eq!(in_query("lastEventId=old&x=y&last%5Fevent_id=new&").as_deref(), Some("new"));
        assert_eq!(in_query("last_event_id=a&lastEventId=b&last_event_id=c").as_deref(), Some("c"));
        assert_eq!(in_query("last_event_id=old&lastEventId=&lastEventId").as_deref(), Some("old"));
        assert_eq!(in_query("LAST_EVENT_ID=a&last_event_id2=b&xlast_event_id=c&lasteventid=d"), None);
    }

    #[test]
    fn r10_whatever_a_cursor_contains_it_is_one() {
        for (value, expected) in [
            (&b"%00"[..], "%00"),
            (b"tab\there", "tab\there"),
            ("ä€😀".as_bytes(), "ä€😀"),
            (b"\xFF\xFEx", "\u{FFFD}\u{FFFD}x"),
            (b"\xE2\x82", "\u{FFFD}"),
            (b"\",}]'", "\",}]'"),
        ] {
            assert_eq!(found(&[value], "", None).as_deref(), Some(expected));
            assert_eq!(found(&[], "", Some(value)).as_deref(), Some(expected));
        }
        for (query, expected) in [
            ("last_event_id=%00", "\0"),
            ("last_event_id=a%00b%0D%0A", "a\0b\r\n"),
            ("last%5Fevent%5Fid=%41+%2B", "A +"),
            ("last_event_id=%FF%E2%82", "\u{FFFD}\u{FFFD}"),
            ("last_event_id=%", "%"),
            ("last_event_id=%zz%4", "%zz%4"),
            ("last_event_id==", "="),
            ("&&last_event_id=x=y&&", "x=y"),
        ] {
            assert_eq!(in_query(query).as_deref(), Some(expected), "{query}");
        }
    }

    #[test]
    fn r10_a_long_cursor_is_not_kept() {
        let kept = "x".repeat(MAX_CURSOR);
        for long in [kept.clone() + "y", "x".repeat(10_000), "ä".repeat(5000), "%".repeat(10_000)] {
            let query = format!("last_event_id={long}");
            for cursor in [found(&[long.as_bytes()], "", None), in_query(&query)] {
                assert_eq!(cursor.as_deref(), Some(TOO_LONG));
            }
            assert_eq!(found(&[], "", Some(long.as_bytes())).as_deref(), Some(TOO_LONG));
        }
        assert_eq!(found(&[kept.as_bytes()], "", None), Some(kept.clone()));
        assert_eq!(in_query(&format!("last_event_id={kept}")), Some(kept));
        // Bytes that are replaced take more room than before.
        assert_eq!(found(&[&[0xFF; MAX_CURSOR]], "", None).as_deref(), Some(TOO_LONG));
    }

    #[test]
    fn ids_in_heartbeats_are_asked_for_in_the_query() {
        for (query, expected) in [
            ("", false),
            ("resume=true", true),
            ("a=b&resume=true", true),
            ("resume=false&resume=true", true),
            ("resume=true&resume=false", false),
            ("resume", false),
            ("resume=", false),
            ("resume=1", false),
            ("resume=TRUE", false),
        ] {
            let resume = resume(&HeaderMap::new(), query, None, true);
            assert_eq!((resume.ids_in_heartbeats, resume.is_complete), (expected, true), "{query}");
        }
    }
}
