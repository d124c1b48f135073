//! The task that owns the socket of a stream.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::timeout;

use crate::connection::Connection;
use crate::socket::Socket;
use crate::transport::CloseReason;
use crate::writer::Next;

/// How long a client may take to read the farewell and close its side.
pub const FAREWELL: Duration = Duration::from_secs(5);

impl Connection {
    /// Owns the socket of a stream until it is closed. What the client sends is dropped.
    pub fn run_one_way(self: Arc<Self>, socket: Socket) -> impl Future<Output = ()> + Send {
        self.attach(socket);
        run(self, |_, _| {})
    }
}

/// What the task of a connection owns.
struct Owned<R> {
    connection: Arc<Connection>,
    /// Called with what the client sends.
    received: R,
}

/// Moves bytes until the connection is closed: from the outbox to the socket, and from the socket
/// to `received`.
///
/// Every connection has such a future, so it keeps no state of its own.
pub(crate) fn run<R>(connection: Arc<Connection>, received: R) -> impl Future<Output = ()> + Send
where
    R: FnMut(&Connection, &[u8]) + Send,
{
    let mut owned = Owned { connection, received };
    async move {
        if poll_fn(|cx| owned.poll_open(cx)).await == Next::Over {
            return;
        }
        // Boxed: all connections have a task of this size, and few are closing at any time.
        Box::pin(owned.connection.take_leave()).await;
    }
}

impl<R: FnMut(&Connection, &[u8])> Owned<R> {
    /// Moves bytes while the connection is open; ready with [`Next::Farewell`] or [`Next::Over`].
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let Self { connection, received } = self;
        let Some(socket) = connection.socket() else { return Poll::Ready(Next::Over) };
        loop {
            match connection.flush(cx) {
                next @ (Next::Over | Next::Farewell { .. }) => return Poll::Ready(next),
                Next::Write if socket.poll_writable(cx).is_ready() => continue,
                Next::Pull if connection.pull() => {
                    // There may be much: others are served in between.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::Write | Next::Hold | Next::Pull | Next::Read => {}
            }
            // Reading finds out whether it failed.
            let _ = ready!(socket.poll_readable(cx));
            read(connection, socket, |bytes| received(connection, bytes));
        }
    }
}

impl Connection {
    async fn take_leave(&self) {
        if let Some(socket) = self.socket() {
            say_farewell(socket, |cx| self.flush(cx)).await;
        }
        self.abort(CloseReason::Client);
    }
}

fn read(connection: &Connection, socket: &Socket, received: impl FnOnce(&[u8])) {
    let mut buffer = [0; 4096];
    match socket.try_read(&mut buffer) {
        Ok(0) => connection.abort(CloseReason::Client),
        Ok(n) => received(&buffer[..n]),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(_) => connection.abort(CloseReason::Client),
    }
}

/// Sends the last bytes, ends the sending side, and waits for the client to close: closing first,
/// with unread bytes in the socket, would reset the connection and could take the farewell with it
/// (RFC 9112, section 9.6).
pub(crate) async fn say_farewell(socket: &Socket, mut flush: impl FnMut(&mut Context<'_>) -> Next) {
    // At the deadline, what is left of the farewell is dropped with the socket.
    let _ = timeout(FAREWELL, async {
        let flushed = poll_fn(|cx| {
            loop {
                match flush(cx) {
                    Next::Farewell { flushed: false } => drop(ready!(socket.poll_writable(cx))),
                    Next::Hold => return Poll::Pending,
                    next => return Poll::Ready(next),
                }
            }
        })
        .await;
        if flushed == Next::Over {
            return;
        }
        socket.shut_down_sending();
        let mut sink = [0; 1024];
        while poll_fn(|cx| socket.poll_readable(cx)).await.is_ok() {
            match socket.try_read(&mut sink) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_farewell_behind_payload_that_is_held_waits_for_the_fence() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = Socket::new(listener.accept().await.unwrap().0, None, ());
        drop(client);
        let mut asked = 0;
        say_farewell(&socket, |cx| {
            asked += 1;
            if asked == 1 {
                cx.waker().wake_by_ref();
                return Next::Hold;
            }
            Next::Farewell { flushed: true }
        })
        .await;
        assert_eq!(asked, 2, "the socket is shut down after the farewell");
    }
}
