//! Server-Sent Events: the head of the stream, the task that owns its socket, and the body for
//! HTTP/2.

use std::future::poll_fn;
use std::io::{ErrorKind, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::timeout;

use crate::connection::Connection;
use crate::socket::Socket;
use crate::transport::CloseReason;
use crate::writer::Next;

/// How long a client may take to read the farewell and close its side.
pub const FAREWELL: Duration = Duration::from_secs(5);

/// Bytes of a head that is not unusually long.
pub(crate) const HEAD: usize = 320;

/// The response head of a stream over HTTP/1: `chunked` for HTTP/1.1, ended by closing for
/// HTTP/1.0.
pub fn sse_head(headers: &HeaderMap, chunked: bool) -> Bytes {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    write_headers(&mut head, headers);
    let framing: &[u8] = if chunked { b"transfer-encoding: chunked" } else { b"connection: close" };
    head.extend_from_slice(framing);
    head.extend_from_slice(b"\r\n\r\n");
    head.into()
}

/// Header lines, and the date that RFC 9110 (section 6.6.1) wants of a server with a clock.
pub(crate) fn write_headers(head: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    write!(head, "date: {}\r\n", httpdate::HttpDate::from(SystemTime::now())).expect("there is room");
}

impl Connection {
    /// Owns an SSE connection until it is closed. The client sends nothing any more; what it sends
    /// is dropped.
    pub fn run_sse(self: Arc<Self>, socket: Socket) -> impl Future<Output = ()> + Send {
        self.attach(socket);
        run(self, |_, _| {})
    }
}

/// The side of a connection that its task owns.
struct Owned<R> {
    connection: Arc<Connection>,
    /// Takes what the client sends.
    received: R,
}

/// Moves bytes until the connection is closed: out of the outbox as the socket takes them, in to
/// `received`.
///
/// There is one of these for each connection, so it keeps nothing from one turn to the next but who
/// owns what.
pub(crate) fn run<R>(connection: Arc<Connection>, received: R) -> impl Future<Output = ()> + Send
where
    R: FnMut(&Connection, &[u8]) + Send,
{
    let mut owned = Owned { connection, received };
    async move {
        if poll_fn(|cx| owned.poll_open(cx)).await == Next::Over {
            return;
        }
        // Boxed: few connections are ending at any time, and all of them have a task of this size.
        Box::pin(owned.connection.take_leave()).await;
    }
}

impl<R: FnMut(&Connection, &[u8])> Owned<R> {
    /// Moves bytes while the connection is open; ready with [`Next::Farewell`] or [`Next::Over`].
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Self { connection, received } = self;
        let Some(socket) = connection.socket() else { return Poll::Ready(Next::Over) };
        loop {
            match connection.flush(cx) {
                next @ (Next::Over | Next::Farewell { .. }) => return Poll::Ready(next),
                Next::Write if socket.poll_writable(cx).is_ready() => continue,
                Next::Write | Next::Read => {}
            }
            // Whether it has failed is found by reading.
            let _ = ready!(socket.poll_readable(cx));
            read(connection, socket, |bytes| received(connection, bytes));
        }
    }
}

impl Connection {
    async fn take_leave(&self) {
        if let Some(socket) = self.socket() {
            say_farewell(socket, |cx| self.flush(cx)).await;
        }
        self.abort(CloseReason::Client);
    }
}

fn read(connection: &Connection, socket: &Socket, received: impl FnOnce(&[u8])) {
    let mut buffer = [0; 4096];
    match socket.try_read(&mut buffer) {
        Ok(0) => connection.abort(CloseReason::Client),
        Ok(n) => received(&buffer[..n]),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(_) => connection.abort(CloseReason::Client),
    }
}

/// Sends the last bytes, ends the sending side, and waits for the client to close: closing first,
/// with unread bytes in the socket, would reset the connection and could take the farewell with it
/// (RFC 9112, section 9.6).
pub(crate) async fn say_farewell(socket: &Socket, mut flush: impl FnMut(&mut Context<'_>) -> Next) {
    // At the deadline the client has had its time; whatever is left of the farewell goes with the
    // socket.
    let _ = timeout(FAREWELL, async {
        let flushed = poll_fn(|cx| {
            loop {
                match flush(cx) {
                    Next::Farewell { flushed: false } => drop(ready!(socket.poll_writable(cx))),
                    next => return Poll::Ready(next),
                }
            }
        })
        .await;
        if flushed == Next::Over {
            return;
        }
        socket.shut_down_sending();
        let mut sink = [0; 1024];
        while poll_fn(|cx| socket.poll_readable(cx)).await.is_ok() {
            match socket.try_read(&mut sink) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    })
    .await;
}

/// The stream as the body of an HTTP/2 response. It owns its connection: the client's reset drops
/// both.
pub struct SseBody(Arc<Connection>);

/// The stream was cut: HTTP/2 resets it.
#[derive(Debug, thiserror::Error)]
#[error("stream cut: {}", .reason.as_str())]
pub struct Cut {
    reason: CloseReason,
    /// Says so to hyper: the gateway has not failed, it has given the stream up (RFC 9113, section
    /// 7).
    source: h2::Error,
}

impl SseBody {
    /// The body of a connection opened with `chunked: false` and no head.
    pub fn new(connection: Arc<Connection>) -> Self {
        Self(connection)
    }
}

impl Body for SseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Poll::Ready(match ready!(self.0.poll_pop(cx)) {
            Ok(Some(bytes)) => Some(Ok(Frame::data(bytes))),
            Ok(None) => None,
            Err(reason) => Some(Err(Cut { reason, source: h2::Reason::CANCEL.into() })),
        })
    }
}
