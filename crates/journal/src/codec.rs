//! The encoding of revocations in the store: rows of plain columns. Only this file knows their
//! order.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::{TableDefinition, Value};
use session::{
    Entry, Mode, NameError, NodeName, Receipt, Record, Revocation, RevocationId, RevocationIdError, Selected,
    Selector, Seq,
};

/// The columns of a revocation: claim ("" for the session; the kind of a mark has no slash in
/// front), value, issuer, issued up to, disconnects, expires, accepted at, validity, id, by,
/// reason, extends. Times in milliseconds: `expires` on the folder's clock, `accepted at` since
/// 1970.
///
/// To add a column, define a new table (its type is part of the file), a new
/// [`FORMAT`](crate::store::FORMAT), and a step that fills it from this one.
pub(crate) type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<u64>,
    bool,
    u64,
    u64,
    u64,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    bool,
);
/// A row as it is read and written.
type RowOf<'r> = <Row as Value>::SelfType<'r>;

/// The columns of formats 1 to 3: without the issuer.
pub(crate) type Row3 = (
    &'static str,
    &'static str,
    Option<u64>,
    bool,
    u64,
    u64,
    u64,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    bool,
);
type RowOf3<'r> = <Row3 as Value>::SelfType<'r>;

/// The columns of a receipt: applied at, connections, requests, last payload at. Times in
/// milliseconds since 1970.
pub(crate) type ReceiptRow = (u64, u64, u64, Option<u64>);

/// The columns of a place in the stream: revision, epoch, sequence.
pub(crate) type PlaceRow = (u32, u128, u64);

/// The columns of a lift: those of its place, and when it is forgotten, on the folder's clock.
pub(crate) type LiftRow = (u32, u128, u64, u64);

/// Revocations by their numbers in the log.
pub(crate) const REVOCATIONS: TableDefinition<'_, Seq, Row> = TableDefinition::new("revocations_4");
/// The same without their issuers: formats 1 to 3.
pub(crate) const REVOCATIONS_3: TableDefinition<'_, Seq, Row3> = TableDefinition::new("revocations");
/// What they have done on each node.
pub(crate) const RECEIPTS: TableDefinition<'_, (Seq, &str), ReceiptRow> =
    TableDefinition::new("receipts_by_node");
/// What they have done on this node: format 1.
pub(crate) const RECEIPTS_1: TableDefinition<'_, Seq, ReceiptRow> = TableDefinition::new("receipts");
/// Their numbers by their ids.
pub(crate) const IDS: TableDefinition<'_, &str, Seq> = TableDefinition::new("ids");
/// Their numbers by their expiries.
pub(crate) const EXPIRIES: TableDefinition<'_, (u64, Seq), ()> = TableDefinition::new("ends");
/// Where the stream has them. Only of a node in a cluster, as the following three.
pub(crate) const PLACES: TableDefinition<'_, Seq, PlaceRow> = TableDefinition::new("places");
/// The numbers of those that are not in the stream yet.
pub(crate) const UNSHARED: TableDefinition<'_, Seq, ()> = TableDefinition::new("unshared");
/// Lifts by the ids of the revocations.
pub(crate) const LIFTS: TableDefinition<'_, &str, LiftRow> = TableDefinition::new("lifts");
/// Lifts by when they are forgotten.
pub(crate) const LIFT_EXPIRIES: TableDefinition<'_, (u64, &str), ()> = TableDefinition::new("lift_ends");
/// Numbers about the log itself.
pub(crate) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Texts about the log itself.
pub(crate) const TEXTS: TableDefinition<'_, &str, &str> = TableDefinition::new("texts");

/// The expiry of a revocation that never expires.
pub(crate) const NEVER: u64 = u64::MAX;

/// A row that no version of this program has written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RowError {
    #[error("a revocation's value: {0}")]
    Value(#[from] NameError),
    #[error("a revocation's id: {0}")]
    Id(#[from] RevocationIdError),
    #[error("a change that is to be reported is of no known kind")]
    Change,
}

/// Returns the row of a revocation that is accepted now.
pub(crate) fn row(revocation: &Revocation, expires: u64, accepted_at: u64) -> RowOf<'_> {
    let of = match &revocation.selector.of {
        Selected::Session(_) => "",
        Selected::Claim { claim: of, .. } | Selected::Mark { kind: of, .. } => of,
    };
    (
        of,
        revocation.selector.value().as_str(),
        revocation.selector.issuer.as_deref(),
        revocation.issued_up_to,
        revocation.mode == Mode::Disconnect,
        expires,
        accepted_at,
        millis(revocation.validity),
        revocation.id.as_str(),
        revocation.by.as_deref(),
        revocation.reason.as_deref(),
        revocation.extends,
    )
}

/// Returns the row of a revocation that an earlier format holds.
pub(crate) fn row_of_format_3<'r>(row: RowOf3<'r>) -> RowOf<'r> {
    let (claim, value, issued_up_to, disconnects, expires, accepted_at, validity, id, by, reason, extends) =
        row;
    let issuer = None;
    (claim, value, issuer, issued_up_to, disconnects, expires, accepted_at, validity, id, by, reason, extends)
}

/// Returns when the revocation of a row expires.
pub(crate) fn expires_of(row: &RowOf<'_>) -> u64 {
    row.5
}

/// Returns `true` if the revocation of a row only disconnects.
pub(crate) fn disconnects(row: &RowOf<'_>) -> bool {
    row.4
}

/// Returns the id in a row.
pub(crate) fn id_of<'r>(row: &RowOf<'r>) -> &'r str {
    row.8
}

/// Returns the entry that a node applies when it starts; `None` if the revocation has expired or
/// only disconnected.
pub(crate) fn entry(seq: Seq, row: &RowOf<'_>, now: u64) -> Result<Option<Entry>, RowError> {
    if disconnects(row) || expires_of(row) <= now {
        return Ok(None);
    }
    let validity = left(expires_of(row), now);
    let revocation = Revocation { validity, ..revocation(row)? };
    Ok(Some(Entry::Revoked { seq, revocation, replaces: None }))
}

/// Returns the record of a row, without its receipts.
pub(crate) fn record(seq: Seq, row: &RowOf<'_>, now: u64) -> Result<Record, RowError> {
    let (accepted_at, left) = (instant(row.6), left(expires_of(row), now));
    let (revocation, receipts) = (revocation(row)?, BTreeMap::new());
    Ok(Record { seq, revocation, accepted_at, left, receipts, revision: 0, in_stream: false })
}

fn revocation(row: &RowOf<'_>) -> Result<Revocation, RowError> {
    let (of, value, issuer, issued_up_to, disconnects, _, _, validity, id, by, reason, extends) = *row;
    Ok(Revocation {
        id: RevocationId::new(id)?,
        selector: selector(of, value)?.issued_by(issuer.map(Into::into)),
        issued_up_to,
        mode: if disconnects { Mode::Disconnect } else { Mode::Revoke },
        validity: duration(validity),
        by: by.map(str::to_owned),
        reason: reason.map(str::to_owned),
        extends,
    })
}

/// Returns the node and the receipt of a row.
pub(crate) fn receipt(node: &str, row: ReceiptRow) -> (NodeName, Receipt) {
    let (applied_at, connections, requests, last_payload_at) = row;
    let last_payload_at = last_payload_at.map(instant);
    (node.into(), Receipt { applied_at: instant(applied_at), connections, requests, last_payload_at })
}

pub(crate) fn receipt_row(receipt: &Receipt) -> ReceiptRow {
    let last_payload_at = receipt.last_payload_at.map(since_1970);
    (since_1970(receipt.applied_at), receipt.connections, receipt.requests, last_payload_at)
}

fn selector(of: &str, value: &str) -> Result<Selector, NameError> {
    let value = value.parse()?;
    Ok(match of {
        "" => Selector::session(value),
        claim if claim.starts_with('/') => Selector::of_claim(claim, value),
        kind => Selector::mark(kind, value),
    })
}

pub(crate) fn left(ends: u64, now: u64) -> Duration {
    if ends == NEVER { Duration::MAX } else { Duration::from_millis(ends.saturating_sub(now)) }
}

/// Returns a duration in milliseconds. Rounds up, so that no revocation expires too early.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(NEVER)
}

fn duration(millis: u64) -> Duration {
    if millis == NEVER { Duration::MAX } else { Duration::from_millis(millis) }
}

pub(crate) fn since_1970(time: SystemTime) -> u64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn instant(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}
