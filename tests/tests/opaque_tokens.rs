//! Tokens that only the service of `SUBSCRIPTION_CHECK` or `SUBMISSION_CHECK` can read.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;

const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA";
const LIST: &str = r#"[{"eventType":"greeting"}]"#;

/// Starts a gateway whose checks are made by a service.
fn start() -> (Stub, Gateway) {
    let stub = Stub::start();
    let url = stub.url();
    let gateway = Gateway::start(&[("SUBSCRIPTION_CHECK", &url), ("SUBMISSION_CHECK", &url)]);
    (stub, gateway)
}

/// The three transports: the path, the outcome if access is granted, and the outcome if it is
/// denied.
const TRANSPORTS: [(&str, &str, &str); 3] = [
    ("sse", "200", "400 Subscription denied (not authorized)."),
    ("longpolling", "200", "400 Subscription denied (not authorized)."),
    ("ws", "open", "CLOSE 1000 Bad request."),
];

fn request(transport: &str, query: &str) -> Request {
    let target = format!("/_rig/v1/connection/{transport}?{query}");
    if transport == "ws" { WebSocket::handshake(&target) } else { Request::get(target) }
}

/// Returns the outcome of a request to connect.
fn outcome(transport: &str, mut wire: Wire) -> String {
    if transport == "ws" {
        let mut socket = WebSocket::over(wire);
        let first = socket.receive();
        return if first.contains("rig.connection.create") { "open".to_owned() } else { first };
    }
    let refused = |response: &Response| format!("{} {}", response.status, response.text());
    if transport == "sse" {
        return Sse::over(wire).map_or_else(|refusal| refused(&refusal), |sse| sse.head.status.to_string());
    }
    let response = Response::read(&mut wire, false);
    if response.status == 200 { "200".to_owned() } else { refused(&response) }
}

#[test]
fn f52_the_service_judges_opaque_tokens_on_connect() {
    let (stub, gateway) = start();
    let list = encoded(LIST);
    let by_query = [
        (format!("jwt={OPAQUE}&subscriptions={list}"), format!(r#"{{"subscriptions":{LIST}}}"#)),
        (format!("jwt={OPAQUE}&subscriptions=%5B%5D"), r#"{"subscriptions":[]}"#.to_owned()),
        (format!("jwt={OPAQUE}"), r#"{"subscriptions":[]}"#.to_owned()),
    ];
    for (transport, allowed, denied) in TRANSPORTS {
        for (query, body) in &by_query {
            for (status, expected) in [(200, allowed), (403, denied), (500, denied)] {
                let wire = request(transport, query).start(gateway.inbound());
                let asked = stub.next();
                assert_eq!(&asked.body, body, "{transport} {query}");
                assert_eq!(asked.header("authorization"), Some(&*format!("Bearer {OPAQUE}")));
                asked.answer(status);
                assert_eq!(outcome(transport, wire), expected, "{transport} {query} {status}");
            }
        }
        for value in [format!("Bearer {OPAQUE}"), format!("bearer {OPAQUE}"), OPAQUE.to_owned()] {
            let wire = request(transport, "").header("Authorization", &*value).start(gateway.inbound());
            let asked = stub.next();
            assert_eq!(asked.header("authorization"), Some(&*value), "{transport}");
            asked.answer(204);
            assert_eq!(outcome(transport, wire), allowed, "{transport} {value}");
        }
    }
}

#[test]
fn f52_the_service_judges_opaque_tokens_on_put_and_post() {
    let (stub, gateway) = start();
    let mut sse = Sse::connect(gateway.inbound(), "");
    let token = sse.welcome();
    let body = format!(r#"{{"subscriptions":{LIST}}}"#);
    for (status, put, post) in [(200, 204, 202), (403, 403, 403), (500, 403, 403)] {
        for transport in ["sse", "ws", "longpolling"] {
            let path = format!("/_rig/v1/connection/{transport}/{token}/subscriptions");
            let mut wire = Request::put_json(path, &body).bearer(OPAQUE).start(gateway.inbound());
            let asked = stub.next();
            assert_eq!(asked.body, body);
            assert_eq!(asked.header("authorization"), Some(&*format!("Bearer {OPAQUE}")));
            asked.answer(status);
            assert_eq!(Response::read(&mut wire, false).status, put, "{transport} {status}");
        }
        let event = Request::post_json("/_rig/v1/events", greeting("1", "bob")).bearer(OPAQUE);
        let mut wire = event.start(gateway.inbound());
        stub.next().answer(status);
        assert_eq!(Response::read(&mut wire, false).status, post, "{status}");
    }
}

#[test]
fn f52_tokens_that_the_gateway_can_read_stay_its_own_to_judge() {
    let (stub, gateway) = start();
    let refusal = |text: &str| format!("400 could not parse subscriptions: could not decode JWT: {text}");
    let foreign = EncodingKey::from_secret(b"another-test-secret-of-32-bytes!").expect("a key");
    let forged = signed(&claims("s", "bob"), Algorithm::HS256, &foreign);
    let (revoked, valid) = (token_of("gone"), token_of("s"));
    gateway.blacklist("gone");
    let of_revoked = r#"Ignoring blacklisted JWT with ID "gone"."#;
    let signature = "Invalid signature";
    for (query, expected) in [
        (format!("jwt={forged}"), signature),
        (format!("jwt={revoked}"), of_revoked),
        (format!("jwt={OPAQUE}&jwt={forged}"), signature),
        (format!("jwt={OPAQUE}&jwt={revoked}"), of_revoked),
        // Spellings that a lenient service could still read as the revoked token.
        (format!("jwt=%20{revoked}"), signature),
        (format!("jwt={revoked}%3D"), signature),
        (format!("jwt={revoked}!"), signature),
        (format!("jwt=Bearer%20{revoked}"), signature),
        (format!("jwt=x,{revoked}"), signature),
        (format!("jwt=%2565{}", &revoked[1..]), signature),
    ] {
        for query in [query.clone(), format!("{query}&subscriptions={}", encoded(LIST))] {
            let response = gateway.ask(&request("sse", &query));
            assert_eq!(format!("{} {}", response.status, response.text()), refusal(expected), "{query}");
            let response = gateway.ask(&request("longpolling", &query));
            assert_eq!(format!("{} {}", response.status, response.text()), refusal(expected), "{query}");
        }
    }

    // A valid token beside an opaque one binds the connection to its session.
    let wire = request("sse", &format!("jwt={OPAQUE}&jwt={valid}")).start(gateway.inbound());
    let asked = stub.next();
    assert_eq!(asked.header("authorization"), Some(&*format!("Bearer {OPAQUE}, Bearer {valid}")));
    asked.answer(200);
    let mut sse = Sse::over(wire).unwrap_or_else(|refusal| panic!("{}", refusal.text()));
    sse.welcome();
    let sessions = gateway.ask_internal(&Request::get("/v4/sessions")).text();
    assert!(sessions.contains(r#""s""#) && !sessions.contains(OPAQUE), "{sessions}");
    gateway.blacklist("s");
    sse.expect_kill();
}

#[test]
fn f52_what_no_service_knows_publishes_nothing() {
    let (stub, gateway) = start();
    let foreign = EncodingKey::from_secret(b"another-test-secret-of-32-bytes!").expect("a key");
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let (mut expired, mut unrevocable) = (claims("s", "bob"), claims("s", "bob"));
    expired["exp"] = in_seconds(-60).into();
    unrevocable["sub"] = true.into();
    gateway.blacklist("gone");
    let post = |token: &str| Request::post_json("/_rig/v1/events", greeting("1", "bob")).bearer(token);
    for token in [
        token_of("gone"),
        format!("{OPAQUE}, Bearer {}", token_of("gone")),
        signed(&claims("s", "bob"), Algorithm::HS256, &foreign),
        signed(&expired, Algorithm::HS256, &key),
        signed(&unrevocable, Algorithm::HS256, &key),
    ] {
        let answer = gateway.ask(&post(&token));
        assert_eq!((answer.status, &*answer.text()), (403, "Submission denied."), "{token}");
    }
    let valid = token_of("s");
    let mut wire = post(&valid).start(gateway.inbound());
    let asked = stub.next();
    let first = "the first token that the service is asked about";
    assert_eq!(asked.header("authorization"), Some(&*format!("Bearer {valid}")), "{first}");
    gateway.blacklist("s");
    asked.answer(200);
    assert_eq!(Response::read(&mut wire, false).status, 403, "revoked while the service decided");
}

#[test]
fn f52_without_a_service_no_opaque_token_counts() {
    for check in ["no_check", "jwt_validation"] {
        let gateway = Gateway::start(&[("SUBSCRIPTION_CHECK", check)]);
        let response = gateway.ask(&request("sse", &format!("jwt={OPAQUE}")));
        assert_eq!(response.status, 400, "{check}");
        assert!(response.text().ends_with("could not decode JWT: Invalid signature"), "{}", response.text());
    }
}
