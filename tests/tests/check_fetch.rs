//! `rig check --fetch`, and `rig issuers` at a running gateway: what an operator learns of identity
//! providers.

use std::process::{Command, Output};

use rig_tests::*;
use serde_json::{Value, json};

/// Runs `rig` with these words and variables only.
fn rig(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut rig = Command::new("/usr/bin/timeout");
    rig.arg("60").arg(Gateway::binary()).args(words).env_clear().envs(variables.iter().copied());
    rig.output().expect("rig has been built")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Checks these issuers. Returns the exit code, the findings, and the standard error.
fn check(issuers: &[Value]) -> (Option<i32>, Vec<String>, String) {
    let list = json!(issuers).to_string();
    let output = rig(&["check", "--fetch"], &[("ISSUERS", &list)]);
    let out = text(&output.stdout);
    let findings = out.lines().filter(|line| line.starts_with("issuer ")).map(str::to_owned);
    (output.status.code(), findings.collect(), text(&output.stderr))
}

#[test]
fn keys_are_fetched_and_counted() {
    let (one, two) = (StubIssuer::start(), StubIssuer::start());
    two.publish("b");
    let by_uri = json!({ "jwks_uri": format!("{}/keys", two.url()) });
    let (code, findings, error) = check(&[one.settings("one", &json!({})), two.settings("two", &by_uri)]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let expected = [
        format!("issuer one: metadata: {}/.well-known/openid-configuration", one.url()),
        format!("issuer one: keys: 1 key at {}/keys", one.url()),
        format!("issuer two: keys: 2 keys at {}/keys", two.url()),
    ];
    assert_eq!(findings, expected);
}

#[test]
fn i02_an_issuer_with_another_slash_is_told_with_both_texts() {
    let (stub, good) = (StubIssuer::start(), StubIssuer::start());
    let with_slash = format!("{}/", stub.url());
    let issuers =
        [stub.settings("slash", &json!({ "issuer": with_slash })), good.settings("good", &json!({}))];
    let (code, findings, error) = check(&issuers);
    assert_eq!(code, Some(1), "{findings:?}");
    assert!(error.contains("1 of 3 checks failed: issuer slash: keys"), "{error}");
    let told = findings.iter().find(|line| line.starts_with("issuer slash: keys: ")).expect("a finding");
    assert!(
        told.contains(&format!("{:?}", stub.url())) && told.contains(&format!("{with_slash:?}")),
        "{told}"
    );

    // The running gateway says the same, and uses nothing of it.
    let gateway = Gateway::start_bare(&[("ISSUERS", &json!(issuers).to_string())]);
    let told = || {
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains("\"slash\"") && line.contains("error"))?;
        Some(line.to_owned())
    };
    let line = eventually("the log", told);
    assert!(line.contains(stub.url()) && line.contains(&with_slash), "{line}");
    let token = stub.token("a", "alice", "1", &json!({ "iss": with_slash }));
    let request = Request::get(format!("/_rig/v1/connection/sse?jwt={token}"));
    assert_eq!(Sse::open(gateway.inbound(), &request).map_err(|refusal| refusal.status).err(), Some(503));
}

#[test]
fn i18_a_private_authority_has_to_be_named() {
    let authority = Authority::new("issuers");
    let stub = StubIssuer::start_tls(&authority);
    let (code, findings, error) = check(&[stub.settings("kc", &json!({ "ca_file": authority.file() }))]);
    assert_eq!((code, findings.len()), (Some(0), 2), "{findings:?} {error}");

    let (code, findings, _) = check(&[stub.settings("kc", &json!({}))]);
    assert_eq!(code, Some(1));
    assert!(findings.iter().any(|line| line.contains("UnknownIssuer")), "{findings:?}");

    let settings = json!([stub.settings("kc", &json!({ "ca_file": authority.file() }))]).to_string();
    let gateway = Gateway::start_bare(&[("ISSUERS", &settings)]);
    let token = stub.token("a", "alice", "1", &json!({}));
    let connect = || {
        let request = Request::get("/_rig/v1/connection/sse").bearer(&token);
        Sse::open(gateway.inbound(), &request).ok()
    };
    eventually("a connection", connect);
}

#[test]
fn what_cannot_be_reached_is_said_and_wrong_settings_come_first() {
    let nowhere =
        json!({ "id": "gone", "issuer": format!("http://{}", unused_address()), "audience": "any" });
    let (code, findings, _) = check(std::slice::from_ref(&nowhere));
    assert_eq!(code, Some(1));
    assert!(findings[0].starts_with("issuer gone: keys: "), "{findings:?}");

    let mut wrong = nowhere;
    wrong["leeway"] = "1h".into();
    let (code, findings, error) = check(&[wrong]);
    assert_eq!((code, findings.len()), (Some(2), 0), "nothing is fetched");
    assert!(error.contains("issuers[0].leeway"), "{error}");

    let output = rig(&["check", "--fetch"], &[]);
    assert_eq!(text(&output.stdout).lines().last(), Some("no identity provider is configured"));
    // Without the flag, nothing is fetched.
    let stub = StubIssuer::start();
    let list = json!([stub.settings("kc", &json!({}))]).to_string();
    assert_eq!(rig(&["check"], &[("ISSUERS", &list)]).status.code(), Some(0));
    assert_eq!(stub.fetches(), 0);
}

#[test]
fn the_issuers_of_a_gateway_are_a_table() {
    let stub = StubIssuer::start();
    let list = json!([stub.settings("kc", &json!({}))]).to_string();
    let gateway = Gateway::start_bare(&[("ISSUERS", &list)]);
    let logout = stub.logout_token("a", &json!({ "sid": "1" }));
    let request = Request::new("POST", "/_rig/v1/issuers/kc/logout")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("logout_token={logout}"));
    assert_eq!(gateway.ask(&request).status, 200);

    let output = rig(&["issuers"], &[("RIG_API", &format!("http://{}", gateway.internal()))]);
    let out = text(&output.stdout);
    let row = out.lines().nth(1).unwrap_or_else(|| panic!("{out}"));
    assert!(row.starts_with(&format!("kc  {}  1     0s", stub.url())), "{out}");
    assert!(row.contains("logout 20") && row.contains("Z matched_nobody"), "{out}");
}

#[test]
fn feeds_may_be_at_the_internal_port() {
    let stub = StubIssuer::start();
    let list = json!([stub.settings("kc", &json!({}))]).to_string();
    let token = ("API_TOKEN", "a-test-api-token-of-the-gateway");
    let gateway = Gateway::start_bare(&[("ISSUERS", &list), ("FEEDS_PORT", "internal"), token]);
    let logout = stub.logout_token("a", &json!({ "sid": "1" }));
    let request = Request::new("POST", "/_rig/v1/issuers/kc/logout")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("logout_token={logout}"));
    assert_eq!(gateway.ask(&request).status, 404);
    assert_eq!(gateway.ask_internal(&request).status, 200, "without the token of the port");
    assert_eq!(gateway.ask_internal(&Request::get("/v4/issuers")).status, 401);
}
