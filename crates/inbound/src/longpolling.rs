//! `GET /_rig/v1/connection/longpolling`: the first request opens a connection, later requests poll
//! it.

use std::sync::Arc;

use auth::{Cors, Sender};
use bytes::Bytes;
use connection::{AnswerInFlight, Batch, Connection, Fencing, PollError, Transport, last_batch};
use http::{HeaderValue, Response, StatusCode};
use listener::{Body, Gate, RefusalReason, retry_after};
use session::Cause;

use crate::answer::{JSON, answer, empty, text};
use crate::error::{ConnectError, ForeignPage};
use crate::poll_cookies::{FIRST_EVENT, Found, Place, PollCookies};
use crate::port::{InboundRequest, Shared};
use crate::relay;

/// What a page has read that has only opened its connection: no cursor is lower.
const BEFORE_ALL: u64 = 0;

pub(crate) async fn connect(shared: &Shared, mut asked: InboundRequest) -> Response<Body> {
    let body = shared.without_body(&mut asked).await;
    let sender = asked.sender();
    let mut response = match respond(shared, &asked, sender, body).await {
        Ok(response) => response,
        Err(error) => error.answer(),
    };
    let origin = Cors::asking(asked.request.headers());
    shared.config.cors.allow_bound(sender, origin, response.headers_mut());
    response
}

async fn respond(
    shared: &Shared,
    asked: &InboundRequest,
    sender: Sender<'_>,
    body: Result<(), ConnectError>,
) -> Result<Response<Body>, ConnectError> {
    let mut cookies =
        PollCookies::new(asked.request.headers(), sender, asked.peer.secure, shared.keeps_history())
            .with_query(asked.request.uri().query());
    // If `CORS` names no origin, each page has its own connections.
    let is_foreign = match sender {
        Sender::Page(_) if shared.config.cors.is_any() => false,
        sender => !shared.config.cors.trusts(sender),
    };
    if is_foreign && cookies.name_any() {
        shared.metrics.refused(RefusalReason::Origin);
        return Err(ForeignPage.into());
    }
    // If the connection token is invalid, or from before a restart of the node, a new connection is
    // opened: the cookie is HttpOnly, so the page could not delete it.
    for Found { suffix, place } in cookies.find(&shared.hub) {
        cookies.select(suffix);
        match place {
            Place::Here(connection) => return Ok(poll(shared, asked, &connection, &cookies).await),
            Place::Elsewhere(life) => {
                if let Some(answer) = relay::poll(shared, asked, &cookies, life).await {
                    return Ok(answer);
                }
            }
        }
    }
    cookies.select_new();
    let opening = shared.prepare(asked, Transport::LongPolling, cookies.position(), body).await?;
    let is_resumed = opening.resume.ids_in_heartbeats && opening.resume.cursor.is_some();
    let connection = shared.hub.open_longpolling(opening).map_err(|error| shared.refused(error))?;
    let position = shared.hub.position_of(&connection);
    let body = if cookies.ask_for_resume() && position.is_some() {
        // A page cannot see its cookies: this lets it know whether `rig.resumed` or `rig.gap` will
        // come.
        let body = format!(r#"{{"resume":{is_resumed}}}"#);
        cookies.body(body.into(), BEFORE_ALL, position)
    } else {
        Bytes::from_static(br#""ok""#)
    };
    let mut response = answer(StatusCode::OK, JSON, body);
    cookies.set(&shared.hub, &connection, &FIRST_EVENT, response.headers_mut());
    cookies.set_position(position, response.headers_mut());
    Ok(response)
}

/// The answer to a poll while the listener writes it to the socket.
struct OnItsWay(Gate);

impl AnswerInFlight for OnItsWay {
    fn begin(&self, fencing: Option<&Fencing>) {
        match fencing {
            Some(fencing) => self.0.begin_fenced(fencing),
            None => self.0.begin(),
        }
    }

    fn withhold(&self) -> bool {
        self.0.withhold()
    }

    fn is_over(&self) -> bool {
        self.0.is_idle()
    }
}

async fn poll(
    shared: &Shared,
    asked: &InboundRequest,
    connection: &Arc<Connection>,
    cookies: &PollCookies<'_>,
) -> Response<Body> {
    let known = cookies.cursor();
    let in_flight = asked.peer.gate.clone().map(|gate| Arc::new(OnItsWay(gate)) as Arc<dyn AnswerInFlight>);
    let batch = shared.hub.poll(connection, known, in_flight).await;
    if let (Ok(batch), Some(gate)) = (&batch, &asked.peer.gate) {
        // The client may never read the queued answer, so its bytes are counted.
        gate.count(batch.body.len(), &shared.hub.config().memory);
    }
    answer_poll(shared, connection, cookies, batch)
}

/// Returns the answer to a poll, for a client of this node or of another one.
pub(crate) fn answer_poll(
    shared: &Shared,
    connection: &Connection,
    cookies: &PollCookies<'_>,
    batch: Result<Batch, PollError>,
) -> Response<Body> {
    match batch {
        Ok(batch) => {
            let mut response =
                answer(StatusCode::OK, JSON, cookies.body(batch.body, batch.cursor, batch.position));
            let headers = response.headers_mut();
            match connection.close_reason() {
                Some(reason) if batch.over && reason.is_revocation() => {
                    cookies.clear_all(headers);
                    return response;
                }
                _ if batch.over => cookies.clear(headers),
                _ => cookies.set(&shared.hub, connection, &batch.cursor, headers),
            }
            cookies.set_position(batch.position, headers);
            response
        }
        Err(error) => {
            let status = match error {
                PollError::SessionKilled | PollError::SessionExpired => StatusCode::FORBIDDEN,
                PollError::NotLongPolling => StatusCode::BAD_REQUEST,
                PollError::TooMany => StatusCode::TOO_MANY_REQUESTS,
            };
            let mut response = text(status, error);
            match error {
                // The connection is open.
                PollError::TooMany => retry_after(response.headers_mut(), 1),
                PollError::SessionKilled => cookies.clear_all(response.headers_mut()),
                PollError::SessionExpired | PollError::NotLongPolling => {
                    cookies.clear(response.headers_mut())
                }
            }
            response
        }
    }
}

/// Returns the answer to a poll whose session was terminated while it was waiting.
pub(crate) fn farewell(cookies: &PollCookies<'_>, cause: Cause) -> Response<Body> {
    let mut response = answer(StatusCode::OK, JSON, last_batch(cause));
    match cause {
        Cause::Revoked | Cause::Disconnected => cookies.clear_all(response.headers_mut()),
        Cause::Expired => cookies.clear(response.headers_mut()),
    }
    response
}

pub(crate) fn preflight(shared: &Shared, asked: &InboundRequest) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    Cors::preflight(
        asked.request.headers(),
        response.headers_mut(),
        HeaderValue::from_static("GET"),
        Cors::REQUEST_HEADERS,
    );
    let origin = Cors::asking(asked.request.headers());
    shared.config.cors.allow_bound(asked.sender(), origin, response.headers_mut());
    response
}
