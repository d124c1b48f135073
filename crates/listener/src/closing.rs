//! Closing in stages (RFC 9112, section 9.6): a socket that is closed while bytes of the client are
//! unread is reset, and the reset can destroy the answer before the client reads it. So the sending
//! side is closed first, and the remaining bytes are read and discarded until the client closes.

use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Limits of what is read and discarded after an answer, in bytes and in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiscardLimits {
    /// Bytes that are discarded.
    pub(crate) bytes: usize,
    /// The longest time without a byte.
    pub(crate) silence: Duration,
    /// The longest time in total.
    pub(crate) total: Duration,
}

/// Limits after an early answer: before the socket is closed (HTTP/1) or the stream is reset
/// (HTTP/2). Many clients read the answer only after they have sent their whole body. 256 MiB is 16
/// times the default of `MAX_BODY_BYTES`, 30 s are enough for 20 MB at 6 Mbit/s, and a client that
/// pauses for 5 s has probably left. The socket counts towards the client's limits meanwhile.
pub(crate) const ANSWERED: DiscardLimits =
    DiscardLimits { bytes: 256 << 20, silence: Duration::from_secs(5), total: Duration::from_secs(30) };

/// Limits after a refusal of a connection that has no place: just enough for a head that is on its
/// way.
pub(crate) const REFUSED: DiscardLimits =
    DiscardLimits { bytes: 64 << 10, silence: Duration::from_millis(500), total: Duration::from_secs(1) };

/// Bytes per read.
const PIECE: usize = 16 << 10;

/// Sends as much of an answer as fits into the socket's buffer, without waiting, and closes the
/// sending side.
pub(crate) fn send_last(tcp: &TcpStream, answer: &[u8]) {
    let _ = SockRef::from(tcp).send(answer);
    let _ = SockRef::from(tcp).shutdown(Shutdown::Write);
}

/// Reads and discards incoming bytes until the client closes or the limits are reached. The sending
/// side must be closed already.
pub(crate) async fn discard(tcp: &TcpStream, limits: DiscardLimits) {
    let end = Instant::now() + limits.total;
    let mut left = limits.bytes;
    while left > 0 {
        let until = end.min(Instant::now() + limits.silence);
        match timeout_at(until, tcp.readable()).await {
            // The client may send without a pause, so `end` is checked as well.
            Ok(Ok(())) if Instant::now() < end => {}
            _ => return,
        }
        // Not held across an await, so that the future stays small.
        let mut piece = [0; PIECE];
        match tcp.try_read(&mut piece) {
            Ok(0) => return,
            Ok(n) => left = left.saturating_sub(n),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
