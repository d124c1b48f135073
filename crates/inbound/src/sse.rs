//! `GET /_rig/v1/connection/sse`.

use std::borrow::Cow;
use std::sync::Arc;

use auth::Cors;
use bytes::Bytes;
use connection::{Encoding, FAREWELL, SseBody, Transport, sse_head};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Version};
use http_body_util::BodyExt;
use listener::{Answer, Body, Raw};

use crate::answer::empty;
use crate::connect::socket;
use crate::error::ConnectError;
use crate::port::{InboundRequest, Shared};

pub(crate) async fn connect(shared: &Shared, asked: InboundRequest) -> Answer {
    let origin = asked.origin();
    match open(shared, asked).await {
        Ok(answer) => answer,
        Err(error) => Answer::Response(shared.with_cors(origin.as_ref(), error.answer())),
    }
}

async fn open(shared: &Shared, mut asked: InboundRequest) -> Result<Answer, ConnectError> {
    let body = shared.without_body(&mut asked).await;
    let opening = shared.prepare(&asked, Transport::Sse, None, body).await?;
    let headers = headers_for(shared, &asked);
    if !asked.peer.takeover {
        let connection = shared
            .hub
            .open_stream(opening, Encoding::SsePlain, Bytes::new())
            .map_err(|error| shared.refused(error))?;
        if let Some(gate) = &asked.peer.gate {
            let ending = Arc::downgrade(&connection);
            gate.end_within(FAREWELL, move |cx| {
                ending.upgrade().is_some_and(|connection| connection.is_ending(cx))
            });
        }
        let mut response = Response::new(SseBody::new(connection).map_err(Into::into).boxed_unsync());
        response.headers_mut().clone_from(&headers);
        return Ok(Answer::Response(response));
    }
    let chunked = asked.request.version() >= Version::HTTP_11;
    let head = sse_head(&headers, chunked);
    let encoding = if chunked { Encoding::SseChunked } else { Encoding::SsePlain };
    let connection =
        shared.hub.open_stream(opening, encoding, head).map_err(|error| shared.refused(error))?;
    Ok(Answer::Takeover(Box::new(move |raw: Raw| {
        tokio::spawn(connection.run_one_way(socket(raw.stream, raw.permit)));
    })))
}

/// Returns the head of a stream, as the answer to HEAD.
pub(crate) fn head(shared: &Shared, asked: &InboundRequest) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    response.headers_mut().clone_from(&headers_for(shared, asked));
    response
}

/// Returns the headers of a stream for the page of this origin.
fn headers_for<'s>(shared: &'s Shared, asked: &InboundRequest) -> Cow<'s, HeaderMap> {
    let cors = &shared.config.cors;
    if cors.depends_on_origin() {
        Cow::Owned(headers(cors, asked.origin().as_ref()))
    } else {
        Cow::Borrowed(&shared.sse_headers)
    }
}

/// Returns the headers of every stream.
pub(crate) fn headers(cors: &Cors, origin: Option<&HeaderValue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    cors.allow(origin, &mut headers);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    // Tells nginx, and other proxies that honour its header, not to buffer the stream.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    headers
}
