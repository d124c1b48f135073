//! Certificates and private keys as PEM (RFC 7468), read strictly: a damaged block is an error with
//! its line, never skipped.
//!
//! The room knows the text of a file. It does not know what a certificate is for, and opens no
//! file.

mod block;
mod certificate;
mod key;

pub use block::{PemError, check};
pub use certificate::{Authorities, CertificateError, Chain, authorities, chain};
pub use key::{PrivateKeyError, private_key};
