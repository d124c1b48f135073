//! With `HISTORY=off`, the bytes are those of RIG. With it on, only ids are added.

use rig_tests::*;

const HEARTBEAT: (&str, &str) = ("HEARTBEAT_INTERVAL", "100ms");

const EVENTS: [&str; 2] = [
    r#"{"specversion":"0.2","type":"greeting","source":"/o","id":"1","data":{"name":"bob"}}"#,
    " {\"specversion\": \"0.2\",\n \"type\": \"greeting\",\r\n\"source\":\"/o\", \"id\":\"2\", \"data\":[\"\\u00e9 é\"]} ",
];

/// A cursor of each kind, none of which must change anything without history.
const CURSORS: [&str; 4] = ["", "&last_event_id=AAAAAAAAAAAAAAAAAAAAAA", "&lastEventId=junk", "&resume=true"];

/// Returns everything that a stream receives up to its farewell, without what differs from run to
/// run, and with heartbeats only if they have ids.
fn sse(gateway: &Gateway, session: &str, cursor: &str) -> String {
    let query = format!("{}&jwt={}{cursor}", subscribed_to(&["greeting"]), token_of(session));
    let request = Request::get(format!("/_rig/v1/connection/sse?{query}"));
    let mut stream = Sse::open(gateway.inbound(), &request.header("Last-Event-ID", "x")).expect("a stream");
    stream.welcome();
    let mut text = String::new();
    let mut next = |stream: &mut Sse| {
        let block = stream.exact()?;
        if block != ": heartbeat" {
            text.push_str(&redacted(&block));
            text.push_str("\n\n");
        }
        Some(block)
    };
    for event in EVENTS {
        gateway.publish(event);
        while next(&mut stream).is_some_and(|block| !block.contains("greeting")) {}
    }
    // At least one heartbeat.
    while stream.exact().as_deref().is_some_and(|block| !block.starts_with(": heartbeat")) {}
    gateway.blacklist(session);
    while next(&mut stream).is_some() {}
    text
}

const FAREWELL: &str = "event: rig.session_killed\ndata: {\"id\":\"UUID\",\"source\":\"rig\",\"specversion\":\"0.2\",\"time\":\"TIME\",\"type\":\"rig.session_killed\"}\n\n";

fn blocks() -> String {
    let lines = |event: &str| {
        let event = event.replace("\r\n", "\n").replace('\n', "\ndata: ");
        format!("event: greeting\ndata: {event}\n\n")
    };
    EVENTS.map(lines).concat()
}

#[test]
fn r28_streams_without_history_are_rigs() {
    let gateway = Gateway::start(&[("HISTORY", "off"), HEARTBEAT]);
    for (n, cursor) in CURSORS.iter().enumerate() {
        assert_eq!(sse(&gateway, &format!("s{n}"), cursor), blocks() + FAREWELL, "{cursor}");
    }
    let text = gateway.ask_internal(&Request::get("/metrics")).text();
    for (name, value) in [("rig_history_events", 0.0), ("rig_history_bytes", 0.0)] {
        assert_eq!(gateway.metric(name), value, "{text}");
    }
    assert_eq!(gateway.metric_sum("rig_gaps_total", &[]) + gateway.metric_sum("rig_resumes_total", &[]), 0.0);
}

#[test]
fn r28_a_whole_stream_without_history_byte_for_byte() {
    let gateway = Gateway::start(&[("HISTORY", "off")]);
    let record = Record::default();
    let query = subscribed_to(&["greeting"]);
    let mut wire = Wire::connect(gateway.inbound()).heard_by(record.clone());
    let request = Request::get(format!("/_rig/v1/connection/sse?{query}")).header("Last-Event-ID", "x");
    wire.send(request.bytes(gateway.inbound()));
    let mut stream = Sse::over(wire).expect("a stream");
    stream.welcome();
    gateway.publish(EVENTS[0]);
    stream.exact().expect("the event");
    let bytes = String::from_utf8(record.lock().clone()).expect("UTF-8");
    let (_, body) = bytes.split_once("\r\n\r\n").expect("a head");
    let block = format!("event: greeting\ndata: {}\n\n", EVENTS[0]);
    let chunk = format!("\r\n{:x}\r\n{block}\r\n", block.len()).to_ascii_lowercase();
    assert!(body.to_ascii_lowercase().ends_with(&chunk), "{body}");
    assert!(!body.contains("id: "), "{body}");
}

#[test]
fn r28_only_ids_are_added() {
    let gateway = Gateway::start(&[HEARTBEAT]);
    let text = sse(&gateway, "s", "");
    let mut without = String::new();
    let mut ids = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("id:") {
            Some(id) => ids.push(id.trim_start().len()),
            None => without += &format!("{line}\n"),
        }
    }
    // The cursor `x` of this client gives a gap, and ids in heartbeats, which have no other line.
    let (gap, rest) = without.split_once("\n\n").expect("blocks");
    assert!(gap.starts_with("event: rig.gap\n"), "{text}");
    assert_eq!(rest.replace(": heartbeat\n\n", ""), blocks() + FAREWELL);
    assert_eq!(ids.last(), Some(&0), "the farewell of a kill resets the cursor");
    assert!(ids.len() >= 4 && ids[..ids.len() - 1].iter().all(|id| *id == 22), "{ids:?}");
}

#[test]
fn r28_websockets_without_history_are_rigs() {
    let gateway = Gateway::start(&[("HISTORY", "off"), HEARTBEAT]);
    let query = subscribed_to(&["greeting"]);
    for (protocols, chosen) in
        [("rig.ids, rig", Some("rig")), ("cloudevents.json, rig.ids", Some("cloudevents.json"))]
    {
        let target = format!("/_rig/v1/connection/ws?{query}&resume=true&last_event_id=x");
        let request = WebSocket::handshake(&target).header("Sec-WebSocket-Protocol", protocols);
        let mut socket = WebSocket::open(gateway.inbound(), &request);
        let told = socket.head.header("sec-websocket-protocol");
        assert!(told == chosen, "{protocols}: {told:?}");
        socket.welcome();
        gateway.publish(EVENTS[0]);
        let mut next = socket.receive();
        while next == "PING " {
            next = socket.receive();
        }
        assert_eq!(next, format!("TEXT {}", EVENTS[0]));
        assert_eq!(socket.receive(), "PING ", "a heartbeat is a ping and nothing else");
    }
}

#[test]
fn r28_long_polling_without_history_has_two_cookies() {
    let gateway = Gateway::start(&[("HISTORY", "off"), ("LONGPOLLING_IDLE_TIMEOUT", "1s")]);
    let query = subscribed_to(&["greeting"]);
    let mut client = LongPolling::connect(gateway.inbound(), &query);
    let names = |client: &LongPolling| -> Vec<String> {
        client.cookies.iter().map(|(name, _)| name.clone()).collect()
    };
    client.welcome();
    assert_eq!(names(&client), ["connection_token", "last_event_id"]);
    gateway.await_metric(r#"rig_connections{transport="longpolling"}"#, 0.0);
    gateway.publish(EVENTS[0]);
    client.cookies.push(("position".into(), "AAAAAAAAAAAAAAAAAAAAAA".into()));
    let path = format!("/_rig/v1/connection/longpolling?{query}");
    let opened = gateway.ask(&Request::get(path).header("Cookie", client.cookie()));
    assert_eq!(opened.text(), r#""ok""#);
    client.take_cookies(&opened);
    let events = client.poll().json()["events"].as_array().expect("a list").len();
    assert_eq!(events, 2, "neither missed events nor a gap");
}
