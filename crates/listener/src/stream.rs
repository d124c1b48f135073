//! The stream under hyper: clear or TLS, watched so that the driver knows when a head has begun and when the last
//! write was blocked, and read along so that nothing ambiguous is taken for a request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::framing::Framing;
use crate::gate::Gate;

/// A connection's stream.
pub(crate) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What the driver sees of the bytes that hyper moves.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Bytes have come since the last answer.
    pub(crate) read: AtomicBool,
    /// The last write did not go through.
    pub(crate) blocked: AtomicBool,
    /// Heads that have come whole and are sound; those behind them are not.
    pub(crate) sound: AtomicUsize,
    /// What comes is HTTP no more.
    pub(crate) tunnel: AtomicBool,
    /// What may be written.
    pub(crate) gate: Gate,
}

/// A stream that notes what happens to it.
pub(crate) struct Watched {
    pub(crate) stream: Stream,
    pub(crate) seen: Arc<Seen>,
    /// Reads HTTP/1 along.
    pub(crate) framing: Option<Framing>,
}

macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Stream::Clear($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, seen, framing } = &mut *self;
        let framing = framing.as_mut().filter(|_| !seen.tunnel.load(Ordering::Relaxed));
        if framing.as_ref().is_some_and(|framing| framing.is_broken()) {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = into.filled().len();
        let polled = each!(stream, stream => stream.poll_read(cx, into));
        let after = into.filled().len();
        if after == before {
            return polled;
        }
        seen.read.store(true, Ordering::Relaxed);
        if let Some(framing) = framing {
            let passed = framing.read(&into.filled()[before..]);
            seen.sound.store(framing.sound(), Ordering::Relaxed);
            into.set_filled(before + passed);
            if passed == 0 {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, seen, .. } = &mut *self;
        let polled = seen.gate.pass(|| each!(stream, stream => stream.poll_write(cx, bytes)));
        seen.blocked.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, seen, .. } = &mut *self;
        let polled = seen.gate.pass(|| each!(stream, stream => stream.poll_flush(cx)));
        if polled.is_pending() {
            seen.blocked.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, seen, .. } = &mut *self;
        // TLS sends what it has kept before it says goodbye.
        seen.gate.pass(|| each!(stream, stream => stream.poll_shutdown(cx)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, seen, .. } = &mut *self;
        let polled = seen.gate.pass(|| each!(stream, stream => stream.poll_write_vectored(cx, slices)));
        seen.blocked.store(polled.is_pending(), Ordering::Relaxed);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Clear(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
