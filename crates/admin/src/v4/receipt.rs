//! Revocations and their results in JSON.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use session::{Mode, NodeName, Record, Selected, Selector};
use utoipa::ToSchema;

use super::problem::ProblemDocument as Problem;
use super::spread::SpreadDocument;
use super::time;

/// Whose tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Whose {
    /// Only tokens of this issuer; missing if it is of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    #[serde(flatten)]
    of: WhoseTokens,
}

/// Which tokens.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum WhoseTokens {
    /// Tokens of a session.
    Session {
        /// Its name.
        session: String,
    },
    /// Tokens with this value of a claim.
    Claim {
        /// The JSON Pointer of the claim.
        claim: String,
        /// Its value.
        value: String,
    },
    /// Tokens with this mark. Only the gateway itself selects by marks.
    Mark {
        /// What kind of mark: `key` for tokens that a key of their issuer has signed, `token` for
        /// an opaque token, `status` for an entry of a status list.
        mark: String,
        /// Its value: for `key`, the thumbprint of the key (RFC 7638); for `token`, the SHA-256 of
        /// the token; for `status`, the URI of the list, `#`, and the index.
        value: String,
    },
}

impl Whose {
    /// Returns a selector in JSON.
    pub(crate) fn of(selector: &Selector) -> Self {
        let value = selector.value().to_string();
        let of = match &selector.of {
            Selected::Session(_) => WhoseTokens::Session { session: value },
            Selected::Claim { claim, .. } => WhoseTokens::Claim { claim: claim.to_string(), value },
            Selected::Mark { kind, .. } => WhoseTokens::Mark { mark: kind.to_string(), value },
        };
        Self { issuer: selector.issuer.as_deref().map(str::to_owned), of }
    }
}

/// The receipt of a revocation: the request, and what it did on this node.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Receipt)]
pub(crate) struct ReceiptDocument {
    /// Its name.
    id: String,
    /// Whose tokens.
    selector: Whose,
    /// Only tokens issued up to this second since 1970; null for all.
    issued_up_to: Option<u64>,
    /// `revoke` or `disconnect`.
    #[schema(value_type = String)]
    mode: &'static str,
    /// Who asked for it.
    by: Option<String>,
    /// Why.
    reason: Option<String>,
    /// When it was accepted.
    accepted_at: Option<String>,
    /// When it expires, by the present time of day: it counts down on a clock that cannot be set.
    /// Null if it never expires, expires after the year 9999, or only disconnected (`disconnect`).
    ends_at: Option<String>,
    /// Seconds until it expires. Null if it never expires, or only disconnected.
    remaining_seconds: Option<u64>,
    /// When the last of its connections was terminated. Nothing but the farewell was written to any
    /// of them afterwards. Null, as are the results below, while it is in progress.
    applied_at: Option<String>,
    /// Connections that it terminated.
    connections_terminated: Option<u64>,
    /// Requests that it aborted, such as waiting polls.
    requests_cut: Option<u64>,
    /// When the last event was handed to one of those connections; null if never.
    last_payload_at: Option<String>,
    /// Whether it survives a restart of the gateway.
    durable: bool,
    /// How far it has got in the cluster.
    #[serde(flatten)]
    spread: Option<SpreadDocument>,
}

impl ReceiptDocument {
    /// Returns the receipt of a record at the time `now`.
    pub(crate) fn of(
        record: Record,
        spread: Option<SpreadDocument>,
        node: &NodeName,
        durable: bool,
        now: SystemTime,
    ) -> Self {
        let receipt = record.receipt(node);
        let Record { revocation, accepted_at, left, .. } = record;
        let lasts = revocation.mode == Mode::Revoke && left != Duration::MAX;
        Self {
            id: revocation.id.to_string(),
            selector: Whose::of(&revocation.selector),
            issued_up_to: revocation.issued_up_to,
            mode: revocation.mode.as_str(),
            by: revocation.by,
            reason: revocation.reason,
            accepted_at: time::shown(accepted_at),
            ends_at: now.checked_add(left).filter(|_| lasts).and_then(time::shown),
            remaining_seconds: lasts.then(|| time::whole_seconds(left)),
            applied_at: receipt.and_then(|receipt| time::shown(receipt.applied_at)),
            connections_terminated: receipt.map(|receipt| receipt.connections),
            requests_cut: receipt.map(|receipt| receipt.requests),
            last_payload_at: receipt.and_then(|receipt| time::shown(receipt.last_payload_at?)),
            durable,
            spread,
        }
    }
}

/// Revocations, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RevocationPage {
    /// Revocations in force, and those that only disconnected, of the last 24 hours.
    pub(crate) revocations: Vec<ReceiptDocument>,
    /// The URL of the next page; null on the last one.
    pub(crate) next: Option<String>,
}

/// What a revocation would do. Nothing was changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DryRun {
    /// Always true.
    pub(crate) dry_run: bool,
    /// Connections that it would terminate.
    pub(crate) connections: usize,
    /// For how many seconds the last of their tokens is valid; null if there is none, or tokens do
    /// not expire.
    pub(crate) last_token_seconds: Option<u64>,
    /// Whether it was accepted before, so that it would have no effect.
    pub(crate) known: bool,
    /// Why it would be refused; null if it would be accepted.
    pub(crate) refused: Option<Problem>,
}

/// The answer to a request to revoke or to disconnect.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Answer)]
pub(crate) enum ReceiptOrDryRun {
    /// What it did.
    Receipt(Box<ReceiptDocument>),
    /// What it would do.
    DryRun(DryRun),
}

/// What lifting would do. Nothing was changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LiftDryRun {
    /// Always true.
    pub(crate) dry_run: bool,
    /// The revocation that would be lifted.
    pub(crate) revocation: ReceiptDocument,
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use session::{Revocation, SessionName};

    use std::collections::BTreeMap;

    use super::*;

    fn record(left: Duration, mode: Mode) -> Record {
        let name: SessionName = "s".parse().unwrap();
        let revocation = Revocation { mode, ..Revocation::blacklist(&name, Duration::from_secs(60)) };
        let (accepted_at, receipts) = (UNIX_EPOCH, BTreeMap::new());
        Record { seq: 1, revocation, accepted_at, left, receipts, revision: 0, in_stream: false }
    }

    fn written(left: Duration, mode: Mode) -> serde_json::Value {
        let record = record(left, mode);
        serde_json::to_value(ReceiptDocument::of(record, None, &NodeName::default(), true, UNIX_EPOCH))
            .unwrap()
    }

    #[test]
    fn what_never_ends_has_no_end() {
        let receipt = written(Duration::MAX, Mode::Revoke);
        assert_eq!((&receipt["endsAt"], &receipt["remainingSeconds"]), (&().into(), &().into()));
        let receipt = written(Duration::from_secs(u64::MAX - 1), Mode::Revoke);
        assert_eq!(receipt["endsAt"], serde_json::Value::Null);
        assert_eq!(receipt["remainingSeconds"], u64::MAX - 1);
        assert_eq!(
            written(Duration::from_secs(9), Mode::Disconnect)["remainingSeconds"],
            serde_json::Value::Null
        );
    }

    #[test]
    fn the_issuer_is_told_where_there_is_one() {
        let issued = |selector: Selector| {
            let whose = Whose::of(&selector.issued_by(Some("https://id.example".into())));
            serde_json::to_value(whose).unwrap()
        };
        let name = || "a".parse::<SessionName>().unwrap();
        let issuer = "https://id.example";
        let session = serde_json::json!({ "issuer": issuer, "session": "a" });
        assert_eq!(issued(Selector::session(name())), session);
        let claim = serde_json::json!({ "issuer": issuer, "claim": "/sub", "value": "a" });
        assert_eq!(issued(Selector::of_claim("/sub", name())), claim);
        let mark = serde_json::json!({ "issuer": issuer, "mark": "key", "value": "a" });
        assert_eq!(issued(Selector::mark("key", name())), mark);
    }

    #[test]
    fn while_it_is_under_way_nothing_is_said_of_what_it_did() {
        let receipt = written(Duration::from_millis(59_001), Mode::Revoke);
        insta::assert_snapshot!(serde_json::to_string_pretty(&receipt).unwrap(), @r#"
        {
          "acceptedAt": "1970-01-01T00:00:00.000000Z",
          "appliedAt": null,
          "by": null,
          "connectionsTerminated": null,
          "durable": true,
          "endsAt": "1970-01-01T00:00:59.001000Z",
          "id": "session-blacklist/s",
          "issuedUpTo": null,
          "lastPayloadAt": null,
          "mode": "revoke",
          "reason": null,
          "remainingSeconds": 60,
          "requestsCut": null,
          "selector": {
            "session": "s"
          }
        }
        "#);
    }
}
