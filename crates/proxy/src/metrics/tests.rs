use std::time::Duration;

use super::*;

/// Metrics, and the registry that shows them.
struct Registered(Metrics, Registry);

impl Registered {
    fn new() -> Self {
        let mut registry = Registry::default();
        Self(Metrics::register(&mut registry), registry)
    }
}

impl std::ops::Deref for Registered {
    type Target = Metrics;

    fn deref(&self) -> &Metrics {
        &self.0
    }
}

/// Returns the lines of the text with this beginning, without comments.
fn lines(metrics: &Registered, begin: &str) -> Vec<String> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &metrics.1).unwrap();
    text.lines().filter(|line| line.starts_with(begin)).map(str::to_owned).collect()
}

fn endpoint(n: usize) -> EndpointLabels {
    EndpointLabels {
        api: "shop".into(),
        endpoint: format!("e{n}").into(),
        method: "GET".into(),
        path: format!(r#"/items/(\d{{{n}}}|"x")"#).into(),
        target: "http",
        response_from: "http_async",
    }
}

#[test]
fn a_request_to_the_proxy_is_counted_when_it_ends() {
    let metrics = Registered::new();
    assert_eq!(lines(&metrics, "rig_proxy_requests_total"), [""; 0], "what has not happened is not shown");
    let counters = metrics.endpoint(&endpoint(1));
    counters.begun();
    counters.begun();
    assert_eq!(lines(&metrics, "rig_proxy_requests_in_flight"), ["rig_proxy_requests_in_flight 2"]);
    counters.ended(ProxyStatus::Ok, Duration::from_millis(2));
    metrics.endpoint(&endpoint(1)).ended(ProxyStatus::Ok, Duration::from_millis(20));
    metrics.unmatched("GET").begun();
    metrics.unmatched("GET").ended(ProxyStatus::NotFound, Duration::ZERO);
    metrics.unmatched("BREW").begun();
    metrics.unmatched("BREW").ended(ProxyStatus::NotFound, Duration::ZERO);
    let mut counts = lines(&metrics, "rig_proxy_requests_");
    counts.sort();
    assert_eq!(
        counts,
        [
            "rig_proxy_requests_in_flight 0",
            r#"rig_proxy_requests_total{method="GET",path="/items/(\\d{1}|\"x\")",target="http",response_from="http_async",status="ok"} 2"#,
            r#"rig_proxy_requests_total{method="GET",path="N/A",target="N/A",response_from="N/A",status="not_found"} 1"#,
            r#"rig_proxy_requests_total{method="other",path="N/A",target="N/A",response_from="N/A",status="not_found"} 1"#,
        ]
    );
    let durations = lines(&metrics, "rig_proxy_request_duration_seconds");
    for line in [
        r#"rig_proxy_request_duration_seconds_count{api="shop",endpoint="e1"} 2"#,
        r#"rig_proxy_request_duration_seconds_sum{api="shop",endpoint="e1"} 0.022"#,
        r#"rig_proxy_request_duration_seconds_bucket{le="0.0025",api="shop",endpoint="e1"} 1"#,
        r#"rig_proxy_request_duration_seconds_count{api="N/A",endpoint="N/A"} 2"#,
    ] {
        assert!(durations.iter().any(|shown| shown == line), "{line} in {durations:#?}");
    }
}

#[test]
fn endpoints_and_targets_are_bounded() {
    let metrics = Registered::new();
    for n in 0..Metrics::MOST + 10 {
        let counters = metrics.endpoint(&endpoint(n));
        counters.begun();
        counters.ended(ProxyStatus::Ok, Duration::ZERO);
        metrics.upstream_ejected(&"shop".into(), &format!("server-{n}:80"), 1);
    }
    metrics.endpoint(&endpoint(0)).ended(ProxyStatus::Ok, Duration::ZERO);
    let requests = lines(&metrics, "rig_proxy_requests_total{");
    assert_eq!(requests.len(), Metrics::MOST + 1);
    let other = r#"rig_proxy_requests_total{method="other",path="other",target="other",response_from="other",status="ok"} 10"#;
    assert!(requests.iter().any(|line| line == other));
    let ejections = lines(&metrics, "rig_proxy_upstream_ejections_total{");
    assert_eq!(ejections.len(), Metrics::MOST + 1);
    let other = r#"rig_proxy_upstream_ejections_total{api="other",target="other"} 10"#;
    assert!(ejections.iter().any(|line| line == other));
}

#[test]
fn gauges_can_be_set_when_they_are_looked_at() {
    let metrics = Registered::new();
    metrics
        .families
        .connections
        .sample_with(|gauges| _ = gauges.get_or_create(&ByState { state: "idle" }).set(7));
    metrics.families.responses_waiting.sample_with(|gauge| _ = gauge.set(3));
    metrics.token_cache(TokenCacheResult::Hit);
    assert_eq!(
        lines(&metrics, "rig_proxy_upstream_connections"),
        [r#"rig_proxy_upstream_connections{state="idle"} 7"#]
    );
    assert_eq!(lines(&metrics, "rig_proxy_responses_waiting"), ["rig_proxy_responses_waiting 3"]);
    let mut cache = lines(&metrics, "rig_proxy_token_cache_total");
    cache.sort();
    assert_eq!(
        cache,
        [
            r#"rig_proxy_token_cache_total{result="ended"} 0"#,
            r#"rig_proxy_token_cache_total{result="hit"} 1"#,
            r#"rig_proxy_token_cache_total{result="miss"} 0"#,
        ]
    );
}
