//! HTTP/1: hyper parses requests and writes answers. A socket that the application takes over is
//! taken back from hyper.

mod driver;
mod responder;

use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::app::{App, Raw};
use crate::framing::Framing;
use crate::limits::{Limits, Permit};
use crate::peer::Origin;
use crate::refusal::Unreadable;
use crate::stream::{Stream, StreamTraffic, Watched};
use driver::{End, WaitsFor};
use responder::Responder;

/// By how many bytes hyper's limit of a head exceeds our limits, so that ours apply first.
const SLACK: usize = 56 << 10;

/// The number of header fields that hyper can hold on the stack.
const FIELDS: usize = 100;

/// Serves one connection until it closes or is taken over.
pub(crate) async fn serve<A: App>(
    app: A,
    stream: Stream,
    origin: Origin,
    limits: Limits,
    permit: Permit,
    leaving: watch::Receiver<bool>,
) {
    let framing = Mutex::new(Some(Framing::default()));
    let traffic =
        Arc::new(StreamTraffic { framing, occupant: permit.occupant(), ..StreamTraffic::default() });
    let address = origin.hop;
    let peer = origin.peer(matches!(stream, Stream::Tls(_)), true, Some(traffic.gate.clone()));
    let responder = Responder {
        app: app.clone(),
        traffic: traffic.clone(),
        places: permit.places(),
        peer,
        address,
        limits,
    };
    let service = service_fn(move |request| Box::pin(responder.answer(request)));
    let io = TokioIo::new(Watched { stream, traffic: traffic.clone() });
    let mut connection = builder(&limits).serve_connection(io, service);

    let end = driver::drive(&mut connection, &traffic, &limits, leaving).await;
    let parts = connection.into_parts();
    let mut watched = parts.io.into_inner();
    traffic.gate.closed();
    let framing = traffic.framing.lock().take().unwrap_or_default();
    let unreadable = match end {
        End::Takeover(takeover) => {
            let read = framing.and_rest(parts.read_buf);
            return takeover(Raw { stream: watched, read, permit });
        }
        End::Timeout(WaitsFor::Head) => Unreadable::Late,
        End::Closed(Err(error)) if let Some(status) = traffic.refused_by_hyper() => {
            Unreadable::new(status, error, &framing, parts.read_buf.len() >= largest_head(&limits))
        }
        // A client that has read nothing gets no more time.
        End::Timeout(WaitsFor::Reader) => return watched.close(false).await,
        End::Closed(_) | End::Timeout(_) => return watched.close(!framing.is_between()).await,
    };
    unreadable.send(&app, &mut watched, (&permit.places(), address, &limits)).await;
    watched.close(true).await;
}

/// Returns how many bytes of a head hyper buffers before it refuses it.
fn largest_head(limits: &Limits) -> usize {
    limits.request_line + limits.headers + SLACK
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(largest_head(limits)).half_close(false);
    // Only if needed: with a limit set, hyper allocates for each request.
    if limits.header_fields > FIELDS {
        builder.max_headers(limits.header_fields);
    }
    builder
}
