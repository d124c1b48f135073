//! Identifies a node and its life.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

const NODE: usize = 4;
const LIFE: usize = 5;

/// One life of a node, from its start to its exit. The next life starts with new numbers.
///
/// Both parts are short, so that a token stays short. Among a hundred nodes, two have the same four
/// bytes in one of a million clusters: tokens of one are then mistaken for those of an earlier life
/// of the other. Two lives of a node have the same five bytes once in 10¹² restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation {
    node: [u8; NODE],
    life: [u8; LIFE],
}

impl Incarnation {
    /// Length of [`Incarnation::to_bytes`].
    pub const BYTES: usize = NODE + LIFE;

    /// Returns a new life of the node with this name.
    pub fn of(name: &str) -> Self {
        let digest = digest(&SHA256, name.as_bytes());
        let node = digest.as_ref().first_chunk().expect("SHA-256 gives 32 bytes");
        Self { node: *node, life: random() }
    }

    /// Returns a new life of a node without a name, which counts as a different node in each life.
    pub fn unnamed() -> Self {
        Self { node: random(), life: random() }
    }

    /// Returns `true` if both are lives of the same node. If they are not equal, one of them is an
    /// earlier life.
    pub fn is_same_node(self, other: Self) -> bool {
        self.node == other.node
    }

    /// Returns both parts, the node first.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..NODE].copy_from_slice(&self.node);
        bytes[NODE..].copy_from_slice(&self.life);
        bytes
    }

    /// Returns the life with these [bytes](Self::to_bytes).
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [a, b, c, d, life @ ..] = bytes;
        Self { node: [a, b, c, d], life }
    }
}

/// The text is not that of an [`Incarnation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 12 characters of URL-safe Base64")]
pub struct InvalidLife;

/// Writes 12 characters of URL-safe Base64 (RFC 4648, section 5).
impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl FromStr for Incarnation {
    type Err = InvalidLife;

    fn from_str(text: &str) -> Result<Self, InvalidLife> {
        let mut bytes = [0; Self::BYTES];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(Self::BYTES) => Ok(Self::from_bytes(bytes)),
            _ => Err(InvalidLife),
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}
