use super::*;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

#[test]
fn what_connection_names_stays_behind() {
    let mut got = headers(&[
        ("connection", "keep-alive, X-Hop"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("transfer-encoding", "chunked"),
        ("x-end", "2"),
    ]);
    got.append(CONNECTION, HeaderValue::from_static("x-other"));
    got.insert("x-other", HeaderValue::from_static("3"));
    drop_hop_by_hop(&mut got);
    assert_eq!(got, headers(&[("x-end", "2")]));
}

#[test]
fn cookies_of_http2_are_joined() {
    let mut got = headers(&[("cookie", "a=1")]);
    got.append(COOKIE, HeaderValue::from_static("b=2"));
    join_cookies(&mut got);
    assert_eq!(got.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
}

#[test]
fn forwarded_quotes_what_is_no_token() {
    let peer = |address: &str| Peer {
        address: address.parse().unwrap(),
        hop: address.parse().unwrap(),
        trusted: None,
        certificate: None,
        local: "[2001:db8::1]:4000".parse().unwrap(),
        secure: false,
        takeover: true,
        gate: None,
    };
    let of = |address, host: Option<&'static str>| {
        let host = host.map(HeaderValue::from_static);
        forwarded(&peer(address), host.as_ref(), "http").to_str().unwrap().to_owned()
    };
    assert_eq!(
        of("10.0.0.1:9", Some("a.example")),
        r#"for=10.0.0.1;by="[2001:db8::1]";host="a.example";proto=http"#
    );
    assert_eq!(of("[::ffff:10.0.0.1]:9", None), r#"for=10.0.0.1;by="[2001:db8::1]";proto=http"#);
    assert_eq!(of("[::1]:9", Some("a:4000")), r#"for="[::1]";by="[2001:db8::1]";host="a:4000";proto=http"#);
    assert!(
        !of("10.0.0.1:9", Some(r#"a";for=x"#)).contains("for=x"),
        "a client cannot break out of the quotes"
    );
}

#[test]
fn addresses_are_those_of_the_standard_library() {
    for address in ["0.0.0.0", "1.20.103.255", "255.255.255.255", "9.10.99.100", "2001:db8::1"] {
        let mut text = Vec::new();
        push_address(&mut text, address.parse().unwrap());
        assert_eq!(text, address.as_bytes());
    }
}

#[test]
fn a_trace_goes_on_or_begins() {
    let caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let mut got = headers(&[("traceparent", caller), ("tracestate", "a=1, b=\t2")]);
    let context = TraceContext::of_caller(&got).unwrap().child();
    trace(&mut got, &context, false);
    assert_eq!(got["tracestate"], "a=1, b=\t2", "as it came");
    let handed_on = TraceContext::of_caller(&got).unwrap();
    assert_eq!((handed_on.trace_id, handed_on.sampled), (context.trace_id, false));
    assert_eq!(handed_on.span_id, context.span_id);
    assert_ne!(got["traceparent"], caller);

    let mut got = headers(&[("traceparent", "00-garbage"), ("tracestate", "a=1")]);
    got.append(TRACEPARENT, HeaderValue::from_static("more of it"));
    let context = TraceContext::root();
    trace(&mut got, &context, true);
    assert_eq!(got, HeaderMap::from_iter([(TRACEPARENT, context.traceparent())]));
}

#[test]
fn twins_of_what_a_definition_sets_go_whichever_sign_it_has() {
    let set = [HeaderName::from_static("x_user"), HeaderName::from_static("x-org")];
    let mut got = headers(&[
        ("x_user", "1"),
        ("x-user", "2"),
        ("x-org", "3"),
        ("x_org", "4"),
        ("host", "5"),
        ("a_b", "6"),
    ]);
    drop_twins(&mut got, set.iter());
    assert_eq!(got, headers(&[("x_user", "1"), ("x-org", "3"), ("host", "5"), ("a_b", "6")]));
}

#[test]
fn trailers_say_nothing_of_who_asks() {
    let mut got = headers(&[
        ("x-sum", "1"),
        ("x-forwarded-for", "2"),
        ("x_forwarded_for", "3"),
        ("content-length", "4"),
        ("x-user", "5"),
        ("x_user", "6"),
        ("traceparent", "7"),
        ("keep-alive", "8"),
    ]);
    for_trailers(&mut got, &[HeaderName::from_static("x-user")]);
    assert_eq!(got, headers(&[("x-sum", "1")]));
}
