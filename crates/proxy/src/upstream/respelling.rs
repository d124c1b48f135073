//! Sends a request's target as the client spelled it, over HTTP/1. A `Uri` cannot hold every byte
//! that clients send, so hyper writes it percent-encoded, and this module replaces it on its way to
//! the socket.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Request;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;

/// The target of a request, byte for byte. An extension of requests whose URI had to be
/// percent-encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawTarget(Arc<[u8]>);

impl RawTarget {
    /// Returns `None` if a byte would terminate the target in the request line: a space or a
    /// control character.
    pub(crate) fn new(target: &[u8]) -> Option<Self> {
        let is_of_target = |byte: &u8| byte.is_ascii_graphic() || !byte.is_ascii();
        target.iter().all(is_of_target).then(|| Self(target.into()))
    }
}

/// The request head that is to be sent next, shared by both halves of a connection:
/// [`Link`](super::Link) sets it, and [`Io`](super::Io) sends it.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<NextHead>>);

#[derive(Default)]
enum NextHead {
    /// No head is due, or sending it has begun.
    #[default]
    Sent,
    /// It is sent as hyper writes it.
    Plain,
    Respelled(Box<Respelling>),
}

/// Replaces the beginning of a request line.
struct Respelling {
    /// The bytes that hyper writes.
    from: Vec<u8>,
    /// The bytes that are sent instead, followed by what else hyper writes in the same piece.
    to: Vec<u8>,
    sent: usize,
    /// The length of hyper's piece, once it is known.
    piece: Option<usize>,
}

impl Slot {
    /// Sets the head that is to be sent next.
    pub(super) fn put<B>(&self, request: &Request<B>) {
        *self.0.lock() = Respelling::of(request).map_or(NextHead::Plain, NextHead::Respelled);
    }

    /// Returns whether no head is due. An answer may come before the head of its request has been
    /// sent.
    pub(super) fn is_sent(&self) -> bool {
        matches!(*self.0.lock(), NextHead::Sent)
    }

    /// Sends pieces that hyper writes. Returns the number of bytes sent.
    ///
    /// # Errors
    /// Fails with the socket's error, or if a head does not begin with its request line.
    pub(super) fn poll_send<S: AsyncWrite>(
        &self,
        cx: &mut Context<'_>,
        mut socket: Pin<&mut S>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut head = self.0.lock();
        let sent = match (&mut *head, pieces) {
            // hyper writes a head in one piece.
            (NextHead::Respelled(respelling), [head, ..]) => {
                respelling.poll_send(cx, head, |cx, bytes| socket.as_mut().poll_write(cx, bytes))
            }
            (_, [piece]) => socket.poll_write(cx, piece),
            (_, pieces) => socket.poll_write_vectored(cx, pieces),
        };
        if let Poll::Ready(Ok(_)) = sent {
            *head = NextHead::Sent;
        }
        sent
    }
}

impl Respelling {
    /// Returns `None` if the request's URI is what the client sent.
    fn of<B>(request: &Request<B>) -> Option<Box<Self>> {
        let RawTarget(target) = request.extensions().get()?;
        let method = request.method();
        let from = format!("{method} {} ", request.uri()).into_bytes();
        let to = [method.as_str().as_bytes(), b" ", target, b" "].concat();
        Some(Box::new(Self { from, to, sent: 0, piece: None }))
    }

    /// Sends a piece that hyper writes and that begins with the request line. Must be called with
    /// the same piece until it is ready. Returns the number of bytes sent.
    ///
    /// # Errors
    /// Fails with the socket's error, or if the piece does not begin with the request line.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        piece: &[u8],
        mut write: impl FnMut(&mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let length = match self.piece {
            Some(length) => length,
            None => {
                let rest = piece.strip_prefix(&*self.from).ok_or(io::ErrorKind::InvalidInput)?;
                self.to.extend_from_slice(rest);
                *self.piece.insert(piece.len())
            }
        };
        while self.sent < self.to.len() {
            match ready!(write(cx, &self.to[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.sent += sent,
            }
        }
        Poll::Ready(Ok(length))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;

    fn request(uri: &str, target: &[u8]) -> Request<()> {
        let mut request = Request::builder().method("PUT").uri(uri).body(()).unwrap();
        request.extensions_mut().insert(RawTarget::new(target).unwrap());
        request
    }

    /// Sends a piece to a socket that takes this many bytes, and is full once. Returns what
    /// arrives.
    fn sent(respelling: &mut Respelling, piece: &[u8], room: usize) -> io::Result<(usize, Vec<u8>)> {
        let (mut arrived, mut is_full) = (Vec::new(), false);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let polled = respelling.poll_send(&mut cx, piece, |_, bytes| {
                is_full = !is_full;
                if is_full {
                    return Poll::Pending;
                }
                let taken = bytes.len().min(room);
                arrived.extend_from_slice(&bytes[..taken]);
                Poll::Ready(Ok(taken))
            });
            if let Poll::Ready(length) = polled {
                return length.map(|length| (length, arrived));
            }
        }
    }

    #[test]
    fn f47_the_target_is_replaced_however_the_socket_takes_it() {
        let head = b"PUT /a?%22 HTTP/1.1\r\nx: /a?%22 \r\n\r\nPUT /a?%22 ";
        for room in 1..=head.len() {
            let mut respelling = Respelling::of(&request("/a?%22", b"/a?\"")).unwrap();
            let (length, arrived) = sent(&mut respelling, head, room).unwrap();
            assert_eq!(length, head.len());
            assert_eq!(arrived, b"PUT /a?\" HTTP/1.1\r\nx: /a?%22 \r\n\r\nPUT /a?%22 ");
        }
        assert!(Respelling::of(&Request::builder().uri("/a?%22").body(()).unwrap()).is_none());
    }

    #[test]
    fn f47_another_request_line_is_not_sent() {
        for head in [&b"GET /a?%22 HTTP/1.1\r\n"[..], b"PUT /a?%222 HTTP/1.1\r\n", b"PUT /a?", b""] {
            let mut respelling = Respelling::of(&request("/a?%22", b"/a?\"")).unwrap();
            assert_eq!(sent(&mut respelling, head, 99).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    proptest! {
        #[test]
        fn f47_nothing_in_a_target_ends_the_request_line(target in any::<Vec<u8>>()) {
            let breaks = target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f);
            prop_assert_eq!(RawTarget::new(&target).is_none(), breaks);
        }
    }
}
