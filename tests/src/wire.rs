//! A socket with a buffer and a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time limit for everything that a test waits for.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Records received bytes.
pub type Record = Arc<Mutex<Vec<u8>>>;

/// How long to leave the processor to what is waited for.
const POLL: Duration = Duration::from_millis(1);

/// Polls until there is a result.
///
/// # Panics
/// Panics at the deadline.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(POLL);
    }
}

/// One TCP connection, as the bytes that are sent and received.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where all received bytes are recorded.
    record: Option<Record>,
    /// When the last byte must have been received.
    end: Option<Instant>,
}

impl Wire {
    /// Connects.
    ///
    /// # Panics
    /// Panics if no server listens.
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&address, DEADLINE).expect("the gateway accepts"))
    }

    /// Connects with a receive buffer that is as small as the system allows.
    ///
    /// # Panics
    /// Panics if no server listens.
    pub fn connect_narrow(address: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(1).expect("the smallest buffer");
        socket.connect(&address.into()).expect("the gateway accepts");
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        stream.set_write_timeout(Some(DEADLINE)).expect("a socket option");
        Self { stream, buffer: Vec::new(), record: None, end: None }
    }

    /// Wraps a connection whose peer may be silent forever.
    ///
    /// # Panics
    /// Panics if the socket refuses its options.
    pub fn patient(stream: TcpStream) -> Self {
        let wire = Self::over(stream);
        wire.stream.set_read_timeout(None).expect("a socket option");
        wire.stream.set_write_timeout(None).expect("a socket option");
        wire
    }

    /// Limits the silence of the peer to the deadline.
    ///
    /// # Panics
    /// Panics if the socket refuses its options.
    #[must_use]
    pub fn impatient(self) -> Self {
        self.stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        self.stream.set_write_timeout(Some(DEADLINE)).expect("a socket option");
        self
    }

    /// Records all received bytes.
    #[must_use]
    pub fn heard_by(self, record: Record) -> Self {
        Self { record: Some(record), ..self }
    }

    /// Sends bytes; ignores a peer that has closed already.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.stream.write_all(bytes.as_ref()));
    }

    /// Sends bytes; `None` if the peer has closed.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> Option<()> {
        self.stream.write_all(bytes.as_ref()).ok()
    }

    /// Sends zeros until the peer has accepted none for half a second, or this many were sent;
    /// returns how many it has accepted.
    ///
    /// # Panics
    /// Panics if the socket refuses its options.
    pub fn flood(&mut self, most: usize) -> usize {
        self.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a socket option");
        let (piece, mut sent) = ([0; 64 << 10], 0);
        while sent < most
            && let Ok(n) = self.stream.write(&piece[..piece.len().min(most - sent)])
        {
            sent += n;
        }
        self.stream.set_write_timeout(Some(DEADLINE)).expect("a socket option");
        sent
    }

    /// Makes the connection close with a reset instead of an orderly close.
    ///
    /// # Panics
    /// Panics if the socket refuses its options.
    pub fn reset(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket option");
    }

    /// Sends these bytes repeatedly until none could be sent for this time, or the peer has closed;
    /// returns how many were sent.
    ///
    /// # Panics
    /// Panics if the socket refuses its options.
    pub fn send_until_blocked(&mut self, bytes: &[u8], quiet: Duration) -> usize {
        self.stream.set_write_timeout(Some(quiet)).expect("a socket option");
        let mut sent = 0;
        while let Ok(n @ 1..) = self.stream.write(&bytes[sent % bytes.len()..]) {
            sent += n;
        }
        self.stream.set_write_timeout(Some(DEADLINE)).expect("a socket option");
        sent
    }

    /// Closes the sending side.
    pub fn half_close(&self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }

    /// Requires that everything is read before this moment, however many reads it takes.
    #[must_use]
    pub fn ends_by(self, end: Instant) -> Self {
        Self { end: Some(end), ..self }
    }

    /// Reads once; `false` at the end of the stream, orderly or not.
    ///
    /// # Panics
    /// Panics at the deadline.
    pub fn more(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        if let Some(end) = self.end {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no end of the stream; the last of it: {}", self.last());
            self.stream.set_read_timeout(Some(left)).expect("a socket option");
        }
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                if let Some(record) = &self.record {
                    record.lock().extend_from_slice(&chunk[..n]);
                }
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing before the deadline; the last that came: {}", self.last())
            }
            Err(_) => false,
        }
    }

    /// Returns the last bytes that were received, for messages.
    fn last(&self) -> String {
        const SHOWN: usize = 4 << 10;
        String::from_utf8_lossy(&self.buffer[self.buffer.len().saturating_sub(SHOWN)..]).into_owned()
    }

    /// Returns the received bytes up to `end`, inclusive; `None` if the stream ends before.
    pub fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// Returns the next `n` bytes; `None` if the stream ends before.
    pub fn exactly(&mut self, n: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < n {
            if !self.more() {
                return None;
            }
        }
        Some(self.buffer.drain(..n).collect())
    }

    /// Returns the bytes that have arrived, at least one; `None` at the end of the stream.
    pub fn some(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() && !self.more() {
            return None;
        }
        Some(std::mem::take(&mut self.buffer))
    }

    /// Reads and discards this many bytes; returns how many there were before the end of the
    /// stream.
    pub fn skip(&mut self, n: u64) -> u64 {
        let mut left = n;
        while left > 0
            && let Some(bytes) = self.some()
        {
            let here = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.buffer.extend_from_slice(&bytes[here..]);
            left -= here as u64;
        }
        n - left
    }

    /// Returns everything that is received until the peer closes. Use [`Self::ends_by`] if the peer
    /// may never close.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.buffer)
    }

    /// Returns `true` if nothing arrives for this time.
    ///
    /// # Panics
    /// Panics if the socket refuses its options.
    pub fn is_silent_for(&mut self, time: Duration) -> bool {
        if !self.buffer.is_empty() {
            return false;
        }
        self.stream.set_read_timeout(Some(time)).expect("a socket option");
        let silent = matches!(self.stream.peek(&mut [0]), Err(error)
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.stream.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        silent
    }
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Self {
        Self::over(stream)
    }
}
