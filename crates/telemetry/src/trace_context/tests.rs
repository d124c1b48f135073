use proptest::prelude::*;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn parsed(text: &str) -> Option<TraceContext> {
    TraceContext::parse(text.as_bytes())
}

#[test]
fn the_example_of_the_specification() {
    let context = parsed(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
    assert_eq!(context.trace_id.to_string(), TRACE);
    assert_eq!(format!("{:016x}", context.span_id), SPAN);
    assert!(context.sampled);
    let child = context.child();
    assert_eq!((child.trace_id, child.parent_id), (context.trace_id, Some(context.span_id)));
    assert_ne!(child.span_id, context.span_id);
}

#[test]
fn future_versions_are_parsed_like_the_known_one() {
    for (text, valid) in [
        ("00-{t}-{s}-01", true),
        ("00-{t}-{s}-00", true),
        ("00-{t}-{s}-ff", true),
        ("00-{t}-{s}-01-", false),
        ("00-{t}-{s}-01-what-the-future-brings", false),
        ("cc-{t}-{s}-01", true),
        ("cc-{t}-{s}-01-", true),
        ("cc-{t}-{s}-01-what-the-future-brings", true),
        ("cc-{t}-{s}-01.what-the-future-brings", false),
        ("cc-{t}-{s}-011", false),
        ("ff-{t}-{s}-01", false),
        ("0-{t}-{s}-01", false),
        ("0x-{t}-{s}-01", false),
        ("00-{t}-{s}-1", false),
        ("00-{t}-{s}-0X", false),
        ("00-{t}-{s}", false),
        ("00_{t}-{s}-01", false),
        ("00-{t}_{s}-01", false),
        ("00-{t}-{s}_01", false),
        (" 00-{t}-{s}-01", false),
        ("00-{t}-0000000000000000-01", false),
        ("00-00000000000000000000000000000000-{s}-01", false),
        ("00-{t}-B7AD6B7169203331-01", false),
        ("00-0AF7651916CD43DD8448EB211C80319C-{s}-01", false),
        ("00-{t}-{s}g-01", false),
        ("", false),
    ] {
        let text = text.replace("{t}", TRACE).replace("{s}", SPAN);
        assert_eq!(parsed(&text).is_some(), valid, "{text}");
    }
}

#[test]
fn unknown_flags_are_not_passed_on() {
    let text = |flags| format!("00-{TRACE}-{SPAN}-{flags}");
    for (came, goes) in [("00", "00"), ("01", "01"), ("02", "00"), ("fe", "00"), ("ff", "01")] {
        assert_eq!(parsed(&text(came)).unwrap().traceparent(), *text(goes), "{came}");
    }
}

#[test]
fn several_headers_count_as_none() {
    let mut headers = HeaderMap::new();
    assert_eq!(TraceContext::of_caller(&headers), None);
    let context = TraceContext::root();
    headers.append(TRACEPARENT, context.traceparent());
    assert_eq!(TraceContext::of_caller(&headers), Some(context));
    headers.append(TRACEPARENT, context.traceparent());
    assert_eq!(TraceContext::of_caller(&headers), None);
}

proptest! {
    #[test]
    fn what_is_written_is_read(trace_id in 1u128.., span_id in 1u64.., sampled: bool) {
        let context = TraceContext { trace_id: TraceId(trace_id), span_id, parent_id: None, sampled };
        let written = context.traceparent();
        prop_assert_eq!(written.len(), 55);
        prop_assert_eq!(TraceContext::parse(written.as_bytes()), Some(context));
    }

    #[test]
    fn what_is_read_is_what_the_grammar_says(text in "[0-9a-fA-F-]{50,60}|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?") {
        let grammar = regex::Regex::new("^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$").unwrap();
        let valid = grammar.captures(&text).is_some_and(|parts| {
            let is_zero = |at: usize| parts[at].bytes().all(|digit| digit == b'0');
            let longer = parts.get(4).is_some();
            let known = match &parts[1] {
                "00" => !longer,
                version => version != "ff",
            };
            known && !is_zero(2) && !is_zero(3)
        });
        prop_assert_eq!(parsed(&text).is_some(), valid);
    }

    #[test]
    fn nothing_makes_it_panic(bytes: Vec<u8>) {
        TraceContext::parse(&bytes);
    }
}
