//! The bytes of messages: a line of JSON, and behind it the authentication code in Base64.
//!
//! Operations and beats are rare, so they may be readable: `nats sub` shows who does what. Names
//! of sessions are sealed, unless the operator has chosen to see them; who asked and why always
//! is.

mod document;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use seal::Incarnation;
use serde::{Deserialize, Serialize};
use session::{LostLease, Mode, NodeName, Operation, Revocation, RevocationId, Selector};
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::keys::{Keys, MAC};
use crate::message::{
    Beat, Content, Direct, Forgery, RefusedDefinitions, ServedDefinitions, Shared, Stored, Tag,
};
use session::{Epoch, Position};

use document::{
    BeatDocument, DirectDocument, DirectEnvelope, Head, Kind, Names, OperationDocument, ReceiptDocument,
    Remarks, millis,
};

/// The newest version of messages that this program reads and writes.
pub const NEWEST: u32 = 2;

/// The version that has brought the issuers of tokens. An operation that names one is written in
/// this version even if a node is alive that cannot read it: that node would take it for one of all
/// issuers, and tell others so. It gives up its lease instead.
const WITH_ISSUERS: u32 = 2;

/// The oldest one.
const OLDEST: u32 = 1;

/// Length of the code in Base64.
const CODE: usize = MAC.div_ceil(3) * 4 - 1;

/// Encodes and decodes the messages of one cluster.
pub struct Codec {
    keys: Keys,
    /// The name of the cluster: messages of another cluster with the same cookie are not authentic.
    cluster: String,
    /// Whether names of sessions are sealed.
    seals_names: bool,
    /// The newest version that this node reads.
    newest: u32,
    /// The version that this node writes: the newest that all live nodes read.
    writes: AtomicU32,
}

/// Why a message cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// It was not sent by a node of this cluster, or for another purpose.
    #[error("it is not authentic")]
    Forged,
    /// It was sent by a newer version of the gateway.
    #[error("it was sent by a newer version of the gateway")]
    Newer,
}

impl Codec {
    /// Returns the codec of a cluster.
    pub fn new(cluster: impl Into<String>, keys: Keys, seals_names: bool) -> Self {
        // Before a node knows the others, it writes what each of them reads.
        let writes = AtomicU32::new(OLDEST);
        Self { keys, cluster: cluster.into(), seals_names, newest: NEWEST, writes }
    }

    /// Returns whether the cookie is being replaced: an older one is accepted too.
    pub fn replaces_cookie(&self) -> bool {
        self.keys.has_older()
    }

    /// Has this node write the newest version that it and the others read.
    pub fn write_for(&self, newest_of_others: impl Iterator<Item = u32>) {
        let writes = newest_of_others.fold(self.newest, u32::min).max(OLDEST);
        self.writes.store(writes, Ordering::Relaxed);
    }

    fn written(&self) -> u32 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Returns the last part of the subject of an id: 22 characters that reveal nothing of it.
    pub fn subject_of(&self, id: &RevocationId) -> String {
        let code = self.keys.mac(&[self.cluster.as_bytes(), b"id"], id.as_str().as_bytes());
        URL_SAFE_NO_PAD.encode(&code[..16])
    }

    /// Encodes an operation for its subject.
    pub fn operation(&self, subject: &str, epoch: Epoch, shared: &Shared) -> Vec<u8> {
        self.sign(&[b"stream", subject.as_bytes()], &self.operation_document(epoch, shared))
    }

    /// Encodes a beat for its subject.
    pub fn beat(&self, subject: &str, epoch: Epoch, beat: &Beat) -> Vec<u8> {
        let refused = beat.definitions.refused.as_ref();
        let document = BeatDocument {
            v: self.newest,
            min: OLDEST,
            epoch: epoch.to_string(),
            node: beat.node.to_string(),
            life: beat.life.to_string(),
            k: beat.count,
            applied: beat.applied.sequence,
            applied_epoch: beat.applied.epoch.to_string(),
            newest: beat.newest,
            n: beat.settled,
            pending: beat.pending,
            policy: beat.policy.as_str().to_owned(),
            lease_ms: millis(beat.lease),
            ends: beat.ends.iter().map(Incarnation::to_string).collect(),
            has_history: beat.has_history,
            leaving: beat.leaving,
            apis: beat.definitions.revision,
            apis_refused: refused.map(|refused| refused.revision),
            sealed_refusal: refused.map(|refused| self.sealed("refusal", &refused.reason)),
        };
        self.sign(&[b"stream", subject.as_bytes()], &document)
    }

    /// Encodes a message to one life, or to all (`None`).
    pub fn direct(&self, to: Option<Incarnation>, epoch: Epoch, message: &Direct) -> Vec<u8> {
        let message = match message {
            Direct::Operation(shared) => {
                DirectDocument::Operation { operation: self.operation_document(epoch, shared) }
            }
            Direct::Acknowledgement { tag, revision, node, life, receipt } => {
                DirectDocument::Acknowledgement {
                    life: tag.life.to_string(),
                    n: tag.number,
                    rev: *revision,
                    node: node.to_string(),
                    by: life.to_string(),
                    receipt: receipt.as_ref().map(ReceiptDocument::of),
                }
            }
            Direct::Missing { life, after } => {
                DirectDocument::Missing { life: life.to_string(), after: *after }
            }
            Direct::Supplied { life, after, upto, operations } => DirectDocument::Supplied {
                life: life.to_string(),
                after: *after,
                upto: *upto,
                operations: operations.iter().map(|shared| self.operation_document(epoch, shared)).collect(),
            },
        };
        self.sign(&[b"direct", &address(to)], &DirectEnvelope { v: self.written(), message })
    }

    /// Decodes a message of the stream. What is not authentic, or newer, has a content that says
    /// so.
    pub fn stored(&self, subject: &str, sequence: u64, stored_at: u64, bytes: &[u8]) -> Stored {
        let mut digest = SipHasher13::new();
        digest.write(subject.as_bytes());
        digest.write(bytes);
        let (epoch, content) = match self.content(subject, bytes) {
            Ok(decoded) => decoded,
            Err(Undecodable::Newer) => (Epoch::default(), Content::Newer),
            Err(Undecodable::Forged) => (Epoch::default(), Content::Forged(forgery(subject))),
        };
        let position = Position { epoch, sequence };
        let outdated = self.replaces_cookie()
            && matches!(&content, Content::Operation(shared) if !subject.ends_with(&self.subject_of(shared.id())));
        Stored { position, stored_at, digest: digest.finish(), outdated, content }
    }

    fn content(&self, subject: &str, bytes: &[u8]) -> Result<(Epoch, Content), Undecodable> {
        if subject.ends_with(".s.apis") && subject == crate::wire::Names::new(&self.cluster).apis() {
            // Read by `definitions.rs`.
            return Ok((Epoch::default(), Content::Definitions));
        }
        let json = self.authentic(&[b"stream", subject.as_bytes()], bytes)?;
        if kind(subject) == Some("beat") {
            let document: BeatDocument = parse(json, self.newest)?;
            let epoch = unhex(&document.epoch)?;
            return Ok((epoch, Content::Beat(self.read_beat(document)?)));
        }
        let document: OperationDocument = parse(json, self.newest)?;
        let epoch = unhex(&document.epoch)?;
        Ok((epoch, Content::Operation(self.read_operation(document)?)))
    }

    /// Decodes a message that was sent to this life, or to all (`None`).
    ///
    /// # Errors
    /// Fails if it is not authentic, was sent to another life, or is newer.
    pub fn read_direct(&self, to: Option<Incarnation>, bytes: &[u8]) -> Result<Direct, Undecodable> {
        let json = self.authentic(&[b"direct", &address(to)], bytes)?;
        let envelope: DirectEnvelope = parse(json, self.newest)?;
        if envelope.v > self.newest {
            return Err(Undecodable::Newer);
        }
        Ok(match envelope.message {
            DirectDocument::Operation { operation } => Direct::Operation(self.read_operation(operation)?),
            DirectDocument::Acknowledgement { life, n, rev, node, by, receipt } => Direct::Acknowledgement {
                tag: Tag { life: read_life(&life)?, number: n },
                revision: rev,
                node: NodeName::from(node.as_str()),
                life: read_life(&by)?,
                receipt: receipt.map(|receipt| receipt.read()),
            },
            DirectDocument::Missing { life, after } => Direct::Missing { life: read_life(&life)?, after },
            DirectDocument::Supplied { life, after, upto, operations } => Direct::Supplied {
                life: read_life(&life)?,
                after,
                upto,
                operations: operations
                    .into_iter()
                    .map(|document| self.read_operation(document))
                    .collect::<Result<_, _>>()?,
            },
        })
    }

    /// Signs and seals a request to another node, or its answer: it holds tokens of clients.
    pub fn relayed(&self, purpose: &str, bytes: &[u8]) -> Vec<u8> {
        self.keys.seal(&self.purpose(purpose), bytes)
    }

    /// Opens what [`Codec::relayed`] has sealed for this purpose.
    ///
    /// # Errors
    /// Fails if it is not authentic.
    pub fn read_relayed(&self, purpose: &str, bytes: &[u8]) -> Result<Vec<u8>, Undecodable> {
        self.keys.open(&self.purpose(purpose), bytes).map_err(|_| Undecodable::Forged)
    }

    /// Returns whether it was sealed under the current cookie.
    pub fn is_current(&self, purpose: &str, bytes: &[u8]) -> bool {
        self.keys.is_current(&self.purpose(purpose), bytes)
    }

    fn purpose(&self, purpose: &str) -> String {
        format!("{}\n{purpose}", self.cluster)
    }

    fn operation_document(&self, epoch: Epoch, shared: &Shared) -> OperationDocument {
        let mut version = self.written();
        let (kind, names, remarks, left, issued_up_to, extends) = match &shared.operation {
            Operation::Revoke(revocation) => {
                debug_assert!(!revocation.is_local(), "it stays at its node");
                (
                    match revocation.mode {
                        Mode::Revoke => Kind::Revoke,
                        Mode::Disconnect => Kind::Disconnect,
                    },
                    Names {
                        id: revocation.id.to_string(),
                        issuer: revocation.selector.issuer.as_deref().map(str::to_owned),
                        claim: revocation.selector.claim().map(str::to_owned),
                        value: Some(revocation.selector.value().as_str().to_owned()),
                    },
                    Remarks { by: revocation.by.clone(), reason: revocation.reason.clone() },
                    (revocation.validity != Duration::MAX).then(|| millis(revocation.validity)),
                    revocation.issued_up_to,
                    revocation.extends,
                )
            }
            Operation::Lift { id, by } => (
                Kind::Lift,
                Names { id: id.to_string(), issuer: None, claim: None, value: None },
                Remarks { by: by.clone(), reason: None },
                None,
                None,
                false,
            ),
        };
        if names.issuer.is_some() {
            version = version.max(WITH_ISSUERS);
        }
        let sealed_names = self.seals_names.then(|| self.sealed("names", &names));
        let said = remarks.by.is_some() || remarks.reason.is_some();
        OperationDocument {
            v: version,
            epoch: epoch.to_string(),
            kind,
            life: shared.tag.life.to_string(),
            n: shared.tag.number,
            rev: shared.revision,
            left_ms: left,
            issued_up_to,
            extends,
            sealed_names,
            names: (!self.seals_names).then_some(names),
            sealed_remarks: said.then(|| self.sealed("remarks", &remarks)),
        }
    }

    fn read_operation(&self, document: OperationDocument) -> Result<Shared, Undecodable> {
        if document.v > self.newest {
            return Err(Undecodable::Newer);
        }
        let names = match (document.sealed_names, document.names) {
            (Some(sealed), _) => self.unsealed("names", &sealed)?,
            (None, Some(names)) => names,
            (None, None) => return Err(Undecodable::Forged),
        };
        let remarks = match document.sealed_remarks {
            Some(sealed) => self.unsealed("remarks", &sealed)?,
            None => Remarks { by: None, reason: None },
        };
        let id = RevocationId::new(&names.id).map_err(|_| Undecodable::Forged)?;
        let mode = match document.kind {
            Kind::Revoke => Mode::Revoke,
            Kind::Disconnect => Mode::Disconnect,
            Kind::Lift => {
                let operation = Operation::Lift { id, by: remarks.by };
                return Ok(Shared {
                    tag: document_tag(&document.life, document.n)?,
                    revision: document.rev,
                    operation,
                });
            }
        };
        let value = names.value.ok_or(Undecodable::Forged)?.parse().map_err(|_| Undecodable::Forged)?;
        let selector = match names.claim {
            Some(claim) => Selector::of_claim(claim, value),
            None => Selector::session(value),
        };
        let selector = selector.issued_by(names.issuer.map(Into::into));
        let operation = Operation::Revoke(Revocation {
            id,
            selector,
            issued_up_to: document.issued_up_to,
            mode,
            validity: document.left_ms.map_or(Duration::MAX, Duration::from_millis),
            by: remarks.by,
            reason: remarks.reason,
            extends: document.extends,
        });
        let tag = document_tag(&document.life, document.n)?;
        Ok(Shared { tag, revision: document.rev, operation })
    }

    fn read_beat(&self, document: BeatDocument) -> Result<Beat, Undecodable> {
        if document.min > self.newest {
            return Err(Undecodable::Newer);
        }
        let refused = match (document.apis_refused, &document.sealed_refusal) {
            (Some(revision), Some(sealed)) => {
                Some(RefusedDefinitions { revision, reason: self.unsealed("refusal", sealed)? })
            }
            _ => None,
        };
        Ok(Beat {
            version: document.v,
            life: read_life(&document.life)?,
            node: NodeName::from(document.node.as_str()),
            count: document.k,
            applied: Position { epoch: unhex(&document.applied_epoch)?, sequence: document.applied },
            newest: document.newest,
            settled: document.n,
            pending: document.pending,
            lease: Duration::from_millis(document.lease_ms),
            policy: LostLease::from_name(&document.policy).ok_or(Undecodable::Newer)?,
            ends: document.ends.iter().map(|life| read_life(life)).collect::<Result<_, _>>()?,
            has_history: document.has_history,
            leaving: document.leaving,
            definitions: ServedDefinitions { revision: document.apis, refused },
        })
    }

    fn sealed(&self, purpose: &str, value: &impl Serialize) -> String {
        let json = serde_json::to_vec(value).expect("it has no maps");
        URL_SAFE_NO_PAD.encode(self.keys.seal(purpose, &json))
    }

    fn unsealed<T: for<'d> Deserialize<'d>>(&self, purpose: &str, sealed: &str) -> Result<T, Undecodable> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Undecodable::Forged)?;
        let json = self.keys.open(purpose, &bytes).map_err(|_| Undecodable::Forged)?;
        serde_json::from_slice(&json).map_err(|_| Undecodable::Forged)
    }

    fn sign(&self, context: &[&[u8]], document: &impl Serialize) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(document).expect("it has no maps");
        let code = self.keys.mac(&self.context(context), &bytes);
        bytes.push(b'\n');
        bytes.extend_from_slice(URL_SAFE_NO_PAD.encode(code).as_bytes());
        bytes
    }

    fn authentic<'b>(&self, context: &[&[u8]], bytes: &'b [u8]) -> Result<&'b [u8], Undecodable> {
        let split = bytes.len().checked_sub(CODE + 1).ok_or(Undecodable::Forged)?;
        let (json, code) = bytes.split_at(split);
        let code = code.strip_prefix(b"\n").ok_or(Undecodable::Forged)?;
        let code = URL_SAFE_NO_PAD.decode(code).map_err(|_| Undecodable::Forged)?;
        if self.keys.verify(&self.context(context), json, &code) {
            Ok(json)
        } else {
            Err(Undecodable::Forged)
        }
    }

    fn context<'c>(&'c self, parts: &[&'c [u8]]) -> Vec<&'c [u8]> {
        std::iter::once(self.cluster.as_bytes()).chain(parts.iter().copied()).collect()
    }
}

fn parse<T: for<'d> Deserialize<'d>>(json: &[u8], newest: u32) -> Result<T, Undecodable> {
    serde_json::from_slice(json).map_err(|_| match serde_json::from_slice::<Head>(json) {
        Ok(head) if head.v > newest => Undecodable::Newer,
        _ => Undecodable::Forged,
    })
}

fn document_tag(life: &str, number: u64) -> Result<Tag, Undecodable> {
    Ok(Tag { life: read_life(life)?, number })
}

/// Returns the last part but one of a subject: what its messages are.
fn kind(subject: &str) -> Option<&str> {
    subject.rsplit('.').nth(1)
}

fn forgery(subject: &str) -> Forgery {
    match kind(subject) {
        Some("op") => Forgery::Operation(subject.to_owned()),
        Some("beat") => Forgery::Beat,
        _ => Forgery::Other,
    }
}

fn address(to: Option<Incarnation>) -> Vec<u8> {
    to.map_or_else(|| b"all".to_vec(), |life| life.to_bytes().to_vec())
}

fn read_life(text: &str) -> Result<Incarnation, Undecodable> {
    text.parse().map_err(|_| Undecodable::Forged)
}

fn unhex(text: &str) -> Result<Epoch, Undecodable> {
    u128::from_str_radix(text, 16).map(Epoch).map_err(|_| Undecodable::Forged)
}

#[cfg(test)]
mod tests;
