//! WebSocket clients come back too, with the sub-protocol `rig.ids`. Without it, nothing changes.

use rig_tests::*;
use serde_json::{Value, json};

const GREETING: &[&str] = &["greeting"];

/// A client with the sub-protocol `rig.ids`.
struct Client {
    socket: WebSocket,
    /// The last id that it has got.
    cursor: String,
}

impl Client {
    fn open(gateway: &Gateway, query: &str, cursor: Option<&str>) -> Self {
        let mut request = WebSocket::handshake(&format!("/_rig/v1/connection/ws?{query}"));
        request = request.header("Sec-WebSocket-Protocol", "rig, rig.ids");
        if let Some(cursor) = cursor {
            request = request.header("Last-Event-ID", cursor);
        }
        let socket = WebSocket::open(gateway.inbound(), &request);
        assert_eq!(socket.head.header("sec-websocket-protocol"), Some("rig.ids"));
        Self { socket, cursor: String::new() }
    }

    fn connect(gateway: &Gateway, query: &str) -> Self {
        let mut client = Self::open(gateway, query, None);
        assert_eq!(client.until("rig.connection.create").0.len(), 22);
        client.until("rig.subscriptions_set");
        client
    }

    /// Returns the id of the next text message, if it has one, and the rest.
    fn next(&mut self) -> (Option<String>, String) {
        let text = self.socket.next_text();
        let Some(text) = text.strip_prefix("id: ") else { return (None, text) };
        let (id, rest) = text.split_once('\n').expect("a line end follows the id");
        id.clone_into(&mut self.cursor);
        (Some(id.to_owned()), rest.to_owned())
    }

    /// Reads until an event of this type comes; returns its id, or an empty one, and its text.
    fn until(&mut self, event_type: &str) -> (String, String) {
        loop {
            let (id, text) = self.next();
            if !text.is_empty() && json(&text)["type"] == event_type {
                return (id.unwrap_or_default(), text);
            }
        }
    }

    /// Returns the texts of events up to the answer to a cursor, and the data of that.
    fn until_answer(&mut self) -> (Vec<String>, Value) {
        let mut events = Vec::new();
        loop {
            let (_, text) = self.next();
            match json(&text)["type"].as_str() {
                Some("rig.resumed" | "rig.gap") => return (events, json(&text)["data"].clone()),
                Some("greeting") => events.push(text),
                _ => {}
            }
        }
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}

#[test]
fn r26_a_websocket_that_asks_for_ids_comes_back() {
    let gateway = Gateway::start(&[("HEARTBEAT_INTERVAL", "100ms")]);
    let query = subscribed_to(GREETING);
    let mut client = Client::connect(&gateway, &query);
    gateway.publish(&event_of("greeting", 1));
    let (first, text) = client.until("greeting");
    assert_eq!((first.len(), text), (22, event_of("greeting", 1)));
    let mut stream = EventSource::connect(gateway.inbound(), &format!("{query}&last_event_id={first}"));
    assert_eq!(stream.cursor(), first, "the same id on each transport");
    for id in [2, 3] {
        gateway.publish(&event_of("greeting", id));
    }
    stream.until_received(2);
    let head = stream.cursor().to_owned();

    for by_header in [true, false] {
        let in_query = format!("{query}&last_event_id={first}");
        let mut back = match by_header {
            true => Client::open(&gateway, &query, Some(&first)),
            false => Client::open(&gateway, &in_query, None),
        };
        assert_eq!(back.until("rig.connection.create").0, first);
        assert_eq!(back.until("rig.subscriptions_set").0, "", "it has no position");
        let (events, answer) = back.until_answer();
        assert_eq!(events, [2, 3].map(|id| event_of("greeting", id)));
        assert_eq!((answer, &back.cursor), (json!({ "events": 2 }), &head));
    }
    let mut gap = Client::open(&gateway, &query, Some("junk"));
    assert_eq!(gap.until_answer(), (vec![], json!({ "reason": "unknown", "since": null })));
    assert_eq!(gap.cursor, head);
}

#[test]
fn r26_heartbeats_carry_ids_as_messages() {
    let gateway = Gateway::start(&[("HEARTBEAT_INTERVAL", "100ms")]);
    let mut idle = Client::connect(&gateway, &subscribed_to(&["quiet"]));
    let mut other = Client::connect(&gateway, &subscribed_to(GREETING));
    for id in 0..3 {
        gateway.publish(&event_of("greeting", id));
    }
    let head = std::iter::repeat_with(|| other.until("greeting").0).nth(2).expect("three events");
    while idle.cursor != head {
        let (id, rest) = idle.next();
        assert_eq!((id.map(|id| id.len()), rest.as_str()), (Some(22), ""), "an id alone");
    }
    // Each follows a ping, as clients without ids get it.
    let frames = std::iter::repeat_with(|| idle.socket.receive());
    let mut frames = frames.skip_while(|frame| frame != "PING ").take(6);
    while let Some(ping) = frames.next() {
        let id = frames.next().expect("an even number");
        assert!(ping == "PING " && id.starts_with("TEXT id: "), "{ping:?} {id:?}");
    }
}

#[test]
fn r26_without_the_sub_protocol_the_bytes_are_as_before() {
    let gateway = Gateway::start(&[("HEARTBEAT_INTERVAL", "100ms")]);
    let query = subscribed_to(GREETING);
    let cursor = EventSource::connect(gateway.inbound(), &query).cursor().to_owned();
    gateway.publish(&event_of("greeting", 0));
    for (protocols, chosen) in [
        (None, None),
        (Some("foo, cloudevents.json"), Some("cloudevents.json")),
        (Some("rig.idsx, rig"), Some("rig")),
    ] {
        let mut request = WebSocket::handshake(&format!("/_rig/v1/connection/ws?{query}&resume=true"));
        request = request.header("Last-Event-ID", &cursor);
        if let Some(protocols) = protocols {
            request = request.header("Sec-WebSocket-Protocol", protocols);
        }
        let mut socket = WebSocket::open(gateway.inbound(), &request);
        assert_eq!(socket.head.header("sec-websocket-protocol"), chosen);
        let mut texts = Vec::new();
        let mut pings = 0;
        while pings < 3 {
            match socket.receive() {
                ping if ping == "PING " => pings += 1,
                text => texts.push(text),
            }
        }
        // A cursor is honoured: the missed events are part of the stream, without ids.
        assert_eq!(texts.len(), 4, "{texts:#?}");
        assert!(texts.iter().all(|text| text.starts_with("TEXT {")), "{texts:#?}");
        assert_eq!(texts[2], format!("TEXT {}", event_of("greeting", 0)));
    }
}

#[test]
fn r26_the_farewells_are_as_before() {
    let gateway = Gateway::start(&[]);
    let mut client = Client::connect(&gateway, &format!("{}&jwt={}", subscribed_to(GREETING), token_of("s")));
    gateway.blacklist("s");
    client.socket.expect_close(1000, "Session killed.");
}

#[test]
fn r26_the_token_beside_the_sub_protocol_is_not_echoed() {
    let gateway = Gateway::start(&[]);
    let token = token_of("s");
    let request = WebSocket::handshake(&format!("/_rig/v1/connection/ws?{}", subscribed_to(GREETING)))
        .header("Sec-WebSocket-Protocol", format!("bearer.{token}, rig.ids"));
    let socket = WebSocket::open(gateway.inbound(), &request);
    let chosen = socket.head.header("sec-websocket-protocol");
    assert_eq!(chosen, Some("rig.ids"), "{}", socket.head.shown());
}
