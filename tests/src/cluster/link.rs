//! A TCP proxy that stands for a link of the network, and fails as links do.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Forwards everything.
    Open,
    /// Forwards everything this much later.
    Slow(Duration),
    /// Closes all connections, and each new one at once.
    Cut,
    /// Accepts connections and forwards nothing. What was sent meanwhile arrives afterwards, as TCP
    /// sends it again.
    BlackHole,
    /// Forwards in this direction only.
    HalfOpen(Direction),
}

/// A direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client, which connects, to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl LinkState {
    fn forwards(self, direction: Direction) -> bool {
        match self {
            Self::Open | Self::Slow(_) => true,
            Self::Cut | Self::BlackHole => false,
            Self::HalfOpen(only) => only == direction,
        }
    }

    fn delay(self) -> Duration {
        if let Self::Slow(delay) = self { delay } else { Duration::ZERO }
    }
}

/// The links of a process share one thread.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});

/// Number of reads that a link holds back, in each direction of a connection. Then the sender is
/// held back.
const PIECES: usize = 256;

/// A proxy in front of one server; it stops when it is dropped.
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<LinkState>,
}

impl Link {
    /// Listens on a free port, for connections to `server`.
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub fn to(server: SocketAddr) -> Self {
        let (state, watched) = watch::channel(LinkState::Open);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket option");
        let address = listener.local_addr().expect("a bound socket has an address");
        RUNTIME.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("the runtime takes it");
            let mut dropped = watched.clone();
            let accept = async {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(carry(client, server, watched.clone()));
                }
            };
            tokio::select! {
                () = accept => {}
                _ = dropped.wait_for(|_| false) => {}
            }
        });
        Self { address, state }
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the state, for connections that are open and for new ones.
    pub fn set(&self, state: LinkState) {
        self.state.send_replace(state);
    }
}

/// Carries one connection until one side closes it, the link is cut, or dropped.
async fn carry(client: TcpStream, server: SocketAddr, state: watch::Receiver<LinkState>) {
    let mut cut = state.clone();
    let both = async {
        let mut reachable = state.clone();
        // A server behind a black hole is not asked, since the handshake does not arrive either.
        reachable.wait_for(|state| *state != LinkState::BlackHole).await.ok()?;
        let server = TcpStream::connect(server).await.ok()?;
        for socket in [&client, &server] {
            socket.set_nodelay(true).ok()?;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(
            pump(from_client, to_server, state.clone(), Direction::ToServer),
            pump(from_server, to_client, state, Direction::ToClient),
        );
        Some(())
    };
    tokio::select! {
        _ = both => {}
        // Fails if the link is dropped.
        _ = cut.wait_for(|state| *state == LinkState::Cut) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<LinkState>,
    direction: Direction,
) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let read = async move {
        let mut piece = vec![0; 16 << 10];
        while let Ok(n @ 1..) = from.read(&mut piece).await
            && sender.send((Instant::now(), piece[..n].to_vec())).await.is_ok()
        {}
    };
    let write = async {
        while let Some((at, piece)) = pieces.recv().await {
            let Ok(state) = state.wait_for(|state| state.forwards(direction)).await.map(|state| *state)
            else {
                return;
            };
            sleep_until(at + state.delay()).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        // The end of the stream is held back like everything else.
        let _ = state.wait_for(|state| state.forwards(direction)).await;
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// Returns a link to a server that sends everything back.
    fn echo() -> Link {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        Link::to(address)
    }

    fn connect(link: &Link) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(link.address()).unwrap();
        stream.set_read_timeout(Some(crate::DEADLINE)).unwrap();
        stream
    }

    fn sent_back(mut stream: &std::net::TcpStream, text: &str) -> bool {
        let mut back = vec![0; text.len()];
        stream.write_all(text.as_bytes()).is_ok()
            && stream.read_exact(&mut back).is_ok()
            && back == text.as_bytes()
    }

    #[test]
    fn a_cut_link_closes_and_refuses() {
        let link = echo();
        let stream = connect(&link);
        assert!(sent_back(&stream, "one"));
        link.set(LinkState::Cut);
        assert_eq!((&stream).read(&mut [0]).unwrap_or(0), 0);
        assert!(!sent_back(&connect(&link), "two"));
        link.set(LinkState::Open);
        assert!(sent_back(&connect(&link), "three"));
    }

    #[test]
    fn a_black_hole_delays_what_was_sent_until_it_is_open() {
        let link = echo();
        let stream = connect(&link);
        assert!(sent_back(&stream, "one"));
        for state in [
            LinkState::BlackHole,
            LinkState::HalfOpen(Direction::ToServer),
            LinkState::HalfOpen(Direction::ToClient),
        ] {
            link.set(state);
            (&stream).write_all(b"x").unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            assert!((&stream).read(&mut [0]).is_err(), "{state:?}");
            stream.set_read_timeout(Some(crate::DEADLINE)).unwrap();
            link.set(LinkState::Open);
            assert_eq!((&stream).read(&mut [0]).unwrap(), 1, "{state:?}");
        }
    }

    #[test]
    fn a_slow_link_is_late_by_its_delay_in_each_direction() {
        let link = echo();
        let stream = connect(&link);
        assert!(sent_back(&stream, "one"));
        link.set(LinkState::Slow(Duration::from_millis(30)));
        let sent = std::time::Instant::now();
        assert!(sent_back(&stream, "two"));
        assert!(sent.elapsed() >= Duration::from_millis(60));
    }
}
