//! `SHUTDOWN_DELAY`: load balancers see that the node is about to shut down before it does.

use std::time::{Duration, Instant};

use rig_tests::*;

const PROBES: [&str; 2] = ["/readyz", "/readyz/"];

/// Returns the status of every probe: those of the internal port, then that of the inbound port.
fn probes(gateway: &Gateway) -> Vec<u16> {
    let mut statuses: Vec<u16> =
        PROBES.iter().map(|path| gateway.ask_internal(&Request::get(*path)).status).collect();
    statuses.push(gateway.ask(&Request::get("/_rig/health")).status);
    statuses.push(gateway.ask(&Request::new("HEAD", "/_rig/health/")).status);
    statuses
}

#[test]
fn f37_health_fails_first_and_everything_else_still_works() {
    let mut gateway = Gateway::start(&[("SHUTDOWN_DELAY", "1h"), ("API_TOKEN", "a-token-for-tests")]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut before = Sse::connect(gateway.inbound(), &query);
    before.welcome();
    assert_eq!(probes(&gateway), [200; 4], "without a token");
    gateway.terminate();
    eventually("the probes fail", || (probes(&gateway) == [503; 4]).then_some(()));
    // New and old connections work, and so does the internal port.
    let mut after = Sse::connect(gateway.inbound(), &query);
    after.welcome();
    let mut websocket = WebSocket::connect(gateway.inbound(), &query);
    websocket.welcome();
    gateway.publish(&greeting("1", "bob"));
    assert_eq!(before.next_data(), greeting("1", "bob"));
    assert_eq!(after.next_data(), greeting("1", "bob"));
    assert_eq!(websocket.next_text(), greeting("1", "bob"));
    assert_eq!(gateway.ask_internal(&Request::get("/health")).status, 200, "it is alive");
    let body = r#"{"sessionId":"s","validityInSeconds":600}"#;
    let revocation = Request::post_json("/v3/session-blacklist", body).bearer("a-token-for-tests");
    assert_eq!(gateway.ask_internal(&revocation).status, 201);
    // A second signal skips the delay.
    let asked = Instant::now();
    gateway.signal("INT");
    assert!(before.raw().expect("a last field").starts_with("retry: "));
    drop((before, after, websocket));
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
    assert!(asked.elapsed() < Duration::from_secs(12), "after {:?}", asked.elapsed());
}

#[test]
fn f37_the_delay_ends_by_itself() {
    let mut gateway = Gateway::start(&[("SHUTDOWN_DELAY", "700ms")]);
    let mut stream = Sse::connect(gateway.inbound(), "");
    stream.welcome();
    let asked = Instant::now();
    gateway.signal("INT");
    assert!(stream.raw().expect("a last field").starts_with("retry: "));
    assert!(asked.elapsed() >= Duration::from_millis(700), "after {:?}", asked.elapsed());
    drop(stream);
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
}

#[test]
fn f37_without_a_delay_the_ports_close_at_once() {
    let mut gateway = Gateway::start(&[]);
    let asked = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
    assert!(asked.elapsed() < Duration::from_secs(5), "after {:?}", asked.elapsed());
}

/// Balancers keep their connections for 60 s (AWS); the gateway must not be the first to close.
#[test]
fn f36_a_kept_connection_outlives_those_of_balancers() {
    let output = std::process::Command::new(Gateway::binary())
        .arg("--help")
        .env_clear()
        .output()
        .expect("the binary is there");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, about) = words.split_once("--keep-alive-timeout").expect("the setting has help");
    let (about, _) = about.split_once("--").unwrap_or((about, ""));
    assert!(about.contains("[default: 75s]"), "{about}");
}
