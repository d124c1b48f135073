//! Who is let in, and what they may do, request by request.

mod tokens;
mod world;

use http::Method;
use utoipa::openapi::OpenApi;

use super::*;
use crate::openapi::{operations, with_rights};
use crate::routes::document;
use world::{ALL_RIGHTS, Answer, World, token};

/// Returns all operations of the document, those that v2 has from v3 included.
fn all_operations() -> Vec<(Method, String)> {
    let OpenApi { mut paths, .. } = document();
    let mut found = Vec::new();
    for (path, item) in &mut paths.paths {
        found.extend(operations(item).map(|(method, _)| (method, path.clone())));
    }
    let of_v3: Vec<_> = found
        .iter()
        .filter_map(|(method, path)| Some((method.clone(), format!("/v2{}", path.strip_prefix("/v3")?))))
        .filter(|operation| !found.contains(operation))
        .collect();
    found.extend(of_v3);
    found
}

/// Returns a path of an operation, with a name for each parameter.
fn concrete(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "a" } else { part }).collect::<Vec<_>>().join("/")
}

#[test]
fn every_operation_needs_a_right_that_the_document_names() {
    let document = serde_json::to_value(with_rights(document())).unwrap();
    let operations = all_operations();
    assert!(operations.len() > 25, "{operations:?}");
    for (method, path) in &operations {
        let right = needs::right(method, path);
        assert_eq!(right.is_none(), needs::is_open(path), "{method} {path}: a row of needs.rs");
        let path = path.replace('~', "~0").replace('/', "~1");
        let member = method.as_str().to_ascii_lowercase();
        let Some(operation) = document.pointer(&format!("/paths/{path}/{member}")) else { continue };
        let named = operation.pointer("/security/0/caller/0").map(|named| named.as_str().unwrap());
        assert_eq!(named, right.map(Right::as_str), "{method} {path}");
    }
    assert_eq!(document["components"]["securitySchemes"]["caller"]["scheme"], "bearer");
}

#[tokio::test]
async fn i35_each_operation_is_refused_without_its_right_and_let_through_with_it() {
    let world = World::with_tokens(&[
        ("read", &[Right::Read]),
        ("revoke", &[Right::Revoke]),
        ("publish", &[Right::Publish]),
        ("admin", &[Right::Admin]),
    ]);
    let further = ["/openapi.json", "/swagger-ui", "/swagger-ui/", "/swagger-ui/rig_api_swagger.json"];
    let further = further.map(|path| (Method::GET, path.to_owned()));
    for (method, path) in all_operations().into_iter().chain(further) {
        for right in ALL_RIGHTS {
            let answer = world.ask(&method, &concrete(&path), Some(&token(right.as_str()))).await;
            let what = format!("{method} {path} with {right}: {answer:?}");
            match needs::right(&method, &path) {
                None => assert!(answer.status < 400, "{what}"),
                Some(needed) if needed == right => assert!(!matches!(answer.status, 401 | 403), "{what}"),
                Some(needed) => {
                    assert_eq!(answer.status, 403, "{what}");
                    assert!(answer.body.contains(&format!("missing right: {needed}")), "{what}");
                    let challenge = format!(r#"Bearer error="insufficient_scope", scope="{needed}""#);
                    assert_eq!(answer.challenge, challenge, "{what}");
                }
            }
        }
        let unknown = world.ask(&method, &concrete(&path), None).await;
        assert_eq!(unknown.status == 401, !needs::is_open(&path), "{method} {path}: {unknown:?}");
    }
}

#[tokio::test]
async fn i35_a_missing_right_is_named_in_the_form_of_the_version() {
    let world = World::with_tokens(&[("reader", &[Right::Read]), ("killer", &[Right::Revoke])]);
    let (reader, killer) = (token("reader"), token("killer"));
    let Answer { status, body, .. } = world.revoke(&reader).await;
    assert_eq!(status, 403);
    insta::assert_snapshot!(body, @r#"{"type":"urn:rig:problem:missing-right","title":"Forbidden","status":403,"detail":"missing right: revoke","missingRight":"revoke"}"#);
    let Answer { status, body, .. } = world.ask(&Method::POST, "/v3/messages", Some(&killer)).await;
    assert_eq!((status, &*body), (403, r#"{"errors":{"detail":"missing right: publish"}}"#));
    assert_eq!(world.revoke(&killer).await.status, 201);
    assert_eq!(world.ask(&Method::GET, "/v4/sessions", Some(&killer)).await.status, 403, "it may not read");
    let denied = |reason: &str, count| format!("rig_api_refused_total{{reason=\"{reason}\"}} {count}\n");
    let metrics = world.ask(&Method::GET, "/metrics", Some(&reader)).await.body;
    assert!(metrics.contains(&denied("right", 3)), "{metrics}");
}

#[tokio::test]
async fn nobody_is_refused_where_nothing_is_configured() {
    let world = World::new(Access::default());
    for authorization in [None, Some("Bearer anything"), Some("nonsense")] {
        let header = authorization.map(str::to_owned);
        assert_eq!(world.ask(&Method::GET, "/v4/sessions", header.as_deref()).await.status, 200);
    }
}

#[tokio::test]
async fn methods_and_paths_that_do_not_exist_are_no_way_around() {
    let world = World::with_tokens(&[("reader", &[Right::Read]), ("all", &ALL_RIGHTS)]);
    let (reader, all) = (token("reader"), token("all"));
    let status = async |method: &str, path: &str, token: Option<&str>| {
        world.ask(&method.parse().unwrap(), path, token).await.status
    };
    for path in ["/nope", "/v4/nope", "/v3/nope", "/health/x", "/readyz/x", "/V4/sessions", "/v4//sessions"] {
        assert_eq!(status("GET", path, None).await, 401, "{path}");
        assert_eq!(status("GET", path, Some(&reader)).await, 404, "{path}");
    }
    for (method, path, unknown) in [
        ("PATCH", "/v4/revocations", 405),
        ("QUERY", "/v4/sessions", 405),
        ("OPTIONS", "/v3/session-blacklist", 404),
    ] {
        assert_eq!(status(method, path, None).await, 401, "{method} {path}");
        assert_eq!(status(method, path, Some(&reader)).await, 403, "{method} {path}");
        assert_eq!(status(method, path, Some(&all)).await, unknown, "{method} {path}");
    }
    assert_eq!(status("HEAD", "/v4/sessions", Some(&reader)).await, 200);
    assert_eq!(status("HEAD", "/v4/sessions", None).await, 401);
    for path in ["/health", "/health/", "/readyz", "/readyz/"] {
        assert_eq!(status("GET", path, None).await, 200, "{path}");
        assert_eq!(status("GET", path, Some("Bearer wrong")).await, 200, "{path}: nothing is asked for");
    }
}

#[tokio::test]
async fn i35_who_revokes_is_the_caller_and_what_it_says_stands_behind() {
    let world = World::with_tokens(&[("ci", &ALL_RIGHTS)]);
    let (ci, api) = (token("ci"), token("api"));
    for (authorization, said, by) in
        [(&ci, "", "ci"), (&ci, r#","by":"bob""#, "ci (on behalf of bob)"), (&api, r#","by":"bob""#, "bob")]
    {
        let body = format!(r#"{{"session":"s","validityInSeconds":60{said}}}"#);
        let answer = world.post("/v4/revocations", &body, authorization).await;
        assert_eq!((answer.status, answer.by().as_deref()), (201, Some(by)));
    }
    let anonymous = world.post("/v4/revocations", r#"{"session":"s","validityInSeconds":60}"#, &api).await;
    assert_eq!((anonymous.status, anonymous.by()), (201, None), "API_TOKEN is nobody in particular");

    let answer = world.ask(&Method::DELETE, "/v4/sessions/s?by=bob", Some(&ci)).await;
    assert_eq!((answer.status, answer.by().as_deref()), (200, Some("ci (on behalf of bob)")));
    let body = r#"{"sessionId":"rig","validityInSeconds":60}"#;
    assert_eq!(world.post("/v3/session-blacklist", body, &ci).await.status, 201);
    let list = world.ask(&Method::GET, "/v4/revocations?limit=1", Some(&ci)).await.json();
    assert_eq!(list["revocations"][0]["by"], "ci");
    let lift = "/v4/revocations/session-blacklist%2Frig?by=bob";
    assert_eq!(world.ask(&Method::DELETE, lift, Some(&ci)).await.status, 204);
}
