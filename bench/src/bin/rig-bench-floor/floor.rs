//! The loop: accept, read, and for each event one write to each subscriber.

use std::io::ErrorKind;
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::client::{BufferedSocket, Role};
use crate::wire::{ACCEPTED, ParsedRequest, ReadyFrames, SSE, WEBSOCKET, parse};

/// Readiness that is taken from the kernel at once.
const EVENTS: usize = 256;

/// Bytes that are read at once.
const READ: usize = 64 * 1024;

/// All connections.
pub(crate) struct Floor {
    listener: TcpListener,
    epoll: OwnedFd,
    /// At the number of their descriptor, of which the kernel always gives the smallest that is
    /// free.
    clients: Vec<Option<BufferedSocket>>,
    buffer: Vec<u8>,
}

impl Floor {
    /// # Errors
    /// The kernel refuses an epoll.
    pub(crate) fn new(listener: TcpListener) -> anyhow::Result<Self> {
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, data(&listener), EventFlags::IN)?;
        Ok(Self { listener, epoll, clients: Vec::new(), buffer: vec![0; READ] })
    }

    /// Serves until the process is killed.
    ///
    /// # Errors
    /// The kernel gives no more descriptors.
    pub(crate) fn serve(mut self) -> anyhow::Result<()> {
        let listener = data(&self.listener);
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            for epoll::Event { data, .. } in events.drain(..) {
                if data == listener {
                    self.accept()?;
                } else {
                    self.wake(data.u64() as usize);
                }
            }
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.add(stream)?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn add(&mut self, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        // By edges: a socket that was full tells when it is not, without being asked about again.
        epoll::add(&self.epoll, &stream, data(&stream), EventFlags::IN | EventFlags::OUT | EventFlags::ET)?;
        let place = stream.as_raw_fd() as usize;
        if self.clients.len() <= place {
            self.clients.resize_with(place + 1, || None);
        }
        self.clients[place] = Some(BufferedSocket::new(stream));
        Ok(())
    }

    /// Something has happened on a connection, unless it is one that has just been closed.
    fn wake(&mut self, place: usize) {
        let served = self.write_left(place).and_then(|()| self.read(place));
        if served.is_err() {
            self.clients[place] = None;
        }
    }

    fn write_left(&mut self, place: usize) -> anyhow::Result<()> {
        Ok(self.clients[place].as_mut().map_or(Ok(()), BufferedSocket::write_left)?)
    }

    fn read(&mut self, place: usize) -> anyhow::Result<()> {
        while let Some(client) = &mut self.clients[place] {
            let read = client.read(&mut self.buffer)?;
            if read == 0 {
                return Ok(());
            }
            // What subscribers say is of no interest.
            if client.role == Role::Publisher {
                client.unread.extend_from_slice(&self.buffer[..read]);
                let requests = mem::take(&mut client.unread);
                let taken = self.answer(place, &requests)?;
                if let Some(client) = &mut self.clients[place] {
                    client.unread = requests[taken..].to_vec();
                }
            }
        }
        Ok(())
    }

    /// Answers the requests that are complete; returns how many bytes they are.
    fn answer(&mut self, place: usize, requests: &[u8]) -> anyhow::Result<usize> {
        let mut taken = 0;
        while let Some((request, length)) = parse(&requests[taken..])? {
            taken += length;
            let (role, head) = match request {
                ParsedRequest::Sse => (Role::Sse, SSE),
                ParsedRequest::WebSocket => (Role::WebSocket, WEBSOCKET),
                ParsedRequest::Event(event) => {
                    self.publish(&ReadyFrames::of(event)?);
                    (Role::Publisher, ACCEPTED)
                }
            };
            if let Some(client) = &mut self.clients[place] {
                client.role = role;
                client.write(head)?;
            }
        }
        Ok(taken)
    }

    fn publish(&mut self, frames: &ReadyFrames) {
        let mut too_slow = 0;
        for place in &mut self.clients {
            let Some(client) = place else { continue };
            let frame = match client.role {
                Role::Publisher => continue,
                Role::Sse => &frames.sse,
                Role::WebSocket => &frames.websocket,
            };
            if let Err(error) = client.write(frame) {
                *place = None;
                too_slow += u32::from(error.kind() == ErrorKind::StorageFull);
            }
        }
        if too_slow > 0 {
            eprintln!("rig-bench-floor: {too_slow} subscribers dropped, which were too slow");
        }
    }
}

/// The number of a descriptor, for the kernel to give back.
fn data(socket: &impl AsRawFd) -> EventData {
    EventData::new_u64(socket.as_raw_fd() as u64)
}
