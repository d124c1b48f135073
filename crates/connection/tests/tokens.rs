//! A connection token is good on one node, for as long as that node runs.

use std::sync::Arc;

use rig_connection::{Client, Config, Connection, Encoding, Hub, InvalidToken, Metrics, Opening};
use seal::{Incarnation, Purpose, Seal};
use session::{MemoryLog, Sessions};

fn hub(node: Incarnation) -> Arc<Hub> {
    let seal = Seal::new(Some("cookie"), Purpose::Connection, node);
    let sessions = Sessions::new(session::Config::default(), MemoryLog::default());
    Hub::new(
        Config::default(),
        sessions.expect("there is nothing to load"),
        Arc::default(),
        seal,
        Arc::new(Metrics::default()),
        Arc::default(),
    )
}

fn open(hub: &Arc<Hub>) -> Arc<Connection> {
    let client = Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None };
    let opening = Opening {
        subjects: Vec::new(),
        client,
        subscriptions: Vec::new(),
        resume: rig_connection::Resume::default(),
    };
    hub.open_stream(opening, Encoding::SsePlain, Default::default()).expect("the hub is open")
}

#[tokio::test]
async fn a_token_names_its_connection() {
    let hub = hub(Incarnation::of("a"));
    let connections = [(), ()].map(|()| open(&hub));
    for connection in &connections {
        let found = hub.find(&hub.token_of(connection, b"")).unwrap().unwrap();
        assert_eq!(found.id(), connection.id());
    }
    assert_eq!(hub.find("x").err(), Some(InvalidToken));
}

#[tokio::test]
async fn a_token_of_an_earlier_life_or_another_node_is_refused() {
    let this = hub(Incarnation::of("a"));
    // The numbers of connections are the same on each of them.
    let _connection = open(&this);
    for other in [hub(Incarnation::of("a")), hub(Incarnation::of("b"))] {
        let token = other.token_of(&open(&other), b"");
        assert_eq!(this.find(&token).err(), Some(InvalidToken));
    }
}
