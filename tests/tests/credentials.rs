//! Several credentials in one request, and credentials for other systems beside the gateway's: only
//! what was verified counts.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

const SSE: &str = "/_rig/v1/connection/sse";
const LIST: &str = r#"{"subscriptions":[]}"#;

/// Returns a token that was signed with another key.
fn forged() -> String {
    let key = EncodingKey::from_secret(b"the-key-of-somebody-else-32-byte").expect("a key");
    signed(&claims("admin", "admin"), Algorithm::HS256, &key)
}

/// Starts a service behind `/secure`, with this `auth`, and a gateway that accepts its own tokens
/// in the cookie `token`.
fn behind(auth: Value, endpoint: Value) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let mut secured = json!({"id": "s", "path_regex": "/secure", "method": "GET", "secured": true});
    let (Value::Object(members), Value::Object(more)) = (&mut secured, endpoint) else {
        panic!("no objects")
    };
    members.extend(more);
    let mut api = upstream.api("svc", &json!([secured]));
    api["auth"] = auth;
    let apis = json!([api]).to_string();
    let gateway = Gateway::start(&[
        ("PROXY_CONFIG_FILE", &apis),
        ("JWT_COOKIE", "token"),
        ("CORS", "http://app.test"),
        ("EXTRACTORS", EXTRACTORS),
    ]);
    (upstream, gateway)
}

fn everywhere(header: &str) -> Value {
    json!({
        "use_header": true, "header_name": header, "use_query": true, "query_name": "jwt",
        "use_cookie": true, "cookie_name": "token",
    })
}

/// Sends a request with these header fields, given in bytes; returns the status of the answer.
fn ask(gateway: &Gateway, method: &str, target: &str, fields: &[(&str, &[u8])]) -> u16 {
    let mut wire = Wire::connect(gateway.inbound());
    wire.send(format!("{method} {target} HTTP/1.1\r\nHost: gateway.test\r\n"));
    for (name, value) in fields {
        wire.send([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    wire.send("Content-Type: application/json\r\n");
    match method {
        "PUT" => wire.send(format!("Content-Length: {}\r\n\r\n{LIST}", LIST.len())),
        _ => wire.send("\r\n"),
    }
    Response::read_head(&mut wire).expect("an answer").status
}

fn values(received: &Received, name: &str) -> Vec<String> {
    let named = received.headers.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.clone()).collect()
}

/// A request with two tokens: its name, its query, and its header fields.
type Two = (&'static str, String, Vec<(&'static str, String)>);

/// Returns requests for every pair of places, and for two tokens in one place, with the bad token
/// first and last.
fn pairs(good: &str, bad: &str) -> Vec<Two> {
    let mut all = Vec::new();
    for (a, b) in [(good, bad), (bad, good)] {
        let (bearer, cookie) = (|text: &str| format!("Bearer {text}"), |text: &str| format!("token={text}"));
        all.extend([
            ("header and query", format!("?jwt={b}"), vec![("Authorization", bearer(a))]),
            ("two fields", String::new(), vec![("Authorization", bearer(a)), ("authorization", bearer(b))]),
            ("a list", String::new(), vec![("Authorization", format!("Bearer {a}, Bearer {b}"))]),
            ("a list of one scheme", String::new(), vec![("Authorization", format!("Bearer {a},{b}"))]),
            ("a list without scheme", String::new(), vec![("Authorization", format!("{a}, {b}"))]),
            (
                "behind another scheme",
                format!("?jwt={a}"),
                vec![("Authorization", format!("Basic eA==, bearer\t{b}"))],
            ),
            ("the query twice", format!("?jwt={a}&jwt={b}"), vec![]),
            ("an encoded name", format!("?%6A%77t={a}&x=1&jwt={b}"), vec![]),
            ("two cookies", String::new(), vec![("Cookie", format!("{}; {}", cookie(a), cookie(b)))]),
            ("two fields of cookies", String::new(), vec![("Cookie", cookie(a)), ("Cookie", cookie(b))]),
            ("a cookie in quotes", String::new(), vec![("Cookie", format!("token=\"{a}\";token ={b}"))]),
        ]);
    }
    all
}

#[test]
fn f05_one_bad_token_of_two_is_refused_or_not_handed_on() {
    let (upstream, gateway) = behind(everywhere("Authorization"), json!({}));
    let (good, revoked) = (token_of("alice"), token_of("revoked"));
    gateway.blacklist("revoked");
    for bad in [forged(), revoked] {
        for (what, query, fields) in pairs(&good, &bad) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let status = ask(&gateway, "GET", &format!("/secure{query}"), &fields);
            assert_eq!(status, 401, "{what}: proxied");
            for path in [SSE, "/_rig/v1/connection/longpolling"] {
                assert_eq!(ask(&gateway, "GET", &format!("{path}{query}"), &fields), 400, "{what}: {path}");
            }
        }
    }
    assert!(upstream.waiting().is_empty(), "no service has seen any of them");
    for (what, query, fields) in pairs(&good, &good).into_iter().chain(pairs(&good, &token_of("bob"))) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        assert_eq!(ask(&gateway, "GET", &format!("/secure{query}"), &fields), 200, "{what}: both are good");
        assert_eq!(ask(&gateway, "GET", &format!("{SSE}{query}"), &fields), 200, "{what}: both are good");
    }
}

#[test]
fn f05_what_a_service_may_read_as_the_token_is_verified_too() {
    let (upstream, gateway) = behind(everywhere("Authorization"), json!({}));
    let (good, bad) = (token_of("alice"), forged());
    for query in [
        format!("x=1;jwt={bad}&jwt={good}"),
        format!("jwt={good}&x=1;jwt={bad}"),
        format!("jwt={good};jwt={bad}"),
        format!("jwt={good};x=1"),
        format!("JWT={bad}&jwt={good}"),
        format!("jwt={good}&j%57t={bad}"),
        format!("+jwt={bad}&jwt={good}"),
        format!("jwt%20={bad}&jwt={good}"),
        format!("jwt%00x={bad}&jwt={good}"),
        format!("jwt[]={bad}&jwt={good}"),
        format!("jwt%5B0%5D={bad}&jwt={good}"),
    ] {
        assert_eq!(ask(&gateway, "GET", &format!("/secure?{query}"), &[]), 401, "{query}: proxied");
        assert_eq!(ask(&gateway, "GET", &format!("{SSE}?{query}"), &[]), 400, "{query}");
    }
    assert!(upstream.waiting().is_empty(), "no service has seen any of them");
    for query in [
        format!("a=1;b=2&jwt={good}&xjwt={bad}&jwtx={bad}&jwt.x={bad}"),
        format!("jwt={good}&j%2577t={bad}&a=jwt;b"),
    ] {
        assert_eq!(ask(&gateway, "GET", &format!("/secure?{query}"), &[]), 200, "{query}: other parameters");
        assert_eq!(ask(&gateway, "GET", &format!("{SSE}?{query}"), &[]), 200, "{query}: other parameters");
    }
}

#[test]
fn f05_over_http2_too() {
    let (upstream, gateway) = behind(everywhere("X-Token"), json!({}));
    let (good, bad) = (token_of("alice"), forged());
    let (good_cookie, bad_cookie) = (format!("token={good}"), format!("token={bad}"));
    let twice = format!("/secure?jwt={bad}&jwt={good}");
    for (path, fields) in [
        ("/secure", [("cookie", &*good_cookie), ("cookie", &*bad_cookie)]),
        ("/secure", [("cookie", &bad_cookie), ("cookie", &good_cookie)]),
        ("/secure", [("x-token", &bad), ("x-token", &good)]),
        (&twice, [("x-other", "1"), ("x-other", "2")]),
    ] {
        let mut head =
            vec![(":method", "GET"), (":scheme", "http"), (":authority", "gateway.test"), (":path", path)];
        head.extend(fields);
        assert_eq!(Http2::connect(gateway.inbound()).ask(&head, None), "401", "{path}");
    }
    assert!(upstream.waiting().is_empty());
}

#[test]
fn f05_a_header_that_a_service_reads_as_the_tokens_is_not_handed_on() {
    let (upstream, gateway) = behind(everywhere("X-Token"), json!({}));
    let (good, bad) = (token_of("alice"), forged());
    let fields = [("X-Token", good.as_bytes()), ("X_Token", bad.as_bytes())];
    assert_eq!(ask(&gateway, "GET", "/secure", &fields), 200);
    let received = upstream.next();
    assert_eq!((values(&received, "x-token"), values(&received, "x_token")), (vec![good], vec![]));
}

#[test]
fn f05_each_token_must_have_the_claims_and_each_session_ends_the_request() {
    let (upstream, gateway) = behind(everywhere("Authorization"), json!({"claims": {"/username": "bob"}}));
    let other = signed(
        &claims("b", "eve"),
        Algorithm::HS256,
        &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"),
    );
    let bob = token_of("a");
    let fields = |value: String| [("Authorization", value)];
    for value in [format!("Bearer {bob}, Bearer {other}"), format!("Bearer {other}, Bearer {bob}")] {
        let [(name, value)] = fields(value);
        assert_eq!(ask(&gateway, "GET", "/secure", &[(name, value.as_bytes())]), 403);
    }
    assert!(upstream.waiting().is_empty());
    let (upstream, gateway) = behind(everywhere("Authorization"), json!({"path_regex": "/secure(/slow)?"}));
    let two = Request::get("/secure/slow").header("Authorization", format!("Bearer {bob}, Bearer {other}"));
    let mut waiting = two.start(gateway.inbound());
    upstream.next();
    gateway.blacklist("b");
    assert_eq!(
        Response::read(&mut waiting, false).status,
        401,
        "revoking the second session aborts it as well"
    );
}

#[test]
fn f49_a_cookie_beside_an_explicit_token_does_not_count() {
    let (upstream, gateway) = behind(everywhere("Authorization"), json!({}));
    let (good, another) = (token_of("alice"), token_of("another"));
    let bearer = format!("Bearer {good}");
    for stale in ["garbage".to_owned(), forged(), another.clone(), "\"x\"".to_owned()] {
        let cookie = format!("a=1;  token={stale}; b=caf\u{e9};token={good}");
        for (query, fields) in [
            (String::new(), vec![("Authorization", bearer.as_bytes()), ("Cookie", cookie.as_bytes())]),
            (format!("?jwt={good}"), vec![("Cookie", cookie.as_bytes())]),
        ] {
            assert_eq!(ask(&gateway, "GET", &format!("/secure{query}"), &fields), 200, "{stale}");
            let seen = values(&upstream.next(), "cookie");
            // Each character stands for one byte.
            assert_eq!(seen, [format!("a=1; b=caf\u{c3}\u{a9};token={good}")], "{stale}");
            assert_eq!(ask(&gateway, "GET", &format!("{SSE}{query}"), &fields), 200, "{stale}");
        }
        if stale != another {
            let only_cookie = [("Cookie", cookie.as_bytes())];
            assert_eq!(ask(&gateway, "GET", "/secure", &only_cookie), 401, "{stale}: it counts then");
        }
    }
    let only_stale = format!("token={}", forged());
    let fields = [("Authorization", bearer.as_bytes()), ("Cookie", only_stale.as_bytes())];
    assert_eq!(ask(&gateway, "GET", "/secure", &fields), 200);
    assert!(values(&upstream.next(), "cookie").is_empty(), "nothing else was in it");
}

#[test]
fn f49_only_the_events_of_the_explicit_user_arrive() {
    let (_upstream, gateway) = behind(everywhere("Authorization"), json!({}));
    let of = |user: &str| {
        signed(
            &claims(user, user),
            Algorithm::HS256,
            &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"),
        )
    };
    let request =
        Request::get(format!("{SSE}?jwt={}", of("alice"))).header("Cookie", format!("token={}", of("bob")));
    let mut sse = Sse::open(gateway.inbound(), &request).map_err(|refusal| refusal.text()).unwrap();
    sse.welcome();
    gateway.publish(&greeting("1", "bob"));
    gateway.publish(&greeting("2", "alice"));
    assert!(sse.next_data().contains(r#""id": "2""#), "the event of the cookie's user arrives");
    gateway.blacklist("bob");
    gateway.publish(&greeting("3", "alice"));
    assert!(sse.next_data().contains(r#""id": "3""#), "the session of the cookie is not this connection's");
    gateway.blacklist("alice");
    sse.expect_kill();
}

#[test]
fn f46_foreign_cookies_do_not_hide_ours() {
    let (upstream, gateway) = behind(everywhere("Authorization"), json!({}));
    let good = token_of("alice");
    for foreign in [
        &b"name=Jos\xc3\xa9; "[..],
        b"name=Jos\xe9;",
        b"x=\xff\xfe; =; =v; flag; q=\"a b\"; n=a=b=c; Token=z;;",
        b"token2=z; xtoken=y; ",
    ] {
        let in_front = [foreign, format!("token={good}").as_bytes()].concat();
        let behind = [format!("token=\"{good}\";").as_bytes(), foreign].concat();
        let ours = format!("token={good}").into_bytes();
        for fields in [
            vec![("Cookie", &*in_front)],
            vec![("Cookie", &*behind)],
            vec![("Cookie", foreign), ("cookie", &*ours)],
        ] {
            let shown = foreign.escape_ascii();
            assert_eq!(ask(&gateway, "GET", "/secure", &fields), 200, "{shown}: proxied");
            upstream.next();
            assert_eq!(ask(&gateway, "GET", SSE, &fields), 200, "{shown}: SSE");
        }
        // A poll still finds its connection.
        let client = LongPolling::connect(gateway.inbound(), "");
        let cookies: Vec<_> = client.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = [foreign, cookies.join("; ").as_bytes()].concat();
        let mut wire = Wire::connect(gateway.inbound());
        wire.send("GET /_rig/v1/connection/longpolling HTTP/1.1\r\nHost: gateway.test\r\nCookie: ");
        wire.send([&cookie, &b"\r\n\r\n"[..]].concat());
        let polled = Response::read(&mut wire, false);
        assert!(polled.text().contains("rig.connection.create"), "a new connection: {}", polled.shown());
    }
}

#[test]
fn f48_credentials_of_other_schemes_are_not_ours() {
    let (upstream, gateway) = behind(everywhere("Authorization"), json!({}));
    let good = token_of("alice");
    let cookie = format!("token={good}");
    for other in [
        &br#"Digest username="u", realm="r""#[..],
        b"Digest username=\"Jos\xe9\", realm=\"a, Bearer b\", qop=auth",
        b"AWS4-HMAC-SHA256 Credential=K/20260101/eu/s3/aws4_request, SignedHeaders=host;range, Signature=fe5f",
        br#"OAuth realm="x", oauth_consumer_key="k", oauth_token="t""#,
        br#"Hawk id="dh37", ts="1353832234", nonce="j4h3g2", mac="6R4rV5=""#,
        b"Basic dTpw",
        b"Negotiate YIIJ",
        b"GNAP 80UPRY5NM33OMUKMKSKU",
        b"DPoP eyJ.a.b",
    ] {
        let shown = other.escape_ascii();
        let authorization = ("Authorization", other);
        for (query, fields) in [
            (format!("?jwt={good}"), vec![authorization]),
            (String::new(), vec![authorization, ("Cookie", cookie.as_bytes())]),
        ] {
            assert_eq!(ask(&gateway, "GET", &format!("{SSE}{query}"), &fields), 200, "{shown}: SSE");
            assert_eq!(ask(&gateway, "GET", &format!("/secure{query}"), &fields), 200, "{shown}: proxied");
            let received = upstream.next();
            let as_it_came: String = other.iter().copied().map(char::from).collect();
            assert_eq!(values(&received, "authorization"), [as_it_came], "{shown}: byte for byte");
        }
        assert_eq!(ask(&gateway, "GET", "/secure", &[authorization]), 401, "{shown}: it is no token");
        let mut sse = Sse::connect(gateway.inbound(), &format!("jwt={good}"));
        let path = format!("{SSE}/{}/subscriptions", sse.welcome());
        assert_eq!(ask(&gateway, "PUT", &path, &[authorization]), 204, "{shown}: PUT");
    }
}
