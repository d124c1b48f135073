//! A long-polling client whose mailbox is gone comes back with the cookie `position`.

use rig_tests::*;
use serde_json::{Value, json};

const PATH: &str = "/_rig/v1/connection/longpolling";

const OPEN: &str = r#"rig_connections{transport="longpolling"}"#;

/// A page that names its subscriptions with each poll.
struct Page {
    query: String,
    client: LongPolling,
}

impl Page {
    fn open(gateway: &Gateway, query: &str) -> Self {
        let mut page = Self { query: query.into(), client: LongPolling::connect(gateway.inbound(), query) };
        page.client.welcome();
        page
    }

    fn position(&self) -> Option<&str> {
        let mut cookies = self.client.cookies.iter();
        cookies.find(|(name, _)| name == "position").map(|(_, value)| value.as_str())
    }

    /// Sends the request of the page: a poll, or a new connection if its mailbox is gone.
    fn ask(&mut self, gateway: &Gateway) -> Response {
        let request = Request::get(format!("{PATH}?{}", self.query)).header("Cookie", self.client.cookie());
        let response = gateway.ask(&request);
        self.client.take_cookies(&response);
        response
    }

    /// Comes back after its mailbox is gone, and returns the events of the first poll.
    fn come_back(&mut self, gateway: &Gateway) -> Vec<Value> {
        let opened = self.ask(gateway);
        assert_eq!((opened.status, opened.text().as_str()), (200, r#""ok""#), "as in RIG");
        self.events(gateway)
    }

    fn events(&mut self, gateway: &Gateway) -> Vec<Value> {
        let response = self.ask(gateway);
        assert_eq!(response.status, 200, "{}", response.shown());
        response.json()["events"].as_array().expect("a list").clone()
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

fn ids(events: &[Value]) -> Vec<&str> {
    let own = events.iter().filter(|event| event["type"] == "greeting");
    own.map(|event| event["id"].as_str().expect("an id")).collect()
}

/// Waits until no mailbox is left.
fn await_gone(gateway: &Gateway) {
    gateway.await_metric(OPEN, 0.0);
}

#[test]
fn r27_a_page_comes_back_after_its_mailbox_is_gone() {
    let gateway = Gateway::start(&[("LONGPOLLING_IDLE_TIMEOUT", "1s")]);
    let mut page = Page::open(&gateway, &subscribed_to(&["greeting"]));
    let first = page.position().expect("a position from the first poll on").to_owned();
    assert_eq!(first.len(), 22);
    gateway.publish(&event_of("greeting", 1));
    assert_eq!(ids(&page.events(&gateway)), ["1"]);
    assert_ne!(page.position(), Some(first.as_str()));
    await_gone(&gateway);
    for id in 2..5 {
        gateway.publish(&event_of("greeting", id));
    }
    let events = page.come_back(&gateway);
    let expected =
        ["rig.connection.create", "rig.subscriptions_set", "greeting", "greeting", "greeting", "rig.resumed"];
    assert_eq!(types(&events), expected);
    assert_eq!((ids(&events), &events[5]["data"]), (vec!["2", "3", "4"], &json!({ "events": 3 })));
    gateway.publish(&event_of("greeting", 5));
    assert_eq!(ids(&page.events(&gateway)), ["5"]);

    await_gone(&gateway);
    let events = page.come_back(&gateway);
    assert_eq!(types(&events), ["rig.connection.create", "rig.subscriptions_set", "rig.resumed"]);
}

/// An answer that got lost comes again, as long as the mailbox is there. Without it, the position
/// of the last answer that has arrived counts.
#[test]
fn r27_an_answer_that_got_lost_is_repeated() {
    let gateway = Gateway::start(&[("LONGPOLLING_IDLE_TIMEOUT", "1s")]);
    let mut page = Page::open(&gateway, &subscribed_to(&["greeting"]));
    for id in 0..2 {
        gateway.publish(&event_of("greeting", id));
    }
    let before = page.client.clone();
    assert_eq!(ids(&page.events(&gateway)), ["0", "1"]);
    page.client = before;
    await_gone(&gateway);
    gateway.publish(&event_of("greeting", 2));
    assert_eq!(ids(&page.come_back(&gateway)), ["0", "1", "2"]);
}

/// A mailbox takes what was missed in parts. The position is that of what was handed over.
#[test]
fn r27_a_page_whose_mailbox_is_gone_in_the_middle_of_what_it_missed() {
    let gateway = Gateway::start(&[("LONGPOLLING_IDLE_TIMEOUT", "1s")]);
    let mut page = Page::open(&gateway, &subscribed_to(&["greeting"]));
    await_gone(&gateway);
    let missed: Vec<_> = (0..120).map(|id| id.to_string()).collect();
    for id in &missed {
        gateway.publish(&event_of("greeting", id));
    }
    let mut events = page.come_back(&gateway);
    let first = ids(&events).len();
    assert!((1..120).contains(&first), "{first}");
    await_gone(&gateway);
    events.extend(page.come_back(&gateway));
    while !types(&events).contains(&"rig.resumed") {
        events.extend(page.events(&gateway));
    }
    assert_eq!(ids(&events), missed, "after {first}");
}

#[test]
fn r27_a_page_that_has_only_connected() {
    let gateway = Gateway::start(&[("LONGPOLLING_IDLE_TIMEOUT", "1s")]);
    let query = subscribed_to(&["greeting"]);
    let client = LongPolling::connect(gateway.inbound(), &query);
    let cookie =
        |name: &str| client.cookies.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
    assert_eq!(cookie("last_event_id"), Some("\"first_event\""));
    assert_eq!(cookie("position").map(str::len), Some(22), "{:?}", client.cookies);
    gateway.publish(&event_of("greeting", 1));
    await_gone(&gateway);
    gateway.publish(&event_of("greeting", 2));
    let mut page = Page { query, client };
    assert_eq!(ids(&page.come_back(&gateway)), ["1", "2"]);
}

#[test]
fn r27_a_position_that_is_none_is_a_gap() {
    let gateway = Gateway::start(&[]);
    for value in ["junk", "%00", "\"\"x", &"x".repeat(10_000)] {
        let cookies = vec![("position".to_owned(), value.to_owned())];
        let mut client = LongPolling::connect(gateway.inbound(), "");
        client.cookies = cookies;
        let mut page = Page { query: subscribed_to(&["greeting"]), client };
        let events = page.come_back(&gateway);
        assert_eq!(types(&events), ["rig.connection.create", "rig.subscriptions_set", "rig.gap"], "{value}");
        assert_eq!(events[2]["data"], json!({ "reason": "unknown", "since": null }), "{value}");
    }
}

#[test]
fn r27_over_a_clean_restart() {
    let folder = Folder::new();
    let data = folder.join("data");
    let mut gateway = Gateway::start(&[("DATA_DIR", &data)]);
    let mut page = Page::open(&gateway, &subscribed_to(&["greeting"]));
    // It was not polled for.
    gateway.publish(&event_of("greeting", 1));
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
    let gateway = Gateway::start(&[("DATA_DIR", &data)]);
    page.client.turn_to(gateway.inbound());
    gateway.publish(&event_of("greeting", 2));
    let events = page.come_back(&gateway);
    assert_eq!(ids(&events), ["1", "2"], "{events:?}");
}

/// A browser stores the cookies of an answer whose rest never comes, and its mailbox goes with it.
#[test]
fn r27_an_answer_that_is_cut_off_by_a_restart_is_repeated() {
    let folder = Folder::new();
    let data = folder.join("data");
    let query = format!("{}&resume=true", subscribed_to(&["greeting"]));
    for polls_before in [0, 1] {
        let mut gateway = Gateway::start(&[("DATA_DIR", &data)]);
        let mut client = LongPolling::connect(gateway.inbound(), "");
        client.cookies.clear();
        let mut page = Page { query: query.clone(), client };
        let opened = page.ask(&gateway).json();
        assert_eq!(opened["resume"], json!(false), "{opened}");
        let mut read = opened["read"].clone();
        for id in 0..polls_before {
            gateway.publish(&event_of("greeting", id));
            page.query = format!("{query}&read={}", read.as_str().expect("a text"));
            let polled = page.ask(&gateway).json();
            assert_eq!(polled["events"].as_array().map(Vec::len), Some(3), "{polled}");
            read = polled["read"].clone();
        }
        for id in 5..8 {
            gateway.publish(&event_of("greeting", id));
        }
        // The page takes nothing of this answer.
        page.query = format!("{query}&read={}", read.as_str().expect("a text"));
        assert!(page.events(&gateway).len() >= 3);
        gateway.terminate();
        assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
        let mut gateway = Gateway::start(&[("DATA_DIR", &data)]);
        page.client.turn_to(gateway.inbound());
        let opened = page.ask(&gateway).json();
        assert_eq!(opened["resume"], json!(true), "{opened}");
        page.query = format!("{query}&read={}", opened["read"].as_str().expect("a text"));
        let events = page.events(&gateway);
        assert_eq!(ids(&events), ["5", "6", "7"], "{events:?}");
        assert_eq!(events.last().map(|event| event["type"].clone()), Some(json!("rig.resumed")));
        gateway.terminate();
        gateway.exit_status();
    }
}

#[test]
fn r27_a_kill_clears_all_three_cookies() {
    let gateway = Gateway::start(&[]);
    let query = format!("{}&jwt={}", subscribed_to(&["greeting"]), token_of("s"));
    let mut pages = [(); 2].map(|()| Page::open(&gateway, &query));
    assert!(pages.iter().all(|page| page.client.cookies.len() == 3));
    let parked = pages[0].client.start();
    gateway.blacklist("s");
    let answer = parked.answer();
    assert!(answer.text().contains("rig.session_killed"), "{}", answer.shown());
    pages[0].client.take_cookies(&answer);
    assert_eq!(pages[1].client.poll().status, 403);
    for page in &pages {
        assert_eq!(page.client.cookies, [], "nothing is left to come back with");
    }
}

#[test]
fn r27_a_header_or_a_query_is_a_cursor_too() {
    let gateway = Gateway::start(&[]);
    let query = subscribed_to(&["greeting"]);
    let mut stream = EventSource::connect(gateway.inbound(), &query);
    let cursor = stream.cursor().to_owned();
    gateway.publish(&event_of("greeting", 1));
    stream.until_received(1);
    for (query, header) in [(query.clone(), Some(&cursor)), (format!("{query}&last_event_id={cursor}"), None)]
    {
        let mut request = Request::get(format!("{PATH}?{query}"));
        if let Some(cursor) = header {
            request = request.header("Last-Event-ID", cursor);
        }
        let opened = gateway.ask(&request);
        let mut client = LongPolling::connect(gateway.inbound(), "");
        client.take_cookies(&opened);
        let body = client.poll().json();
        let events = body["events"].as_array().expect("a list");
        assert_eq!(
            (ids(events), &events.last().expect("the answer")["data"]),
            (vec!["1"], &json!({ "events": 1 }))
        );
    }
}

/// A mailbox keeps 200 events. What does not fit comes from the history, or is a gap.
#[test]
fn r27_a_mailbox_that_overflows_loses_nothing_in_silence() {
    const PUBLISHED: usize = 300;
    let gateway = Gateway::start(&[]);
    let mut page = Page::open(&gateway, &subscribed_to(&["greeting"]));
    for id in 0..PUBLISHED {
        gateway.publish(&event_of("greeting", id));
    }
    gateway.publish(&event_of("greeting", "end"));
    let mut events = Vec::new();
    while !ids(&events).contains(&"end") {
        events.extend(page.events(&gateway));
    }
    let gaps = events.iter().filter(|event| event["type"] == "rig.gap").count();
    let got = ids(&events);
    let all: Vec<_> = (0..PUBLISHED).map(|id| id.to_string()).collect();
    assert!(gaps > 0 || got[..got.len() - 1] == all, "{} of {PUBLISHED} without a gap", got.len() - 1);
}
