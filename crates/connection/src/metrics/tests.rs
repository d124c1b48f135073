use super::*;

/// Metrics, and the registry that shows them.
fn registered() -> (Metrics, Registry) {
    let mut registry = Registry::default();
    (Metrics::register(&mut registry), registry)
}

fn text_of(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
    text
}

#[test]
fn counts_show_in_the_text() {
    let (metrics, registry) = registered();
    metrics.opened(Transport::Sse);
    metrics.opened(Transport::Sse);
    metrics.closed(Transport::Sse, CloseReason::OutboxOverflow, 0);
    let text = text_of(&registry);
    assert!(text.contains("rig_connections{transport=\"sse\"} 1\n"), "{text}");
    assert!(text.contains("rig_outbox_overflows_total{transport=\"sse\"} 1\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn labels_from_outside_are_bounded() {
    let (metrics, registry) = registered();
    for n in 0..Metrics::EVENT_TYPE_LABELS + 100 {
        metrics.event_forwarded(&format!("type-{n}"), 1);
    }
    let text = text_of(&registry);
    let labels = text.lines().filter(|l| l.starts_with("rig_consumed_events_forwarded_total{")).count();
    assert_eq!(labels, Metrics::EVENT_TYPE_LABELS + 1);
    assert!(text.contains("rig_consumed_events_forwarded_total{type=\"other\"} 100\n"));
}
