//! `/v4/revocations`: revokes, returns receipts, lifts.

use std::time::SystemTime;

use axum::extract::{OriginalUri, Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use http::header::LOCATION;
use node::{LiftOutcome, Outcome, Reach, ResolvedOrder, Spread};
use session::{Record, RevocationId, Seq};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::fields::json_body;
use super::problem::{Problem, ProblemDocument};
use super::query::{Parameters, PathName, named};
use super::receipt::{DryRun, LiftDryRun, ReceiptDocument, ReceiptOrDryRun, RevocationPage};
use super::request::{Requested, RevocationRequest, issuer_text};
use super::spread::SpreadDocument;
use super::wait::Wait;
use super::{page, time};
use crate::access::Caller;
use crate::aside::aside;
use crate::port::Port;
use crate::session_blacklist::BRIEFLY;

/// The endpoints of revocations.
pub(crate) fn router() -> OpenApiRouter<Port> {
    OpenApiRouter::new().routes(routes!(revoke, list)).routes(routes!(one, lift))
}

const NOT_FOUND: Problem = Problem::NotFound("there is no revocation of this id, or it has expired");

impl Port {
    /// Returns the receipt of a record.
    pub(super) fn receipt(&self, record: Record) -> ReceiptDocument {
        let spread = self.node.spread(&record.revocation.id);
        self.receipt_with(record, spread)
    }

    fn receipt_with(&self, record: Record, spread: Option<Spread>) -> ReceiptDocument {
        let spread = self.node.has_peers().then(|| SpreadDocument::of(spread, &record));
        ReceiptDocument::of(record, spread, self.node.name(), self.durable, SystemTime::now())
    }
}

/// Revokes tokens: their connections are terminated before the answer, and nothing is written to
/// them after it.
#[utoipa::path(
    post,
    path = "/revocations",
    tag = "Revocations",
    request_body = RevocationRequest,
    params(
        ("dry_run" = Option<bool>, Query, description = "Only reports what it would do"),
        ("wait" = Option<String>, Query, description = "How long to wait for the other nodes of a cluster: 0 to 5m, \
                                                        such as 500ms or 5s; CLUSTER_WAIT by default"),
        ("require" = Option<String>, Query, description = "`cluster`: 503 instead of 202 if the cluster has not \
                                                           stored it"),
    ),
    responses(
        (status = 201, description = "In force, and carried out; in a cluster, at every node", body = ReceiptDocument,
         headers(("location" = String, description = "The URL of the receipt"))),
        (status = 202, description = "In force, and carried out on this node; `cluster` and `nodes` say how far it \
                                      has got in the cluster, and so does the receipt later", body = ReceiptDocument,
         headers(("location" = String, description = "The URL of the receipt"))),
        (status = 200, description = "The receipt of the same revocation, accepted before under this id; or the dry run",
         body = ReceiptOrDryRun),
        (status = 400, description = "Not JSON, or members are wrong: `errors` lists all of them", body = ProblemDocument),
        (status = 401, description = "The caller is not known", body = ProblemDocument),
        (status = 403, description = "The caller has not the right to revoke", body = ProblemDocument),
        (status = 408, description = "The body did not arrive in time", body = ProblemDocument),
        (status = 409, description = "Another revocation has this id, or there are too many", body = ProblemDocument),
        (status = 413, description = "The body is too large", body = ProblemDocument),
        (status = 415, description = "The body is not announced as JSON", body = ProblemDocument),
        (status = 422, description = "It would expire before the token of an open connection \
                                      (`neededInSeconds`); or the `jwt` is not valid", body = ProblemDocument),
        (status = 503, description = "In force until the process exits, but not recorded (`not-recorded`); in force \
                                      here, but not stored by the required cluster (`not-in-cluster`); not accepted, \
                                      as too many wait for the cluster (`queue-full`)", body = ProblemDocument),
    )
)]
pub(crate) async fn revoke(
    State(port): State<Port>,
    Extension(caller): Extension<Caller>,
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> Result<Response, Problem> {
    let mut query = Parameters::of(&uri);
    let (dry_run, wait) = (query.dry_run(), query.waits(port.cluster_wait));
    query.finish()?;
    let (body, _counted) = json_body(&port, request).await?;
    let now = SystemTime::now();
    let mut asked = aside(move || Requested::parse(&body, now)).await??;
    asked.by = caller.signs(asked.by);
    let order = asked.into_order(&port.sessions, &port.verifier, now).await?;
    let node = port.node.clone();
    match aside(move || Ok(node.resolve(order, now)?)).await? {
        Err(Problem::Revoke(refused)) if dry_run => {
            let refused = Some(Problem::Revoke(refused).document());
            let nothing = DryRun { dry_run, connections: 0, last_token_seconds: None, known: false, refused };
            Ok(Json(ReceiptOrDryRun::DryRun(nothing)).into_response())
        }
        Err(problem) => Err(problem),
        Ok(order) if dry_run => would_do(&port, order).await,
        Ok(order) => port.execute(order, wait, StatusCode::CREATED).await,
    }
}

impl Port {
    /// Carries an order out, and returns its receipt: with the status `done` if no node has to
    /// confirm it any more.
    pub(super) async fn execute(
        &self,
        order: ResolvedOrder,
        wait: Wait,
        done: StatusCode,
    ) -> Result<Response, Problem> {
        let (record, spread, done, is_new) = match self.node.execute(order, wait.within).await? {
            Outcome::Done(record, spread) => (record, spread, done, true),
            Outcome::Again(record, spread) | Outcome::Before(record, spread) => {
                (record, spread, StatusCode::OK, false)
            }
        };
        let reach = spread.as_ref().map(|spread| spread.reach);
        if wait.requires_cluster && reach == Some(Reach::Queued) {
            return Err(Problem::NotInCluster);
        }
        let status = match reach {
            None | Some(Reach::Complete) => done,
            Some(Reach::Pending | Reach::Queued) => StatusCode::ACCEPTED,
        };
        let location = [(LOCATION, page::receipt_of(&record.revocation.id))];
        let receipt = Box::new(self.receipt_with(*record, spread));
        let mut response = (status, Json(ReceiptOrDryRun::Receipt(receipt))).into_response();
        if is_new || status == StatusCode::ACCEPTED {
            response = (location, response).into_response();
        }
        Ok(response)
    }
}

/// Returns the answer to a dry run: what the order would do.
pub(super) async fn would_do(port: &Port, order: ResolvedOrder) -> Result<Response, Problem> {
    let node = port.node.clone();
    let would = aside(move || {
        let forecast = node.forecast(&order);
        ReceiptOrDryRun::DryRun(DryRun {
            dry_run: true,
            connections: forecast.connections,
            last_token_seconds: forecast.last_token.map(time::whole_seconds),
            known: order.known.is_some(),
            refused: forecast.refused.map(|refused| Problem::Revoke(refused).document()),
        })
    });
    Ok(Json(would.await?).into_response())
}

/// All revocations in force, the newest first.
#[utoipa::path(
    get,
    path = "/revocations",
    tag = "Revocations",
    operation_id = "list_revocations",
    params(
        ("limit" = Option<usize>, Query, description = "Entries of a page, 1 to 1000; 100 by default"),
        ("before" = Option<String>, Query, description = "From `next` of another page; its value has no other meaning"),
        ("issuer" = Option<String>, Query, description = "Only revocations of tokens of this issuer alone: the exact text \
                                                          of its `iss`, configured or not. A page may have fewer \
                                                          entries then, or none, although `next` is not null"),
    ),
    responses(
        (status = 200, description = "A page", body = RevocationPage),
        (status = 400, description = "A parameter is wrong", body = ProblemDocument),
    )
)]
pub(crate) async fn list(
    State(port): State<Port>,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<RevocationPage>, Problem> {
    let mut query = Parameters::of(&uri);
    let limit = page::limit(&mut query);
    let before = query.take_as("before", |text| {
        text.parse::<Seq>().map_err(|_| "expected the value from next of another page".to_owned())
    });
    let issuer = query.take_as("issuer", |text| issuer_text(text).map(str::to_owned));
    query.finish()?;
    let next = |seq: Seq| page::next(uri.path(), limit, "before", &seq.to_string());
    let (records, next) = match issuer {
        None => {
            let records = port.node.records(before, limit + 1).await;
            let mut records = records.map_err(Problem::Unreadable)?;
            let last = page::cut(&mut records, limit).map(|last| next(last.seq));
            (records, last)
        }
        Some(issuer) => {
            let query = format!("?issuer={}&", page::escaped(&issuer));
            let records = port.node.records_of(issuer, before, limit).await;
            let (records, last) = records.map_err(Problem::Unreadable)?;
            (records, last.map(|last| next(last).replacen('?', &query, 1)))
        }
    };
    let revocations = records.into_iter().map(|record| port.receipt(record)).collect();
    Ok(Json(RevocationPage { revocations, next }))
}

/// The receipt of a revocation.
#[utoipa::path(
    get,
    path = "/revocations/{id}",
    tag = "Revocations",
    operation_id = "revocation",
    params(("id" = String, Path, description = "The id of the revocation")),
    responses(
        (status = 200, description = "The request, and what it did", body = ReceiptDocument),
        (status = 404, description = "There is no revocation of this id, or it has expired", body = ProblemDocument),
    )
)]
pub(crate) async fn one(
    State(port): State<Port>,
    OriginalUri(uri): OriginalUri,
    name: PathName,
) -> Result<Json<ReceiptDocument>, Problem> {
    Parameters::of(&uri).finish()?;
    let record = find(&port, named(name, "id", RevocationId::new)?).await?;
    Ok(Json(port.receipt(record)))
}

async fn find(port: &Port, id: RevocationId) -> Result<Record, Problem> {
    port.node.find(id).await.map_err(Problem::Unreadable)?.ok_or(NOT_FOUND)
}

/// Lifts a revocation: its tokens are valid again, unless another revocation selects them.
#[utoipa::path(
    delete,
    path = "/revocations/{id}",
    tag = "Revocations",
    params(
        ("id" = String, Path, description = "The id of the revocation"),
        ("by" = Option<String>, Query, description = "Who asks, up to 1000 bytes"),
        ("dry_run" = Option<bool>, Query, description = "Only reports what it would do"),
        ("wait" = Option<String>, Query, description = "How long to wait for the other nodes of a cluster: 0 to 5m; \
                                                        2s by default"),
    ),
    responses(
        (status = 204, description = "Lifted; in a cluster, at every node"),
        (status = 202, description = "Lifted here, and stored for the other nodes of the cluster, but not confirmed by \
                                      all of them", body = SpreadDocument),
        (status = 200, description = "The dry run: what would be lifted", body = LiftDryRun),
        (status = 404, description = "There is no revocation of this id, or it has expired", body = ProblemDocument),
        (status = 503, description = "It could not be recorded, or the cluster could not store it (`no-quorum`): it \
                                      stays in force, unless the text says that the lift may still take effect", body = ProblemDocument),
    )
)]
pub(crate) async fn lift(
    State(port): State<Port>,
    Extension(caller): Extension<Caller>,
    OriginalUri(uri): OriginalUri,
    name: PathName,
) -> Result<Response, Problem> {
    let mut query = Parameters::of(&uri);
    let (dry_run, by, within) = (query.dry_run(), query.remark("by"), query.wait(BRIEFLY));
    query.finish()?;
    let id = named(name, "id", RevocationId::new)?;
    if dry_run {
        let revocation = port.receipt(find(&port, id).await?);
        return Ok(Json(LiftDryRun { dry_run, revocation }).into_response());
    }
    match port.node.lift(id, caller.signs(by), within).await.map_err(Problem::NotLifted)? {
        LiftOutcome::Unknown => Err(NOT_FOUND),
        LiftOutcome::Done(Some(spread)) if spread.reach != Reach::Complete => {
            Ok((StatusCode::ACCEPTED, Json(SpreadDocument::of_lift(&spread))).into_response())
        }
        LiftOutcome::Done(_) => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

#[cfg(test)]
mod tests;
