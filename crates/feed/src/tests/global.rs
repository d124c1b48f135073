use serde_json::{Value, json};
use session::Cause;

use super::world::*;

const URL: &str = "https://rig.example/_rig/v1/issuers/kc/global-token-revocation";

fn assertion(change: Value) -> String {
    let mut claims = json!({
        "iss": ISSUER, "aud": URL, "sub": "gateway", "iat": now(), "exp": now() + 300, "jti": "g-1",
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    sign("global-token-revocation+jwt", &claims)
}

async fn revoke(world: &World, assertion: &str, body: Value) -> Answered {
    let bearer = format!("Bearer {assertion}");
    let headers = [("content-type", "application/json"), ("authorization", &bearer)];
    world.post("kc/global-token-revocation", &headers, body.to_string()).await
}

fn by_email() -> Value {
    json!({ "sub_id": { "format": "email", "email": "alice@example.com" } })
}

#[tokio::test]
async fn i30_universal_logout() {
    let world = World::new();
    let token = json!({ "sub": "alice", "sid": "s-1", "email": "alice@example.com", "iat": now() - 60 });
    let open = world.open(token.clone()).unwrap();
    let answered = revoke(&world, &assertion(json!({})), by_email()).await;
    assert_eq!((answered.status.as_u16(), answered.body.as_str()), (204, ""));
    assert_eq!(open.cause(), Some(Cause::Revoked));
    assert!(world.open(token).is_none());
    let by_user = json!({ "sub_id": { "format": "iss_sub", "iss": ISSUER, "sub": "nobody-here" } });
    assert_eq!(revoke(&world, &assertion(json!({})), by_user).await.status, 204, "never 404");

    let did = json!({ "sub_id": { "format": "did", "url": "did:example:1" } });
    let cases = [
        (assertion(json!({})), did, 400, "sub_id: a format that is unknown or not configured"),
        (assertion(json!({})), json!([]), 400, "body: expected a JSON object"),
        (
            assertion(json!({ "aud": "https://rig.example/" })),
            by_email(),
            401,
            "aud: not an audience that is configured",
        ),
        (assertion(json!({ "sub": "other" })), by_email(), 403, "sub: not a client that is configured"),
        (assertion(json!({ "exp": now() - 60 })), by_email(), 401, "exp: in the past"),
        (assertion(json!({ "iss": SECOND })), by_email(), 401, "bearer token: wrong issuer"),
        ("a.b.c".to_owned(), by_email(), 401, "bearer token: Invalid signature"),
    ];
    let count = cases.len() as u64;
    for (assertion, body, status, text) in cases {
        let answered = revoke(&world, &assertion, body).await;
        assert_eq!(answered.status.as_u16(), status, "{text}");
        assert_eq!(answered.json()["error_description"], text);
        let challenge = answered.header("www-authenticate");
        assert_eq!(challenge.is_some_and(|it| it.starts_with("Bearer")), status == 401, "{text}");
    }
    let feed = "global-token-revocation";
    assert_eq!([world.count(feed, "revoked"), world.count(feed, "matched_nobody")], [1, 1]);
    assert_eq!(world.count(feed, "invalid"), count);
    assert_eq!(world.records().await.len(), 2);
}

#[tokio::test]
async fn i30_a_request_needs_one_bearer_token_and_a_body_of_json() {
    let world = World::new();
    let json = ("content-type", "application/json");
    let feed = "kc/global-token-revocation";
    for headers in [&[json][..], &[json, ("authorization", "Basic YTpi")]] {
        let answered = world.post(feed, headers, by_email().to_string()).await;
        assert_eq!(answered.status, 401);
        assert_eq!(answered.json()["error_description"], "expected one bearer token in Authorization");
    }
    let bearer = format!("Bearer {}", assertion(json!({})));
    let headers = [json, ("authorization", &bearer)];
    for body in ["", "{", r#"{"sub_id":{"format":"email","email":"a"},"sub_id":{}}"#, "\u{0}"] {
        let answered = world.post(feed, &headers, body.to_owned()).await;
        assert_eq!(answered.status, 400, "{body}");
    }
    let form = [("content-type", "application/x-www-form-urlencoded"), ("authorization", &bearer)];
    assert_eq!(world.post(feed, &form, by_email().to_string()).await.status, 415);
    *world.keys.keys.lock() = Keys::Away;
    let answered = world.post(feed, &headers, by_email().to_string()).await;
    assert_eq!((answered.status.as_u16(), answered.header("retry-after")), (503, Some("5")));
}
