//! The sessions of several nodes, as any of them lists them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connection::{Client, Connection, Encoding, Hub, Opening};
use proptest::prelude::*;
use rig_node::in_memory::Network;
use rig_node::{ConnectionPlace, Node, Tasks};
use seal::{Incarnation, Purpose, Seal};
use session::{Config, NodeName, Sessions};
use subscription::{Extractors, Subscription};
use tokio::runtime::Builder;
use tokio::task::yield_now;

const LEASE: Duration = Duration::from_secs(15);

struct Member {
    name: NodeName,
    node: Node,
    hub: Arc<Hub>,
    sessions: Sessions,
    _tasks: Tasks,
}

impl Member {
    async fn join(network: &Network, name: &str) -> Self {
        let (name, life) = (NodeName::from(name), Incarnation::of(name));
        let mut cluster = network.join(&name, LEASE);
        cluster.peers = Some(network.peers(&name, life));
        let sessions = Sessions::in_memory(Config::default().with_node(name.clone()));
        let seal = Seal::new(Some("test-cookie"), Purpose::Connection, life);
        let config = connection::Config::default();
        let hub = Hub::new(config, sessions.clone(), Arc::default(), seal, Arc::default(), Arc::default());
        let node = Node::new(sessions.clone(), hub.clone(), Some(cluster));
        let mut tasks = Tasks::default();
        node.spawn(&mut tasks);
        yield_now().await;
        Self { name, node, hub, sessions, _tasks: tasks }
    }

    fn open(&self, session: &str, subscriptions: usize) -> Arc<Connection> {
        let event_type = |n| format!("{n}{}", "x".repeat(500));
        let all = (0..subscriptions).map(|n| serde_json::json!({ "eventType": event_type(n) }));
        let all = serde_json::Value::from_iter(all);
        let opening = Opening {
            subjects: vec![self.sessions.subject_of_session(&session.parse().expect("a name"))],
            client: Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None },
            subscriptions: Subscription::parse_list(&all, &Extractors::default()).expect("a list"),
            resume: connection::Resume::default(),
        };
        self.hub.open_stream(opening, Encoding::SsePlain, Bytes::new()).expect("it is let in")
    }
}

async fn members<const N: usize>(names: [&str; N]) -> (Network, [Member; N]) {
    let network = Network::default();
    let mut members = Vec::new();
    for name in names {
        members.push(Member::join(&network, name).await);
    }
    (network, members.try_into().ok().expect("one for each name"))
}

/// Returns all sessions with their numbers of connections, page by page.
async fn pages(member: &Member, limit: usize) -> Vec<(String, usize)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = member.node.list_everywhere(after.clone(), limit).await.expect("it is listed");
        assert!(page.sessions.len() <= limit && page.partial.is_empty());
        all.extend(page.sessions.iter().map(|(name, found)| (name.clone(), found.connections)));
        if !page.more {
            return all;
        }
        after = Some(page.sessions.into_keys().next_back().expect("more follow some"));
    }
}

/// Returns the connections of a session, as their nodes and numbers, page by page.
async fn connections(member: &Member, session: &str, limit: usize) -> Vec<(u64, String)> {
    let (name, mut all, mut after) = (session.parse().expect("a name"), Vec::new(), None);
    loop {
        let page = member.node.session_everywhere(&name, after.clone(), limit).await.expect("it is listed");
        let Some(page) = page else { return all };
        assert!(page.connections.len() <= limit && page.partial.is_empty());
        all.extend(page.connections.into_iter().map(|(node, found)| (found.id, node.to_string())));
        if !page.more {
            assert_eq!(page.connection_count, all.len());
            return all;
        }
        let (id, node) = all.last().cloned().expect("more follow some");
        after = Some(ConnectionPlace { id, node: Some(node) });
    }
}

#[test]
fn every_node_lists_all_sessions_and_pages_are_complete() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let opened = prop::collection::vec((0..3_usize, 0..8_u8), 0..40);
    proptest!(ProptestConfig::with_cases(64), |(opened in opened, limit in 1..6_usize)| {
        runtime.block_on(async {
            let (_network, members) = members(["a", "b", "c"]).await;
            let mut expected: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
            let mut open = Vec::new();
            for (node, session) in opened {
                let (member, session) = (&members[node], format!("s{session}"));
                let connection = member.open(&session, 1);
                expected.entry(session).or_default().push((connection.id().number(), member.name.to_string()));
                open.push(connection);
            }
            let counts: Vec<_> = expected.iter().map(|(name, all)| (name.clone(), all.len())).collect();
            for member in &members {
                prop_assert_eq!(pages(member, limit).await, &counts[..]);
            }
            for (session, expected) in &mut expected {
                expected.sort();
                prop_assert_eq!(&connections(&members[1], session, limit).await, expected);
            }
            Ok(())
        })?;
    });
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named() {
    let (network, [a, b, c]) = members(["a", "b", "c"]).await;
    let _open = [a.open("s", 1), b.open("s", 1), c.open("s", 1), c.open("t", 1)];
    network.cut(&c.name);
    let list = a.node.list_everywhere(None, 10).await.unwrap();
    assert_eq!(list.partial, std::slice::from_ref(&c.name));
    assert_eq!((list.sessions.len(), list.sessions["s"].connections), (1, 2));
    let session = a.node.session_everywhere(&"t".parse().unwrap(), None, 10).await.unwrap();
    let session = session.expect("it may have connections at c");
    assert_eq!((session.connection_count, session.partial), (0, vec![c.name.clone()]));
    drop(c);
    yield_now().await;
    assert_eq!(a.node.list_everywhere(None, 10).await.unwrap().partial, []);
    assert!(a.node.session_everywhere(&"t".parse().unwrap(), None, 10).await.unwrap().is_none());
}

#[tokio::test]
async fn a_page_that_does_not_fit_into_a_message_is_cut_and_the_rest_follows() {
    let (_network, [a, b]) = members(["a", "b"]).await;
    // 40 connections with 50 KiB of subscriptions each.
    let open: Vec<_> = (0..40).map(|_| b.open("s", 100)).collect();
    let _here = [a.open("s", 1), a.open("s", 1)];
    assert!(40 * open[0].describe().subscriptions.len() > 1 << 20);
    assert_eq!(connections(&a, "s", 1000).await.len(), 42);
    let long = |n: usize| format!("{n:04}{}", "x".repeat(1000));
    let _sessions: Vec<_> = (0..1200).map(|n| b.open(&long(n), 0)).collect();
    assert_eq!(pages(&a, 1000).await.len(), 1201);
}

#[test]
fn no_bytes_make_a_node_panic() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let member = runtime.block_on(async {
        let (_network, [a]) = members(["a"]).await;
        a
    });
    let _open = runtime.block_on(async { member.open("s", 1) });
    let request = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        (any::<Option<String>>(), any::<usize>()).prop_map(|(after, limit)| {
            serde_json::json!({ "Sessions": { "after": after, "limit": limit } }).to_string().into_bytes()
        }),
        (any::<String>(), any::<u64>(), any::<Option<String>>(), 0..1100_usize).prop_map(
            |(name, id, node, limit)| {
                let after = serde_json::json!({ "id": id, "node": node });
                serde_json::json!({ "Session": { "name": name, "after": after, "limit": limit } })
                    .to_string()
                    .into_bytes()
            }
        ),
    ];
    proptest!(ProptestConfig::with_cases(500), |(request in request)| {
        runtime.block_on(member.node.answer_peer([b"l", &request[..]].concat().into()));
    });
}
