//! What a server asks for, and what the users of the documentation may do.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use nats::Credentials;
use nkeys::KeyPair;
use rig_cluster::events::{BUCKETS, EventWire};
use rig_cluster::nats::{NatsConfig, NatsEvents, NatsWire, NewStream};
use rig_cluster::wire::{Link, Live, Names, PublishError, Wire};
use rig_tests::{NatsOptions, NatsServer};
use seal::Incarnation;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{DEADLINE, STREAM, config, next, next_live, open, publication, raw_client};

/// The account of the documentation, with one of its users.
fn user(server: &NatsServer, user: &str, password: &str) -> NatsConfig {
    let mut config = config(vec![server.url()], user);
    config.cluster = "rig".to_owned();
    config.access.credentials =
        Credentials::Password { user: user.to_owned(), password: password.to_owned() };
    config
}

fn with(server: &NatsServer, credentials: Credentials) -> NatsConfig {
    let mut config = config(vec![server.url()], "a");
    config.access.credentials = credentials;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permissions_of_the_documentation_are_enough_and_no_more() {
    let accounts = include_str!("../../../../docs/nats-accounts.conf");
    let server = NatsServer::start(NatsOptions { config: accounts, ..NatsOptions::default() });
    let wrong = NatsWire::open(&user(&server, "rig-1", "wrong"), Incarnation::of("x")).await.unwrap();
    let failed = wrong.connected(Duration::from_millis(300)).await.unwrap_err();
    assert!(failed.contains("authorization violation"), "{failed}");

    let operator = open(&user(&server, "operator", "change-me-3")).await;
    operator.create_stream(NewStream { adopted: false, ..STREAM }).await.unwrap();
    assert!(operator.adopt_stream().await.unwrap().adopted);

    let names = Names::new("rig");
    let one_user = user(&server, "rig-1", "change-me-1");
    let life = Incarnation::of("rig-1");
    let one = NatsWire::open(&one_user, life).await.unwrap();
    one.connected(DEADLINE).await.unwrap();
    let other = open(&user(&server, "rig-2", "change-me-2")).await;
    let mut live = other.live().await.unwrap();
    let mut own_live = one.live().await.unwrap();
    one.publish(publication(&names.operation("x"), "1")).await.unwrap();
    one.publish(publication(&names.beat("rig-1"), "k1")).await.unwrap();
    one.publish(publication(&names.apis(), "{}")).await.unwrap();
    for sequence in 1..=3 {
        assert_eq!(next_live(&mut live).await.sequence, sequence);
        assert_eq!(next_live(&mut own_live).await.sequence, sequence);
    }
    assert_eq!(one.info().await.unwrap().last, 3);
    assert_eq!(one.fetch(1, 10).await.unwrap().upto, 3);
    assert!(one.last(names.operation("x")).await.unwrap().is_some());
    assert_eq!(one.latest(names.beats()).await.unwrap().len(), 1);
    assert_eq!(operator.latest(names.beats()).await.unwrap().len(), 1);
    // What a get that is late asks; over a slow connection it would be.
    let options = async_nats::ConnectOptions::with_user_and_password("operator".into(), "change-me-3".into());
    let raw = raw_client(&server, options.custom_inbox_prefix("rig.rig.inbox.operator")).await;
    let unheard = raw.request(names.none(), "".into()).await.unwrap_err();
    assert_eq!(unheard.kind(), async_nats::RequestErrorKind::NoResponders);
    assert_eq!(one.replay(1).await.unwrap().collect::<Vec<_>>().await.len(), 3);
    let mut requests = one.requests().await.unwrap();
    let answering = async { next(&mut requests).await.answer.unwrap().send("yes".into()).await };
    let (answer, ()) = tokio::join!(other.request(life, "?".into(), DEADLINE), answering);
    assert_eq!(answer, Ok("yes".into()));
    let mut questions = one.questions().await.unwrap();
    let mut answers = other.ask_all("?".into(), DEADLINE).await.unwrap();
    next(&mut questions).await.answer.unwrap().send("here".into()).await;
    assert_eq!(next(&mut answers).await, "here");
    let mut broadcasts = other.broadcasts().await.unwrap();
    one.broadcast("now".into()).await.unwrap();
    assert_eq!(next(&mut broadcasts).await, "now");
    let events = NatsEvents::open(&one_user, life).await.unwrap();
    events.connected(DEADLINE).await.unwrap();
    events.subscribe((0..BUCKETS).collect()).await;
    let others = NatsEvents::open(&user(&server, "rig-2", "change-me-2"), Incarnation::of("rig-2")).await;
    let others = others.unwrap();
    others.connected(DEADLINE).await.unwrap();
    others.publish(5, "event".into()).await;
    assert_eq!(timeout(DEADLINE, events.next()).await.unwrap(), (5, "event".into()));

    // A refused publication is never answered. The error comes apart from it.
    let forged = one.publish(publication(&names.beat("rig-2"), "forged")).await;
    assert_eq!(forged, Err(PublishError::Unknown));
    let trouble = loop {
        if let Live::Link(Link::Trouble(trouble)) = next(&mut own_live).await {
            break trouble;
        }
    };
    assert!(trouble.to_lowercase().contains("permissions violation"), "{trouble}");
    let options = async_nats::ConnectOptions::with_user_and_password("rig-1".into(), "change-me-1".into());
    let raw = raw_client(&server, options.custom_inbox_prefix("rig.rig.inbox.rig-1")).await;
    let probe = names.probe(life);
    let mut probes = raw.subscribe(probe.clone()).await.unwrap();
    raw.publish(probe, "from one connection to the other".into()).await.unwrap();
    next(&mut probes).await;
    for subject in ["rig.rig.live.s.op.x", "$JS.API.STREAM.PURGE.RIG_rig", "$JS.API.STREAM.DELETE.RIG_rig"] {
        raw.publish_with_reply(subject, raw.new_inbox(), "{}".into()).await.unwrap();
    }
    // What the connection sends next is processed behind it.
    raw.publish(names.operation("y"), "2".into()).await.unwrap();
    let next_one = next_live(&mut live).await;
    assert_eq!((next_one.sequence, &next_one.payload[..]), (4, &b"2"[..]));
    assert_eq!(one.info().await.unwrap().messages, 4);
}

/// A seed and its public key, from the documentation of NATS.
const NKEY: [&str; 2] = [
    "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
    "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
];

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_tokens_are_shown() {
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", NKEY[1]);
    let server = NatsServer::start(NatsOptions { config: &users, ..NatsOptions::default() });
    let seed = server.folder().join("seed");
    std::fs::write(&seed, format!("{}\n", NKEY[0])).unwrap();
    open(&with(&server, Credentials::NKey(seed))).await;

    let token = "authorization { token: \"t0ken\" }";
    let server = NatsServer::start(NatsOptions { config: token, ..NatsOptions::default() });
    let shown = Credentials::Token("t0ken".to_owned());
    open(&with(&server, shown)).await;

    let missing = Credentials::File(server.folder().join("missing"));
    let config = with(&server, missing);
    let refused = NatsWire::open(&config, Incarnation::of("a")).await.err().unwrap();
    assert!(refused.to_string().contains("missing"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_replaced_is_read_again() {
    let key = KeyPair::new_user();
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", key.public_key());
    let server = NatsServer::start(NatsOptions { config: &users, ..NatsOptions::default() });
    let seed = server.folder().join("seed");
    std::fs::write(&seed, KeyPair::new_user().seed().unwrap()).unwrap();
    let config = with(&server, Credentials::NKey(seed.clone()));
    let wire = NatsWire::open(&config, Incarnation::of("a")).await.unwrap();
    let failed = wire.connected(Duration::from_millis(300)).await.unwrap_err();
    assert!(failed.contains("authorization violation"), "{failed}");
    std::fs::write(&seed, key.seed().unwrap()).unwrap();
    wire.connected(DEADLINE).await.unwrap();
}

/// A JWT of NATS, signed by its issuer.
fn jwt(issuer: &KeyPair, subject: &KeyPair, kind: &str, mut claims: Value) -> String {
    claims["type"] = kind.into();
    claims["version"] = 2.into();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let body = part(json!({
        "jti": kind, "iat": 1, "iss": issuer.public_key(), "name": kind, "sub": subject.public_key(),
        "nats": claims,
    }));
    let signed = format!("{head}.{body}");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_with_a_jwt_are_shown_and_read_again() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let system = KeyPair::new_account();
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1,
    });
    let accounts = format!(
        "operator: {}\nresolver: MEMORY\nsystem_account: {}\nresolver_preload: {{\n{}: {}\n{}: {}\n}}",
        jwt(&operator, &operator, "operator", json!({})),
        system.public_key(),
        system.public_key(),
        jwt(&operator, &system, "account", json!({"limits": limits})),
        account.public_key(),
        jwt(&operator, &account, "account", json!({"limits": limits})),
    );
    let server = NatsServer::start(NatsOptions { config: &accounts, ..NatsOptions::default() });
    let file = server.folder().join("user.creds");
    let credentials = |issuer: &KeyPair| {
        format!(
            "-----BEGIN NATS USER JWT-----\r\n{}\r\n------END NATS USER JWT------\r\n\r\n\
             ************************* IMPORTANT *************************\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{}\r\n------END USER NKEY SEED------\r\n",
            jwt(issuer, &user, "user", json!({"subs": -1, "data": -1, "payload": -1})),
            user.seed().unwrap(),
        )
    };
    std::fs::write(&file, credentials(&KeyPair::new_account())).unwrap();
    let with = with(&server, Credentials::File(file.clone()));
    let wire = NatsWire::open(&with, Incarnation::of("a")).await.unwrap();
    let failed = wire.connected(Duration::from_millis(300)).await.unwrap_err();
    assert!(failed.contains("authorization violation"), "{failed}");
    std::fs::write(&file, credentials(&account)).unwrap();
    wire.connected(DEADLINE).await.unwrap();

    for (text, named) in [("", "NATS USER JWT"), ("-----BEGIN NATS USER JWT-----\nx\n", "USER NKEY SEED")] {
        std::fs::write(&file, text).unwrap();
        let refused = NatsWire::open(&with, Incarnation::of("a")).await.err().unwrap().to_string();
        assert!(refused.contains("user.creds") && refused.contains(named), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_nodes_show_certificates() {
    let folder = rig_tests::Folder::new();
    let path = |name: &str| folder.path().join(name);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    std::fs::write(path("ca.pem"), ca_certificate.pem()).unwrap();
    for name in ["server", "node"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let tls = format!(
        "tls {{\ncert_file: \"{}\"\nkey_file: \"{}\"\nca_file: \"{}\"\nverify: true\n}}",
        folder.join("server.pem"),
        folder.join("server.key"),
        folder.join("ca.pem")
    );
    let server = NatsServer::start(NatsOptions { config: &tls, ..NatsOptions::default() });
    let url = server.url().replace("nats://", "tls://");
    let mut with = config(vec![url], "a");
    with.access.ca = Some(path("ca.pem"));
    with.access.certificate = Some((path("node.pem"), path("node.key")));
    open(&with).await;
    let (mut anonymous, mut distrustful) = (with.clone(), with);
    anonymous.access.certificate = None;
    distrustful.access.ca = None;
    for without in [anonymous, distrustful] {
        let wire = NatsWire::open(&without, Incarnation::of("a")).await.unwrap();
        assert!(wire.connected(Duration::from_millis(500)).await.is_err());
    }
}
