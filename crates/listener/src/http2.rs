//! HTTP/2 (RFC 9113), negotiated over TLS or by prior knowledge in clear.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::app::{Answer, App};
use crate::client::Origin;
use crate::http1::refusal;
use crate::limits::{Limits, Permit};
use crate::stream::{Seen, Stream, Watched};

/// Streams of one connection at once.
const STREAMS: u32 = 256;

/// How often a silent connection is asked whether it is still there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(30);

/// Serves one connection until it closes.
pub(crate) async fn serve<A: App>(
    app: A,
    stream: Stream,
    origin: Origin,
    limits: Limits,
    _permit: Permit,
    mut leaving: tokio::sync::watch::Receiver<bool>,
) {
    let peer = origin.peer(matches!(stream, Stream::Tls(_)), false, None);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (app, peer) = (app.clone(), peer.of_request(request.headers()));
        async move {
            let response = match refusal(&mut request, &limits) {
                Some(response) => response,
                None => match app.call(request, peer).await {
                    Answer::Response(response) => response,
                    Answer::Takeover(_) => {
                        let mut response =
                            Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
                        *response.status_mut() = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
                        response
                    }
                },
            };
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(Watched { stream, seen: std::sync::Arc::new(Seen::default()) });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.headers + limits.request_line).unwrap_or(u32::MAX))
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = leaving.wait_for(|leaving| *leaving) => connection.as_mut().graceful_shutdown(),
    }
    // Fails only where the client is gone: then it is over.
    let _ = connection.await;
}
