//! Connections to servers: TCP, with or without TLS.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use descriptors::Descriptor;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure::{Failure, FailureKind};
use super::respelling::Slot;
use crate::definition::TargetConfig;

/// No file descriptor is left in the process, or in the system. The numbers are the same on every
/// Unix.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// How long a server may be silent before TCP keepalive probes it, and half of the time after which
/// a server that does not acknowledge data is given up.
const QUIET: Duration = Duration::from_secs(20);

/// A connection, with its file descriptor from the clients' share.
pub(crate) struct Io {
    stream: ClearOrTls,
    pub(super) slot: Slot,
    /// The server takes no more bytes. What it has sent before can still be read: an answer to a
    /// request that it has not read completely, or a GOAWAY before it closed.
    is_deaf: bool,
    /// The server sends no more bytes either.
    is_silent: bool,
    _descriptor: Descriptor,
}

enum ClearOrTls {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// Connects to a server `within` a time; in clear without `tls`. The server may stop taking
    /// bytes for as long as `idle`. The name is resolved each time, so that a service may move.
    pub(super) async fn connect(
        target: &TargetConfig,
        tls: Option<&Arc<ClientConfig>>,
        within: Duration,
        idle: Duration,
    ) -> Result<Self, Failure> {
        let exhausted =
            || Failure::new(FailureKind::Exhausted, "a connection takes one from those of clients");
        let descriptor = Descriptor::take().ok_or_else(exhausted)?;
        let tcp = reach(target, within, idle).await?;
        let Some(tls) = tls else {
            return Ok(Self::new(ClearOrTls::Clear(tcp), descriptor));
        };
        let failed = |error: io::Error| Failure::of(FailureKind::Tls, &error);
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| Failure::of(FailureKind::Tls, &error))?;
        let stream = TlsConnector::from(tls.clone()).connect(name, tcp).await.map_err(failed)?;
        Ok(Self::new(ClearOrTls::Tls(Box::new(stream)), descriptor))
    }

    fn new(stream: ClearOrTls, descriptor: Descriptor) -> Self {
        Self { stream, slot: Slot::default(), is_deaf: false, is_silent: false, _descriptor: descriptor }
    }

    /// Returns whether the server has chosen HTTP/2 (RFC 7301).
    pub(super) fn has_chosen_http2(&self) -> bool {
        match &self.stream {
            ClearOrTls::Clear(_) => false,
            ClearOrTls::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

/// Tries the addresses of a server in order. Each attempt but the last may use half of the
/// remaining time.
async fn reach(target: &TargetConfig, within: Duration, idle: Duration) -> Result<TcpStream, Failure> {
    let deadline = Instant::now() + within;
    let resolved = lookup_host((&*target.host, target.port)).await;
    let mut addresses = resolved.map_err(|error| failure(FailureKind::Name, &error, &error))?.peekable();
    let mut last = Failure::new(FailureKind::Name, "no address");
    while let Some(address) = addresses.next() {
        let left = deadline.saturating_duration_since(Instant::now());
        let step = if addresses.peek().is_some() { left / 2 } else { left };
        match timeout(step, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => match set_up(&tcp, idle) {
                Ok(()) => return Ok(tcp),
                Err(error) => last = Failure::of(FailureKind::Connect, &error),
            },
            Ok(Err(error)) => {
                last = failure(FailureKind::Connect, &error, format_args!("{address}: {error}"))
            }
            Err(_) => last = Failure::new(FailureKind::ConnectTimeout, address),
        }
    }
    Err(last)
}

/// Disables Nagle's algorithm, and enables keepalive to detect a server that has vanished. HTTP/2
/// PINGs would not do: streams may be silent for hours, and services treat PINGs as an attack if
/// they come more often than every few minutes (gRPC's `too_many_pings`).
///
/// `TCP_USER_TIMEOUT` also aborts a connection to a server that takes no bytes (Linux 5.11), so it
/// is never shorter than `idle` allows. It replaces the number of keepalive probes (tcp(7)).
fn set_up(tcp: &TcpStream, idle: Duration) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(QUIET).with_interval(QUIET / 4))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(idle.max(QUIET) * 2))?;
    Ok(())
}

/// Returns a failure of this kind, or `Exhausted` if no file descriptor is left.
fn failure(kind: FailureKind, error: &io::Error, detail: impl fmt::Display) -> Failure {
    let is_exhausted = matches!(error.raw_os_error(), Some(EMFILE | ENFILE));
    Failure::new(if is_exhausted { FailureKind::Exhausted } else { kind }, detail)
}

macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            ClearOrTls::Clear($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            ClearOrTls::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = into.remaining();
        let read = ready!(each!(&mut self.stream, stream => stream.poll_read(cx, into)));
        self.is_silent |= read.is_err() || (room > 0 && into.remaining() == room);
        Poll::Ready(read)
    }
}

impl Io {
    /// Returns whether writes are discarded: the server takes no more bytes, but its answer may
    /// still be read.
    fn discards(&self) -> bool {
        self.is_deaf && !self.is_silent
    }

    /// Writes. Once the head of a request was sent, bytes that the server refuses count as written
    /// while an answer may still be read: hyper and h2 stop reading when a write fails.
    fn poll_out(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut ClearOrTls, &Slot) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.discards() {
            return Poll::Ready(Ok(length));
        }
        let written = ready!(write(&mut self.stream, &self.slot));
        self.is_deaf |= written.as_ref().is_err_and(is_refused) && self.slot.is_sent();
        Poll::Ready(if self.discards() { Ok(length) } else { written })
    }
}

/// Returns whether the error means that the other side has closed the connection.
fn is_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    matches!(error.kind(), BrokenPipe | ConnectionReset | ConnectionAborted)
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush =
            |stream: &mut ClearOrTls, _: &Slot| each!(stream, stream => stream.poll_flush(cx)).map_ok(|()| 0);
        self.poll_out(0, flush).map_ok(|_| ())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.stream, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        self.poll_out(length, |stream, slot| each!(stream, stream => slot.poll_send(cx, stream, pieces)))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            ClearOrTls::Clear(stream) => stream.is_write_vectored(),
            ClearOrTls::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that takes no bytes is not gone: the operator decides how long it may stall.
    #[tokio::test]
    async fn a_server_that_is_gone_is_noticed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = TargetConfig {
            scheme: http::uri::Scheme::HTTP,
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            weight: 1,
        };
        for (idle, given_up) in [(60, 120), (1, 40), (86_400, 172_800)] {
            let tcp = reach(&target, QUIET, Duration::from_secs(idle)).await.unwrap();
            let socket = SockRef::from(&tcp);
            assert!(socket.keepalive().unwrap());
            assert_eq!(socket.tcp_keepalive_time().unwrap(), QUIET);
            #[cfg(target_os = "linux")]
            assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(given_up)));
        }
    }
}
