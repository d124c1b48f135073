//! The definitions of APIs at the internal port, as in RIG 3.0.0.

use rig_tests::*;
use serde_json::{Value, json};

const JSON: &str = "content-type: application/json…";

/// Returns a definition with another value at this pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut api = definition("i", "n");
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    api.pointer_mut(parent).expect("it is there")[name] = value;
    api
}

/// Returns a definition with this member set in its endpoint.
fn endpoint(name: &str, value: Value) -> Value {
    with(&format!("/version_data/default/endpoints/0/{name}"), value)
}

fn without(name: &str) -> Value {
    let mut api = definition("i", "n");
    api.as_object_mut().expect("an object").remove(name);
    api
}

#[test]
fn definitions_come_and_go_under_both_versions() {
    let file = json!([definition("svc", "of the file")]).to_string();
    let gateway = Gateway::start(&[("PROXY_CONFIG_FILE", &file), ("HOST", "gateway.example")]);
    let mut all = Scenarios::default();
    for version in ["v3", "v2"] {
        let id = format!("new-{version}");
        let path = format!("/{version}/apis");
        let ask = |method: &str, id: &str, body: &Value| {
            let request = Request::new(method, format!("{path}/{id}"));
            let request = request.header("Content-Type", "application/json").body(body.to_string());
            gateway.ask_internal(&request)
        };
        let create = || gateway.ask_internal(&Request::post_json(&path, definition(&id, "n").to_string()));
        let missing =
            |id: &str| format!(r#"404 | {JSON} | {{"message":"API with id={id} doesn't exists."}}"#);
        let ok = |status: u16| format!(r#"{status} | {JSON} | {{"message":"ok"}}"#);
        let get = |id: &str| gateway.ask_internal(&Request::get(format!("{path}/{id}")));

        let existing = r#"{"active":true,"auth":{"header_name":"","query_name":"","use_header":false,"use_query":false},"auth_type":"none","id":"svc","name":"of the file","version_data":{"default":{"endpoints":[{"id":"e","method":"GET","path_regex":"/svc-v3"}]}},"versioned":false,"proxy":{"port":5555,"target_url":"http://127.0.0.1"},"node_name":"rig@gateway.example","ref_number":0}"#;
        let mut shown = get("svc").json();
        shown.as_object_mut().expect("an object").remove("timestamp");
        assert_eq!(shown, serde_json::from_str::<Value>(existing).expect("JSON"));

        all.check("get unknown", &get("none"), missing("none"));
        all.check("create", &create(), ok(201));
        let exists = format!(r#"409 | {JSON} | {{"message":"API with id={id} already exists."}}"#);
        all.check("create again", &create(), exists);
        all.check(
            "list",
            &gateway.ask_internal(&Request::get(&path)),
            format!("200 | {JSON} | [{{…}},{{…}}]"),
        );
        all.check("update", &ask("PUT", &id, &definition(&id, "changed")), ok(200));
        let changed = get(&id).json();
        assert_eq!((&changed["name"], &changed["ref_number"]), (&json!("changed"), &json!(1)));
        all.check("update unknown", &ask("PUT", "none", &definition("none", "n")), missing("none"));
        let partial = r#"{"api":[{"proxy":"must be present"},{"version_data":"must be present"}]}"#;
        let response = ask("PUT", &id, &json!({"name": "partial"}));
        all.check("update partial", &response, format!("400 | {JSON} | {partial}"));
        all.check("update, another id in the body", &ask("PUT", &id, &definition("other", "n")), ok(200));
        all.check("no other id", &get("other"), missing("other"));
        all.check("delete", &ask("DELETE", &id, &json!({})), "204…");
        all.check("delete again", &ask("DELETE", &id, &json!({})), missing(&id));
        all.check("get deleted", &get(&id), missing(&id));
        all.check("re-create deleted", &create(), ok(201));
        all.check("delete again", &ask("DELETE", &id, &json!({})), "204…");
    }
}

#[test]
fn wrong_definitions_are_refused_in_rigs_words() {
    let gateway = Gateway::start(&[]);
    let mut all = Scenarios::default();
    let jwt = |auth: Value| {
        let mut api = with("/auth_type", json!("jwt"));
        api["auth"] = auth;
        api
    };
    for (name, api, told) in [
        (
            "only id",
            json!({"id": "x"}),
            r#"{"api":[{"name":"must be string"},{"name":"must have a length of at least 1"},{"proxy":"must be present"},{"version_data":"must be present"}]}"#,
        ),
        ("no proxy", without("proxy"), r#"{"api":[{"proxy":"must be present"}]}"#),
        ("no version_data", without("version_data"), r#"{"api":[{"version_data":"must be present"}]}"#),
        (
            "version_data {}",
            with("/version_data", json!({})),
            r#"{"api":[{"version_data":"must be present"},{"version_data":"must have at least one version, e.g. default"}]}"#,
        ),
        (
            "endpoints not list",
            with("/version_data/default/endpoints", json!({})),
            r#"{"api":[{"endpoints":"must be list"}]}"#,
        ),
        (
            "endpoint without fields",
            with("/version_data/default/endpoints", json!([{}])),
            r#"{"i/":[{"id":"must be string"},{"id":"must have a length of at least 1"},{"path_regex":"must be string"},{"path_regex":"must have a length of at least 1"},{"method":"must be string"},{"method":"must have a length of at least 1"}]}"#,
        ),
        ("port string", with("/proxy/port", json!("80")), r#"{"api":[{"port":"must be integer"}]}"#),
        (
            "target_url empty",
            with("/proxy/target_url", json!("")),
            r#"{"api":[{"target_url":"must have a length of at least 1"}]}"#,
        ),
        (
            "secured without auth_type",
            endpoint("secured", json!(true)),
            r#"{"i/e":[{"auth_type":"must be one of [\"jwt\"]"}]}"#,
        ),
        (
            "schema without target",
            endpoint("schema", json!("s")),
            r#"{"i/e":[{"target":"must be present"}]}"#,
        ),
        (
            "use_header without header_name",
            jwt(json!({"use_header": true})),
            r#"{"i":[{"header_name":"must be present"}]}"#,
        ),
        (
            "use_query without query_name",
            jwt(json!({"use_query": true})),
            r#"{"i":[{"query_name":"must be present"}]}"#,
        ),
        (
            "auth_type unknown",
            with("/auth_type", json!("foo")),
            r#"{"i":[{"auth_type":"must be one of [\"jwt\"]"}]}"#,
        ),
        ("id number", with("/id", json!(5)), r#"{"api":[{"id":"must be string"}]}"#),
        (
            "d24 invalid regex",
            endpoint("path_regex", json!("(")),
            r#"{"i/e":[{"path_regex":"…(at /version_data/default/endpoints/0/path_regex)"}]}"#,
        ),
        (
            "kafka without topic",
            endpoint("target", json!("kafka")),
            r#"{"i/e":[{"topic":"must be present"}]}"#,
        ),
    ] {
        let response = gateway.ask_internal(&Request::post_json("/v3/apis", api.to_string()));
        all.check(name, &response, format!("400 | {JSON} | {told}"));
    }
    let bad = format!(r#"400 | {JSON} | {{"errors":{{"detail":"Bad request"}}}}"#);
    all.check("not JSON", &gateway.ask_internal(&Request::post_json("/v3/apis", "nojson")), bad);
    for body in ["{}", "", "[]"] {
        let response = gateway.ask_internal(&Request::post_json("/v3/apis", body));
        all.check(body, &response, format!(r#"400 | {JSON} | {{"api":[{{"id":"must be string"}},…"#));
    }
    assert_eq!(api_names(&gateway), [""; 0]);
    // d24: the next request is still answered.
    all.check("another path", &gateway.ask(&Request::get("/whatever")), "404 | …");
}
