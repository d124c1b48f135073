//! The socket of a stream after its HTTP request: TCP, or TLS over it. Never blocks.

use std::any::Any;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use rustix::net::SendFlags;
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::writer::Sink;

/// A connected socket that the connection room owns.
pub struct Socket {
    tcp: TcpStream,
    tls: Option<Box<Mutex<ServerConnection>>>,
    /// Its place among the connections of the listener, held until the socket is closed.
    _permit: Box<dyn Any + Send + Sync>,
}

impl Socket {
    /// Takes over a socket; `tls` is the state of a finished handshake, `permit` is dropped with
    /// the socket.
    pub fn new(tcp: TcpStream, tls: Option<Box<ServerConnection>>, permit: impl Any + Send + Sync) -> Self {
        let tls = tls.map(|session| Box::new(Mutex::new(*session)));
        Self { tcp, tls, _permit: Box::new(permit) }
    }

    /// Ready when bytes can be read, or the peer has closed.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_read_ready(cx)
    }

    /// Ready when the socket takes bytes again.
    pub(crate) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.tcp.poll_write_ready(cx))?;
        Poll::Ready(Ok(()))
    }

    /// Reads without waiting; `Ok(0)` if the peer has closed its side.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &self.tls else { return self.tcp.try_read(buffer) };
        let mut tls = tls.lock();
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            if tls.read_tls(&mut Nonblocking(&self.tcp))? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }

    /// Shuts the sending direction down, so that the peer sees the end of the stream after the last
    /// byte.
    pub(crate) fn shut_down_sending(&self) {
        if let Some(tls) = &self.tls {
            let mut tls = tls.lock();
            tls.send_close_notify();
            // A peer that reads nothing gets no close_notify, only the shutdown below.
            let _ = tls.write_tls(&mut Nonblocking(&self.tcp));
        }
        // Fails only if the peer has reset the connection.
        let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Write);
    }
}

impl Sink for Socket {
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(tls) = &self.tls else {
            return match slices {
                [only] => send(&self.tcp, only),
                slices => self.tcp.try_write_vectored(slices),
            };
        };
        let mut tls = tls.lock();
        if !flush_records(&mut tls, &self.tcp)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match tls.writer().write_vectored(slices)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            taken => {
                flush_records(&mut tls, &self.tcp)?;
                Ok(taken)
            }
        }
    }

    #[inline] // without TLS, nothing is buffered
    fn try_flush(&self) -> io::Result<bool> {
        match &self.tls {
            None => Ok(true),
            Some(tls) => flush_records(&mut tls.lock(), &self.tcp),
        }
    }

    fn is_flushed(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.lock().wants_write())
    }

    fn abort(&self) {
        // Fails only if the peer has reset the connection.
        let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Both);
    }
}

/// Sends bytes by the cheapest call: `send` costs less than `writev`, and rustix makes it without
/// the C library, where every write is a cancellation point.
fn send(tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    tcp.try_io(Interest::WRITABLE, || Ok(rustix::net::send(tcp, bytes, SendFlags::NOSIGNAL)?))
}

/// Sends the TLS records that are ready. Returns `true` if all of them left.
#[inline(never)]
fn flush_records(tls: &mut ServerConnection, tcp: &TcpStream) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(&mut Nonblocking(tcp)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// `std::io` over a tokio socket, without waiting.
struct Nonblocking<'a>(&'a TcpStream);

impl Read for Nonblocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Nonblocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
