//! Accepts connections and speaks HTTP until the application takes a socket over.
//!
//! This crate knows sockets, TLS, HTTP/1.1 and HTTP/2, and their limits. It does not know what
//! requests mean: an [`App`] answers each of them, or takes over the raw socket of a long-lived
//! connection, and then no HTTP state remains in memory.

mod accept;
mod app;
mod balancer;
mod body;
mod client;
mod client_body;
mod client_certificate;
mod closing;
mod framing;
mod gate;
mod http1;
mod http2;
mod limits;
mod log_limiter;
mod metrics;
mod occupants;
mod own_answer;
mod path;
mod peer;
pub mod proxy_protocol;
mod refusal;
pub mod relayed;
mod repoll;
mod stream;
mod tls;

pub use accept::{Config, Listener};
pub use app::{Answer, App, Raw, Takeover};
pub use body::{Body, BodyError, BoxError, CODED, CountedBody, is_coded, read_body, read_counted};
pub use client::TrustedProxies;
pub use client_body::ClientBody;
pub use client_certificate::{CertificateName, CertificateNameError, ClientAuthorities, ClientCertificate};
pub use framing::RawQuery;
pub use gate::Gate;
pub use limits::{Limits, Permit, Places, WhenFull};
pub use log_limiter::LogLimiter;
pub use metrics::{Metrics, RefusalReason};
pub use own_answer::{NO_STORE, REQUEST_ID, given_request_id, new_request_id, retry_after, whole_body};
pub use path::{PathFault, is_unreserved, normal_encoding, normal_path, push_triplet, triplet, without_dots};
pub use peer::Peer;
pub use stream::Watched;
pub use tls::{Tls, TlsError};
