//! What is reported of a revocation, as JSON. The members have the names that they have in the
//! receipts of the internal port.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use session::{Mode, Receipt, Revocation, Selected, Selector};

use crate::pseudonyms::Shown;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'d> {
    id: String,
    selector: SelectorData<'d>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_up_to: Option<u64>,
    mode: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    validity_in_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'d str>,
}

/// Whose tokens: those of a session, those with a value of a claim, or those with a mark; of one
/// issuer, or of all.
#[derive(Serialize)]
struct SelectorData<'d> {
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'d str>,
    #[serde(flatten)]
    of: SelectedData<'d>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SelectedData<'d> {
    Session { session: String },
    Claim { claim: &'d str, value: String },
    Mark { mark: &'d str, value: String },
}

impl<'d> SelectorData<'d> {
    fn of(selector: &'d Selector, shown: &Shown) -> Self {
        let value = shown.value(selector.value().as_str());
        let of = match &selector.of {
            Selected::Session(_) => SelectedData::Session { session: value },
            Selected::Claim { claim, .. } => SelectedData::Claim { claim, value },
            Selected::Mark { kind, .. } => SelectedData::Mark { mark: kind, value },
        };
        Self { issuer: selector.issuer.as_deref(), of }
    }
}

/// What a revocation has done on its node.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptData {
    applied_at: Option<String>,
    connections_terminated: Option<u64>,
    requests_cut: Option<u64>,
    last_payload_at: Option<String>,
}

/// Returns the data of a revocation that is accepted now.
pub(super) fn accepted(revocation: &Revocation, shown: &Shown, now: SystemTime) -> String {
    let lasts = revocation.mode == Mode::Revoke && revocation.validity != Duration::MAX;
    let ends_at = now.checked_add(revocation.validity).filter(|_| lasts);
    text(revocation, revocation.by.as_deref(), ends_at, shown)
}

/// Returns the data of a revocation that was lifted on behalf of `by`.
pub(super) fn lifted(revocation: &Revocation, by: Option<&str>, shown: &Shown) -> String {
    text(revocation, by, None, shown)
}

fn text(revocation: &Revocation, by: Option<&str>, ends_at: Option<SystemTime>, shown: &Shown) -> String {
    let lasts = revocation.mode == Mode::Revoke && revocation.validity != Duration::MAX;
    let more = u64::from(revocation.validity.subsec_nanos() > 0);
    let data = Data {
        id: shown.id(revocation),
        selector: SelectorData::of(&revocation.selector, shown),
        issued_up_to: revocation.issued_up_to,
        mode: revocation.mode.as_str(),
        validity_in_seconds: lasts.then(|| revocation.validity.as_secs() + more),
        ends_at: ends_at.and_then(time_text),
        by,
        reason: revocation.reason.as_deref(),
    };
    serde_json::to_string(&data).expect("texts and numbers are JSON")
}

/// Returns the data of a revocation with what it has done. `None` if the process exited before that
/// was known: its connections had been closed by `now`, since the process had them.
pub(super) fn applied(accepted: &str, receipt: Option<&Receipt>, now: SystemTime) -> String {
    let receipt = ReceiptData {
        applied_at: time_text(receipt.map_or(now, |receipt| receipt.applied_at)),
        connections_terminated: receipt.map(|receipt| receipt.connections),
        requests_cut: receipt.map(|receipt| receipt.requests),
        last_payload_at: receipt.and_then(|receipt| time_text(receipt.last_payload_at?)),
    };
    let receipt = serde_json::to_string(&receipt).expect("texts and numbers are JSON");
    // Both are objects, and neither is empty.
    format!("{},{}", accepted.strip_suffix('}').unwrap_or(accepted), &receipt[1..])
}

/// Returns a time in RFC 3339; `None` after the year 9999.
fn time_text(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|time| format!("{time:.3}"))
}
