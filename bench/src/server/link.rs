//! A TCP proxy that stands for a link of the network, and fails as links do. All links share one
//! thread, so that they do not depend on what the clients of a measurement do.

use std::net::SocketAddr;
use std::sync::LazyLock;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    Open,
    /// Closes all connections, and each new one at once.
    Cut,
    /// Accepts connections and forwards nothing. What was sent meanwhile arrives afterwards, as TCP
    /// sends it again.
    BlackHole,
}

static RUNTIME: LazyLock<std::io::Result<Runtime>> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build());

/// A proxy in front of one server; it stops when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: SocketAddr,
    state: watch::Sender<LinkState>,
}

impl Link {
    /// Listens on a free port, for connections to `server`.
    ///
    /// # Errors
    /// Fails if there is no free port or no thread.
    pub(super) fn to(server: SocketAddr) -> anyhow::Result<Self> {
        let (state, watched) = watch::channel(LinkState::Open);
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = RUNTIME.as_ref().ok().context("no thread for links")?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        runtime.spawn(async move {
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
        Ok(Self { address, state })
    }

    /// Sets the state, for connections that are open and for new ones.
    pub(super) fn set(&self, state: LinkState) {
        self.state.send_replace(state);
    }
}

/// Carries one connection until one side closes it, the link is cut, or dropped.
async fn carry(client: TcpStream, server: SocketAddr, state: watch::Receiver<LinkState>) {
    let (mut cut, mut reachable) = (state.clone(), state.clone());
    let both = async {
        reachable.wait_for(|state| *state != LinkState::BlackHole).await.ok()?;
        let server = TcpStream::connect(server).await.ok()?;
        for socket in [&client, &server] {
            socket.set_nodelay(true).ok()?;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::join!(pump(from_client, to_server, state.clone()), pump(from_server, to_client, state));
        Some(())
    };
    tokio::select! {
        _ = both => {}
        // Fails if the link is dropped.
        _ = cut.wait_for(|state| *state == LinkState::Cut) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<LinkState>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if state.wait_for(|state| *state == LinkState::Open).await.is_err()
            || to.write_all(&piece[..length]).await.is_err()
        {
            return;
        }
    }
    // The end of the stream is held back like everything else.
    let _ = state.wait_for(|state| *state == LinkState::Open).await;
}
