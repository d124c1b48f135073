//! `GET /_rig/v1/connection/longpolling`: the first request opens a connection, the later ones poll it.

use std::sync::Arc;

use connection::{Connection, InFlight, PollError};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use listener::{Body, Gate};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use crate::answer::{JSON, answer, empty, text};
use crate::cors::Cors;
use crate::error::ConnectError;
use crate::routes::{Asked, Shared};

/// The value of `last_event_id` before the first event (RIG).
const FIRST_EVENT: &str = "first_event";

/// What may not stand in a cookie value (RFC 6265, section 4.1.1), and the sign that escapes it. The quotes of the
/// JSON string are RIG's.
const NOT_IN_COOKIES: &AsciiSet = &CONTROLS.add(b' ').add(b',').add(b';').add(b'\\').add(b'%');

pub(crate) async fn connect(shared: &Shared, asked: Asked) -> Response<Body> {
    let headers = asked.request.headers().clone();
    let mut response = match respond(shared, &asked).await {
        Ok(response) => response,
        Err(error) => text(error.status(), error),
    };
    shared.config.cors.allow_credentials(&headers, response.headers_mut());
    response
}

async fn respond(shared: &Shared, asked: &Asked) -> Result<Response<Body>, ConnectError> {
    let headers = asked.request.headers();
    // A token of an earlier life of the node, or of none, begins anew: its cookie is HttpOnly, the client could not
    // get rid of it.
    let mut connections = auth::cookies(headers, "connection_token")
        .filter_map(|token| shared.hub.find(std::str::from_utf8(token).ok()?).ok().flatten());
    if let Some(connection) = connections.next() {
        return Ok(poll(shared, asked, &connection).await);
    }
    let opening = shared.prepare(asked).await?;
    let connection = shared.hub.open_longpolling(opening).map_err(|error| shared.refused(error))?;
    let mut response = answer(StatusCode::OK, JSON, r#""ok""#);
    set_cookies(shared, &connection, FIRST_EVENT, response.headers_mut());
    Ok(response)
}

/// The socket of an answer, through the listener.
struct OnItsWay(Gate);

impl InFlight for OnItsWay {
    fn begin(&self) {
        self.0.begin();
    }

    fn silence(&self) -> bool {
        self.0.silence()
    }

    fn is_over(&self) -> bool {
        self.0.is_idle()
    }
}

async fn poll(shared: &Shared, asked: &Asked, connection: &Arc<Connection>) -> Response<Body> {
    let last_event_id = auth::cookies(asked.request.headers(), "last_event_id").next();
    let last_event_id = last_event_id.map_or(FIRST_EVENT.to_owned(), from_cookie);
    let in_flight = asked.peer.gate.clone().map(|gate| Arc::new(OnItsWay(gate)) as Arc<dyn InFlight>);
    match shared.hub.poll(connection, &last_event_id, in_flight).await {
        Ok(batch) => {
            let mut response = answer(StatusCode::OK, JSON, batch.body);
            if batch.over {
                clear_cookies(response.headers_mut());
            } else {
                set_cookies(shared, connection, &batch.last_event_id, response.headers_mut());
            }
            response
        }
        Err(error) => {
            let status = match error {
                PollError::SessionKilled | PollError::SessionExpired => StatusCode::FORBIDDEN,
                PollError::NotLongPolling => StatusCode::BAD_REQUEST,
            };
            let mut response = text(status, error);
            clear_cookies(response.headers_mut());
            response
        }
    }
}

pub(crate) fn preflight(shared: &Shared, asked: &Asked) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    Cors::preflight(response.headers_mut(), "GET");
    shared.config.cors.allow_credentials(asked.request.headers(), response.headers_mut());
    response
}

/// RIG writes the id as a JSON string; anything else is taken as it is.
fn from_cookie(value: &[u8]) -> String {
    let decoded = percent_decode(value).decode_utf8_lossy();
    serde_json::from_str(&decoded).unwrap_or_else(|_| decoded.into_owned())
}

fn set_cookies(shared: &Shared, connection: &Connection, last_event_id: &str, headers: &mut HeaderMap) {
    let id = serde_json::to_string(last_event_id).expect("a string is JSON");
    let id = utf8_percent_encode(&id, NOT_IN_COOKIES);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for cookie in [
        format!("connection_token={}; path=/; HttpOnly", shared.hub.token_of(connection)),
        format!("last_event_id={id}; path=/; HttpOnly"),
    ] {
        headers.append(SET_COOKIE, cookie.parse().expect("what a cookie may not hold is escaped"));
    }
}

fn clear_cookies(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for cookie in
        ["connection_token=; path=/; HttpOnly; Max-Age=0", "last_event_id=; path=/; HttpOnly; Max-Age=0"]
    {
        headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_cookie() {
        for id in ["e2", "a b", "a;b=c", "50%", "\"quoted\"", "é\n", "first_event", "%41"] {
            let json = serde_json::to_string(id).unwrap();
            let value = utf8_percent_encode(&json, NOT_IN_COOKIES).to_string();
            assert!(HeaderValue::from_str(&value).is_ok() && !value.contains(';'), "{value}");
            assert_eq!(from_cookie(value.as_bytes()), id);
        }
    }

    #[test]
    fn an_id_that_is_not_json_is_taken_as_it_is() {
        assert_eq!(from_cookie(b"notjson"), "notjson");
    }
}
