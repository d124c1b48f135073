//! Connections to the service of a check, and to other servers. Each takes a descriptor from the
//! clients' share, since clients cause these connections.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use descriptors::Descriptor;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Clone, Debug)]
pub(super) struct Connector(HttpConnector);

/// A connection with its descriptor.
pub(crate) struct CountedStream {
    stream: TokioIo<TcpStream>,
    _descriptor: Descriptor,
}

impl Connector {
    pub(super) fn new() -> Self {
        let mut tcp = HttpConnector::new();
        // TLS is layered on top.
        tcp.enforce_http(false);
        Self(tcp)
    }
}

impl Service<Uri> for Connector {
    type Response = CountedStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<CountedStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        Box::pin(CountedStream::connect(self.0.call(server)))
    }
}

impl CountedStream {
    /// Connects, if clients have not taken all descriptors. `connecting` must do nothing before it
    /// is polled.
    pub(crate) async fn connect<E: Into<BoxError>>(
        connecting: impl Future<Output = Result<TokioIo<TcpStream>, E>>,
    ) -> Result<Self, BoxError> {
        let descriptor = Descriptor::take().ok_or("clients have taken all descriptors")?;
        let stream = connecting.await.map_err(Into::into)?;
        Ok(Self { stream, _descriptor: descriptor })
    }
}

impl Connection for CountedStream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl Write for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
