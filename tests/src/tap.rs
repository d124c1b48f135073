//! A proxy between a client and the gateway that sees the requests and can cut the connections.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::spawn;

use parking_lot::Mutex;

/// A proxy on a free port; its connections are cut when it is dropped.
pub struct Tap {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Where new connections go; `None` refuses them.
    server: Option<SocketAddr>,
    /// Both sides of each connection.
    connections: Vec<TcpStream>,
    /// What each connection has sent, the refused ones included.
    requests: Vec<String>,
}

impl Tap {
    /// Listens on a free port, for connections to `server`.
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = State { server: Some(server), connections: Vec::new(), requests: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        spawn({
            let state = state.clone();
            move || {
                for client in listener.incoming().map_while(Result::ok) {
                    accept(client, &state);
                }
            }
        });
        Self { address, state }
    }

    /// Returns the address that clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections, and each new one at once.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.server = None;
        for socket in state.connections.drain(..) {
            drop(socket.shutdown(Shutdown::Both));
        }
    }

    /// Lets new connections through, to this server.
    pub fn open(&self, server: SocketAddr) {
        self.state.lock().server = Some(server);
    }

    /// Returns the first bytes of each connection that was let through, usually its first request.
    pub fn requests(&self) -> Vec<String> {
        self.state.lock().requests.clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.close();
    }
}

fn accept(client: TcpStream, state: &Arc<Mutex<State>>) {
    let mut locked = state.lock();
    let Some(server) = locked.server.and_then(|server| TcpStream::connect(server).ok()) else { return };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let number = locked.requests.len();
    locked.requests.push(String::new());
    for socket in [&client, &server] {
        locked.connections.extend(socket.try_clone());
    }
    drop(locked);
    let both = [&client, &server].map(|socket| socket.try_clone().expect("a socket has copies"));
    let [client_copy, server_copy] = both;
    let state = state.clone();
    spawn(move || {
        copy(client, server, |bytes| {
            let mut state = state.lock();
            let request = &mut state.requests[number];
            if !request.contains("\r\n\r\n") {
                request.push_str(&String::from_utf8_lossy(bytes));
            }
        });
    });
    spawn(move || copy(server_copy, client_copy, |_| {}));
}

/// Copies bytes until one side is closed, and then closes the other one.
fn copy(mut from: TcpStream, mut to: TcpStream, mut see: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        see(&buffer[..n]);
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
    drop(from.shutdown(Shutdown::Both));
}
