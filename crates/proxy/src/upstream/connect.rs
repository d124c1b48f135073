//! Connections to servers: TCP, and TLS over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use listener::descriptors::Descriptor;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::definition::TargetConfig;

/// The process has no descriptor left, and the system has none; the same numbers on every Unix.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// A connection, and the descriptor it takes from those of clients.
pub(crate) struct Io {
    stream: Stream,
    _descriptor: Descriptor,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// Connects to a server; without `tls`, in clear. [`is_exhausted`] tells whether an error means that no descriptor is left.
    pub(super) async fn connect(target: &TargetConfig, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let descriptor = Descriptor::take().ok_or_else(|| io::Error::from_raw_os_error(EMFILE))?;
        let tcp = TcpStream::connect((&*target.host, target.port)).await?;
        tcp.set_nodelay(true)?;
        let Some(tls) = tls else {
            return Ok(Self { stream: Stream::Clear(tcp), _descriptor: descriptor });
        };
        let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(tls.clone()).connect(name, tcp).await?;
        Ok(Self { stream: Stream::Tls(Box::new(stream)), _descriptor: descriptor })
    }

    /// Whether the server has chosen HTTP/2 (RFC 7301).
    pub(super) fn has_chosen_http2(&self) -> bool {
        match &self.stream {
            Stream::Clear(_) => false,
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

/// Whether a connection was not made because the process, or its clients, have no descriptor left.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE))
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

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(&mut self.stream, stream => stream.poll_read(cx, into))
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(&mut self.stream, stream => stream.poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.stream, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(&mut self.stream, stream => stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(&mut self.stream, stream => stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Clear(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
