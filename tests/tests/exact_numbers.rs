//! Numbers are compared exactly, by value: in constraints, in claims that bring subscriptions, and
//! in claims that an endpoint requires. They are shown as they were written.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use rig_tests::*;

/// An extractor of orders by account, which subscribes each token to those of its own account.
const BY_ACCOUNT: &str = r#"{"order":{"account":{"stable_field_index":0,"event":{"json_pointer":"/data/account"},"jwt":{"json_pointer":"/account"}}}}"#;

fn order(id: &str, account: &str) -> String {
    format!(
        r#"{{"specversion":"0.2","type":"order","source":"/o","id":"{id}","data":{{"account":{account}}}}}"#
    )
}

fn list(account: &str) -> String {
    format!(r#"[{{"eventType":"order","oneOf":[{{"account":{account}}}]}}]"#)
}

/// Returns a token with this claim, byte for byte.
fn token(account: &str) -> String {
    let claims = format!(r#"{{"exp":{},"jti":"s","account":{account}}}"#, in_seconds(600));
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HS256 signs");
    format!("{message}.{signature}")
}

/// Publishes orders with these accounts and returns those that the stream receives.
fn received(gateway: &Gateway, mut stream: Sse, accounts: &[String]) -> Vec<String> {
    for (n, account) in accounts.iter().enumerate() {
        gateway.publish(&order(&n.to_string(), account));
    }
    gateway.publish(&greeting("end", "all"));
    let mut all = Vec::new();
    loop {
        let data = stream.next_data();
        if data.contains(r#""greeting""#) {
            return all;
        }
        all.push(data);
    }
}

/// Returns numbers, each with other spellings of it and with numbers that are close to it.
fn numbers() -> Vec<(String, Vec<String>, Vec<String>)> {
    let long = "7".repeat(300);
    let all: [(&str, &[&str], &[&str]); 10] = [
        (
            "89490200001234567890",
            &["89490200001234567890.0", "8949020000123456789e1", "8.949020000123456789E+19"],
            &[
                "89490200001234567891",
                "89490200001234567889",
                "-89490200001234567890",
                "\"89490200001234567890\"",
            ],
        ),
        ("-89490200001234567890", &["-8949020000123456789e1"], &["-89490200001234567891"]),
        (
            "9007199254740993",
            &["9007199254740993.0"],
            &["9007199254740992", "9007199254740992.0", "9007199254740994"],
        ),
        (
            "18446744073709551616",
            &["18446744073709551616e0"],
            &["18446744073709551615", "18446744073709551617"],
        ),
        ("100", &["1e2", "1E2", "1E+2", "100.0", "1000e-1"], &["99", "100.00000000000000000001"]),
        ("1", &["1.0", "1e0", "0.1e1"], &["true", "1.00000000000000000000000001", "\"1\"", "[1]"]),
        (
            "0",
            &["-0", "0.0", "-0.0", "0e5", "0e999999999999999999999"],
            &["1e-400", "-1e-400", "null", "false"],
        ),
        ("0.1", &["1e-1", "0.10"], &["0.1000000000000000055511151231257827"]),
        ("1e+300", &["1e300", "10e299", "0.1e+301"], &["1.00000000000000000000001e300", "-1e300"]),
        (&long, &[], &[&long[1..]]),
    ];
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    all.iter().map(|(number, same, close)| ((*number).to_owned(), owned(same), owned(close))).collect()
}

/// Returns a query with this subscription, and with greetings that mark the end of the test.
fn query(account: &str) -> String {
    let list = list(account)
        .replace(r#"[{"eventType":"order""#, r#"[{"eventType":"greeting"},{"eventType":"order""#);
    format!("subscriptions={}", encoded(&list))
}

#[test]
fn f42_only_the_equal_number_matches_a_constraint() {
    let gateway = Gateway::start(&[("EXTRACTORS", BY_ACCOUNT)]);
    for around in ["N", "[N]", r#"{"n":[0,N]}"#] {
        for (number, same, close) in numbers() {
            let wrap = |number: &String| around.replace('N', number);
            let mut stream = Sse::connect(gateway.inbound(), &query(&wrap(&number)));
            stream.next_data();
            let set = stream.next_data();
            assert!(set.contains(&format!(r#"{{"account":{}}}"#, wrap(&number))), "shown as it came: {set}");
            let right: Vec<_> = std::iter::once(&number).chain(&same).map(wrap).collect();
            let accounts: Vec<_> = right.iter().cloned().chain(close.iter().map(wrap)).collect();
            let expected: Vec<_> =
                right.iter().enumerate().map(|(n, account)| order(&n.to_string(), account)).collect();
            assert_eq!(received(&gateway, stream, &accounts), expected, "{number} in {around}");
        }
    }
}

#[test]
fn f42_numbers_that_readers_take_for_infinite_match_nothing_and_cost_nothing() {
    let gateway = Gateway::start(&[("EXTRACTORS", BY_ACCOUNT)]);
    let long = "7".repeat(400);
    for number in ["1e400", "-1e400", "1e999999999", "1e99999999999999999999999999999999999999999", &long] {
        let mut stream = Sse::connect(gateway.inbound(), &query(number));
        let event = Request::post_json("/_rig/v1/events", order("1", number));
        assert_eq!(gateway.ask(&event).status, 400, "{number}");
        let close = ["1e-999999999".to_owned(), "1e308".to_owned(), "0".to_owned()];
        stream.welcome();
        assert_eq!(received(&gateway, stream, &close), [""; 0], "{number}");
    }
}

#[test]
fn f42_only_the_equal_number_matches_on_every_transport_and_after_a_put() {
    let gateway = Gateway::start(&[("EXTRACTORS", BY_ACCOUNT)]);
    let (mine, other) = ("89490200001234567890", "89490200001234567891");
    let mut polling = LongPolling::connect(gateway.inbound(), &query(mine));
    polling.welcome();
    let mut socket = WebSocket::connect(gateway.inbound(), &query(mine));
    for _ in 0..2 {
        socket.next_text();
    }
    let mut stream = Sse::connect(gateway.inbound(), "");
    let put = Request::put_json(
        format!("/_rig/v1/connection/sse/{}/subscriptions", stream.welcome()),
        format!(r#"{{"subscriptions":{}}}"#, list(mine)),
    );
    assert_eq!(gateway.ask(&put).status, 204);
    stream.next_data();
    gateway.publish(&order("not mine", other));
    gateway.publish(&order("mine", mine));
    assert_eq!(stream.next_data(), order("mine", mine));
    assert_eq!(socket.next_text(), order("mine", mine));
    let polled = polling.poll().text();
    assert!(polled.contains(&order("mine", mine)) && !polled.contains("not mine"), "{polled}");
}

#[test]
fn f42_a_claim_brings_the_orders_of_the_equal_number_alone() {
    let gateway = Gateway::start(&[("EXTRACTORS", BY_ACCOUNT)]);
    for (number, same, close) in numbers() {
        let greetings = encoded(r#"[{"eventType":"greeting"}]"#);
        let query = format!("subscriptions={greetings}&jwt={}", token(&number));
        let mut stream = Sse::connect(gateway.inbound(), &query);
        stream.welcome();
        let accounts: Vec<_> = std::iter::once(&number).chain(&same).chain(&close).cloned().collect();
        let expected: Vec<_> = (0..=same.len()).map(|n| order(&n.to_string(), &accounts[n])).collect();
        assert_eq!(received(&gateway, stream, &accounts), expected, "{number}");
    }
}

#[test]
fn f42_an_endpoint_requires_the_equal_number() {
    let service = Upstream::start();
    let endpoint = |path: &str, number: &str| {
        format!(
            r#"{{"id":"{path}","path_regex":"/{path}","method":"GET","secured":true,"claims":{{"/account":{number}}}}}"#
        )
    };
    let (big, fraction) = ("89490200001234567890", "0.1");
    let api = format!(
        r#"{{"id":"orders","name":"Orders","version_data":{{"default":{{"endpoints":[{},{}]}}}},"auth_type":"jwt","auth":{{"use_header":true,"header_name":"Authorization","use_query":false,"query_name":""}},"proxy":{{"target_url":"127.0.0.1","port":{}}}}}"#,
        endpoint("big", big),
        endpoint("fraction", fraction),
        service.address().port(),
    );
    let gateway = Gateway::start(&[]);
    let created = gateway.ask_internal(&Request::post_json("/v3/apis", &api));
    assert_eq!(created.status, 201, "{}", created.text());
    let shown = gateway.ask_internal(&Request::get("/v3/apis/orders")).text();
    assert!(shown.contains(&format!(r#""/account":{big}"#)), "{shown}");
    for (path, account, status) in [
        ("big", "89490200001234567890", 200),
        ("big", "8949020000123456789e1", 200),
        ("big", "[1,89490200001234567890.0]", 200),
        ("big", "89490200001234567891", 403),
        ("big", "[89490200001234567889,89490200001234567891]", 403),
        ("big", "\"89490200001234567890\"", 403),
        ("fraction", "0.1", 200),
        ("fraction", "1e-1", 200),
        ("fraction", "0.10000000000000001", 403),
    ] {
        let answer = gateway.ask(&Request::get(format!("/{path}")).bearer(&token(account)));
        assert_eq!(answer.status, status, "{path} {account}");
    }
}
