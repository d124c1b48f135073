//! Connections with tokens of several issuers.

use std::time::Duration;

use bytes::Bytes;
use session::{
    Config as SessionConfig, Fence, IssuerField, Mode, Revocation, RevocationId, Selector, Sessions, Verified,
};
use subscription::Extractors;

use super::*;
use crate::admission::Admissions;
use crate::client::Client;
use crate::config::Config;
use crate::encoding::Encoding;
use crate::hub::{Hub, Opening};

const A: &str = "https://a.example";
const B: &str = "https://b.example";

/// Two issuers, and the static key.
fn hub() -> (Arc<Hub>, Sessions) {
    let issuer = |issuer: &str| IssuerField {
        issuer: issuer.into(),
        session_field: "/sid".to_owned(),

        ..IssuerField::default()
    };
    let expiry = Expiry::Ends { warning: Duration::ZERO, leeway: Duration::ZERO };
    let config = SessionConfig::default().with_issuers(vec![issuer(A), issuer(B)], true);
    let sessions = Sessions::in_memory(config.expect("pointers").with_expiry(expiry));
    let seal = seal::Seal::new(None, seal::Purpose::Connection, seal::Incarnation::unnamed());
    let admissions = Arc::new(Admissions::new(Fence::default()));
    let hub = Hub::new(
        Config::default(),
        sessions.clone(),
        Arc::new(Extractors::default()),
        seal,
        Arc::default(),
        admissions,
    );
    (hub, sessions)
}

/// A token of the user 1, in the session 1, signed by a key.
fn subject(sessions: &Sessions, issuer: Option<&str>, exp: u64, key: &str) -> Subject {
    let claims = serde_json::json!({ "sub": "1", "sid": "1", "iat": 10, "exp": 4_000_000_000_u64 + exp });
    let claims = claims.as_object().expect("claims are an object");
    let marks = [("key", key.into())];
    let marks = if issuer.is_some() { &marks[..] } else { &[] };
    sessions.subject(Verified { claims, issuer, marks }).expect("they are names")
}

fn opening(subject: Subject) -> Opening {
    let client = Client { address: ([127, 0, 0, 1], 1).into(), user_agent: None };
    Opening {
        subjects: vec![subject],
        client,
        subscriptions: Vec::new(),
        resume: crate::resume::Resume::default(),
    }
}

fn open(hub: &Hub, subject: Subject) -> Arc<Connection> {
    hub.open_stream(opening(subject), Encoding::SsePlain, Bytes::new()).expect("it is let in")
}

fn revoke(sessions: &Sessions, selector: Selector, mode: Mode) -> u64 {
    let name = "unused".parse().expect("a name");
    let revocation = Revocation {
        id: RevocationId::new(&format!("{selector:?} {}", selector.value())).expect("an id"),
        selector,
        mode,
        extends: false,
        ..Revocation::blacklist(&name, Duration::from_secs(60))
    };
    sessions.revoke(&revocation, true).expect("it is stored").expect("it is done").connections
}

#[test]
fn i04_a_token_of_another_issuer_neither_renews_nor_joins_a_connection() {
    let (hub, sessions) = hub();
    let of_a = open(&hub, subject(&sessions, Some(A), 0, "k"));
    let of_b = open(&hub, subject(&sessions, Some(B), 0, "k"));
    let of_none = open(&hub, subject(&sessions, None, 0, "k"));
    for (connection, own) in [(&of_a, Some(A)), (&of_b, Some(B)), (&of_none, None)] {
        for issuer in [Some(A), Some(B), None] {
            let renewed = connection.set_subscriptions(&[subject(&sessions, issuer, 100, "k")], &[]);
            let expected = if issuer == own { Ok(()) } else { Err(BindError::OtherUser) };
            assert_eq!(renewed, expected, "{own:?} {issuer:?}");
        }
    }
    for (claim, issuer) in [("/sub", A), ("/sid", B)] {
        let selector = sessions.config().selector(Some(issuer), claim, "1".parse().unwrap()).unwrap();
        assert_eq!(revoke(&sessions, selector, Mode::Revoke), 1, "{issuer}");
    }
    assert!(of_a.close_reason().is_some() && of_b.close_reason().is_some());
    assert!(of_none.close_reason().is_none());
}

#[test]
fn a_renewed_connection_does_not_end_with_the_key_of_its_older_token() {
    let (hub, sessions) = hub();
    let connection = open(&hub, subject(&sessions, Some(A), 0, "old"));
    let renewed = connection.set_subscriptions(&[subject(&sessions, Some(A), 100, "new")], &[]);
    assert_eq!(renewed, Ok(()));
    let of_key = |key: &str| Selector::mark("key", key.parse().unwrap()).issued_by(Some(A.into()));
    assert_eq!(revoke(&sessions, of_key("old"), Mode::Disconnect), 0);
    assert!(connection.close_reason().is_none());
    let other = Selector::mark("key", "new".parse().unwrap()).issued_by(Some(B.into()));
    assert_eq!(sessions.affected(&other, None).connections, 0, "the key of another issuer");
    assert_eq!(revoke(&sessions, of_key("new"), Mode::Disconnect), 1);
    assert!(connection.close_reason().is_some());
}

#[test]
fn other_nodes_learn_the_issuer_and_the_keys_that_count() {
    let (hub, sessions) = hub();
    let connection = hub.open_longpolling(opening(subject(&sessions, Some(A), 0, "old"))).unwrap();
    let keys = || -> Vec<_> {
        let tokens = connection.traces().tokens;
        assert!(tokens.iter().all(|token| token.issuer.as_deref() == Some(A)));
        tokens.iter().flat_map(|token| token.marks.iter().map(|(_, key)| key.to_string())).collect()
    };
    assert_eq!(keys(), ["old"]);
    connection.set_subscriptions(&[subject(&sessions, Some(A), 100, "new")], &[]).unwrap();
    assert_eq!(keys(), ["new"]);
}
