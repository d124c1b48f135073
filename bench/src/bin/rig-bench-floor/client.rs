//! One connection: what it is for, and what its socket did not take.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

/// Limit of the bytes queued for a client. A client that is further behind is dropped.
const LEFT_MAX: usize = 1 << 20;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has asked for nothing yet, or has published.
    Publisher,
    Sse,
    WebSocket,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct BufferedSocket {
    stream: TcpStream,
    pub(crate) role: Role,
    /// The beginning of a request.
    pub(crate) unread: Vec<u8>,
    /// What the socket did not take: nothing, unless the client is slower than the publisher.
    left: VecDeque<u8>,
}

impl BufferedSocket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, role: Role::Publisher, unread: Vec::new(), left: VecDeque::new() }
    }

    /// Reads into `buffer` what the client has sent. Returns zero if nothing is left to read.
    ///
    /// # Errors
    /// Fails if the connection is closed or broken.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            read => read,
        }
    }

    /// Writes these bytes, once. What the socket does not take is queued.
    ///
    /// # Errors
    /// Fails if the connection is closed or broken, or if too much is queued.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = if self.left.is_empty() { self.write_once(bytes)? } else { 0 };
        if taken == bytes.len() {
            return Ok(());
        }
        self.left.extend(&bytes[taken..]);
        if self.left.len() > LEFT_MAX { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Writes what is queued.
    ///
    /// # Errors
    /// Fails if the connection is closed or broken.
    pub(crate) fn write_left(&mut self) -> io::Result<()> {
        while !self.left.is_empty() {
            match self.stream.write(self.left.as_slices().0) {
                Ok(taken) => drop(self.left.drain(..taken)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.left = VecDeque::new();
        Ok(())
    }

    fn write_once(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            taken => taken,
        }
    }
}
