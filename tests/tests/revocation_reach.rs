//! Every token that is accepted can be revoked, whatever its `iat` says, and by every configured
//! claim.

use std::process::Command;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rig_tests::*;
use serde_json::value::RawValue;
use serde_json::{Value, json};

const SSE: &str = "/_rig/v1/connection/sse";
const LIST: &str = r#"{"subscriptions":[]}"#;

/// Returns a token with exactly this JSON as its claims, which expires in two hours.
fn token(claims: &str) -> String {
    let claims = format!(r#"{{"exp":{},{claims}}}"#, in_seconds(7200));
    let claims = RawValue::from_string(claims).expect("JSON");
    let key = EncodingKey::from_secret(KEY.as_bytes()).expect("a key");
    encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a secret signs")
}

fn start(settings: &[(&str, &str)]) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let endpoint = json!([{"id": "s", "path_regex": "/secure(/.*)?", "method": "GET", "secured": true}]);
    let apis = json!([upstream.api("svc", &endpoint)]).to_string();
    let mut all = vec![("PROXY_CONFIG_FILE", &*apis), ("REVOCATION_CLAIMS", "/sub,/org/id")];
    all.extend_from_slice(settings);
    (upstream, Gateway::start(&all))
}

fn revoke(gateway: &Gateway, body: &Value) -> Response {
    gateway.ask_internal(&Request::post_json("/v4/revocations", body.to_string()))
}

fn refusal(gateway: &Gateway, token: &str) -> Option<String> {
    let request = Request::get(SSE).bearer(token);
    Sse::open(gateway.inbound(), &request).err().map(|refusal| refusal.text())
}

/// What a token holds open: three connections and a request in flight.
struct Held {
    sse: Sse,
    websocket: WebSocket,
    polling: LongPolling,
    request: Wire,
}

impl Held {
    fn open(upstream: &Upstream, gateway: &Gateway, token: &str) -> Self {
        let query = format!("jwt={token}");
        let mut sse = Sse::connect(gateway.inbound(), &query);
        sse.welcome();
        let mut websocket = WebSocket::connect(gateway.inbound(), &query);
        websocket.welcome();
        let mut polling = LongPolling::connect(gateway.inbound(), &query);
        polling.welcome();
        // Twice, so that the second comes from the cache of verified tokens.
        assert_eq!(gateway.ask(&Request::get("/secure").bearer(token)).status, 200);
        let request = Request::get("/secure/slow").bearer(token).start(gateway.inbound());
        upstream.next();
        upstream.next();
        Self { sse, websocket, polling, request }
    }

    fn expect_kill(mut self) {
        self.sse.expect_kill();
        self.websocket.expect_close(1000, "Session killed.");
        assert_eq!(self.polling.poll().status, 403);
        assert_eq!(Response::read(&mut self.request, false).status, 401);
    }
}

#[test]
fn f40_no_iat_outruns_a_revocation_of_all_tokens_of_before() {
    for leeway in ["60s", "0s"] {
        let (upstream, gateway) = start(&[("JWT_LEEWAY", leeway)]);
        let issued = [
            ("5 s ahead", in_seconds(5).to_string()),
            ("a day ahead", in_seconds(24 * 3600).to_string()),
            ("in milliseconds", format!("{}000", in_seconds(0))),
            ("a float that is ahead", format!("{}.5e0", in_seconds(10))),
            ("beyond 64 bits", "1e300".to_owned()),
            ("negative", "-5".to_owned()),
            ("a text", format!(r#""{}""#, in_seconds(5))),
            ("null", "null".to_owned()),
        ];
        for (n, (what, iat)) in issued.iter().enumerate() {
            let user = format!("user{n}");
            let token = token(&format!(r#""sub":"{user}","jti":"{user}","iat":{iat}"#));
            let held = Held::open(&upstream, &gateway, &token);
            let of =
                if n % 2 == 0 { json!({"claim": "/sub", "value": user}) } else { json!({"session": user}) };
            let mut body = json!({"id": user, "issuedUpTo": "now", "validityInSeconds": 8000});
            body.as_object_mut().expect("an object").extend(of.as_object().expect("an object").clone());
            if n % 3 == 1 {
                body["issuedUpTo"] = in_seconds(0).into();
            }
            let dry = Request::post_json("/v4/revocations?dry_run=true", body.to_string());
            let would = gateway.ask_internal(&dry).json();
            assert_eq!(would["connections"], 4, "{what}, leeway {leeway}: {would}");
            let receipt = revoke(&gateway, &body);
            assert_eq!(receipt.status, 201, "{}", receipt.shown());
            let counts =
                [&receipt.json()["connectionsTerminated"], &receipt.json()["requestsCut"]].map(Value::as_u64);
            assert_eq!(counts, [Some(3), Some(1)], "{what}, leeway {leeway}: {}", receipt.text());
            held.expect_kill();
            assert!(refusal(&gateway, &token).is_some(), "{what}, leeway {leeway}: let in again");
            let proxied = gateway.ask(&Request::get("/secure").bearer(&token));
            assert_eq!(proxied.status, 401, "{what}, leeway {leeway}: the cache of tokens lets it in");
            assert_eq!(revoke(&gateway, &body).status, 200, "{what}: the same again is the same");
            let lifted = gateway.ask_internal(&Request::new("DELETE", format!("/v4/revocations/{user}")));
            assert_eq!(lifted.status, 204, "{}", lifted.shown());
            assert_eq!(refusal(&gateway, &token), None, "{what}: lifted");
        }
    }
}

#[test]
fn f40_a_newer_login_gets_through_and_a_restart_changes_nothing() {
    let folder = Folder::new();
    let settings = [("DATA_DIR", &*folder.join("data")), ("JWT_LEEWAY", "60s")];
    let (_upstream, mut gateway) = start(&settings);
    let claims = |iat: i64| format!(r#""sub":"alice","jti":"s{iat}","iat":{iat}"#);
    // A token with an open connection and an `iat` 2 s ahead: it must not become legal again when
    // the clock has caught up.
    let ahead = token(&claims(in_seconds(2)));
    let mut sse = Sse::connect(gateway.inbound(), &format!("jwt={ahead}"));
    sse.welcome();
    let api = format!("http://{}", gateway.internal());
    let mut command = Command::new(Gateway::binary());
    command.args("revoke --claim /sub=alice --issued-up-to now --for 3h --json".split(' '));
    let output = command.env_clear().env("RIG_API", api).output().expect("rig runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let receipt: Value = serde_json::from_str(&said).expect(&said);
    assert_eq!(receipt["connectionsTerminated"], 1, "{said}");
    sse.expect_kill();
    let last = receipt["issuedUpTo"].as_i64().expect("a number");
    eventually("the clock has caught up", || (in_seconds(0) > last).then_some(()));
    assert!(refusal(&gateway, &ahead).is_some(), "it was revoked");
    assert_eq!(refusal(&gateway, &token(&claims(last + 1))), None, "a login of the same issuer is younger");
    gateway.terminate();
    gateway.exit_status();
    let (_upstream, gateway) = start(&settings);
    assert!(refusal(&gateway, &ahead).is_some(), "after a restart");
    assert!(refusal(&gateway, &token(&claims(in_seconds(5)))).is_some(), "ahead: it may be older");
    assert!(refusal(&gateway, &token(&claims(in_seconds(90_000)))).is_some());
    assert_eq!(refusal(&gateway, &token(&claims(in_seconds(0)))), None);
}

#[test]
fn f41_a_token_that_no_revocation_reaches_is_refused_and_the_claim_named() {
    let (upstream, gateway) =
        start(&[("SUBMISSION_CHECK", "jwt_validation"), ("SUBSCRIPTION_CHECK", "jwt_validation")]);
    let long = format!(r#""{}""#, "x".repeat(1025));
    let mut open =
        Sse::connect(gateway.inbound(), &format!("jwt={}", token(r#""sub":"alice","jti":"open""#)));
    let path = format!("{SSE}/{}/subscriptions", open.welcome());
    for (value, reason) in [
        ("1.5", "it is not a whole number"),
        ("1e-1", "it is not a whole number"),
        ("true", "it is neither a text nor a whole number"),
        (r#"["alice"]"#, "it is neither a text nor a whole number"),
        (r#"{"x":"alice"}"#, "it is neither a text nor a whole number"),
        (r#""""#, "it is empty"),
        ("1e1024", "it is longer than 1024 bytes"),
        (&long, "it is longer than 1024 bytes"),
    ] {
        for (pointer, claims) in [
            ("/sub", format!(r#""sub":{value},"jti":"j""#)),
            ("/org/id", format!(r#""org":{{"id":{value}}},"sub":"alice""#)),
            ("/jti", format!(r#""jti":{value},"sub":"alice""#)),
        ] {
            let token = token(&claims);
            let told = match pointer {
                "/jti" => format!("could not decode JWT: the claim /jti cannot name a session: {reason}"),
                _ => format!("could not decode JWT: the claim {pointer} cannot be revoked by: {reason}"),
            };
            let query = format!("?jwt={token}");
            for path in [SSE, "/_rig/v1/connection/longpolling"] {
                let response = gateway.ask(&Request::get(format!("{path}{query}")));
                assert_eq!(
                    (response.status, response.text()),
                    (400, format!("could not parse subscriptions: {told}")),
                    "{claims}"
                );
            }
            let mut websocket = WebSocket::connect(gateway.inbound(), &query[1..]);
            websocket.expect_close(1000, "Bad request.");
            assert_eq!(gateway.ask(&Request::get("/secure").bearer(&token)).status, 401, "{claims}");
            assert_eq!(gateway.ask(&Request::put_json(&path, LIST).bearer(&token)).status, 403, "{claims}");
            let event = Request::post_json("/_rig/v1/events", greeting("1", "bob")).bearer(&token);
            assert_eq!(gateway.ask(&event).status, 403, "{claims}");
        }
    }
    assert!(upstream.waiting().is_empty());
    let (_upstream, unchecked) = start(&[]);
    let mut open = Sse::connect(unchecked.inbound(), &format!("jwt={}", token(r#""sub":"alice""#)));
    let path = format!("{SSE}/{}/subscriptions", open.welcome());
    let renewed = unchecked.ask(&Request::put_json(path, LIST).bearer(&token(r#""sub":[1]"#)));
    let told = "cannot accept subscription request: invalid authorization header: could not decode JWT: the claim /sub cannot be revoked by: it is neither a text nor a whole number";
    assert_eq!((renewed.status, &*renewed.text()), (400, told));
}

#[test]
fn f41_numbers_meet_however_both_sides_write_them() {
    let (_upstream, gateway) = start(&[]);
    for (n, (claim, selector)) in [
        ("1e3", "1000"),
        ("100.0", r#""100""#),
        ("100", "1.00E+2"),
        ("-0", "0"),
        ("12345678901234567890123", r#""12345678901234567890123""#),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1.2345678901234567890123e22", "12345678901234567890123.0"),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775809", r#""-9223372036854775809""#),
        (r#""a\u0000\n\u202e\"é""#, r#""a\u0000\n\u202e\"é""#),
    ]
    .into_iter()
    .enumerate()
    {
        for (pointer, claims) in [
            ("/sub", format!(r#""sub":{claim},"jti":"j{n}""#)),
            ("/org/id", format!(r#""org":{{"id":{claim}}},"jti":"j{n}""#)),
            ("/jti", format!(r#""jti":{claim}"#)),
        ] {
            let token = token(&claims);
            let mut sse = Sse::connect(gateway.inbound(), &format!("jwt={token}"));
            sse.welcome();
            let body = format!(r#"{{"claim":"{pointer}","value":{selector},"validityInSeconds":8000}}"#);
            let receipt = gateway.ask_internal(&Request::post_json("/v4/revocations", body));
            assert_eq!(receipt.status, 201, "{selector}: {}", receipt.shown());
            assert_eq!(receipt.json()["connectionsTerminated"], 1, "{claims}: {}", receipt.text());
            sse.expect_kill();
            assert!(refusal(&gateway, &token).is_some(), "{claims}");
            let id = receipt.json()["id"].as_str().expect("an id").to_owned();
            assert_eq!(
                gateway.ask_internal(&Request::new("DELETE", format!("/v4/revocations/{id}"))).status,
                204
            );
        }
    }
    // A different number with the same double value is not selected.
    let body = r#"{"claim":"/sub","value":12345678901234567890124,"validityInSeconds":8000}"#;
    assert_eq!(gateway.ask_internal(&Request::post_json("/v4/revocations", body)).status, 201);
    assert_eq!(refusal(&gateway, &token(r#""sub":12345678901234567890123"#)), None);
    assert!(refusal(&gateway, &token(r#""sub":12345678901234567890124"#)).is_some());
}

#[test]
fn f41_null_is_as_good_as_not_there() {
    let (_upstream, gateway) = start(&[]);
    for claims in [r#""sub":null,"jti":null"#, r#""org":null"#, r#""org":{"id":null},"sub":"alice""#] {
        assert_eq!(refusal(&gateway, &token(claims)), None, "{claims}");
    }
}
