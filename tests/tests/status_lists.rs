//! Token status lists, published by a library that issuers use: case i38 of the identity plan.

use std::path::Path;
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

/// The `ttl` of the lists.
const TTL: Duration = Duration::from_secs(10);

/// The issuer of `tests/status`, with a gateway that takes its tokens.
struct World {
    issuer: ScriptServer,
    gateway: Gateway,
    data: Folder,
}

impl World {
    fn start() -> Self {
        Self::start_with(&json!({}))
    }

    fn start_with(more: &Value) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("status");
        assert!(folder.join("node_modules/@sd-jwt").exists(), "scripts/need status-list");
        let script = folder.join("issuer.mjs");
        let issuer = ScriptServer::start("node", "--no-warnings", script.to_str().expect("a path"));
        let url = format!("http://{}", issuer.address());
        let mut table = json!({
            "id": "lists", "issuer": url, "audience": ["gateway"], "session_field": "/sid",
            "status_lists": [format!("{url}/lists/")],
        });
        for (name, value) in more.as_object().expect("an object") {
            table[name] = value.clone();
        }
        let data = Folder::new();
        let path = data.path().to_str().expect("a path");
        let gateway = Gateway::start(&[("ISSUERS", &json!([table]).to_string()), ("DATA_DIR", path)]);
        gateway.await_metric(r#"rig_issuer_keys{issuer="lists"}"#, 1.0);
        Self { issuer, gateway, data }
    }

    fn ask_issuer(&self, path: &str) -> String {
        Request::get(path).send(self.issuer.address()).text()
    }

    /// Returns a token with the status of this index.
    fn token(&self, list: &str, index: u64) -> String {
        self.ask_issuer(&format!("/token?list={list}&idx={index}&sid=s-{list}-{index}"))
    }

    fn set(&self, list: &str, index: u64, value: &str) {
        self.ask_issuer(&format!("/set?list={list}&idx={index}&value={value}"));
    }

    fn connect(&self, token: &str) -> Result<Sse, Response> {
        let subscriptions = encoded(r#"[{"eventType":"greeting"}]"#);
        let request = Request::get(format!("/_rig/v1/connection/sse?subscriptions={subscriptions}"));
        Sse::open(self.gateway.inbound(), &request.bearer(token))
    }

    /// Connects, and reads the first events.
    fn connected(&self, token: &str) -> Sse {
        let mut sse = self.connect(token).unwrap_or_else(|refusal| panic!("refused: {}", refusal.shown()));
        sse.welcome();
        sse
    }

    fn refused(&self, token: &str) -> Response {
        self.connect(token).err().expect("a refusal")
    }

    fn fetches(&self, list: &str) -> u64 {
        let fetches: Value = serde_json::from_str(&self.ask_issuer("/fetches")).expect("JSON");
        fetches[list].as_u64().unwrap_or(0)
    }

    /// Waits until the audit log has this reason.
    fn await_audit(&self, reason: &str) {
        let path = self.data.path().join("audit.log");
        let has = || std::fs::read_to_string(&path).unwrap_or_default().contains(&format!(r#""{reason}""#));
        eventually(reason, || has().then_some(()));
    }

    fn fetched(&self, result: &str) -> f64 {
        self.gateway.metric_sum(
            "rig_issuer_fetches_total",
            &[("issuer", "lists"), ("what", "status_list"), ("result", result)],
        )
    }
}

#[test]
fn i38_a_bit_that_turns_terminates_its_connection_and_no_other() {
    let world = World::start();
    let tokens: Vec<_> = (0..4).map(|index| world.token("1", index)).collect();
    let mut streams: Vec<_> = tokens.iter().map(|token| world.connected(token)).collect();
    // Two bits each.
    let mut suspended = world.connected(&world.token("2", 999));
    let plain = world.ask_issuer("/token?sid=plain");
    let mut plain = world.connected(&plain);
    assert_eq!((world.fetches("1"), world.fetches("2")), (1, 1), "all share a fetch");
    assert_eq!(world.gateway.metric(r#"rig_issuer_status_lists{issuer="lists"}"#), 2.0);

    world.set("1", 2, "1");
    world.set("2", 999, "2");
    let turned = Instant::now();
    streams[2].expect_kill();
    suspended.expect_kill();
    let took = turned.elapsed();
    assert!(took < TTL + Duration::from_secs(5), "{took:?}");
    world.await_audit("status list: revoked");
    world.await_audit("status list: suspended");

    // Its neighbours go on, and what has no status.
    drop(streams.remove(2));
    world.gateway.publish(&greeting("1", "everyone"));
    for stream in streams.iter_mut().chain([&mut plain]) {
        assert!(stream.next_data().contains("everyone"));
    }
    let refused = world.refused(&tokens[2]);
    assert_eq!(refused.status, 400, "{}", refused.shown());
    assert!(refused.text().contains("the issuer has revoked the token"), "{}", refused.text());
    drop(world.connected(&tokens[1]));
}

#[test]
fn i38_what_is_no_list_makes_no_token_valid() {
    let world = World::start();
    // An index beyond the list, and places that are none of the lists'.
    let beyond = world.refused(&world.token("1", 1000));
    assert_eq!(beyond.status, world.refused(&world.token("1", u64::from(u32::MAX))).status);
    assert_eq!(beyond.status, 400, "{}", beyond.shown());
    assert!(beyond.text().contains("refers to no entry of a status list"), "{}", beyond.text());
    let origin = format!("http://{}", world.issuer.address());
    for uri in [
        format!("{origin}/token"),
        format!("{origin}/lists/../token"),
        format!("{origin}/lists/%2e%2e/token"),
        "http://127.0.0.1:1/lists/1".to_owned(),
        "http://169.254.169.254/lists/1".to_owned(),
    ] {
        let token = world.ask_issuer(&format!("/token?list=1&idx=0&sid=s&uri={}", encoded(&uri)));
        assert_eq!(world.refused(&token).status, beyond.status, "{uri}");
    }
    // Lists that are not used, in bounded memory.
    let before = world.gateway.memory().1;
    for list in ["expired", "future", "subject", "type", "forged", "bomb", "large", "cwt", "moved", "missing"]
    {
        let refused = world.refused(&world.token(list, 0));
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{list}");
        assert_eq!(world.fetches(list), 1, "{list}");
    }
    let grown = world.gateway.memory().1 - before;
    assert!(grown < 128 << 20, "{grown} bytes");
    assert_eq!(world.fetched("invalid"), 7.0);
    assert_eq!((world.fetched("too_large"), world.fetched("status")), (1.0, 2.0));
    for reason in [
        "the list has expired",
        "the claim /iat is in the future",
        "the claim /sub is not the URI of the list",
        "another type of token is needed",
        "Invalid signature",
        "more than 16777216 bytes when it is decompressed",
        "larger than 8388608 bytes",
        "the list is a CWT",
        "redirects are not followed",
        "status 404",
    ] {
        eventually(reason, || world.gateway.log().contains(reason).then_some(()));
    }
    // Lists of before go on.
    drop(world.connected(&world.token("1", 0)));
}

#[test]
fn a_list_that_cannot_be_had_keeps_connections_for_a_while() {
    let world = World::start_with(&json!({"keys_max_stale": "3s"}));
    let token = world.token("1", 0);
    let mut stream = world.connected(&token);
    let began = Instant::now();
    world.ask_issuer("/set?list=1&idx=0&value=missing");
    stream.expect_kill();
    let took = began.elapsed();
    assert!((TTL..TTL + Duration::from_secs(8)).contains(&took), "{took:?}");
    world.await_audit("status list: it could not be fetched for 3 s");
    assert_eq!(world.refused(&token).status, 503);
    // It comes back.
    world.ask_issuer("/set?list=1&value=gone");
    let again = Instant::now();
    loop {
        if world.connect(&token).is_ok() {
            break;
        }
        assert!(again.elapsed() < Duration::from_secs(10), "a request causes a fetch after 5 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}
