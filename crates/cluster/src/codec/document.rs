//! The JSON of messages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use session::Receipt;

/// The members that every message has.
#[derive(Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) v: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OperationDocument {
    pub(super) v: u32,
    pub(super) epoch: String,
    pub(super) kind: Kind,
    pub(super) life: String,
    pub(super) n: u64,
    pub(super) rev: u32,
    /// Absent if it never expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issued_up_to: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) extends: bool,
    /// Absent if the names are sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) names: Option<Names>,
    /// The sealed [`Names`] or [`Remarks`], in Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sealed_names: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sealed_remarks: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Revoke,
    Disconnect,
    Lift,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Names {
    pub(super) id: String,
    /// The issuer of the tokens, since version 2; absent if they are of any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issuer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) claim: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<String>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Remarks {
    pub(super) by: Option<String>,
    pub(super) reason: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BeatDocument {
    /// The newest version that the node understands. Beats themselves gain members only.
    pub(super) v: u32,
    /// The oldest version that the node understands.
    pub(super) min: u32,
    pub(super) epoch: String,
    pub(super) node: String,
    pub(super) life: String,
    pub(super) k: u64,
    pub(super) applied: u64,
    pub(super) applied_epoch: String,
    pub(super) newest: u64,
    pub(super) n: u64,
    pub(super) pending: u64,
    pub(super) policy: String,
    pub(super) lease_ms: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ends: Vec<String>,
    pub(super) has_history: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) leaving: bool,
    /// The revision of the definitions of APIs that the node serves.
    #[serde(default)]
    pub(super) apis: u64,
    /// A later one, which it cannot serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) apis_refused: Option<u64>,
    /// The reason: it may name what only operators know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sealed_refusal: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub(super) enum DirectDocument {
    Operation {
        operation: OperationDocument,
    },
    #[serde(rename_all = "camelCase")]
    Acknowledgement {
        life: String,
        n: u64,
        rev: u32,
        node: String,
        by: String,
        receipt: Option<ReceiptDocument>,
    },
    Missing {
        life: String,
        after: u64,
    },
    Supplied {
        life: String,
        after: u64,
        upto: u64,
        operations: Vec<OperationDocument>,
    },
}

#[derive(Serialize, Deserialize)]
pub(super) struct DirectEnvelope {
    pub(super) v: u32,
    pub(super) message: DirectDocument,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReceiptDocument {
    pub(super) applied_at_ms: u64,
    pub(super) connections: u64,
    pub(super) requests: u64,
    pub(super) last_payload_at_ms: Option<u64>,
}

impl ReceiptDocument {
    pub(super) fn of(receipt: &Receipt) -> Self {
        Self {
            applied_at_ms: since_1970(receipt.applied_at),
            connections: receipt.connections,
            requests: receipt.requests,
            last_payload_at_ms: receipt.last_payload_at.map(since_1970),
        }
    }

    pub(super) fn read(&self) -> Receipt {
        let time = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        Receipt {
            applied_at: time(self.applied_at_ms),
            connections: self.connections,
            requests: self.requests,
            last_payload_at: self.last_payload_at_ms.map(time),
        }
    }
}

/// Returns a duration in milliseconds, rounded up: a revocation never gets shorter on its way.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

pub(super) fn since_1970(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}
