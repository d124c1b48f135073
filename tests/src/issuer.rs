//! A stand-in for an identity provider, whose keys and answers the test decides.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::token::in_seconds;
use crate::wire::eventually;

/// How the key set is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySetState {
    /// With the keys.
    Up,
    /// With this status, and no body.
    Fails(u16),
    /// With 200 and this text.
    Says(String),
    /// Not before the state changes.
    Hangs,
}

/// An identity provider on a free port, until the test ends. Its tokens are signed with ES256.
///
/// It answers `GET /.well-known/openid-configuration` and `/keys`; `POST /token`, whatever the
/// credentials; and `POST /poll` with the security events that were offered (RFC 8936).
pub struct StubIssuer {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// The public keys that are published, by `kid`.
    published: Mutex<BTreeMap<String, Value>>,
    /// The keys, published or not, by `kid`.
    keys: Mutex<BTreeMap<String, IssuerKey>>,
    state: Mutex<KeySetState>,
    /// How often the key set was asked for.
    fetches: Mutex<usize>,
    /// Security events that were not acknowledged, by `jti`.
    offered: Mutex<BTreeMap<String, String>>,
}

#[derive(Clone)]
struct IssuerKey {
    private: EncodingKey,
    public: Value,
}

impl StubIssuer {
    /// Starts it with one key, `a`, on HTTP.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts it with one key, `a`, on HTTPS, with a certificate of this authority.
    pub fn start_tls(authority: &Authority) -> Self {
        Self::start_with(Some(authority))
    }

    fn start_with(authority: Option<&Authority>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let url = format!("{}://{address}", if authority.is_some() { "https" } else { "http" });
        let tls = authority.map(|authority| authority.server(&["127.0.0.1"], None));
        let shared = Arc::new(Shared {
            published: Mutex::default(),
            keys: Mutex::default(),
            state: Mutex::new(KeySetState::Up),
            fetches: Mutex::new(0),
            offered: Mutex::default(),
        });
        let (accepted, issuer) = (shared.clone(), url.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (shared, issuer, tls) = (accepted.clone(), issuer.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => shared.serve(stream, &issuer),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(tls).expect("a good configuration");
                        shared.serve(rustls::StreamOwned::new(connection, stream), &issuer)
                    }
                });
            }
        });
        let stub = Self { url, shared };
        stub.publish("a");
        stub
    }

    /// Returns its URL, which is the `iss` of its tokens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns its table of `ISSUERS`, with further members. Its clients and its audience are
    /// `gateway`, its session claim is `sid`.
    pub fn settings(&self, id: &str, more: &Value) -> Value {
        let mut table = json!({
            "id": id, "issuer": self.url, "audience": ["gateway"], "session_field": "/sid",
            "client_ids": ["gateway"],
        });
        merge(&mut table, more);
        table
    }

    /// Publishes a key; a new one if there was none of this `kid`.
    pub fn publish(&self, kid: &str) {
        let key = self.shared.keys.lock().entry(kid.to_owned()).or_insert_with(|| new_key(kid)).clone();
        self.shared.published.lock().insert(kid.to_owned(), key.public);
    }

    /// Makes another key of this `kid`, and publishes it in place of the one before.
    pub fn replace(&self, kid: &str) {
        self.shared.keys.lock().remove(kid);
        self.publish(kid);
    }

    /// Withdraws a key. It can still sign.
    pub fn withdraw(&self, kid: &str) {
        self.shared.published.lock().remove(kid);
    }

    /// Sets how the key set is answered, on open connections too.
    pub fn set(&self, state: KeySetState) {
        *self.shared.state.lock() = state;
    }

    /// Returns how often the key set was asked for.
    pub fn fetches(&self) -> usize {
        *self.shared.fetches.lock()
    }

    /// Waits until the key set was asked for this often.
    pub fn await_fetches(&self, count: usize) {
        eventually("the fetches of the key set", || (self.fetches() >= count).then_some(()));
    }

    /// Returns an access token of this user and session, with further claims, signed with the key
    /// `kid`, which may be unpublished. A claim that is null is left out.
    pub fn token(&self, kid: &str, user: &str, session: &str, more: &Value) -> String {
        let claims = json!({
            "iss": self.url, "aud": "gateway", "sub": user, "sid": session,
            "iat": in_seconds(0), "exp": in_seconds(3600),
        });
        self.signed(kid, None, claims, more)
    }

    /// Returns a logout token (OpenID Connect Back-Channel Logout 1.0, section 2.4) with the claims
    /// that `more` has beside those that each has.
    pub fn logout_token(&self, kid: &str, more: &Value) -> String {
        let claims = json!({
            "iss": self.url, "aud": "gateway", "iat": in_seconds(0), "exp": in_seconds(120),
            "jti": format!("logout-{}", in_seconds(0)),
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        });
        self.signed(kid, Some("logout+jwt"), claims, more)
    }

    /// Returns a security event (RFC 8417) that this user's sessions are revoked (CAEP 1.0, section
    /// 3.1), for the audience `gateway`.
    pub fn session_revoked(&self, kid: &str, id: &str, user: &str) -> String {
        let kind = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
        let claims = json!({
            "iss": self.url, "aud": "gateway", "iat": in_seconds(0), "jti": id,
            "sub_id": {"format": "iss_sub", "iss": self.url, "sub": user},
            "events": {kind: {"event_timestamp": in_seconds(0)}},
        });
        self.signed(kid, Some("secevent+jwt"), claims, &json!({}))
    }

    /// Offers a security event to whoever polls, until it is acknowledged.
    pub fn offer(&self, id: &str, set: &str) {
        self.shared.offered.lock().insert(id.to_owned(), set.to_owned());
    }

    /// Returns how many of the offered events were not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.shared.offered.lock().len()
    }

    /// Signs claims with the key `kid`, which is made if there is none of this name.
    fn signed(&self, kid: &str, kind: Option<&str>, mut claims: Value, more: &Value) -> String {
        merge(&mut claims, more);
        let key = self.shared.keys.lock().entry(kid.to_owned()).or_insert_with(|| new_key(kid)).clone();
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(kid.to_owned());
        if let Some(kind) = kind {
            header.typ = Some(kind.to_owned());
        }
        encode(&header, &claims, &key.private).expect("the key fits the algorithm")
    }
}

impl Shared {
    fn serve(&self, stream: impl Read + Write, issuer: &str) {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        loop {
            head.clear();
            while !head.ends_with("\r\n\r\n") {
                match stream.read_line(&mut head) {
                    Ok(1..) => {}
                    _ => return,
                }
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            if stream.read_exact(&mut body).is_err() {
                return;
            }
            let path = head.split(' ').nth(1).unwrap_or_default();
            let (status, body) = self.answer(path, &body, issuer);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} Whatever\r\nlocation: {issuer}/keys\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
            drop(stream.get_mut().flush());
        }
    }

    fn answer(&self, path: &str, body: &[u8], issuer: &str) -> (u16, String) {
        match path {
            "/.well-known/openid-configuration" => {
                (200, json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string())
            }
            "/keys" => {
                *self.fetches.lock() += 1;
                self.key_set()
            }
            "/token" => {
                (200, json!({"access_token": "t", "token_type": "Bearer", "expires_in": 300}).to_string())
            }
            "/poll" => {
                let asked: Value = serde_json::from_slice(body).unwrap_or_default();
                let mut offered = self.offered.lock();
                for id in asked["ack"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                    offered.remove(id);
                }
                (200, json!({ "sets": *offered }).to_string())
            }
            _ => (404, String::new()),
        }
    }

    fn key_set(&self) -> (u16, String) {
        loop {
            let state = self.state.lock().clone();
            match state {
                KeySetState::Up => {
                    let keys: Vec<_> = self.published.lock().values().cloned().collect();
                    return (200, json!({ "keys": keys }).to_string());
                }
                KeySetState::Fails(status) => return (status, String::new()),
                KeySetState::Says(text) => return (200, text),
                // Without a deadline: the test ends it, or the process.
                KeySetState::Hangs => std::thread::park_timeout(std::time::Duration::from_millis(5)),
            }
        }
    }
}

fn new_key(kid: &str) -> IssuerKey {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref()).expect("the key that was made");
    // An uncompressed point: 4, x, y.
    let point = pair.public_key().as_ref();
    let encoded = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
    let public = json!({
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid,
        "x": encoded(1..33), "y": encoded(33..65),
    });
    IssuerKey { private: EncodingKey::from_ec_der(private.as_ref()), public }
}

/// Sets members; those that are null are removed.
fn merge(object: &mut Value, more: &Value) {
    let object = object.as_object_mut().expect("an object");
    for (name, value) in more.as_object().into_iter().flatten() {
        match value {
            Value::Null => object.remove(name),
            value => object.insert(name.clone(), value.clone()),
        };
    }
}
