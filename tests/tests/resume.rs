//! How a client comes back: what its cursor may be, where it is named, and what answers it.

use rig_tests::*;
use serde_json::{Value, json};

const PATH: &str = "/_rig/v1/connection/sse";

fn gap(reason: &str, since: Option<&str>) -> Result<u64, Value> {
    Err(json!({ "reason": reason, "since": since }))
}

/// Connects with a query and a header, reads the answer to the cursor, and returns the client.
fn answer(gateway: &Gateway, query: &str, header: Option<&[u8]>) -> Result<u64, Value> {
    let mut blocks = Sse::over(start(gateway, query, header)).unwrap_or_else(|refusal| {
        panic!("refused: {query} {header:?}: {}", refusal.shown());
    });
    let mut parser = EventStream::default();
    loop {
        let block = blocks.exact().expect("an answer, not the end of the stream");
        parser.feed(format!("{block}\n\n").as_bytes());
        if let Some(answer) = parser.take().iter().find_map(Dispatched::answer) {
            return answer;
        }
    }
}

/// Sends a request for a stream whose header `Last-Event-ID` may be any bytes.
fn start(gateway: &Gateway, query: &str, header: Option<&[u8]>) -> Wire {
    let mut wire = Wire::connect(gateway.inbound());
    let header = header.map_or_else(Vec::new, |value| [b"Last-Event-ID: ", value, b"\r\n"].concat());
    let head = format!("GET {PATH}?{query} HTTP/1.1\r\nhost: x\r\n");
    wire.send([head.as_bytes(), &header, b"\r\n"].concat());
    wire
}

/// Returns the ids before and after each of three events that a client has got, the first one of
/// `rig.connection.create`.
fn three_events(gateway: &Gateway, query: &str) -> [String; 4] {
    let mut client = EventSource::connect(gateway.inbound(), query);
    let mut ids = vec![client.cursor().to_owned()];
    for n in 0..3 {
        gateway.publish(&event_of("greeting", n));
        ids.push(client.until("greeting").id);
    }
    ids.try_into().expect("four ids")
}

#[test]
fn the_blocks_of_a_stream_that_comes_back() {
    let gateway = Gateway::start(&[]);
    let query = subscribed_to(&["greeting"]);
    let mut sse = Sse::connect(gateway.inbound(), &query);
    let id_of = |block: &str| -> Option<String> {
        let (_, last) = block.rsplit_once('\n')?;
        assert_eq!(block.matches("\nid").count(), usize::from(last.starts_with("id")), "{block}");
        let id = last.strip_prefix("id: ")?;
        let is_character = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(id.len() == 22 && id.chars().all(is_character), "{block}");
        Some(id.to_owned())
    };
    let created = id_of(&sse.exact().expect("a block")).expect("an id from the beginning");
    assert_eq!(id_of(&sse.exact().expect("a block")), None, "rig.subscriptions_set");
    gateway.publish(&event_of("greeting", 1));
    let first = sse.exact().expect("a block");
    let first_id = id_of(&first).expect("an id");
    assert_eq!(first, format!("event: greeting\ndata: {}\nid: {first_id}", event_of("greeting", 1)));
    assert_ne!(created, first_id);
    gateway.publish(&event_of("greeting", 2));
    let second = sse.exact().expect("a block");

    let mut back = Sse::over(start(&gateway, &query, Some(first_id.as_bytes()))).expect("a stream");
    let again = back.exact().expect("a block");
    assert!(again.starts_with("event: rig.connection.create\n"), "{again}");
    assert_eq!(id_of(&again).as_ref(), Some(&first_id), "nothing is missed up to the cursor");
    assert_eq!(id_of(&back.exact().expect("a block")), None, "rig.subscriptions_set");
    assert_eq!(back.exact(), Some(second.clone()), "the same bytes as before");
    let resumed = back.exact().expect("a block");
    assert!(resumed.starts_with("event: rig.resumed\ndata: {\"data\":{\"events\":1},"), "{resumed}");
    let head = id_of(&resumed).expect("the query names all subscriptions");
    assert_eq!(Some(&head), id_of(&second).as_ref(), "nothing came since");

    let mut gap = Sse::over(start(&gateway, &query, Some(b"5"))).expect("a stream");
    let unknown = id_of(&gap.exact().expect("a block")).expect("an id, as always");
    assert_ne!(unknown, head, "it is not there before it has got the gap");
    assert_eq!(id_of(&gap.exact().expect("a block")), None, "rig.subscriptions_set");
    let answer = gap.exact().expect("a block");
    let data = r#"{"data":{"reason":"unknown","since":null},"id":"UUID","source":"rig","specversion":"0.2","time":"TIME","type":"rig.gap"}"#;
    assert_eq!(redacted(&answer), format!("event: rig.gap\ndata: {data}\nid: {head}"));
}

#[test]
fn r04_a_client_without_any_event_has_a_cursor() {
    let gateway = Gateway::start(&[]);
    let mut client = EventSource::new(gateway.inbound(), &subscribed_to(&["greeting"]));
    client.open();
    client.until("rig.connection.create");
    client.cut();
    for n in 0..2 {
        gateway.publish(&event_of("greeting", n));
    }
    assert_eq!(client.come_back(), Ok(2));
    let last = client.cursor().to_owned();
    gateway.publish(&event_of("other", 2));
    assert_eq!(client.come_back(), Ok(0));
    assert_ne!(client.cursor(), last, "rig.resumed moves the cursor");
    assert_eq!(client.received(), [0, 1].map(|n| event_of("greeting", n)));
    assert_eq!(gateway.metric(r#"rig_resumes_total{result="resumed"}"#), 2.0);
    assert_eq!(gateway.metric("rig_replayed_events_total"), 2.0);
}

#[test]
fn r05_heartbeats_keep_the_cursor_of_an_idle_client_young() {
    let gateway = Gateway::start(&[("HISTORY_BYTES", "64KiB"), ("HEARTBEAT_INTERVAL", "100ms")]);
    let quiet = subscribed_to(&["quiet"]);
    let mut idle = EventSource::connect(gateway.inbound(), &format!("{quiet}&resume=true"));
    let mut back = EventSource::connect(gateway.inbound(), &quiet);
    assert_eq!(back.come_back(), Ok(0), "a cursor wants heartbeats with ids as well");
    let mut without = EventSource::connect(gateway.inbound(), &quiet);
    let mut noisy = EventSource::connect(gateway.inbound(), &subscribed_to(&["noisy"]));
    let mut publisher = Publisher::to(gateway.inbound());
    for n in 0..2_000 {
        publisher.publish(&event_of("noisy", n));
    }
    noisy.until_received(2_000);
    assert!(gateway.metric("rig_history_events") < 1_500.0, "most of them are not kept any more");
    let head = noisy.cursor().to_owned();
    for client in [&mut idle, &mut back] {
        while client.cursor() != head {
            client.until_cursor_moves();
        }
    }
    let mut plain = Sse::connect(gateway.inbound(), &quiet);
    let heartbeats = [(); 3].map(|()| plain.next_heartbeat());
    assert!(heartbeats.iter().all(|block| !block.contains("\nid")), "it has no cursor: {heartbeats:?}");
    for client in [&mut idle, &mut back, &mut without] {
        client.cut();
    }
    gateway.publish(&event_of("quiet", 1));
    for client in [&mut idle, &mut back] {
        assert_eq!(client.come_back(), Ok(1));
        assert_eq!(client.received(), [event_of("quiet", 1)]);
    }
    let old = without.cursor().to_owned();
    assert_eq!(without.come_back(), gap("expired", Some(&old)));
    assert_eq!(without.received(), [""; 0], "nothing from before the gap");
}

#[test]
fn r10_a_cursor_that_is_none_is_a_gap_and_no_error() {
    let gateway = Gateway::start(&[("MAX_REQUEST_LINE", "16KiB")]);
    let query = subscribed_to(&["greeting"]);
    let [_, _, id, _] = three_events(&gateway, &query);
    let foreign = three_events(&Gateway::start(&[]), &query);
    let of_query = |value: &str| answer(&gateway, &format!("{query}&last_event_id={value}"), None);
    let unknown = gap("unknown", None);
    let first = if id.starts_with('A') { 'B' } else { 'A' };
    // The last character has two bits of the id, and four that must be zero.
    let last = char::from(id.as_bytes()[21] + 1);
    let damaged = [
        "5".to_owned(),
        "first_event".into(),
        foreign[1].clone(),
        id[..21].to_owned(),
        format!("{first}{}", &id[1..]),
        format!("{}{last}", &id[..21]),
        format!("{id}A"),
        format!("{id}=="),
        id.to_ascii_lowercase(),
        "A".repeat(22),
        "x".repeat(10_000),
        "null".into(),
    ];
    for text in &damaged {
        assert_eq!(of_query(text), unknown, "query: {text}");
        assert_eq!(answer(&gateway, &query, Some(text.as_bytes())), unknown, "header: {text}");
    }
    for text in ["%00", "%FF%FE", "%C3%A9", "%", "%zz", "%E2%82", "a%00b", "é"] {
        assert_eq!(of_query(text), unknown, "query: {text}");
    }
    assert_eq!(of_query(&format!("{id}%00")), unknown);
    for bytes in ["é".as_bytes(), &[0xff, 0xfe], b"\xe9", b"%41", b"a\tb"] {
        assert_eq!(answer(&gateway, &query, Some(bytes)), unknown, "header: {bytes:?}");
    }
    let percent: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
    assert_eq!(of_query(&percent), Ok(1), "a query is decoded");
    assert_eq!(answer(&gateway, &query, Some(percent.as_bytes())), unknown, "a header is not");
    let gaps = r#"rig_gaps_total{reason="unknown"}"#;
    assert_eq!(gateway.metric(gaps), (2 * damaged.len() + 8 + 1 + 5 + 1) as f64);
    assert!(!gateway.log().contains(&"x".repeat(100)), "a cursor is not logged");

    // An empty one is none: the next event follows the first two.
    for (query, header) in [
        (format!("{query}&last_event_id="), None),
        (format!("{query}&lastEventId="), None),
        (query.clone(), Some(&b""[..])),
        (query.clone(), None),
    ] {
        let mut sse = Sse::over(start(&gateway, &query, header)).expect("a stream");
        sse.welcome();
        gateway.publish(&event_of("greeting", "next"));
        assert_eq!(sse.next_data(), event_of("greeting", "next"), "{query}");
    }
}

/// What a NUL in a header means is a matter of HTTP (RFC 9110, section 5.5): it is no cursor.
#[test]
fn r10_a_nul_in_the_header_is_not_taken_for_a_cursor() {
    let gateway = Gateway::start(&[]);
    let query = subscribed_to(&["greeting"]);
    let status = Response::read_head(&mut start(&gateway, &query, Some(b"a\0b"))).map(|head| head.status);
    assert!(matches!(status, Some(400) | None), "{status:?}");
    assert_eq!(gateway.status_of("s"), 200, "others are served");
}

#[test]
fn r11_the_header_is_younger_than_the_url() {
    let gateway = Gateway::start(&[]);
    let query = subscribed_to(&["greeting"]);
    let [zero, one, two, three] = three_events(&gateway, &query);
    for (query, header, missed) in [
        (format!("last_event_id={zero}"), None, 3),
        (format!("lastEventId={one}"), None, 2),
        (format!("last_event_id={zero}"), Some(&two), 1),
        (format!("lastEventId={zero}"), Some(&three), 0),
        (format!("last_event_id={three}"), Some(&zero), 3),
        (format!("lastEventId={one}&last_event_id={two}"), None, 1),
        (format!("last_event_id={two}&lastEventId={one}"), None, 2),
        (format!("last_event_id=&lastEventId={one}"), None, 2),
        (format!("lastEventId={one}&last_event_id="), None, 2),
        (format!("last_event_id={zero}&last_event_id={one}"), None, 2),
        (format!("lastEventId={zero}&lastEventId={two}"), None, 1),
        (format!("last_event_id={one}"), Some(&String::new()), 2),
    ] {
        let all = format!("{}&{query}", subscribed_to(&["greeting"]));
        let header = header.map(|header| header.as_bytes());
        assert_eq!(answer(&gateway, &all, header), Ok(missed), "{query} {header:?}");
    }
    let both = format!("{query}&last_event_id={zero}");
    assert_eq!(answer(&gateway, &both, Some(b"junk")), gap("unknown", None), "the header wins");
}

#[test]
fn r22_the_id_of_another_users_event_is_only_a_place() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let user = |name: &str| {
        let claims = claims(name, name);
        let key = jsonwebtoken::EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
        format!("jwt={}", signed(&claims, jsonwebtoken::Algorithm::HS256, &key))
    };
    let mut alice = EventSource::connect(gateway.inbound(), &user("alice"));
    let mut bob = EventSource::connect(gateway.inbound(), &user("bob"));
    for (id, name) in [("1", "alice"), ("2", "bob"), ("3", "alice"), ("4", "bob")] {
        gateway.publish(&greeting(id, name));
    }
    let place = alice.until("greeting").id;
    assert_eq!(bob.until("greeting").data, greeting("2", "bob"));
    let of_bob = format!("{}&last_event_id={place}", user("bob"));
    let mut thief = EventSource::new(gateway.inbound(), &of_bob);
    assert_eq!(thief.come_back(), Ok(2), "his own ones after that place");
    assert_eq!(thief.received(), [greeting("2", "bob"), greeting("4", "bob")]);
    assert_eq!(answer(&gateway, &format!("last_event_id={place}"), None), Ok(0), "no subscription, nothing");
}

#[test]
fn r32_a_preflight_allows_the_header() {
    let gateway = Gateway::start(&[]);
    for transport in ["sse", "longpolling"] {
        let preflight = Request::new("OPTIONS", format!("/_rig/v1/connection/{transport}"))
            .header("Origin", "http://app.test")
            .header("Access-Control-Request-Method", "GET")
            .header("Access-Control-Request-Headers", "last-event-id");
        let answer = gateway.ask(&preflight);
        let allowed = answer.header("access-control-allow-headers").unwrap_or_default();
        assert!(allowed.split(',').any(|name| name == "last-event-id"), "{transport}: {}", answer.shown());
    }
}
