//! Events of version 1.0 that violate CloudEvents: refused, unless the operator accepts their names
//! of extensions as they are.

use rig_tests::*;

const PATHS: [&str; 3] = ["/_rig/v1/events", "/v2/messages", "/v3/messages"];

fn ask(gateway: &Gateway, path: &str, request: &Request) -> Response {
    if path.starts_with("/_rig") { gateway.ask(request) } else { gateway.ask_internal(request) }
}

/// Returns an event of version 1.0 with these additional members.
fn event(more: &str) -> String {
    format!(r#"{{"specversion":"1.0","type":"greeting","source":"/o","id":"1",{more}}}"#)
}

fn typed(path: &str, content_type: &str, body: &str) -> Request {
    Request::new("POST", path).header("Content-Type", content_type).body(body)
}

/// Returns the event in every form in which it can be published as JSON.
fn as_json(path: &str, event: &str) -> [Request; 3] {
    [
        typed(path, "application/json", event),
        typed(path, "application/cloudevents+json", event),
        typed(path, "application/cloudevents-batch+json", &format!("[{event}]")),
    ]
}

fn binary(path: &str, header: &str) -> Request {
    let request = Request::new("POST", path).header("ce-specversion", "1.0").header("ce-type", "greeting");
    request.header("ce-source", "/o").header("ce-id", "1").header(header, "x")
}

const NAMES: [&str; 7] =
    ["trace_id", "event_source", "my-extension", "traceId", "a.b", "\u{e9}", "eventType"];

#[test]
fn other_names_of_extensions_are_accepted_with_the_setting() {
    let gateway = Gateway::start(&[("EVENTS_LENIENT", "true")]);
    let query = format!("subscriptions={}", encoded(r#"[{"eventType":"greeting"}]"#));
    let mut reader = Sse::connect(gateway.inbound(), &query);
    reader.welcome();
    for path in PATHS {
        for name in NAMES {
            let event = event(&format!(r#""{name}":"x""#));
            for request in as_json(path, &event) {
                let answer = ask(&gateway, path, &request);
                assert_eq!(answer.status, 202, "{path}, {name}: {}", answer.text());
                assert_eq!(reader.next_data(), event);
            }
        }
        for name in ["trace_id", "my-extension", "a.b"] {
            let answer = ask(&gateway, path, &binary(path, &format!("ce-{name}")));
            assert_eq!(answer.status, 202, "{path}, {name}: {}", answer.text());
            let data: serde_json::Value = serde_json::from_str(&reader.next_data()).expect("JSON");
            assert_eq!(data[name], "x");
        }
    }
}

#[test]
fn leniency_goes_no_further_than_names() {
    let gateway = Gateway::start(&[("EVENTS_LENIENT", "true")]);
    for path in PATHS {
        for (more, named) in [
            (r##""dataschema":"#""##, "dataschema must be an absolute URI"),
            (r#""trace_id":{"a":1}"#, "trace_id must be a string"),
            (r#""trace_id":[1]"#, "trace_id must be a string"),
            (r#""trace_id":1.5"#, "trace_id must be a string"),
            (r#""trace_id":"a\u0000""#, "trace_id must be text without control characters"),
            (r#""trace_id":"a","trace_id":"b""#, "trace_id is given more than once"),
            (r#""":"a""#, "is not an attribute name"),
            (r#""time":"now""#, "time must be a timestamp"),
        ] {
            for request in as_json(path, &event(more)) {
                let answer = ask(&gateway, path, &request);
                assert_eq!(answer.status, 400, "{path}, {more}");
                assert!(answer.text().contains(named), "{}", answer.text());
            }
        }
        for header in ["ce-", "ce-data_base64", "ce-datacontenttype"] {
            assert_eq!(ask(&gateway, path, &binary(path, header)).status, 400, "{header}");
        }
    }
}

#[test]
fn events_that_break_cloudevents_by_the_letter_are_refused_by_default() {
    let gateway = Gateway::start(&[]);
    for path in PATHS {
        for name in NAMES {
            for request in as_json(path, &event(&format!(r#""{name}":"x""#))) {
                let answer = ask(&gateway, path, &request);
                assert_eq!(answer.status, 400, "{path}, {name}");
                let text = answer.text();
                assert!(text.contains("is not an attribute name of CloudEvents 1.0"), "{text}");
                assert!(text.contains("EVENTS_LENIENT"), "{text}");
            }
        }
        let answer = ask(&gateway, path, &binary(path, "ce-trace_id"));
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("trace_id"), "{}", answer.text());
    }
}
