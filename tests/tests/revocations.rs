//! `/v4/revocations` and `/v4/sessions`, as an operator uses them.

use jsonwebtoken::{Algorithm, EncodingKey};
use rig_tests::*;
use serde_json::{Value, json};

/// Returns a token with these claims, valid for an hour.
fn token(more: Value) -> String {
    let mut claims = json!({ "exp": in_seconds(3600), "iat": in_seconds(-60) });
    let (Value::Object(claims_map), Value::Object(more)) = (&mut claims, more) else { panic!("no objects") };
    claims_map.extend(more);
    signed(&claims, Algorithm::HS256, &EncodingKey::from_secret(KEY.as_bytes()).expect("a key"))
}

fn post(gateway: &Gateway, body: &Value) -> Response {
    gateway.ask_internal(&Request::post_json("/v4/revocations", body.to_string()))
}

fn get(gateway: &Gateway, path: &str) -> Response {
    gateway.ask_internal(&Request::get(path))
}

fn delete(gateway: &Gateway, path: &str) -> Response {
    gateway.ask_internal(&Request::new("DELETE", path))
}

/// Returns the problem document of an answer, which must be one.
fn problem(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/problem+json"), "{}", response.shown());
    let document = response.json();
    assert_eq!(document["status"], response.status, "{document}");
    document
}

/// Returns the members of a receipt that stay the same while the revocation is in force.
fn lasting(receipt: &Value) -> Value {
    let mut receipt = receipt.clone();
    let members = receipt.as_object_mut().expect("an object");
    members.remove("endsAt");
    members.remove("remainingSeconds");
    receipt
}

fn connect(gateway: &Gateway, token: &str) -> Sse {
    let mut sse = Sse::connect(gateway.inbound(), &format!("jwt={token}"));
    sse.welcome();
    sse
}

fn refused(gateway: &Gateway, token: &str) -> bool {
    let request = Request::get(format!("/_rig/v1/connection/sse?jwt={token}"));
    Sse::open(gateway.inbound(), &request).is_err()
}

#[test]
fn the_receipt_contains_the_request_and_its_effect() {
    let gateway = Gateway::start(&[]);
    let token = token_of("alice-laptop");
    let mut first = connect(&gateway, &token);
    let mut second = connect(&gateway, &token);
    let body = json!({ "id": "r1", "session": "alice-laptop", "validityInSeconds": 7200, "reason": "stolen", "by": "bob" });
    let answer = post(&gateway, &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("location"), Some("/v4/revocations/r1"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    first.expect_kill();
    second.expect_kill();
    assert!(refused(&gateway, &token));

    let receipt = answer.json();
    let mut fixed = lasting(&receipt);
    for instant in ["acceptedAt", "appliedAt"] {
        let text = fixed[instant].as_str().unwrap_or_default();
        assert!(text.ends_with('Z') && text.len() == 27, "{instant}: {fixed}");
        fixed[instant] = "TIME".into();
    }
    fixed["lastPayloadAt"] = fixed["lastPayloadAt"].is_string().into();
    let expected = json!({
        "id": "r1", "selector": { "session": "alice-laptop" }, "issuedUpTo": null, "mode": "revoke",
        "by": "bob", "reason": "stolen", "acceptedAt": "TIME", "appliedAt": "TIME",
        "connectionsTerminated": 2, "requestsCut": 0, "lastPayloadAt": true, "durable": false,
    });
    assert_eq!(fixed, expected);
    let left = receipt["remainingSeconds"].as_u64().expect("seconds");
    assert!((7100..=7200).contains(&left), "{receipt}");

    let path = "/v4/revocations/r1";
    assert_eq!(lasting(&get(&gateway, path).json()), lasting(&receipt));
    let again = post(&gateway, &body);
    assert_eq!(again.status, 200, "the same again has no second effect: {}", again.text());
    assert_eq!(lasting(&again.json()), lasting(&receipt));
    let other = post(&gateway, &json!({ "id": "r1", "session": "someone", "validityInSeconds": 7200 }));
    assert_eq!((other.status, &problem(&other)["type"]), (409, &json!("urn:rig:problem:id-in-use")));

    assert_eq!(delete(&gateway, path).shown(), "204 | cache-control: no-store");
    assert_eq!(problem(&get(&gateway, path))["status"], 404);
    assert_eq!(problem(&delete(&gateway, path))["status"], 404);
    connect(&gateway, &token);
}

#[test]
fn a_user_is_logged_out_everywhere_and_the_new_login_gets_through() {
    let gateway = Gateway::start(&[]);
    let old = |session: &str| token(json!({ "jti": session, "sub": "alice" }));
    let mut phone = connect(&gateway, &old("phone"));
    let mut laptop = connect(&gateway, &old("laptop"));
    let mut bob = connect(&gateway, &token(json!({ "jti": "other", "sub": "bob" })));
    let answer = post(
        &gateway,
        &json!({ "claim": "/sub", "value": "alice", "issuedUpTo": in_seconds(-10), "validityInSeconds": 7200 }),
    );
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["selector"], json!({ "claim": "/sub", "value": "alice" }));
    assert_eq!(answer.json()["connectionsTerminated"], 2);
    phone.expect_kill();
    laptop.expect_kill();
    assert!(refused(&gateway, &old("tablet")), "an old token of a session that was never seen");
    connect(&gateway, &token(json!({ "jti": "new", "sub": "alice", "iat": in_seconds(0) })));
    gateway.publish(&greeting("1", "x"));
    assert!(bob.wire().is_silent_for(std::time::Duration::from_millis(1)), "bob wanted no greetings");
    let fault = post(&gateway, &json!({ "claim": "/role", "value": "x", "validityInSeconds": 1 }));
    assert_eq!(
        problem(&fault)["errors"],
        json!([{ "pointer": "/claim",
                 "detail": "tokens cannot be revoked by the claim \"/role\"; expected one of /jti, /sub, /sid" }])
    );
}

#[test]
fn a_token_is_revoked_by_showing_it() {
    let gateway = Gateway::start(&[]);
    let shown = token_of("s1");
    let mut sse = connect(&gateway, &shown);
    let answer = post(&gateway, &json!({ "jwt": shown }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    sse.expect_kill();
    assert!(refused(&gateway, &shown));
    assert_eq!(answer.json()["selector"], json!({ "session": "s1" }));
    let left = answer.json()["remainingSeconds"].as_u64().expect("seconds");
    assert!((3500..=3601).contains(&left), "as long as the token is valid: {left}");

    let foreign = signed(
        &claims("s2", "x"),
        Algorithm::HS256,
        &EncodingKey::from_secret(b"another-key").expect("a key"),
    );
    for (token, detail) in [
        (foreign, "Invalid signature"),
        (token(json!({ "jti": "s2", "exp": in_seconds(-10) })), "token expired"),
        (token(json!({})), "it names no session: the claim /jti is missing"),
    ] {
        let refusal = post(&gateway, &json!({ "jwt": token }));
        assert_eq!(refusal.status, 422, "{}", refusal.text());
        assert!(!refusal.text().contains(&token), "the token is repeated");
        assert_eq!(problem(&refusal)["errors"], json!([{ "pointer": "/jwt", "detail": detail }]));
    }
    assert!(!gateway.log().contains(&shown), "the token is in the log");
}

#[test]
fn a_validity_that_expires_before_a_token_is_refused_with_the_needed_one() {
    let gateway = Gateway::start(&[]);
    let token = token_of("s1");
    let mut sse = connect(&gateway, &token);
    let mut body = json!({ "session": "s1", "validityInSeconds": 5 });
    let refusal = post(&gateway, &body);
    let document = problem(&refusal);
    assert_eq!((refusal.status, &document["type"]), (422, &json!("urn:rig:problem:validity-too-short")));
    let needed = document["neededInSeconds"].as_u64().expect("seconds");
    assert!((3500..=3601).contains(&needed), "{document}");
    assert_eq!(get(&gateway, "/v4/revocations").json()["revocations"], json!([]));
    body["force"] = true.into();
    assert_eq!(post(&gateway, &body).status, 201);
    sse.expect_kill();
}

#[test]
fn a_dry_run_reports_the_effect_and_has_none() {
    let gateway = Gateway::start(&[]);
    let token = token_of("s1");
    let mut sse = connect(&gateway, &token);
    let dry = |body: Value| {
        gateway.ask_internal(&Request::post_json("/v4/revocations?dry_run=true", body.to_string()))
    };
    let answer = dry(json!({ "id": "r", "session": "s1", "validityInSeconds": 5 }));
    assert_eq!(answer.status, 200);
    let would = answer.json();
    assert_eq!(
        (&would["dryRun"], &would["connections"], &would["known"]),
        (&json!(true), &json!(1), &json!(false))
    );
    assert!(would["lastTokenSeconds"].as_u64().is_some_and(|left| left > 3500), "{would}");
    assert_eq!(would["refused"]["status"], 422);
    let would = dry(json!({ "session": "s1", "validityInSeconds": 9000 })).json();
    assert_eq!(would["refused"], Value::Null);
    assert_eq!(problem(&dry(json!({ "session": "s1" })))["status"], 400);
    let would = delete(&gateway, "/v4/sessions/s1?dry_run=true").json();
    assert_eq!((&would["dryRun"], &would["connections"]), (&json!(true), &json!(1)));
    assert_eq!(get(&gateway, "/v4/revocations").json()["revocations"], json!([]));

    let kept = json!({ "id": "r", "session": "other", "validityInSeconds": 60 });
    assert_eq!(post(&gateway, &kept).status, 201);
    assert_eq!(dry(kept).json()["known"], true);
    assert_eq!(
        dry(json!({ "id": "r", "session": "s1", "validityInSeconds": 9000 })).json()["refused"]["status"],
        409
    );
    let would = delete(&gateway, "/v4/revocations/r?dry_run=true");
    assert_eq!((would.status, &would.json()["revocation"]["id"]), (200, &json!("r")));
    assert_eq!(get(&gateway, "/v4/revocations/r").status, 200, "it is still there");
    let misspelt = gateway.ask_internal(&Request::post_json(
        "/v4/revocations?dryrun=true",
        json!({ "session": "s1", "validityInSeconds": 9000 }).to_string(),
    ));
    assert_eq!(
        problem(&misspelt)["errors"],
        json!([{ "parameter": "dryrun", "detail": "unknown parameter" }])
    );
    assert!(sse.wire().is_silent_for(std::time::Duration::from_millis(1)), "the connection is still open");
    assert!(!refused(&gateway, &token));
}

#[test]
fn disconnecting_leaves_the_token_good() {
    let gateway = Gateway::start(&[]);
    let token = token_of("s1");
    let mut sse = connect(&gateway, &token);
    let answer = delete(&gateway, "/v4/sessions/s1?by=bob&reason=a%20test");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let receipt = answer.json();
    assert_eq!((&receipt["mode"], &receipt["connectionsTerminated"]), (&json!("disconnect"), &json!(1)));
    assert_eq!((&receipt["by"], &receipt["reason"]), (&json!("bob"), &json!("a test")));
    assert_eq!((&receipt["endsAt"], &receipt["remainingSeconds"]), (&Value::Null, &Value::Null));
    while sse.raw().is_some() {}
    let mut back = connect(&gateway, &token);
    let answer = post(&gateway, &json!({ "session": "s1", "mode": "disconnect" }));
    assert_eq!((answer.status, &answer.json()["connectionsTerminated"]), (201, &json!(1)));
    while back.raw().is_some() {}
    assert_eq!(delete(&gateway, "/v4/sessions/nobody").json()["connectionsTerminated"], 0);
}

#[test]
fn revocations_are_listed_youngest_first_in_pages() {
    let gateway = Gateway::start(&[]);
    for n in 0..5 {
        let body = json!({ "id": format!("r{n}"), "session": format!("s{n}"), "validityInSeconds": 600 });
        assert_eq!(post(&gateway, &body).status, 201);
    }
    gateway.blacklist("rig/é");
    let mut next = Some("/v4/revocations?limit=2".to_owned());
    let mut seen = Vec::new();
    while let Some(path) = next {
        let page = get(&gateway, &path).json();
        let ids = page["revocations"].as_array().expect("a list").iter();
        seen.push(ids.map(|one| one["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>());
        next = page["next"].as_str().map(str::to_owned);
    }
    assert_eq!(
        seen,
        [vec!["session-blacklist/rig/é", "r4"], vec!["r3", "r2"], vec!["r1", "r0"]],
        "RIG's own are there as well"
    );
    let path = format!("/v4/revocations/{}", encoded("session-blacklist/rig/é"));
    assert_eq!(get(&gateway, &path).json()["selector"], json!({ "session": "rig/é" }));
    assert_eq!(delete(&gateway, &path).status, 204);
    assert_eq!(get(&gateway, "/v3/session-blacklist/rig%2F%C3%A9").status, 404, "lifted");
}

#[test]
fn sessions_are_listed_by_name_in_pages() {
    let gateway = Gateway::start(&[]);
    let names = ["a", "a/b", "é", "%41", "x y", "?q=1"];
    let mut open: Vec<_> = names.iter().map(|name| connect(&gateway, &token_of(name))).collect();
    open.push(connect(&gateway, &token_of("a")));
    let mut socket = WebSocket::connect(gateway.inbound(), &format!("jwt={}", token_of("a")));
    socket.receive();
    let mut next = Some("/v4/sessions?limit=4".to_owned());
    let mut seen = Vec::new();
    while let Some(path) = next {
        let page = get(&gateway, &path).json();
        seen.extend(page["sessions"].as_array().expect("a list").clone());
        next = page["next"].as_str().map(str::to_owned);
    }
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(seen.iter().map(|one| one["name"].as_str().expect("a name")).collect::<Vec<_>>(), sorted);
    let a = seen.iter().find(|one| one["name"] == "a").expect("a is there");
    assert_eq!((&a["connectionCount"], &a["transports"]), (&json!(3), &json!(["sse", "websocket"])));
    assert_eq!(a["revoked"], false);
    for name in names {
        let one = get(&gateway, &format!("/v4/sessions/{}", encoded(name))).json();
        assert_eq!(one["name"], name, "{one}");
    }
}

#[test]
fn a_session_shows_its_connections() {
    let gateway = Gateway::start(&[("EXTRACTORS", EXTRACTORS)]);
    let query = format!("subscriptions={}&jwt={}", encoded(r#"[{"eventType":"greeting"}]"#), token_of("s1"));
    let request =
        Request::get(format!("/_rig/v1/connection/sse?{query}")).header("User-Agent", "a \"browser\"");
    let mut sse = Sse::open(gateway.inbound(), &request).expect("a stream");
    sse.welcome();
    gateway.publish(&greeting("1", "bob"));
    sse.next_data();
    let session = get(&gateway, "/v4/sessions/s1").json();
    assert_eq!((&session["connectionCount"], &session["revoked"]), (&json!(1), &json!(false)));
    let connection = &session["connections"][0];
    assert_eq!(connection["transport"], "sse");
    assert_eq!(connection["userAgent"], "a \"browser\"");
    assert!(
        connection["remoteAddress"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:")),
        "{session}"
    );
    assert!(connection["tokenExpiresAt"].as_str().is_some_and(|at| at.ends_with('Z')), "{session}");
    assert!(connection["delivered"].as_u64().is_some_and(|count| count >= 1), "{session}");
    assert_eq!(connection["dropped"], 0);
    let types: Vec<_> = connection["subscriptions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["eventType"].as_str().expect("a type"))
        .collect();
    assert!(types.contains(&"greeting"), "{session}");

    let more: Vec<_> = (0..2).map(|_| connect(&gateway, &token_of("s1"))).collect();
    let first = get(&gateway, "/v4/sessions/s1?limit=2").json();
    let next = first["next"].as_str().expect("another page");
    let second = get(&gateway, next).json();
    let ids = |page: &Value| {
        page["connections"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["id"].as_u64())
            .collect::<Vec<_>>()
    };
    let all = [ids(&first), ids(&second)].concat();
    assert_eq!((all.len(), &second["next"], &second["connectionCount"]), (3, &Value::Null, &json!(3)));
    assert!(all.is_sorted());
    drop(more);

    gateway.blacklist("gone");
    assert_eq!(get(&gateway, "/v4/sessions/gone").json()["revoked"], true);
    assert_eq!(problem(&get(&gateway, "/v4/sessions/nobody"))["status"], 404);
}

#[test]
fn one_selector_has_a_bound_of_revocations() {
    let gateway = Gateway::start(&[]);
    let body = |n: usize| json!({ "id": format!("r{n}"), "session": "s", "validityInSeconds": 600 });
    for n in 0..64 {
        assert_eq!(post(&gateway, &body(n)).status, 201, "{n}");
    }
    let refusal = post(&gateway, &body(64));
    assert_eq!(
        (refusal.status, &problem(&refusal)["type"]),
        (409, &json!("urn:rig:problem:too-many-revocations"))
    );
    assert_eq!(post(&gateway, &body(63)).status, 200, "the same again is still known");
    assert_eq!(delete(&gateway, "/v4/revocations/r0").status, 204);
    assert_eq!(post(&gateway, &body(64)).status, 201);
}

#[test]
fn with_a_data_folder_receipts_are_durable() {
    let folder = std::env::temp_dir().join(format!("rig-revocations-{}", std::process::id()));
    let settings = [("DATA_DIR", folder.to_str().expect("a UTF-8 path"))];
    let body = json!({ "id": "r1", "session": "s1", "validityInSeconds": 600, "by": "bob" });
    let gateway = Gateway::start(&settings);
    let receipt = post(&gateway, &body).json();
    assert_eq!(receipt["durable"], true);
    drop(gateway);
    let gateway = Gateway::start(&settings);
    let kept = get(&gateway, "/v4/revocations/r1").json();
    assert_eq!(
        (&kept["id"], &kept["by"], &kept["selector"]),
        (&json!("r1"), &json!("bob"), &receipt["selector"])
    );
    assert!(refused(&gateway, &token_of("s1")));
    assert_eq!(post(&gateway, &body).status, 200, "known after the restart as well");
    drop(gateway);
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}

#[test]
fn the_token_of_the_port_guards_these_as_well() {
    let gateway = Gateway::start(&[("API_TOKEN", "a-test-token-of-the-port")]);
    for (method, path) in [
        ("GET", "/v4/sessions"),
        ("DELETE", "/v4/sessions/s"),
        ("GET", "/v4/revocations"),
        ("POST", "/v4/revocations"),
        ("DELETE", "/v4/revocations/r"),
        ("GET", "/v4/nothing"),
    ] {
        let answer = gateway.ask_internal(&Request::new(method, path));
        assert_eq!(problem(&answer)["status"], 401, "{method} {path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let bearer = Request::get("/v4/sessions").bearer("a-test-token-of-the-port");
    assert_eq!(gateway.ask_internal(&bearer).status, 200);
}

#[test]
fn each_mistake_is_a_problem_with_its_status() {
    let gateway = Gateway::start(&[]);
    let good = r#"{"session":"s","validityInSeconds":60}"#;
    let post = |kind: &str, body: &[u8]| {
        Request::new("POST", "/v4/revocations").header("Content-Type", kind).body(body)
    };
    let json = |body: &[u8]| post("application/json", body);
    let at = |method: &str, path: &str| Request::new(method, path);
    let long = encoded(&"x".repeat(1025));
    let deep = "[".repeat(100_000);
    let table: Vec<(&str, Request, u16, &str)> = vec![
        ("path", at("GET", "/v4"), 404, "there is nothing at this path"),
        ("path", at("GET", "/v4/"), 404, "there is nothing at this path"),
        ("path", at("GET", "/v4/session"), 404, "there is nothing at this path"),
        ("path", at("GET", "/v4/sessions/a/b"), 404, "there is nothing at this path"),
        ("path", at("GET", "/v4/sessions/"), 404, "there is nothing at this path"),
        ("method", at("PUT", "/v4/revocations"), 405, "the allow header names the methods of this path"),
        ("method", at("POST", "/v4/sessions"), 405, "the allow header names the methods of this path"),
        ("method", at("PATCH", "/v4/sessions/s"), 405, "the allow header names the methods of this path"),
        ("name", at("GET", "/v4/sessions/%FF"), 400, "name: not UTF-8"),
        ("name", at("GET", &format!("/v4/sessions/{long}")), 400, "name: it is longer than 1024 bytes"),
        (
            "id",
            at("DELETE", &format!("/v4/revocations/{}", "x".repeat(1401))),
            400,
            "id: expected 1 to 1400 bytes",
        ),
        ("limit", at("GET", "/v4/sessions?limit=0"), 400, "limit: expected 1 to 1000"),
        (
            "cursor",
            at("GET", "/v4/revocations?before=x"),
            400,
            "before: expected the value from next of another page",
        ),
        ("query", at("GET", "/v4/sessions?foo=1"), 400, "foo: unknown parameter"),
        ("query", at("GET", "/v4/sessions/s?after=-1"), 400, "after: expected the number of a connection"),
        (
            "remark",
            at("DELETE", "/v4/sessions/s?by=%0A"),
            400,
            "by: expected up to 1000 bytes without control characters",
        ),
        (
            "no type",
            at("POST", "/v4/revocations").body(good),
            415,
            "expected a body of content-type application/json",
        ),
        (
            "text",
            post("text/plain", good.as_bytes()),
            415,
            "expected a body of content-type application/json",
        ),
        ("empty", json(b""), 400, "the body is not JSON: it is empty"),
        (
            "no body",
            at("POST", "/v4/revocations").header("Content-Type", "application/json"),
            400,
            "the body is not JSON: it is empty",
        ),
        ("not UTF-8", json(b"{\"session\":\"\xff\xfe\"}"), 400, "the body is not JSON: line 1, column 13"),
        ("UTF-16", json(b"{\0}\0"), 400, "the body is not JSON: line 1, column 2"),
        ("half", json(&good.as_bytes()[..20]), 400, "the body is not JSON: it ends too early"),
        ("twice", json(format!("{good}{good}").as_bytes()), 400, "the body is not JSON: line 1, column 39"),
        ("list", json(b"[]"), 400, "expected a JSON object"),
        ("deep", json(deep.as_bytes()), 400, "expected a JSON object"),
        (
            "members",
            json(br#"{"sesion":"s","validityInSeconds":60}"#),
            400,
            "missing: session, or claim and value, or jwt; sesion: unknown member",
        ),
    ];
    for (name, request, status, detail) in table {
        let answer = gateway.ask_internal(&request);
        let document = problem(&answer);
        assert_eq!(
            (answer.status, document["detail"].as_str()),
            (status, Some(detail)),
            "{name}: {document}"
        );
        assert_eq!(answer.header("allow").is_some(), status == 405, "{name}: {}", answer.shown());
    }
    assert_eq!(gateway.ask_internal(&post("Application/JSON; charset=utf-8", good.as_bytes())).status, 201);
    assert_eq!(gateway.ask_internal(&at("HEAD", "/v4/sessions")).status, 200);
    let allowed = gateway.ask_internal(&at("PUT", "/v4/revocations"));
    assert_eq!(allowed.header("allow"), Some("POST,GET,HEAD"));
}

#[test]
fn bodies_that_are_huge_or_never_end_are_refused() {
    let mut gateway = Gateway::start(&[("MAX_BODY_BYTES", "4KiB"), ("BODY_TIMEOUT", "1s")]);
    let huge = json!({ "session": "s", "reason": "x".repeat(100_000), "validityInSeconds": 60 });
    let answer = post(&gateway, &huge);
    assert_eq!(
        (answer.status, problem(&answer)["detail"].as_str()),
        (413, Some("The request body is larger than 4096 bytes."))
    );

    let head = "POST /v4/revocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut chunked = Wire::connect(gateway.internal());
    chunked
        .send(format!("{head}Transfer-Encoding: chunked\r\n\r\n2000\r\n{}\r\n0\r\n\r\n", "x".repeat(0x2000)));
    assert_eq!(Response::read(&mut chunked, false).status, 413);

    let mut half = Wire::connect(gateway.internal());
    half.send(format!("{head}Content-Length: 100\r\n\r\n{{\"session\":"));
    let answer = Response::read(&mut half, false);
    assert_eq!((answer.status, problem(&answer)["status"].as_u64()), (408, Some(408)));

    let mut gone = Wire::connect(gateway.internal());
    gone.send(format!("{head}Content-Length: 100\r\n\r\n{{\"session\":"));
    drop(gone);
    assert!(gateway.is_healthy());
    assert_eq!(get(&gateway, "/v4/revocations").json()["revocations"], json!([]), "nothing was recorded");
}

#[test]
fn a_storm_of_bad_requests_changes_nothing() {
    let mut gateway = Gateway::start(&[]);
    let token = token_of("s1");
    let mut sse = connect(&gateway, &token);
    let good =
        r#"{"session":"s1","claim":"/sub","jwt":"x","validityInSeconds":0,"until":"x","id":"","mode":1}"#;
    let address = gateway.internal();
    std::thread::scope(|scope| {
        for worker in 0..4_usize {
            scope.spawn(move || {
                for n in 0..100_usize {
                    // Truncated, and with a byte changed: some bodies are JSON, none is valid.
                    let mut body = good.as_bytes().to_vec();
                    let at = (n * 7 + worker) % body.len();
                    body[at] ^= 1 << (n % 8);
                    if n % 3 == 0 {
                        body.truncate(at);
                    }
                    let answer = Request::post_json("/v4/revocations", &body).send(address);
                    assert_eq!(problem(&answer)["status"], 400, "{}", String::from_utf8_lossy(&body));
                }
            });
        }
    });
    assert!(gateway.is_healthy());
    assert_eq!(get(&gateway, "/v4/revocations").json()["revocations"], json!([]));
    assert!(sse.wire().is_silent_for(std::time::Duration::from_millis(1)), "the connection is still open");
}

#[test]
fn who_hangs_up_in_the_middle_has_revoked_all_the_same() {
    let gateway = Gateway::start(&[]);
    let token = token_of("s1");
    let mut open: Vec<_> = (0..300).map(|_| connect(&gateway, &token)).collect();
    let body = json!({ "id": "r1", "session": "s1", "validityInSeconds": 7200 }).to_string();
    let wire = Request::post_json("/v4/revocations", &body).start(gateway.internal());
    open[0].expect_kill();
    drop(wire);
    for sse in &mut open[1..] {
        sse.expect_kill();
    }
    let receipt = eventually("the receipt", || {
        let receipt = get(&gateway, "/v4/revocations/r1").json();
        (!receipt["appliedAt"].is_null()).then_some(receipt)
    });
    assert_eq!(receipt["connectionsTerminated"], 300);
}

#[test]
fn the_same_request_sent_at_once_by_many_is_done_once() {
    let gateway = Gateway::start(&[]);
    let mut sse = connect(&gateway, &token_of("s1"));
    let request = Request::post_json(
        "/v4/revocations",
        json!({ "id": "r1", "session": "s1", "issuedUpTo": in_seconds(0), "validityInSeconds": 7200 })
            .to_string(),
    );
    let address = gateway.internal();
    let mut statuses: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| request.send(address).status)).collect();
        all.into_iter().map(|one| one.join().expect("an answer")).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
    sse.expect_kill();
    let listed = get(&gateway, "/v4/revocations").json();
    assert_eq!(listed["revocations"].as_array().map(Vec::len), Some(1), "{listed}");
}

/// The id of a blacklisting contains the session's name, which may be any text.
#[test]
fn a_session_of_any_name_is_listed_found_and_lifted() {
    let folder = Folder::new();
    let gateway = Gateway::start(&[("DATA_DIR", &folder.join("data"))]);
    for name in ["a\u{1}b", "\u{0}", "line\nbreak", "ü/%\u{7f}"] {
        gateway.blacklist(name);
        gateway.blacklist(name);
        let page = gateway.ask_internal(&Request::get("/v4/revocations"));
        assert_eq!(page.status, 200, "{name:?}: {}", page.text());
        let id = page.json()["revocations"][0]["id"].as_str().expect("an id").to_owned();
        assert_eq!(id, format!("session-blacklist/{name}"));
        let path = format!("/v4/revocations/{}", encoded(&id));
        assert_eq!(gateway.ask_internal(&Request::get(&path)).status, 200, "{name:?}");
        assert_eq!(gateway.ask_internal(&Request::new("DELETE", &path)).status, 204, "{name:?}");
    }
}
