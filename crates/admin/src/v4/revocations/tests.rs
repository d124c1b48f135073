//! What the internal port of a node answers in a cluster of two.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use node::Tasks;
use node::in_memory::Network;
use proxy::{Waiting, WaitingConfig};
use seal::{Incarnation, Purpose, Seal};
use serde_json::{Value, json};
use session::{Config, NodeName, Sessions};
use tower::ServiceExt;

use crate::{Admin, testing};

const LEASE: Duration = Duration::from_secs(15);

struct Member {
    name: NodeName,
    admin: Admin,
    _tasks: Tasks,
}

struct Answer {
    status: u16,
    location: Option<String>,
    json: Value,
}

impl Member {
    fn join(network: &Network, name: &str) -> Self {
        Self::join_with(network, name, Config::default())
    }

    fn join_with(network: &Network, name: &str, config: Config) -> Self {
        let name = NodeName::from(name);
        let sessions = Sessions::in_memory(config.with_node(name.clone()));
        let node = testing::node(&sessions, Some(network.join(&name, LEASE)));
        let mut tasks = Tasks::default();
        node.spawn(&mut tasks);
        let seal = Seal::new(Some("test-cookie"), Purpose::Correlation, Incarnation::of(name.as_str()));
        let waiting = Arc::new(Waiting::new(WaitingConfig::default(), seal));
        let admin = testing::port_of(node, sessions, waiting, testing::no_apis());
        Self { name, admin, _tasks: tasks }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| body.to_string().into());
        let response = self.admin.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let location = response.headers().get("location").map(|at| at.to_str().unwrap().to_owned());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = || String::from_utf8_lossy(&body).into_owned().into();
        Answer { status, location, json: serde_json::from_slice(&body).unwrap_or_else(|_| text()) }
    }

    async fn revoke(&self, query: &str, id: &str) -> Answer {
        let body = json!({ "session": "s", "validityInSeconds": 3600, "id": id });
        self.ask("POST", &format!("/v4/revocations{query}"), Some(body)).await
    }

    async fn receipt(&self, id: &str) -> Value {
        self.ask("GET", &format!("/v4/revocations/{id}"), None).await.json
    }
}

async fn two_nodes() -> (Network, Member, Member) {
    let network = Network::default();
    let (a, b) = (Member::join(&network, "a"), Member::join(&network, "b"));
    tokio::time::sleep(LEASE / 3).await;
    (network, a, b)
}

/// Returns the state of the whole cluster, and of each node.
fn states(json: &Value) -> (&str, Vec<(&str, &str)>) {
    let nodes = json["nodes"].as_array().into_iter().flatten();
    let state = |one: &'_ Value| (one["node"].as_str().unwrap().len(), one["state"].is_string());
    assert!(nodes.clone().all(|one| state(one) == (1, true)), "{json}");
    let nodes = nodes.map(|one| (one["node"].as_str().unwrap(), one["state"].as_str().unwrap())).collect();
    (json["cluster"].as_str().unwrap_or_default(), nodes)
}

#[tokio::test(start_paused = true)]
async fn what_every_node_has_applied_is_a_201() {
    let (_network, a, b) = two_nodes().await;
    let answer = a.revoke("", "i").await;
    assert_eq!((answer.status, answer.location.as_deref()), (201, Some("/v4/revocations/i")));
    assert_eq!(states(&answer.json), ("complete", vec![("a", "applied"), ("b", "applied")]));
    assert_eq!(answer.json["nodes"][1]["connectionsTerminated"], 0);
    assert_eq!(a.revoke("", "i").await.status, 200);
    assert_eq!(states(&a.receipt("i").await).0, "complete");
    assert_eq!(states(&b.receipt("i").await), ("shared", vec![("b", "applied")]));
    let list = a.ask("GET", "/v4/revocations", None).await.json;
    assert_eq!(states(&list["revocations"][0]).0, "complete");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_not_confirmed_is_a_202_until_it_has_or_its_lease_has_expired() {
    let (network, a, b) = two_nodes().await;
    network.hold(&b.name);
    let answer = a.revoke("?wait=500ms", "i").await;
    assert_eq!((answer.status, answer.location.as_deref()), (202, Some("/v4/revocations/i")));
    assert_eq!(states(&answer.json), ("pending", vec![("a", "applied"), ("b", "unconfirmed")]));
    assert_eq!(answer.json["nodes"][1]["policy"], "closed");
    assert!(answer.json["clusterDetail"].as_str().unwrap().ends_with(": b"), "{}", answer.json);
    assert_eq!(a.revoke("?require=cluster&wait=0", "i").await.status, 202, "repeated");
    let disconnected = a.ask("DELETE", "/v4/sessions/t?wait=0", None).await;
    assert_eq!((disconnected.status, states(&disconnected.json).0), (202, "pending"));

    network.let_through(&b.name, None);
    network.settle().await;
    assert_eq!(states(&a.receipt("i").await).0, "complete");

    network.cut(&b.name);
    let answer = a.revoke("", "j").await;
    assert_eq!(answer.status, 201, "{}", answer.json);
    assert_eq!(states(&answer.json), ("complete", vec![("a", "applied"), ("b", "expired")]));
    assert!(answer.json["nodes"][1]["noLeaseSince"].is_string());
    assert_eq!(a.ask("GET", "/readyz", None).await.status, 200);
    let ready = b.ask("GET", "/readyz", None).await;
    assert_eq!((ready.status, ready.json), (503, "no lease: this node may have missed revocations".into()));
    assert_eq!(b.ask("GET", "/health", None).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn what_the_cluster_has_not_stored_is_queued_and_a_503_if_it_is_required() {
    let (network, a, b) = two_nodes().await;
    network.cut(&a.name);
    let answer = a.revoke("?wait=0", "i").await;
    assert_eq!((answer.status, states(&answer.json)), (202, ("queued", vec![("a", "applied")])));
    let refused = a.revoke("?wait=0&require=cluster", "j").await;
    assert_eq!((refused.status, &refused.json["type"]), (503, &"urn:rig:problem:not-in-cluster".into()));
    assert_eq!(states(&a.receipt("j").await).0, "queued", "it is in force here");
    let lifted = a.ask("DELETE", "/v4/revocations/i", None).await;
    assert_eq!((lifted.status, &lifted.json["type"]), (503, &"urn:rig:problem:no-quorum".into()));

    network.connect(&a.name);
    network.settle().await;
    assert_eq!(states(&a.receipt("i").await).0, "complete");
    network.hold(&b.name);
    let lifted = a.ask("DELETE", "/v4/revocations/i", None).await;
    assert_eq!((lifted.status, states(&lifted.json)), (202, ("pending", vec![("b", "unconfirmed")])));
    network.let_through(&b.name, None);
    network.settle().await;
    assert_eq!(a.ask("DELETE", "/v4/revocations/j", None).await.status, 204);
    assert_eq!(b.ask("GET", "/v4/revocations/j", None).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_with_one_id_one_answers_201_and_one_409() {
    let (network, a, b) = two_nodes().await;
    // Both accept theirs before they know of the other.
    network.hold(&a.name);
    network.hold(&b.name);
    let body = json!({ "session": "t", "validityInSeconds": 3600, "id": "i" });
    let first = a.revoke("?wait=5s", "i");
    let second = b.ask("POST", "/v4/revocations?wait=5s", Some(body));
    let both = async {
        network.announced(2).await;
        network.let_through(&a.name, None);
        network.let_through(&b.name, None);
    };
    let (first, second, ()) = tokio::join!(first, second, both);
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test(start_paused = true)]
async fn rigs_blacklist_waits_for_2_s() {
    let (network, a, b) = two_nodes().await;
    let body = || Some(json!({ "sessionId": "s/1", "validityInSeconds": 60 }));
    let added = a.ask("POST", "/v3/session-blacklist", body()).await;
    assert_eq!((added.status, added.location.as_deref()), (201, Some("/v3/session-blacklist/s%2F1")));
    network.hold(&b.name);
    let began = tokio::time::Instant::now();
    let added = a.ask("POST", "/v3/session-blacklist", body()).await;
    assert_eq!((added.status, began.elapsed()), (202, Duration::from_secs(2)));
    let receipt = added.location.unwrap();
    assert_eq!(receipt, "/v4/revocations/session-blacklist%2Fs%2F1");
    let receipt = a.ask("GET", &receipt, None).await;
    assert_eq!((receipt.status, states(&receipt.json).0), (200, "pending"));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_of_one_issuer_says_so_and_is_found_by_it() {
    let network = Network::default();
    let issuer = |issuer: &str| session::IssuerField {
        issuer: issuer.into(),
        session_field: "/sid".to_owned(),

        ..session::IssuerField::default()
    };
    let issuers = vec![issuer("https://a.example/?b&c"), issuer("https://b.example")];
    let config = Config::default().with_issuers(issuers, false).unwrap();
    let member = Member::join_with(&network, "a", config);
    tokio::time::sleep(LEASE / 3).await;
    let revoke = async |id: &str, members: Value| {
        let mut body = json!({ "id": id, "validityInSeconds": 60 });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        member.ask("POST", "/v4/revocations", Some(body)).await
    };
    for n in 0..3 {
        let of_a = json!({ "session": n, "issuer": "https://a.example/?b&c" });
        let answer = revoke(&format!("a{n}"), of_a).await;
        assert_eq!(answer.status, 201, "{:?}", answer.json);
        let selector = json!({ "issuer": "https://a.example/?b&c", "session": n.to_string() });
        assert_eq!(answer.json["selector"], selector);
        let of_all = json!({ "claim": "/sub", "value": "alice" });
        let answer = revoke(&format!("all{n}"), of_all.clone()).await;
        assert_eq!((answer.status, &answer.json["selector"]), (201, &of_all));
    }
    let wrong = revoke("wrong", json!({ "session": "s", "issuer": "https://c.example" })).await;
    let expected = "issuer: expected one of https://a.example/?b&c, https://b.example";
    assert_eq!((wrong.status, wrong.json["detail"].as_str()), (400, Some(expected)));

    let mut path = "/v4/revocations?limit=2&issuer=https%3A%2F%2Fa.example%2F%3Fb%26c".to_owned();
    let mut pages = Vec::new();
    while !path.is_empty() {
        let page = member.ask("GET", &path, None).await;
        assert_eq!(page.status, 200, "{path}");
        let ids = page.json["revocations"].as_array().unwrap().iter().map(|one| one["id"].clone());
        pages.push(ids.collect::<Vec<_>>());
        path = page.json["next"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(pages, [vec![json!("a2"), json!("a1")], vec![json!("a0")]]);
    let none = member.ask("GET", "/v4/revocations?issuer=https%3A%2F%2Fgone.example", None).await;
    assert_eq!((none.status, none.json), (200, json!({ "revocations": [], "next": null })));
    let empty = member.ask("GET", "/v4/revocations?issuer=", None).await;
    assert_eq!(empty.status, 400);
}
