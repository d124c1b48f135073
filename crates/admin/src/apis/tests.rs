//! Requests of RIG's clients, compared with RIG's answers, and answers about all definitions at
//! once.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use proxy::{Apis, Definitions, Store, StoreError, Waiting, WaitingConfig};
use seal::{Incarnation, Purpose, Seal};
use tower::ServiceExt;

use super::*;
use crate::{Admin, testing};

fn port(apis: Arc<Apis>) -> Admin {
    let waiting =
        Waiting::new(WaitingConfig::default(), Seal::new(None, Purpose::Correlation, Incarnation::unnamed()));
    testing::port(Arc::new(waiting), apis)
}

/// Returns the status and the text of the answer.
async fn ask(port: &Admin, method: &str, path: &str, body: impl ToString) -> String {
    send(port, method, path, Some("application/json"), body).await
}

async fn send(
    port: &Admin,
    method: &str,
    path: &str,
    content_type: Option<&str>,
    body: impl ToString,
) -> String {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = port.router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    format!("{status} {}", String::from_utf8_lossy(&body))
}

fn document(id: &str) -> Value {
    json!({
        "id": id,
        "name": "n",
        "version_data": {"default": {"endpoints": [{"id": "e", "path_regex": "/x", "method": "GET"}]}},
        "proxy": {"target_url": "http://127.0.0.1", "port": 5555},
    })
}

/// Returns a definition with one member of its endpoint changed.
fn with(name: &str, value: Value) -> Value {
    let mut document = document("i");
    document["version_data"]["default"]["endpoints"][0][name] = value;
    document
}

const OK: &str = r#"200 {"message":"ok"}"#;
const CREATED: &str = r#"201 {"message":"ok"}"#;
const BAD_REQUEST: &str = r#"{"errors":{"detail":"Bad request"}}"#;

#[tokio::test]
async fn definitions_come_and_go_as_in_rig() {
    for version in ["v2", "v3"] {
        let port = port(testing::no_apis());
        let apis = &format!("/{version}/apis");
        let a = &format!("{apis}/a%2Fb");
        let missing = r#"404 {"message":"API with id=a/b doesn't exists."}"#;
        assert_eq!(ask(&port, "GET", a, "").await, missing);
        assert_eq!(ask(&port, "GET", apis, "").await, "200 []");
        assert_eq!(ask(&port, "POST", apis, document("a/b")).await, CREATED);
        let exists = r#"409 {"message":"API with id=a/b already exists."}"#;
        assert_eq!(ask(&port, "POST", apis, document("a/b")).await, exists);

        let shown = ask(&port, "GET", a, "").await;
        let mut shown: Value = serde_json::from_str(shown.strip_prefix("200 ").unwrap()).unwrap();
        let timestamp = shown["timestamp"].take();
        assert_eq!(timestamp.as_str().unwrap().len(), "2026-11-23T15:20:53.709808Z".len());
        let mut expected = document("a/b");
        for (name, value) in [
            ("active", json!(true)),
            ("auth_type", json!("none")),
            ("versioned", json!(false)),
            ("auth", json!({"use_header": false, "header_name": "", "use_query": false, "query_name": ""})),
            ("node_name", json!("rig@localhost")),
            ("ref_number", json!(0)),
            ("timestamp", Value::Null),
        ] {
            expected[name] = value;
        }
        assert_eq!(shown, expected);

        assert_eq!(ask(&port, "PUT", a, document("other")).await, OK);
        let shown = ask(&port, "GET", apis, "").await;
        assert!(shown.contains(r#""ref_number":1"#) && !shown.contains("other"), "{shown}");
        let partial = ask(&port, "PUT", a, r#"{"name": "partial"}"#).await;
        let told = r#"400 {"api":[{"proxy":"must be present"},{"version_data":"must be present"}]}"#;
        assert_eq!(partial, told);
        assert_eq!(ask(&port, "DELETE", a, "").await, "204 ");
        assert_eq!(ask(&port, "DELETE", a, "").await, missing);
        assert_eq!(ask(&port, "PUT", a, document("a/b")).await, missing);
        assert_eq!(ask(&port, "POST", apis, document("a/b")).await, CREATED);
    }
}

#[tokio::test]
async fn faults_are_told_as_in_rig() {
    let port = port(testing::no_apis());
    let without = |name: &str| {
        let mut document = document("i");
        document.as_object_mut().unwrap().remove(name);
        document
    };
    let mut no_header = document("i");
    no_header["auth_type"] = json!("jwt");
    no_header["auth"] = json!({"use_header": true});
    for (document, told) in [
        (
            json!({"id": "x"}),
            r#"{"api":[{"name":"must be string"},{"name":"must have a length of at least 1"},{"proxy":"must be present"},{"version_data":"must be present"}]}"#,
        ),
        (without("proxy"), r#"{"api":[{"proxy":"must be present"}]}"#),
        (
            with("id", json!(null)),
            r#"{"i/":[{"id":"must be string"},{"id":"must have a length of at least 1"}]}"#,
        ),
        (with("secured", json!(true)), r#"{"i/e":[{"auth_type":"must be one of [\"jwt\"]"}]}"#),
        (with("schema", json!("s")), r#"{"i/e":[{"target":"must be present"}]}"#),
        (no_header, r#"{"i":[{"header_name":"must be present"}]}"#),
    ] {
        assert_eq!(ask(&port, "POST", "/v3/apis", document).await, format!("400 {told}"));
    }
    assert_eq!(ask(&port, "GET", "/v3/apis", "").await, "200 []");
}

#[tokio::test]
async fn d24_a_fault_that_rig_has_no_words_for_has_its_pointer() {
    let port = port(testing::no_apis());
    let told = ask(&port, "POST", "/v3/apis", with("path_regex", json!("("))).await;
    assert!(told.starts_with(r#"400 {"i/e":[{"path_regex":""#), "{told}");
    assert!(told.ends_with(r#" (at /version_data/default/endpoints/0/path_regex)"}]}"#), "{told}");
    assert_eq!(
        ask(&port, "POST", "/v3/apis", with("response_from", json!("nats"))).await,
        r#"400 {"i/e":[{"response_from":"must be one of [\"http\", \"http_async\", \"kafka\"] where the target is http (at /version_data/default/endpoints/0/response_from)"}]}"#
    );
    // Valid, but this node is connected to no broker (b10).
    assert_eq!(
        ask(&port, "POST", "/v3/apis", with("response_from", json!("kafka"))).await,
        r#"400 {"i/e":[{"response_from":"kafka is not configured: KAFKA_BROKERS is not set (at /version_data/default/endpoints/0/response_from)"}]}"#
    );
}

#[tokio::test]
async fn bodies_are_read_as_in_rig_but_never_answered_with_a_500() {
    let port = port(testing::no_apis());
    assert_eq!(ask(&port, "POST", "/v3/apis", "nojson").await, format!("400 {BAD_REQUEST}"));
    let text = send(&port, "POST", "/v3/apis", Some("text/plain"), document("a")).await;
    assert_eq!(text, format!("415 {BAD_REQUEST}"));
    let id = r#"400 {"api":[{"id":"must be string"}"#;
    for body in ["{}", "", "[]", "5", r#"{"id": 5}"#] {
        let told = ask(&port, "POST", "/v3/apis", body).await;
        assert!(told.starts_with(id), "{body}: {told}");
    }
    let untyped = send(&port, "POST", "/v3/apis", None, document("a")).await;
    assert!(untyped.starts_with(id), "{untyped}");
    let deep = "[".repeat(10_000);
    assert!(ask(&port, "POST", "/v3/apis", deep).await.starts_with("413 "));
    let not_found = r#"404 {"errors":{"detail":"Not found"}}"#;
    assert_eq!(ask(&port, "PATCH", "/v3/apis/a", document("a")).await, not_found);
    assert_eq!(ask(&port, "DELETE", "/v3/apis", "").await, not_found);
}

/// A store that fails to save, for this reason.
struct Full(fn() -> StoreError);

fn full() -> StoreError {
    StoreError::Io { name: "/secret/path".to_owned(), error: std::io::Error::other("no space") }
}

impl Store for Full {
    fn load(&self) -> Result<Option<proxy::Saved>, StoreError> {
        Ok(None)
    }

    fn save(&self, _: &[u8], _: proxy::Revision) -> Result<proxy::Revision, StoreError> {
        Err((self.0)())
    }

    fn changes(&self) -> proxy::Changes {
        proxy::MemoryStore::default().changes()
    }

    fn name(&self) -> String {
        "/secret/path".to_owned()
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_a_503_and_changes_nothing() {
    let (file, _) = Definitions::parse(&json!([document("a")]), &|_| None).unwrap();
    let (apis, _) = Apis::load(file, Box::new(Full(full)), |_| None).unwrap();
    let port = port(Arc::new(apis));
    let told = r#"503 {"message":"The change could not be stored, and was not made."}"#;
    assert_eq!(ask(&port, "POST", "/v3/apis", document("b")).await, told);
    assert_eq!(ask(&port, "PUT", "/v3/apis/a", document("a")).await, told);
    assert_eq!(ask(&port, "DELETE", "/v3/apis/a", "").await, told);
    let all = ask(&port, "PUT", "/v4/apis", "[]").await;
    assert!(all.starts_with("503 ") && all.contains("urn:rig:problem:not-stored"), "{all}");
    assert!(!all.contains("/secret"), "{all}");
    assert!(ask(&port, "GET", "/v4/apis", "").await.contains(r#""id":"a""#));
}

#[tokio::test]
async fn a_node_that_cannot_store_yet_says_why() {
    let why = || StoreError::NotReady { reason: "this node has not joined".to_owned() };
    let (apis, _) = Apis::load(Definitions::default(), Box::new(Full(why)), |_| None).unwrap();
    let port = port(Arc::new(apis));
    let told = r#"503 {"message":"The change was not made: this node has not joined."}"#;
    assert_eq!(ask(&port, "POST", "/v3/apis", document("b")).await, told);
    let all = ask(&port, "PUT", "/v4/apis", "[]").await;
    assert!(all.starts_with("503 ") && all.contains("this node has not joined; "), "{all}");
}

#[tokio::test]
async fn all_definitions_are_replaced_at_once() {
    let port = port(testing::no_apis());
    assert_eq!(ask(&port, "POST", "/v3/apis", document("a")).await, CREATED);
    let list = json!([with("method", json!("post")), document("b")]);
    let shown = |dry_run: bool| {
        format!(
            r#"200 {{"dryRun":{dry_run},"differences":[{{"id":"a","what":"removed"}},{{"id":"b","what":"added"}},{{"id":"i","what":"added"}}],"warnings":[]}}"#
        )
    };
    let before = ask(&port, "GET", "/v4/apis", "").await;
    assert_eq!(ask(&port, "PUT", "/v4/apis?dry_run=true", &list).await, shown(true));
    assert_eq!(ask(&port, "GET", "/v4/apis", "").await, before);
    assert_eq!(ask(&port, "PUT", "/v4/apis", &list).await, shown(false));
    let after = ask(&port, "GET", "/v4/apis", "").await;
    let list = after.strip_prefix("200 ").unwrap();
    let nothing = r#"200 {"dryRun":false,"differences":[],"warnings":"#;
    assert!(ask(&port, "PUT", "/v4/apis", list).await.starts_with(nothing));
    assert!(!list.contains("node_name") && !list.contains("timestamp"), "{list}");
}

#[tokio::test]
async fn one_fault_of_many_changes_nothing() {
    let port = port(testing::no_apis());
    let list = json!([document("a"), with("path_regex", json!("(")), {"id": "x"}]);
    let told = ask(&port, "PUT", "/v4/apis", &list).await;
    let problem: Value = serde_json::from_str(told.strip_prefix("400 ").unwrap()).unwrap();
    let pointers: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    let expected = [
        "/1/version_data/default/endpoints/0/path_regex",
        "/2/name",
        "/2/name",
        "/2/proxy",
        "/2/version_data",
    ];
    assert_eq!(pointers, expected);
    assert_eq!(ask(&port, "GET", "/v4/apis", "").await, "200 []");
    for (body, detail) in
        [("", "it is empty"), ("[", "it ends too early"), ("x", "line 1, column 1"), ("{}", "must be list")]
    {
        let told = ask(&port, "PUT", "/v4/apis", body).await;
        assert!(told.starts_with("400 ") && told.contains(detail), "{told}");
    }
    assert!(ask(&port, "PUT", "/v4/apis?dryrun=true", "[]").await.contains("unknown parameter"));
    assert!(send(&port, "PUT", "/v4/apis", Some("text/plain"), "[]").await.starts_with("415 "));
    assert!(ask(&port, "POST", "/v4/apis", "[]").await.starts_with("405 "));
    assert!(ask(&port, "PUT", "/v4/apis", "[".repeat(2000)).await.starts_with("413 "));
}
