//! Clients that come back with a cursor, and polls that continue another mailbox.

use std::time::Duration;

use futures_util::future::join_all;
use node::in_memory::Network;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use crate::world::{Answered, Member, Poller, Whom, ask, read, send, token};

const SUBSCRIBED: &str = "subscriptions=[{%22eventType%22:%22t%22}]";
/// How long a stream may be silent before a test gives up.
const WITHIN: Duration = Duration::from_secs(10);
const MINUTE: Duration = Duration::from_secs(60);

async fn node_with_history() -> Member {
    Member::join_with_history(&Network::default(), "a").await
}

/// Returns a request for a stream without chunks.
fn stream(query: &str, headers: &str) -> String {
    format!("GET /_rig/v1/connection/sse?{SUBSCRIBED}&{query} HTTP/1.0\r\nhost: x\r\n{headers}\r\n")
}

/// Reads a stream up to the block that contains `last`; to its end if there is no such block.
async fn read_to_block(member: &Member, request: &str, last: &str) -> String {
    let mut stream = send(member.address, request).await;
    let (mut all, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let text = String::from_utf8_lossy(&all);
        if text.contains(last) && text.ends_with("\n\n") {
            return text.into_owned();
        }
        match timeout(WITHIN, stream.read(&mut buffer)).await {
            Ok(Ok(read @ 1..)) => all.extend_from_slice(&buffer[..read]),
            _ => return String::from_utf8_lossy(&all).into_owned(),
        }
    }
}

/// Publishes two events, and returns the ids of the head before them and of the first one.
async fn two_events(member: &Member) -> [String; 2] {
    let publishing = async {
        while member.hub.all().next().is_none() {
            tokio::task::yield_now().await;
        }
        member.publish("t", "1", 0).await;
        member.publish("t", "2", 0).await;
    };
    let request = stream("", "");
    let (text, ()) = tokio::join!(read_to_block(member, &request, r#""id":"2""#), publishing);
    let ids: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let [created, first, _] = ids[..] else { panic!("{text}") };
    [created, first].map(str::to_owned)
}

#[tokio::test]
async fn r11_an_old_url_with_a_newer_header_resumes_at_the_header() {
    let a = node_with_history().await;
    let [old, new] = two_events(&a).await;
    for (query, headers) in [
        (format!("last_event_id={old}&lastEventId={old}"), format!("Last-Event-ID: {new}\r\n")),
        (format!("last_event_id={old}&lastEventId={new}"), String::new()),
        (format!("lastEventId={old}&last_event_id={old}&last_event_id={new}"), String::new()),
        (format!("lastEventId={new}"), "last-event-id:\r\n".to_owned()),
    ] {
        let text = read_to_block(&a, &stream(&query, &headers), "rig.resumed").await;
        assert!(text.contains(r#""events":1"#), "{query} {headers}: {text}");
        assert!(text.contains(r#""id":"2""#) && !text.contains(r#""id":"1""#), "{query} {headers}: {text}");
    }
    let query = format!("last_event_id={old}");
    let text = read_to_block(&a, &stream(&query, ""), "rig.resumed").await;
    assert!(text.contains(r#""events":2"#), "{text}");
}

#[tokio::test]
async fn r10_no_cursor_refuses_a_client() {
    let a = node_with_history().await;
    let [id, _] = two_events(&a).await;
    let (long, cut) = ("x".repeat(10_000), &id[1..]);
    for value in ["e1", "0", "null", "\u{e4}", "\u{1f600}", "\"", "a,b", cut, &format!("{id}x"), &long] {
        let request = stream("", &format!("Last-Event-ID: {value}\r\n"));
        assert_unknown(&read_to_block(&a, &request, "rig.gap").await, value);
    }
    // A longer URL is refused, whatever it contains.
    let (long, twice) = (&long[..6000], format!("{id}{id}"));
    for value in
        ["%00", "%FF", "%", "%zz", "a%0D%0Ab", "+", "%F0%9F%98%80", &twice, long, &"%41".repeat(1000)]
    {
        for name in ["last_event_id", "lastEventId"] {
            let request = stream(&format!("{name}={value}"), "");
            assert_unknown(&read_to_block(&a, &request, "rig.gap").await, value);
        }
    }
    // An empty one counts as none.
    let text = read_to_block(&a, &stream("last_event_id=", "Last-Event-ID: \r\n"), "subscriptions_set").await;
    assert!(!text.contains("rig.gap"), "{text}");
}

fn assert_unknown(text: &str, value: &str) {
    assert!(text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.0 200"), "{value}: {text}");
    assert!(text.contains(r#"{"reason":"unknown","since":null}"#), "{value}: {text}");
}

#[tokio::test]
async fn r26_the_subprotocol_of_ids_is_chosen_if_there_are_ids() {
    let (with, without) = (node_with_history().await, Member::join(&Network::default(), "a").await);
    let handshake = |offers: &str| {
        format!(
            "GET /_rig/v1/connection/ws?{SUBSCRIBED} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
             sec-websocket-protocol: {offers}\r\n\r\n"
        )
    };
    let secret = token("s", "alice", MINUTE);
    for (node, offers, chosen) in [
        (&with, format!("rig.ids, rig, bearer.{secret}"), "rig.ids"),
        (&with, format!("rig, bearer.{secret}"), "rig"),
        (&without, format!("rig.ids, rig, bearer.{secret}"), "rig"),
    ] {
        let mut stream = send(node.address, &handshake(&offers)).await;
        let (mut all, mut buffer) = (Vec::new(), vec![0; 4096]);
        while !String::from_utf8_lossy(&all).contains("rig.subscriptions_set") {
            let read = stream.read(&mut buffer).await.expect("it answers");
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&buffer[..read]);
        }
        let text = String::from_utf8_lossy(&all);
        let (head, messages) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains(&format!("\r\nsec-websocket-protocol: {chosen}\r\n")), "{head}");
        assert!(!head.contains(&secret), "{head}");
        assert_eq!(messages.matches("id: ").count(), usize::from(chosen == "rig.ids"), "{messages}");
    }
    let handshake = handshake("rig.ids").replace("connection: upgrade", "connection: upgrade, close");
    let refused = ask(without.address, &handshake).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
}

#[tokio::test]
async fn r32_pages_may_send_the_header() {
    let a = node_with_history().await;
    for transport in ["sse", "ws", "longpolling"] {
        let preflight = format!(
            "OPTIONS /_rig/v1/connection/{transport} HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: http://page.test\r\n\
             access-control-request-method: GET\r\naccess-control-request-headers: authorization,last-event-id\r\n\r\n"
        );
        let answered = ask(a.address, &preflight).await;
        let allowed = answered.header("access-control-allow-headers").unwrap_or_default();
        assert_eq!(answered.status, 204, "{transport}");
        assert!(allowed.split(',').any(|name| name == "last-event-id"), "{transport}: {allowed}");
    }
}

#[tokio::test]
async fn a_request_for_the_head_of_a_stream_opens_no_connection() {
    let a = node_with_history().await;
    let head =
        "HEAD /_rig/v1/connection/sse HTTP/1.1\r\nhost: x\r\nconnection: close\r\nlast-event-id: x\r\n\r\n";
    let answered = ask(a.address, head).await;
    assert_eq!((answered.status, &*answered.body), (200, ""));
    assert!(a.hub.all().next().is_none());
}

/// Polls until the client knows what it has missed; returns the names of all events.
async fn poll_to_verdict(client: &mut Poller, member: &Member) -> Vec<String> {
    let mut names = Vec::new();
    while !names.iter().any(|name| name == "rig.resumed" || name == "rig.gap") {
        names.append(&mut client.poll(member).await.events());
    }
    names
}

/// A client whose connection is gone, and what it still has.
async fn without_mailbox(member: &Member) -> Poller {
    let mut client = Poller::open(member, "s").await;
    member.publish("t", "1", 0).await;
    assert_eq!(client.poll(member).await.events(), ["1"]);
    client.lose("connection_token");
    client.lose("last_event_id");
    client
}

#[tokio::test]
async fn r27_a_mailbox_that_is_gone_is_continued_by_another() {
    let a = node_with_history().await;
    let mut client = without_mailbox(&a).await;
    let position = client.cookie("position").expect("it has a position").to_owned();
    assert_eq!(position.len(), 22, "{position}");
    a.publish("t", "2", 0).await;
    a.publish("t", "3", 0).await;
    let opened = client.open_again(&a, &token("s", "alice", MINUTE)).await;
    assert!(
        opened.head.contains(&format!("set-cookie: position={position}; path=/; HttpOnly\r\n")),
        "{}",
        opened.head
    );
    let names = poll_to_verdict(&mut client, &a).await;
    assert_eq!(names, ["rig.connection.create", "rig.subscriptions_set", "2", "3", "rig.resumed"]);
    assert_ne!(client.cookie("position"), Some(&*position));
}

#[tokio::test]
async fn r27_a_mailbox_that_nothing_was_read_from_is_continued_from_its_begin() {
    let a = node_with_history().await;
    let mut client = Poller::default();
    let session = token("s", "alice", MINUTE);
    client.open_again(&a, &session).await;
    a.publish("t", "1", 0).await;
    client.lose("connection_token");
    client.open_again(&a, &session).await;
    let names = poll_to_verdict(&mut client, &a).await;
    assert_eq!(names, ["rig.connection.create", "rig.subscriptions_set", "1", "rig.resumed"]);
}

#[tokio::test]
async fn r27_an_answer_that_is_lost_is_continued_from_before_it() {
    let a = node_with_history().await;
    let mut client = without_mailbox(&a).await;
    let session = token("s", "alice", MINUTE);
    client.open_again(&a, &session).await;
    a.publish("t", "2", 0).await;
    // The answers arrive nowhere, and then the mailbox is gone.
    let unread = client.clone();
    while !unread.clone().poll(&a).await.events().contains(&"2".to_owned()) {}
    client.lose("connection_token");
    client.open_again(&a, &session).await;
    let names = poll_to_verdict(&mut client, &a).await;
    assert_eq!(names, ["rig.connection.create", "rig.subscriptions_set", "2", "rig.resumed"]);
}

#[tokio::test]
async fn r27_a_position_that_is_none_is_a_gap() {
    let a = node_with_history().await;
    let session = token("s", "alice", MINUTE);
    let junk = ["x".to_owned(), "%00".to_owned(), "\u{1f600}".to_owned(), "x".repeat(3000)];
    let asked = junk.iter().map(async |value| {
        let mut client = Poller::default();
        client.keep("position", value);
        client.open_again(&a, &session).await;
        poll_to_verdict(&mut client, &a).await
    });
    for names in join_all(asked).await {
        assert_eq!(names, ["rig.connection.create", "rig.subscriptions_set", "rig.gap"]);
    }
}

#[tokio::test]
async fn r27_a_poll_at_another_node_has_the_same_position() {
    let network = Network::default();
    let a = Member::join_with_history(&network, "a").await;
    let b = Member::join_with_history(&network, "b").await;
    let client = Poller::open(&a, "s").await;
    let before = client.cookie("position").map(str::to_owned);
    a.publish("t", "1", 0).await;
    let [mut here, mut there] = [client.clone(), client];
    assert_eq!(here.poll(&a).await.events(), ["1"]);
    assert_eq!(there.poll(&b).await.events(), ["1"]);
    assert!(before.is_some() && here.cookie("position").is_some());
    assert_ne!(there.cookie("position"), before.as_deref());
    assert_eq!(there.cookie("position"), here.cookie("position"));
}

#[tokio::test]
async fn r27_a_kill_clears_the_position_too_and_an_expiry_does_not() {
    let network = Network::default();
    let a = Member::join_with_history(&network, "a").await;
    let b = Member::join_with_history(&network, "b").await;
    for (node, session) in [(&a, "s1"), (&b, "s2")] {
        let mut client = Poller::open(&a, session).await;
        let waiting = client.begin(&b).await;
        b.polled_elsewhere().await;
        node.revoke(Whom::Session(session)).await;
        let farewell = Answered::parse(&read(waiting).await);
        assert_eq!(farewell.events(), ["rig.session_killed"]);
        assert!(farewell.clears_all(), "{}", farewell.head);
        let refused = client.poll(&a).await;
        assert!(refused.status == 403 && refused.clears_all(), "{}", refused.head);
        assert_eq!(client.cookie("position"), Some(""));
    }
    let mut client = Poller::open_with(&a, &token("s3", "alice", Duration::from_secs(2))).await;
    let position = client.cookie("position").map(str::to_owned);
    let farewell = client.poll(&a).await;
    assert_eq!(farewell.events(), ["rig.session_expired"]);
    assert!(farewell.clears(), "{}", farewell.head);
    assert_eq!(client.cookie("position"), position.as_deref());
    a.publish("t", "1", 0).await;
    client.open_again(&a, &token("s4", "alice", MINUTE)).await;
    let names = poll_to_verdict(&mut client, &a).await;
    assert_eq!(names, ["rig.connection.create", "rig.subscriptions_set", "1", "rig.resumed"]);
}

#[tokio::test]
async fn r27_a_node_that_exits_leaves_the_position() {
    let network = Network::default();
    let a = Member::join_with_history(&network, "a").await;
    let b = Member::join_with_history(&network, "b").await;
    let mut client = Poller::open(&a, "s").await;
    let waiting = client.begin(&b).await;
    b.polled_elsewhere().await;
    a.hub.drain(Instant::now() + MINUTE).await;
    let last = Answered::parse(&read(waiting).await);
    assert!(last.clears(), "{}", last.head);
    client.take(&last);
    assert_eq!(client.cookie("position").map(str::len), Some(22), "{}", last.head);
    assert_eq!(client.cookie("connection_token"), Some(""));
}

#[tokio::test]
async fn r27_another_page_does_not_continue_it() {
    let a = node_with_history().await;
    let mut client = without_mailbox(&a).await;
    a.publish("t", "2", 0).await;
    let query = format!("?{SUBSCRIBED}");
    let of_page = |request: String| request.replace("\r\n\r\n", "\r\norigin: http://evil.test\r\n\r\n");
    let opened = ask(a.address, &of_page(client.request(&query, "close"))).await;
    assert_eq!((opened.status, &*opened.body), (200, r#""ok""#));
    assert!(opened.head.contains("set-cookie: position-http%3A%2F%2Fevil%2Etest="), "{}", opened.head);
    client.take(&opened);
    let polled = ask(a.address, &of_page(client.request("", "close"))).await;
    assert_eq!(polled.events(), ["rig.connection.create", "rig.subscriptions_set"]);
}

#[tokio::test]
async fn r28_without_a_history_a_cursor_changes_nothing() {
    let a = Member::join(&Network::default(), "a").await;
    let cursor = "Last-Event-ID: AAECAwQFBgcICQoLDA0ODw\r\n";
    let text = read_to_block(&a, &stream("resume=true", cursor), "rig.subscriptions_set").await;
    assert!(!text.lines().any(|line| line.starts_with("id")), "{text}");
    let mut client = without_mailbox(&a).await;
    assert_eq!(client.cookie("position"), None);
    client.keep("position", "AAECAwQFBgcICQoLDA0ODw");
    let opened = client.open_again(&a, &token("s", "alice", MINUTE)).await;
    assert_eq!(opened.cookies().count(), 2, "{}", opened.head);
    assert_eq!(client.poll(&a).await.events(), ["rig.connection.create", "rig.subscriptions_set"]);
}
