//! The server's side of the SASL mechanisms of Kafka: PLAIN (RFC 4616), SCRAM (RFC 5802, RFC 7677),
//! OAUTHBEARER (RFC 7628).

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Whom a gate lets in, and by which mechanisms.
#[derive(Clone, Copy)]
pub struct GateSasl<'a> {
    /// The mechanisms that it offers: `PLAIN`, `SCRAM-SHA-256`, `SCRAM-SHA-512`, `OAUTHBEARER`.
    pub mechanisms: &'a [&'a str],
    /// The user of all mechanisms but OAUTHBEARER.
    pub user: &'a str,
    /// The password of this user.
    pub password: &'a str,
    /// The token of OAUTHBEARER.
    pub token: &'a str,
}

/// All mechanisms, with a user and a token for the tests.
impl Default for GateSasl<'_> {
    fn default() -> Self {
        Self {
            mechanisms: &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"],
            user: "gateway",
            password: "a test password",
            token: "a.test.token",
        }
    }
}

/// Whom a gate lets in.
pub(super) struct Accounts {
    pub(super) mechanisms: Vec<String>,
    user: String,
    password: String,
    token: String,
}

impl From<GateSasl<'_>> for Accounts {
    fn from(sasl: GateSasl<'_>) -> Self {
        Self {
            mechanisms: sasl.mechanisms.iter().map(|name| (*name).to_owned()).collect(),
            user: sasl.user.to_owned(),
            password: sasl.password.to_owned(),
            token: sasl.token.to_owned(),
        }
    }
}

/// An authentication by one mechanism.
pub(super) enum Exchange {
    Plain,
    Scram(Hash, Option<Challenge>),
    /// `true` if the token was wrong, and the client has received the reason.
    Bearer(bool),
}

/// What follows a message of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The client has to answer this.
    Challenge(Vec<u8>),
    /// The client is authenticated, and may check this.
    Accepted(Vec<u8>),
    Refused,
}

/// The hash of a SCRAM mechanism.
#[derive(Clone, Copy)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// What SCRAM's first two messages were.
pub(super) struct Challenge {
    client_first: String,
    server_first: String,
    nonce: String,
}

const SALT: &[u8] = b"a salt of tests";

/// The lowest number of iterations that RFC 7677 allows.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("not zero");

impl Exchange {
    /// Starts an authentication; `None` if the mechanism is not offered.
    pub(super) fn start(mechanism: &str, accounts: &Accounts) -> Option<Self> {
        if !accounts.mechanisms.iter().any(|offered| offered == mechanism) {
            return None;
        }
        Some(match mechanism {
            "PLAIN" => Self::Plain,
            "SCRAM-SHA-256" => Self::Scram(Hash::Sha256, None),
            "SCRAM-SHA-512" => Self::Scram(Hash::Sha512, None),
            "OAUTHBEARER" => Self::Bearer(false),
            _ => return None,
        })
    }

    /// Continues with a message of the client.
    pub(super) fn step(&mut self, message: &[u8], accounts: &Accounts) -> Step {
        let message = String::from_utf8_lossy(message);
        let next = match self {
            Self::Plain => plain(&message, accounts),
            Self::Scram(_, challenge @ None) => first(&message, accounts).map(|made| {
                let text = made.server_first.clone().into_bytes();
                *challenge = Some(made);
                Step::Challenge(text)
            }),
            Self::Scram(hash, Some(challenge)) => challenge.verify(*hash, &message, accounts),
            // The client has confirmed that it was refused (RFC 7628, section 3.2.3).
            Self::Bearer(true) => None,
            Self::Bearer(refused) => {
                if bearer(&message) == Some(&accounts.token) {
                    Some(Step::Accepted(Vec::new()))
                } else {
                    *refused = true;
                    Some(Step::Challenge(br#"{"status":"invalid_token"}"#.to_vec()))
                }
            }
        };
        next.unwrap_or(Step::Refused)
    }
}

fn plain(message: &str, accounts: &Accounts) -> Option<Step> {
    let mut parts = message.split('\0').skip(1);
    let same = parts.next()? == accounts.user && parts.next()? == accounts.password;
    (same && parts.next().is_none()).then(|| Step::Accepted(Vec::new()))
}

/// Answers the first message of SCRAM: `n,,n=USER,r=NONCE`.
fn first(message: &str, accounts: &Accounts) -> Option<Challenge> {
    let bare = message.strip_prefix("n,,")?;
    let user = attribute(bare, "n=")?.replace("=2C", ",").replace("=3D", "=");
    if user != accounts.user {
        return None;
    }
    // Any nonce will do, since no replay is a test.
    let nonce = attribute(bare, "r=")?.to_owned() + "of-the-gate";
    let server_first = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(SALT));
    Some(Challenge { client_first: bare.to_owned(), server_first, nonce })
}

impl Challenge {
    /// Checks the last message of SCRAM: `c=biws,r=NONCE,p=PROOF`.
    fn verify(&self, hash: Hash, message: &str, accounts: &Accounts) -> Option<Step> {
        let (unproved, proof) = message.rsplit_once(",p=")?;
        if attribute(unproved, "r=")? != self.nonce {
            return None;
        }
        let signed = format!("{},{},{unproved}", self.client_first, self.server_first);
        let salted = hash.salted(&accounts.password);
        let stored = hash.digest(&hash.sign(&salted, b"Client Key"));
        let signature = hash.sign(&stored, signed.as_bytes());
        let proof = STANDARD.decode(proof).ok().filter(|proof| proof.len() == signature.len())?;
        let key: Vec<_> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        constant_time::verify_slices_are_equal(&hash.digest(&key), &stored).ok()?;
        let server = hash.sign(&hash.sign(&salted, b"Server Key"), signed.as_bytes());
        Some(Step::Accepted(format!("v={}", STANDARD.encode(server)).into_bytes()))
    }
}

impl Hash {
    fn salted(self, password: &str) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            Self::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        };
        let mut key = vec![0; length];
        pbkdf2::derive(algorithm, ITERATIONS, SALT, password.as_bytes(), &mut key);
        key
    }

    fn sign(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text).as_ref().to_vec()
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

fn attribute<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message.split(',').find_map(|part| part.strip_prefix(name))
}

/// Returns the token of `n,,^Aauth=Bearer TOKEN^A^A`.
fn bearer(message: &str) -> Option<&str> {
    message.split('\x01').find_map(|part| part.strip_prefix("auth=Bearer "))
}
