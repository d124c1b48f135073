//! The memory of a connection, against the size classes that the allocator rounds up to: one more
//! byte can cost 64.

use std::sync::Arc;

use bytes::Bytes;
use session::Registration;
use tokio::net::TcpStream;

use crate::connection::Connection;
use crate::outbox::Outbox;
use crate::socket::Socket;

/// The two counts in front of what an [`Arc`] points to.
const COUNTS: usize = 2 * size_of::<usize>();

/// The size of a socket in a release build; in a debug build it is larger.
const SOCKET: usize = 32;

/// The bytes of a task besides its future; the sum is rounded up to a multiple of 128.
const TASK: usize = 104;

#[test]
fn a_connection_is_small() {
    let connection = size_of::<Connection>() - size_of::<TcpStream>() + SOCKET;
    assert!(COUNTS + connection <= 320, "{connection}");
    assert!(size_of::<Registration>() <= 80, "{}", size_of::<Registration>());
    assert_eq!(size_of::<Outbox>(), size_of::<usize>());
}

#[test]
fn a_task_is_small() {
    let sse = size_of_output(Connection::run_one_way);
    assert!(TASK + sse <= 128, "{sse}");
    let websocket =
        size_of_output(|connection, socket| Connection::run_websocket(connection, socket, Bytes::new()));
    assert!(TASK + websocket <= 512, "{websocket}");
}

fn size_of_output<F>(_: impl FnOnce(Arc<Connection>, Socket) -> F) -> usize {
    size_of::<F>()
}
