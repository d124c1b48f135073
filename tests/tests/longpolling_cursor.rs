//! The cursor of long polling does not depend on the ids that publishers choose, so no event is
//! lost.

use rig_tests::*;
use serde_json::json;

/// Returns a client that is subscribed to greetings and has read the first events of its
/// connection.
fn client(gateway: &Gateway) -> LongPolling {
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut client = LongPolling::connect(gateway.inbound(), &query);
    client.welcome();
    client
}

fn event(source: &str, id: &str) -> String {
    json!({"specversion": "1.0", "type": "greeting", "source": source, "id": id}).to_string()
}

/// Returns source and id of each event of an answer.
fn got(response: &Response) -> Vec<(String, String)> {
    let body = response.json();
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let events = body["events"].as_array().expect("a list of events");
    events.iter().map(|event| (text(&event["source"]), text(&event["id"]))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(source, id)| ((*source).to_owned(), (*id).to_owned())).collect()
}

/// Returns the client with another value in its `last_event_id` cookie.
fn with_cursor(client: &LongPolling, value: &str) -> LongPolling {
    let mut other = client.clone();
    other.cookies.retain(|(name, _)| name != "last_event_id");
    other.cookies.push(("last_event_id".into(), value.into()));
    other
}

fn cursor(client: &LongPolling) -> u64 {
    let (_, value) = client.cookies.iter().find(|(name, _)| name == "last_event_id").expect("a cursor");
    value.trim_matches('"').parse().expect("a cursor is a number")
}

#[test]
fn f45_the_same_id_from_two_sources_hides_no_event() {
    let gateway = Gateway::start(&[]);
    let mut client = client(&gateway);
    gateway.publish(&event("/a", "1"));
    assert_eq!(got(&client.poll()), pairs(&[("/a", "1")]));
    for (source, id) in [("/a", "2"), ("/a", "3"), ("/b", "1")] {
        gateway.publish(&event(source, id));
    }
    let lost = client.start().answer();
    assert_eq!(got(&lost), pairs(&[("/a", "2"), ("/a", "3"), ("/b", "1")]));
    let again = client.poll();
    assert_eq!(again.text(), lost.text(), "an answer that got lost on its way comes again");
    gateway.publish(&event("/c", "4"));
    assert_eq!(got(&client.poll()), pairs(&[("/c", "4")]));
}

#[test]
fn f45_events_with_the_same_id_are_all_delivered() {
    let gateway = Gateway::start(&[]);
    let mut client = client(&gateway);
    for _ in 0..3 {
        for source in ["/a", "/b", "/a"] {
            gateway.publish(&event(source, "0"));
        }
        assert_eq!(got(&client.poll()), pairs(&[("/a", "0"), ("/b", "0"), ("/a", "0")]));
    }
}

#[test]
fn f45_ids_of_any_characters_leave_the_cookie_alone() {
    let gateway = Gateway::start(&[]);
    let mut client = client(&gateway);
    let long = "x".repeat(1024);
    for id in
        ["a;b=c, d", "\"quoted\"", "50%25", "\\", "é😀", "first_event", "first event", "-1", "1e400", &long]
    {
        gateway.publish(&event("/a", id));
        assert_eq!(got(&client.poll()), pairs(&[("/a", id)]));
        assert!(cursor(&client) > 0, "{id}");
    }
}

#[test]
fn f45_a_cursor_that_is_none_of_the_connection_counts_as_no_cursor() {
    let gateway = Gateway::start(&[]);
    let mut client = client(&gateway);
    gateway.publish(&event("/a", "1"));
    client.poll();
    let (newest, mut other) = (cursor(&client), self::client(&gateway));
    gateway.publish(&event("/a", "2"));
    other.poll();
    let elsewhere = cursor(&other).to_string();
    for forged in [
        elsewhere.as_str(),
        "\"first_event\"",
        "\"1\"",
        "",
        "\"\"",
        "0",
        "-1",
        "1.5",
        "1e3",
        "NaN",
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999999999999999999999999999",
        "%00",
        "%FF",
        "null",
        "{}",
    ] {
        let answer = with_cursor(&client, forged).start().answer();
        assert_eq!(answer.status, 200, "{forged}");
        let all = got(&answer);
        assert_eq!(all.len(), 4, "{forged}: {all:?}");
        assert_eq!(all[2..], pairs(&[("/a", "1"), ("/a", "2")]), "{forged}");
    }
    let beyond = (newest + 2).to_string();
    assert_eq!(
        got(&with_cursor(&client, &beyond).start().answer()).len(),
        4,
        "a cursor beyond the newest event"
    );
    let first = (newest - 1).to_string();
    assert_eq!(got(&with_cursor(&client, &first).start().answer()), pairs(&[("/a", "1"), ("/a", "2")]));
}

/// How many events a mailbox holds.
const KEPT: usize = 200;

fn numbered(range: std::ops::Range<usize>) -> Vec<(String, String)> {
    range.map(|n| ("/a".to_owned(), n.to_string())).collect()
}

/// A client that is behind by more than its mailbox holds gets everything in the mailbox, whether
/// its cursor is too old or missing; the next poll continues from there.
fn catches_up(mut client: LongPolling, kept: &[(String, String)], gateway: &Gateway) {
    for forged in ["0", "\"first_event\"", "", "18446744073709551615"] {
        assert_eq!(got(&with_cursor(&client, forged).start().answer()), kept, "{forged}");
    }
    let lost = client.start().answer();
    assert_eq!(got(&lost), kept);
    assert_eq!(client.poll().text(), lost.text(), "an answer that got lost on its way comes again");
    gateway.publish(&event("/b", "next"));
    assert_eq!(got(&client.poll()), pairs(&[("/b", "next")]), "nothing comes twice");
}

#[test]
fn f45_what_a_full_mailbox_keeps_is_delivered() {
    let gateway = Gateway::start(&[("HISTORY", "off")]);
    for beyond in [0, 1, 250] {
        let client = client(&gateway);
        for n in 0..KEPT + beyond {
            gateway.publish(&event("/a", &n.to_string()));
        }
        catches_up(client, &numbered(beyond..KEPT + beyond), &gateway);
    }
}

#[test]
fn f45_what_a_mailbox_full_of_bytes_keeps_is_delivered() {
    const BYTES: usize = 16 << 10;
    let gateway = Gateway::start(&[("HISTORY", "off"), ("OUTBOX_BYTES", "16KiB")]);
    let client = client(&gateway);
    let event = |n: usize| {
        let data = "x".repeat(3000);
        json!({"specversion": "1.0", "type": "greeting", "source": "/a", "id": n.to_string(), "data": data})
            .to_string()
    };
    for n in 0..12 {
        gateway.publish(&event(n));
    }
    let kept = BYTES / event(0).len();
    catches_up(client, &numbered(12 - kept..12), &gateway);
}

/// The first poll of a page comes late: even the first events of its connection have been dropped.
#[test]
fn f45_a_first_poll_gets_what_a_full_mailbox_keeps() {
    let gateway = Gateway::start(&[("HISTORY", "off")]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let client = LongPolling::connect(gateway.inbound(), &query);
    for n in 0..KEPT + 1 {
        gateway.publish(&event("/a", &n.to_string()));
    }
    catches_up(client, &numbered(1..KEPT + 1), &gateway);
}
