//! `GET /_rig/v1/connection/ws`.

use connection::{Accept, Transport};
use http::header::{CONNECTION, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, StatusCode};
use listener::{Answer, Raw};

use crate::answer::{empty, text};
use crate::connect::socket;
use crate::error::ConnectError;
use crate::port::{InboundRequest, Shared};

pub(crate) async fn connect(shared: &Shared, mut asked: InboundRequest) -> Answer {
    let headers = asked.request.headers();
    let accept = if shared.keeps_history() { Accept::with_ids(headers) } else { Accept::new(headers) };
    let accept = match accept {
        Ok(accept) if asked.peer.takeover => accept,
        // HTTP/2 does not support this kind of upgrade (RFC 9113, section 8.6).
        Ok(_) => return upgrade_required(),
        Err(error) if error.status() == StatusCode::UPGRADE_REQUIRED => return upgrade_required(),
        Err(error) => return Answer::Response(text(error.status(), error)),
    };
    match open(shared, &mut asked, &accept).await {
        Ok(answer) => answer,
        Err(error @ (ConnectError::ForeignPage(_) | ConnectError::NoLease | ConnectError::NoKeys)) => {
            Answer::Response(shared.with_cors(asked.origin().as_ref(), error.answer()))
        }
        // RIG sends the error in the close frame, since browsers hide the answer to a failed
        // handshake.
        Err(error) => {
            let reason = error.close_reason();
            Answer::Takeover(Box::new(move |raw: Raw| {
                let socket = socket(raw.stream, raw.permit);
                tokio::spawn(async move { connection::websocket::refuse(socket, accept, &reason).await });
            }))
        }
    }
}

async fn open(shared: &Shared, asked: &mut InboundRequest, accept: &Accept) -> Result<Answer, ConnectError> {
    let body = shared.without_body(asked).await;
    let opening = shared.prepare(asked, Transport::WebSocket, None, body).await?;
    let connection = shared
        .hub
        .open_stream(opening, accept.encoding(), accept.head())
        .map_err(|error| shared.refused(error))?;
    Ok(Answer::Takeover(Box::new(move |raw: Raw| {
        let socket = socket(raw.stream, raw.permit);
        tokio::spawn(connection.run_websocket(socket, raw.read));
    })))
}

fn upgrade_required() -> Answer {
    let mut response = empty(StatusCode::UPGRADE_REQUIRED);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    Answer::Response(response)
}
