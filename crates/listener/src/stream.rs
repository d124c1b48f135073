//! The stream under hyper: clear or TLS, watched so that the driver knows when a head has begun and
//! when the last write was blocked. An application that takes over the socket gets it without this
//! layer.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use http::StatusCode;
use parking_lot::Mutex;
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

use crate::app::Takeover;
use crate::closing;
use crate::framing::Framing;
use crate::gate::{Gate, Interim};
use crate::occupants::Occupant;

/// A connection's stream.
pub(crate) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Returns `true` if TLS has buffered records to send.
    fn has_records(&self) -> bool {
        match self {
            Self::Clear(_) => false,
            Self::Tls(stream) => stream.get_ref().1.wants_write(),
        }
    }
}

/// The state of a stream that the driver reads: what hyper has read and written, and which messages
/// the bytes belong to.
#[derive(Default)]
pub(crate) struct StreamTraffic {
    /// Bytes have arrived since the last answer.
    pub(crate) read: AtomicBool,
    /// The last write was blocked.
    pub(crate) blocked: AtomicBool,
    /// An earlier write went through.
    pub(crate) written: AtomicBool,
    /// A request has been answered since the driver last checked. A request that is answered
    /// immediately is finished before the driver can see it in progress.
    pub(crate) answered: AtomicBool,
    /// Decides whether answers may be written.
    pub(crate) gate: Gate,
    /// Follows the incoming bytes while they are HTTP/1.
    pub(crate) framing: Mutex<Option<Framing>>,
    /// The client has closed its sending side after a complete request, and may still read.
    pub(crate) half_closed: AtomicBool,
    /// The number of requests whose answers have not been passed to hyper completely.
    pub(crate) asked: AtomicUsize,
    /// The application wants the socket.
    pub(crate) takeover: Mutex<Option<Takeover>>,
    /// hyper holds an answer of the application, or a part of one.
    pub(crate) writing: AtomicBool,
    /// The status of an answer that hyper made itself, which is not sent; 0 if there is none.
    pub(crate) own: AtomicU16,
    /// The connection, if it can be evicted.
    pub(crate) occupant: Option<Arc<Occupant>>,
}

impl StreamTraffic {
    /// Returns `true` if every answer of the application has been written to the socket.
    pub(crate) fn is_flushed(&self) -> bool {
        self.asked.load(Ordering::Relaxed) == 0 && !self.blocked.load(Ordering::Relaxed)
    }

    /// Returns `true` if `bytes` are an answer that hyper made itself, to a head that it could not
    /// parse. Such an answer is not sent, because it has neither a text nor the header fields of
    /// our answers.
    fn is_own(&self, bytes: &[u8]) -> bool {
        if self.writing.load(Ordering::Relaxed)
            || self.asked.load(Ordering::Relaxed) > 0
            || self.framing.lock().is_none()
        {
            return false;
        }
        let status = bytes.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.own.store(status.unwrap_or(400), Ordering::Relaxed);
        true
    }

    /// Returns the status that hyper wanted to answer to a head that it could not parse.
    pub(crate) fn refused_by_hyper(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.own.load(Ordering::Relaxed)).ok()
    }

    /// Returns `true` if the client sends nothing more and has received every answer.
    pub(crate) fn is_done(&self) -> bool {
        self.half_closed.load(Ordering::Relaxed) && self.is_flushed() && !self.is_asked()
    }

    /// Returns `true` if a request has no answer yet, or has not been read by hyper yet.
    fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed) > 0 || self.framing.lock().as_ref().is_some_and(Framing::has_heads)
    }

    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.blocked.store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.written.store(true, Ordering::Relaxed);
        }
        written
    }
}

/// A stream that records its traffic in [`StreamTraffic`] and writes only what its [`Gate`] allows.
pub struct Watched {
    pub(crate) stream: Stream,
    pub(crate) traffic: Arc<StreamTraffic>,
}

impl Watched {
    /// Returns the gate that can hold back its writes.
    pub fn gate(&self) -> &Gate {
        &self.traffic.gate
    }

    /// Closes in stages. `is_unread` means that the client may have sent, or may still send, bytes
    /// that are not read.
    pub(crate) async fn close(mut self, is_unread: bool) {
        let closed = timeout(closing::ANSWERED.silence, self.shutdown()).await;
        if is_unread && matches!(closed, Ok(Ok(()))) {
            // Discarded bytes of TLS need not be decrypted.
            let tcp = match &self.stream {
                Stream::Clear(tcp) => tcp,
                Stream::Tls(stream) => stream.get_ref().0,
            };
            closing::discard(tcp, closing::ANSWERED).await;
        }
    }

    /// Returns the socket, and the TLS session over it with a finished handshake. The gate does not
    /// apply to them.
    pub fn into_parts(self) -> (TcpStream, Option<Box<ServerConnection>>) {
        match self.stream {
            Stream::Clear(tcp) => (tcp, None),
            Stream::Tls(stream) => {
                let (tcp, session) = stream.into_inner();
                (tcp, Some(Box::new(session)))
            }
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("tls", &matches!(self.stream, Stream::Tls(_))).finish_non_exhaustive()
    }
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

/// Returns `true` if a read shows that the client sends nothing more. Over TLS, a missing
/// `close_notify` is accepted, since nothing can have been cut off after a complete request.
fn has_ended(polled: &Poll<io::Result<()>>) -> bool {
    match polled {
        Poll::Ready(Ok(())) => true,
        Poll::Ready(Err(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
        Poll::Pending => false,
    }
}

/// Sends informational answers before the bytes of the next answer.
fn send_interim(
    stream: &mut Stream,
    interim: &mut Option<Box<Interim>>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while let Some(interim) = interim.as_mut().filter(|interim| !interim.rest().is_empty()) {
        match ready!(each!(&mut *stream, stream => stream.poll_write(cx, interim.rest())))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => interim.advance(written),
        }
    }
    Poll::Ready(Ok(()))
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, traffic } = &mut *self;
        let mut guard = traffic.framing.lock();
        let mut framing = guard.as_mut();
        let broken = |fault| io::Error::new(io::ErrorKind::InvalidData, fault);
        if let Some(framing) = &mut framing {
            framing.go_on().map_err(broken)?;
            if framing.give_rest(into) {
                return Poll::Ready(Ok(()));
            }
        }
        let before = into.filled().len();
        let polled = each!(stream, stream => stream.poll_read(cx, into));
        if into.filled().len() == before
            && into.remaining() > 0
            && has_ended(&polled)
            && framing.as_ref().is_some_and(|framing| framing.is_whole())
        {
            // hyper would treat this as a disconnect, but the client may only have finished sending
            // requests (RFC 9112, section 9.6). The driver closes once every request is answered.
            drop(guard);
            if traffic.is_asked() {
                traffic.half_closed.store(true, Ordering::Relaxed);
                return Poll::Pending;
            }
            return polled;
        }
        if into.filled().len() > before {
            traffic.read.store(true, Ordering::Relaxed);
            if let Some(framing) = framing {
                let followed = framing.follow(&into.filled()[before..]);
                into.set_filled(before + followed.unwrap_or_default());
                framing.encode(into, before);
                followed.map_err(broken)?;
            }
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, traffic } = &mut *self;
        if traffic.is_own(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        traffic.note(traffic.gate.pass(cx, true, |cx, interim| {
            ready!(send_interim(stream, interim, cx))?;
            each!(stream, stream => stream.poll_write(cx, bytes))
        }))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, traffic } = &mut *self;
        let polled = traffic.gate.pass(cx, stream.has_records(), |cx, interim| {
            ready!(send_interim(stream, interim, cx))?;
            let flushed = each!(stream, stream => stream.poll_flush(cx));
            if flushed.is_ready() {
                *interim = None;
            }
            flushed
        });
        // hyper flushes after it has written everything. TLS may still buffer records that do not
        // fit into the socket's buffer.
        traffic.blocked.store(polled.is_pending(), Ordering::Relaxed);
        if polled.is_ready() && traffic.asked.load(Ordering::Relaxed) == 0 {
            traffic.writing.store(false, Ordering::Relaxed);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, traffic } = &mut *self;
        // TLS sends its buffered records before `close_notify`.
        let sends = stream.has_records();
        traffic.gate.pass(cx, sends, |cx, _| each!(stream, stream => stream.poll_shutdown(cx)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, traffic } = &mut *self;
        if slices.first().is_some_and(|first| traffic.is_own(first)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        traffic.note(traffic.gate.pass(cx, true, |cx, interim| {
            ready!(send_interim(stream, interim, cx))?;
            each!(stream, stream => stream.poll_write_vectored(cx, slices))
        }))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Clear(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::time::Duration;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use session::{Fence, LostLease};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, TlsConnector, client};

    use super::*;

    /// Returns a stream of the listener with a finished handshake, and its client.
    async fn connected() -> (Watched, client::TlsStream<TcpStream>) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der()).into();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let server = server.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key);
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let client = client.unwrap().with_root_certificates(roots).with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (server, client) = tokio::join!(
            TlsAcceptor::from(Arc::new(server.unwrap())).accept(accepted),
            TlsConnector::from(Arc::new(client)).connect("localhost".try_into().unwrap(), tcp),
        );
        (Watched { stream: Stream::Tls(Box::new(server.unwrap())), traffic: Arc::default() }, client.unwrap())
    }

    #[tokio::test]
    async fn what_tls_has_kept_blocks_until_it_has_left() {
        let (mut server, mut client) = connected().await;
        let mut written = 0;
        poll_fn(|cx| {
            while let Poll::Ready(taken) = Pin::new(&mut server).poll_write(cx, &[b'x'; 1 << 16]) {
                written += taken.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        assert!(server.traffic.blocked.load(Ordering::Relaxed), "after {written} bytes");
        let mut read = vec![0; written];
        let (flushed, got) = tokio::join!(server.flush(), client.read_exact(&mut read));
        assert!(flushed.is_ok() && got.is_ok());
        assert!(!server.traffic.blocked.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn what_tls_has_kept_waits_for_the_fence() {
        let (mut server, mut client) = connected().await;
        let fence = Fence::with_clock(|| Duration::ZERO);
        fence.extend(Duration::from_secs(1));
        let hold = Duration::from_secs(3600);
        server.gate().begin_fenced(&LostLease::Closed.fencing(&fence, hold));
        let mut written = 0;
        poll_fn(|cx| {
            while let Poll::Ready(taken) = Pin::new(&mut server).poll_write(cx, &[b'x'; 1 << 16]) {
                written += taken.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        fence.close();
        // The socket has room again.
        let mut read = vec![0; written];
        client.read_exact(&mut read[..written / 2]).await.unwrap();
        let gate = server.gate().clone();
        let mut flush = pin!(server.flush());
        assert!(poll_fn(|cx| Poll::Ready(flush.as_mut().poll(cx).is_pending())).await && gate.is_held());
        fence.extend(Duration::from_secs(1));
        let (flushed, rest) = tokio::join!(flush, client.read_exact(&mut read[written / 2..]));
        assert!(flushed.is_ok() && rest.is_ok() && !gate.is_held());
    }
}
