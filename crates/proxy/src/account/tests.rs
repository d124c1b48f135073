use metric::Registry;

use super::*;
use crate::access::Unauthenticated;
use crate::metrics::Metrics;

/// Metrics, and the registry that shows them.
struct Registered(Metrics, Registry);

impl Registered {
    fn new() -> Self {
        let mut registry = Registry::default();
        Self(Metrics::register(&mut registry), registry)
    }
}

/// Creates the account of a request without an endpoint.
fn of(metrics: &Registered) -> Account {
    Account::new(metrics.0.unmatched("GET"))
}

/// Returns the statuses that were counted, each with its count, and the number of requests in
/// flight.
fn counted(metrics: &Registered) -> Vec<String> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.1).unwrap();
    let of = |line: &str| {
        let (_, rest) = line.strip_prefix("rig_proxy_requests_")?.split_once("status=\"")?;
        Some(rest.replace("\"}", ""))
    };
    let mut counts: Vec<_> = text.lines().filter_map(of).collect();
    counts.sort();
    let in_flight = text.lines().find(|line| line.starts_with("rig_proxy_requests_in_flight")).unwrap();
    counts.push(in_flight.replace("rig_proxy_requests_in_flight ", "in flight "));
    counts
}

#[test]
fn a_request_is_counted_once_when_it_ends() {
    let metrics = Registered::new();
    let mut account = of(&metrics);
    assert_eq!(counted(&metrics), ["in flight 1"]);
    let mut passed_on = account.take();
    drop(account);
    assert_eq!(counted(&metrics), ["in flight 1"], "what is left counts nothing");
    passed_on.whole();
    assert_eq!(counted(&metrics), ["in flight 1"]);
    drop(passed_on);
    assert_eq!(counted(&metrics), ["ok 1", "in flight 0"]);
}

#[test]
fn without_another_end_the_client_has_left() {
    let metrics = Registered::new();
    drop(of(&metrics));
    assert_eq!(counted(&metrics), ["client_closed 1", "in flight 0"]);
}

#[test]
fn the_first_end_counts() {
    let metrics = Registered::new();
    let mut account = of(&metrics);
    account.killed();
    account.broken();
    account.whole();
    drop(account);
    let mut account = of(&metrics);
    account.broken();
    account.killed();
    drop(account);
    assert_eq!(counted(&metrics), ["broken 1", "killed 1", "in flight 0"]);
}

#[test]
fn every_refusal_has_its_word() {
    for (refusal, word) in [
        (Rejection::NotFound, "not_found"),
        (Rejection::Unauthenticated(Unauthenticated::Missing), "unauthenticated"),
        (Rejection::Killed, "killed"),
        (Rejection::Forbidden, "forbidden"),
        (Rejection::TooMany(1), "too_many_requests"),
        (Rejection::TooLarge, "too_large"),
        (Rejection::ClientSilent, "client_timeout"),
        (Rejection::ClientBroken, "bad_request"),
        (Rejection::Unreachable, "unreachable"),
        (Rejection::ServiceSilent, "request_timeout"),
        (Rejection::Full, "unavailable"),
        (Rejection::NoAnswer, "response_timeout"),
    ] {
        let metrics = Registered::new();
        of(&metrics).refused(&refusal);
        assert_eq!(counted(&metrics), [format!("{word} 1"), "in flight 0".to_owned()], "{refusal:?}");
    }
}

#[test]
fn an_upgrade_takes_as_long_as_its_101() {
    let metrics = Registered::new();
    let mut account = of(&metrics);
    account.upgraded();
    let took = account.0.as_ref().unwrap().took;
    std::hint::black_box(&metrics);
    account.whole();
    assert!(took.is_some() && account.0.as_ref().unwrap().took == took);
    drop(account);
    assert_eq!(counted(&metrics), ["ok 1", "in flight 0"]);
}
