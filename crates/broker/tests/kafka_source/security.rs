//! TLS and SASL.

use std::sync::Arc;

use node::Source;
use rig_broker::kafka::oauth::OAuth;
use rig_broker::kafka::{KafkaAccess, KafkaTls, Sasl, UserPassword};
use rig_tests::{Authority, Gate, GateOptions, GateSasl, GateTls, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::ids;
use super::world::{Running, TOPIC, access, config, event};

fn good() -> UserPassword {
    UserPassword { user: "gateway".to_owned(), password: "a test password".to_owned() }
}

fn tls(authority: &Authority) -> KafkaTls {
    KafkaTls { ca: Some(authority.file().into()), ..KafkaTls::default() }
}

/// Starts a gate with one event behind it.
fn gate(options: GateOptions<'_>) -> Gate {
    let mut gate = Gate::start(options);
    let client = gate.server().client();
    client.create_topic(TOPIC, 1);
    client.produce(TOPIC, &[event(0)]);
    gate
}

async fn receives(access: KafkaAccess) {
    let running = Running::start(config(access)).await;
    assert_eq!(running.await_events(1), ids(0..1));
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b27_each_mechanism_authenticates() {
    let authority = Authority::new("Kafka");
    let options = GateOptions { tls: Some(GateTls::of(&authority)), sasl: Some(GateSasl::default()) };
    for (sasl, name) in [
        (Sasl::Plain(good()), "PLAIN"),
        (Sasl::ScramSha256(good()), "SCRAM-SHA-256"),
        (Sasl::ScramSha512(good()), "SCRAM-SHA-512"),
    ] {
        let gate = gate(options);
        let (tls, sasl) = (Some(tls(&authority)), Some(sasl));
        receives(KafkaAccess { tls, sasl, ..access(gate.address()) }).await;
        let told = gate.authentications();
        assert!(!told.is_empty() && told.iter().all(|told| *told == format!("accepted {name}")), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_an_identity_provider_authenticates() {
    let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/token", provider.local_addr().unwrap());
    let provider = tokio::spawn(async move {
        loop {
            let (mut stream, _) = provider.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            let body = r#"{"access_token":"a.test.token","expires_in":300}"#;
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}", body.len());
            stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.unwrap();
        }
    });
    let gate = gate(GateOptions { sasl: Some(GateSasl::default()), tls: None });
    let oauth = OAuth::new("gateway".to_owned(), "s".to_owned(), &url, None).unwrap();
    receives(KafkaAccess { sasl: Some(Sasl::OAuthBearer(Arc::new(oauth))), ..access(gate.address()) }).await;
    let told = gate.authentications();
    assert!(!told.is_empty() && told.iter().all(|told| told == "accepted OAUTHBEARER"), "{told:?}");
    provider.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_again_and_nothing_else_happens() {
    let gate = gate(GateOptions { sasl: Some(GateSasl::default()), tls: None });
    let wrong = UserPassword { password: "wrong".to_owned(), ..good() };
    let sasl = Some(Sasl::ScramSha256(wrong));
    let running = Running::start(config(KafkaAccess { sasl, ..access(gate.address()) })).await;
    eventually("refused twice", || (gate.authentications().len() > 1).then_some(()));
    assert!(!running.source.is_up());
    assert_eq!(running.bus.ids(), [""; 0]);
    running.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_gateway_authenticates_also_with_an_encrypted_key() {
    let authority = Authority::new("Kafka");
    let clients = Some(&authority);
    let gate = gate(GateOptions { tls: Some(GateTls { clients, ..GateTls::of(&authority) }), sasl: None });
    for (files, password) in [
        (authority.files("gateway"), None),
        (authority.locked_files("locked", "open sesame"), Some("open sesame".to_owned())),
    ] {
        let (certificate, key) = (Some(files.0.into()), Some(files.1.into()));
        let tls = Some(KafkaTls { certificate, key, key_password: password, ..tls(&authority) });
        let mut config = config(KafkaAccess { tls, ..access(gate.address()) });
        config.reach = rig_broker::kafka::Reach::Group { id: key_name(&config.access), instance: None };
        let running = Running::start(config).await;
        assert_eq!(running.await_events(1), ids(0..1));
        running.leave().await;
    }
}

fn key_name(access: &KafkaAccess) -> String {
    let locked = access.tls.as_ref().is_some_and(|tls| tls.key_password.is_some());
    if locked { "locked" } else { "open" }.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn b26_a_broker_is_not_trusted_without_a_certificate_for_its_name() {
    let (authority, other) = (Authority::new("Kafka"), Authority::new("Other"));
    for (served, trusted) in [
        // Signed by somebody else.
        (GateTls::of(&authority), &other),
        // For another name.
        (GateTls { names: &["kafka.example"], ..GateTls::of(&authority) }, &authority),
    ] {
        let gate = gate(GateOptions { tls: Some(served), sasl: Some(GateSasl::default()) });
        let (tls, sasl) = (Some(tls(trusted)), Some(Sasl::Plain(good())));
        let running = Running::start(config(KafkaAccess { tls, sasl, ..access(gate.address()) })).await;
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        assert!(!running.source.is_up());
        assert_eq!(running.bus.ids(), [""; 0]);
        assert_eq!(gate.authentications(), [""; 0], "it was sent no password");
        running.leave().await;
    }
}
