//! Delivers answers from the port to the waiting request, and checks the errors if that is
//! impossible.

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use proxy::{Expected, TimedOut, Waiting, WaitingConfig};
use seal::{Incarnation, Purpose, Seal};
use serde_json::json;
use tower::ServiceExt;

use super::*;
use crate::{Admin, testing};

const COOKIE: &str = "test-cookie";
const SENT: &str = "202 message sent to correlated reverse proxy request";
const GONE: &str = "410 Nobody waits for this answer: the request was answered before, has timed out, or its client has left.";

/// Returns the seal of another node with each call, all with the same cookie.
fn seal() -> Seal {
    Seal::new(Some(COOKIE), Purpose::Correlation, Incarnation::unnamed())
}

struct Port {
    waiting: Arc<Waiting>,
    admin: Admin,
}

impl Port {
    fn new() -> Self {
        let waiting = Arc::new(Waiting::new(WaitingConfig::default(), seal()));
        let admin = testing::port(waiting.clone(), testing::no_apis());
        Self { waiting, admin }
    }

    fn expect(&self) -> Expected {
        self.waiting.expect().unwrap()
    }

    /// Returns the status and the text of the answer.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> String {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = self.admin.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        format!("{status} {}", String::from_utf8_lossy(&body))
    }

    async fn v3(&self, token: &str, code: &str) -> String {
        self.post("/v3/responses", &[("rig-correlation", token), ("rig-response-code", code)], "x").await
    }

    async fn v2(&self, event: &Value) -> String {
        self.post("/v2/responses", &[("content-type", "application/json")], event.to_string()).await
    }
}

#[tokio::test]
async fn f06_what_says_for_whom_an_answer_is_says_it_once() {
    let port = Port::new();
    let one = port.expect();
    let token = one.token().to_owned();
    for (twice, said) in [("rig-correlation", &*token), ("rig-response-code", "404")] {
        let headers = [("rig-correlation", &*token), ("rig-response-code", "200"), (twice, said)];
        let told = port.post("/v3/responses", &headers, "x").await;
        assert_eq!(
            told,
            format!("400 Failed to parse request body: :error (the header {twice} must be given once)")
        );
    }
    let rig = format!(r#"{{"correlation":"{token}","response_code":200,"response\u005fcode":404}}"#);
    for (twice, told) in [
        (format!(r#""rig":{rig}"#), "rig must be an object with each member once"),
        (format!(r#""rig":{{}},"r\u0069g":{{"correlation":"{token}"}}"#), "rig is given more than once"),
    ] {
        let body = format!(r#"{{"specversion":"0.2","id":"1","type":"t","source":"s",{twice}}}"#);
        let answer = port.post("/v2/responses", &[("content-type", "application/json")], body).await;
        assert!(answer.starts_with("400 ") && answer.contains(told), "{answer}");
    }
    assert_eq!(port.v3(&token, "200").await, SENT);
}

fn event(rig: &Value) -> Value {
    json!({"specversion": "0.2", "id": "1", "type": "t", "source": "s", "rig": rig})
}

fn refused(detail: &str) -> String {
    format!("400 Failed to parse request body: {detail}")
}

#[tokio::test(start_paused = true)]
async fn the_client_gets_the_status_the_body_and_what_headers_are_for_it() {
    let port = Port::new();
    let expected = port.expect();
    let headers = [
        ("rig-correlation", expected.token()),
        ("rig-response-code", "201"),
        ("content-type", "text/plain"),
        ("set-cookie", "b=2"),
        ("set-cookie", "a=1"),
        ("x-custom", "1"),
        ("host", "127.0.0.1:4010"),
    ];
    let body = b"\x00 any bytes \xff".as_slice();
    assert_eq!(port.post("/v3/responses", &headers, body).await, SENT);
    let token = expected.token().to_owned();
    let answer = expected.answer(std::time::Duration::from_secs(5)).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::CREATED, body));
    let names: Vec<_> =
        answer.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let meant: [(&str, &[u8]); 4] =
        [("content-type", b"text/plain"), ("set-cookie", b"b=2"), ("set-cookie", b"a=1"), ("x-custom", b"1")];
    assert_eq!(names, meant);
    assert_eq!(port.v3(&token, "200").await, GONE, "a token is good once");
}

#[tokio::test(start_paused = true)]
async fn d28_the_answer_by_an_event_arrives() {
    let port = Port::new();
    for (code, status) in [(json!(null), 200), (json!(201), 201), (json!("404"), 404)] {
        let expected = port.expect();
        let mut rig = json!({"correlation": expected.token()});
        if !code.is_null() {
            rig["response_code"] = code;
        }
        let event = event(&rig);
        assert_eq!(port.v2(&event).await, SENT);
        let answer = expected.answer(std::time::Duration::from_secs(5)).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, event.to_string().as_bytes()));
        let json = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        assert_eq!(answer.headers, json);
    }
}

#[tokio::test(start_paused = true)]
async fn late_answers_are_told_so() {
    let port = Port::new();
    let expected = port.expect();
    let token = expected.token().to_owned();
    assert_eq!(expected.answer(std::time::Duration::from_secs(5)).await, Err(TimedOut));
    assert_eq!(port.v3(&token, "200").await, GONE);
    assert_eq!(port.v2(&event(&json!({"correlation": token}))).await, GONE);
    let of_another_life = seal();
    let elsewhere = Arc::new(Waiting::new(WaitingConfig::default(), of_another_life));
    assert_eq!(port.v3(elsewhere.expect().unwrap().token(), "200").await, GONE);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_an_answer_is_told_and_the_request_waits_on() {
    let port = Port::new();
    let expected = port.expect();
    let token = expected.token().to_owned();
    let missing = |what: &str| refused(&format!(":error ({what} is missing)"));
    let v3 = "/v3/responses";
    assert_eq!(port.post(v3, &[], "{}").await, missing("the header rig-correlation"));
    let only = [("rig-correlation", token.as_str())];
    assert_eq!(port.post(v3, &only, "{}").await, missing("the header rig-response-code"));
    assert_eq!(port.v3("abc", "200").await, refused("{:error, :not_base64}"));
    let garbage = "eHh4".repeat(20);
    assert_eq!(port.v3(&garbage, "200").await, refused("{:error, :invalid_term}"));
    for code in ["abc", "", "2e2", "200.0"] {
        let text = refused(&format!("{{:error, {{:not_an_integer, {code:?}}}}}"));
        assert_eq!(port.v3(&token, code).await, text);
    }
    for code in ["0", "-200", "99", "100", "101", "199", "600", "65736", "18446744073709551816"] {
        let text = refused(":error (the header rig-response-code must be a status from 200 to 599)");
        assert_eq!(port.v3(&token, code).await, text, "{code}");
    }
    let both = [("rig-correlation", token.as_str()), ("rig-response-code", "200")];
    assert!(port.post(v3, &both, "x".repeat(1001)).await.starts_with("413 "));

    let not_an_event = |why: &str| refused(&format!("{{:error, :not_a_cloud_event}} ({why})"));
    assert_eq!(port.v2(&json!({})).await, not_an_event("specversion is missing"));
    let v2 = "/v2/responses";
    assert_eq!(port.post(v2, &[], "").await, not_an_event("the body is empty"));
    let without = json!({"specversion": "0.2", "id": "1", "type": "t", "source": "s"});
    assert_eq!(port.v2(&without).await, missing("rig"));
    assert_eq!(port.v2(&event(&json!("x"))).await, refused(":error (rig must be an object)"));
    assert_eq!(port.v2(&event(&json!({}))).await, missing("rig.correlation"));
    let number = event(&json!({"correlation": 7}));
    assert_eq!(port.v2(&number).await, refused(":error (rig.correlation must be a text)"));
    assert_eq!(port.v2(&event(&json!({"correlation": "x"}))).await, refused("{:error, :not_base64}"));
    for (code, text) in [
        (json!("abc"), "{:error, {:not_an_integer, \"abc\"}}"),
        (json!(200.5), "{:error, {:not_an_integer, 200.5}}"),
        (json!([]), "{:error, {:not_an_integer, []}}"),
        (json!(101), ":error (rig.response_code must be a status from 200 to 599)"),
        (json!(600), ":error (rig.response_code must be a status from 200 to 599)"),
    ] {
        let event = event(&json!({"correlation": token, "response_code": code}));
        assert_eq!(port.v2(&event).await, refused(text));
    }
    assert_eq!(port.waiting.len(), 1);
    assert_eq!(port.v3(&token, "599").await, SENT);
    assert_eq!(expected.answer(std::time::Duration::from_secs(5)).await.unwrap().status.as_u16(), 599);
}

#[tokio::test(start_paused = true)]
async fn some_answers_have_no_content() {
    let port = Port::new();
    for (code, body) in [("200", "x"), ("204", ""), ("205", ""), ("304", "")] {
        let expected = port.expect();
        assert_eq!(port.v3(expected.token(), code).await, SENT);
        assert_eq!(expected.answer(std::time::Duration::from_secs(5)).await.unwrap().body, body, "{code}");
    }
}

/// The internal ports of nodes that can ask each other.
mod elsewhere {
    use std::time::Duration;

    use node::Tasks;
    use node::in_memory::Network;
    use session::NodeName;
    use tokio::task::yield_now;

    use super::*;

    struct Member {
        name: NodeName,
        port: super::Port,
        _tasks: Tasks,
    }

    impl Member {
        async fn join(network: &Network, name: &str) -> Self {
            let (name, life) = (NodeName::from(name), Incarnation::of(name));
            let seal = Seal::new(Some(COOKIE), Purpose::Correlation, life);
            let waiting = Arc::new(Waiting::new(WaitingConfig::default(), seal));
            let mut cluster = network.join(&name, Duration::from_secs(15));
            cluster.peers = Some(network.peers(&name, life));
            let (admin, node) = testing::port_in_cluster(waiting.clone(), testing::no_apis(), Some(cluster));
            let mut tasks = Tasks::default();
            node.spawn(&mut tasks);
            yield_now().await;
            Self { name, port: super::Port { waiting, admin }, _tasks: tasks }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_come_to_any_node() {
        let network = Network::default();
        let (a, b) = (Member::join(&network, "a").await, Member::join(&network, "b").await);
        for v2 in [false, true] {
            let expected = a.port.expect();
            let token = expected.token().to_owned();
            let post = async || match v2 {
                true => b.port.v2(&event(&json!({"correlation": token, "response_code": 201}))).await,
                false => b.port.v3(&token, "201").await,
            };
            assert_eq!(post().await, SENT);
            let answer = expected.answer(std::time::Duration::from_secs(5)).await.unwrap();
            assert_eq!(answer.status, 201);
            assert!(v2 || &*answer.body == b"x");
            assert_eq!(post().await, GONE, "it is answered");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_gone_or_silent_takes_no_answer() {
        let network = Network::default();
        let (a, b) = (Member::join(&network, "a").await, Member::join(&network, "b").await);
        let expected = a.port.expect();
        let token = expected.token().to_owned();
        network.cut(&a.name);
        let silent = "503 The node at which the request waits does not answer.";
        assert_eq!(b.port.v3(&token, "200").await, silent);
        network.connect(&a.name);
        drop(a);
        yield_now().await;
        assert_eq!(b.port.v3(&token, "200").await, GONE);
        let a = Member::join(&network, "a").await;
        assert_eq!(a.port.v3(&token, "200").await, GONE, "its next life");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_passed_on_once_and_no_bytes_make_a_node_panic() {
        let network = Network::default();
        let (a, b) = (Member::join(&network, "a").await, Member::join(&network, "b").await);
        let expected = a.port.expect();
        let relayed = |token: &str| {
            let mut message = vec![0, 0, 0, token.len() as u8];
            message.extend(token.as_bytes());
            message.extend([0, 200, 0, 0, 0, 0]);
            Bytes::from(message)
        };
        let answers = |member: &Member| Arc::new(AnswersOfPeers(member.port.waiting.clone()));
        let handle = async |member, message| node::PeerHandler::handle(answers(member), message).await;
        let message = relayed(expected.token());
        assert_eq!(handle(&b, message.clone()).await, "g", "it does not wait at b");
        assert_eq!(handle(&b, relayed("abc")).await, "b");
        assert_eq!(handle(&b, relayed(&"eHh4".repeat(20))).await, "i");
        for length in 0..message.len() - 1 {
            assert_eq!(handle(&a, message.slice(..length)).await, "", "{length}");
        }
        assert_eq!(handle(&a, message).await, "+");
    }
}
