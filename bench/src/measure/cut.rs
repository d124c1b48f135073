//! The end of a session with downloads and upgraded connections through the proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, mpsc};
use tokio::time::timeout;

use crate::client::Publisher;
use crate::server::{Launch, proxies};
use crate::stats::millis;
use crate::token;

/// How many of each the session has.
pub(crate) const DOWNLOADS: u32 = 200;
pub(crate) const TUNNELS: u32 = 50;

/// Downloads of another session, which must go on.
const BYSTANDERS: u32 = 20;

/// No round takes longer.
const LONGEST: Duration = Duration::from_secs(30);

/// What the service sends every ten milliseconds on each connection.
const PIECE: [u8; 4096] = [b'x'; 4096];

/// One round.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct CutRound {
    /// From asking for the revocation to its answer; it is on disk then.
    pub(crate) answered_milliseconds: f64,
    /// To the end of the last connection, as its client sees it.
    pub(crate) last_cut_milliseconds: f64,
}

/// Measures the given number of rounds, each with a session of its own.
///
/// # Errors
/// Fails if a connection cannot be opened or is not cut, or if a bystander's is cut.
pub(crate) async fn run(launch: &Launch, rounds: u32) -> anyhow::Result<Vec<CutRound>> {
    let service = serve().await?;
    let endpoint = json!({ "id": "all", "method": "GET", "path_regex": "/.*", "secured": true });
    let server = proxies::gateway(launch, service, vec![endpoint], &[("JWT_SECRET_KEY", token::SECRET)])?;
    let (gone, mut bystanders) = mpsc::unbounded_channel();
    for _ in 0..BYSTANDERS {
        open(server.address, 0, false, gone.clone(), None).await?;
    }
    let mut cuts = Vec::new();
    for round in 1..=rounds {
        eprintln!("downloads and tunnels cut, round {round} of {rounds}");
        let (gone, mut ended) = mpsc::unbounded_channel();
        let reading = Arc::new(Barrier::new(1 + (DOWNLOADS + TUNNELS) as usize));
        for number in 0..DOWNLOADS + TUNNELS {
            open(server.address, round, number >= DOWNLOADS, gone.clone(), Some(reading.clone())).await?;
        }
        timeout(LONGEST, reading.wait()).await.context("not all have begun")?;
        let mut caller = Publisher::connect(server.status).await?;
        let asked = Instant::now();
        caller.publish(&server.revocation(round)).await?;
        let answered_milliseconds = millis(asked.elapsed());
        let mut last = asked;
        for _ in 0..DOWNLOADS + TUNNELS {
            let ended = timeout(LONGEST, ended.recv()).await.context("not all are cut")?;
            last = last.max(ended.context("all clients tell")?);
        }
        cuts.push(CutRound { answered_milliseconds, last_cut_milliseconds: millis(last - asked) });
        anyhow::ensure!(bystanders.try_recv().is_err(), "a client of another session was cut");
    }
    Ok(cuts)
}

/// Opens a connection that is read until it is closed.
async fn open(
    address: SocketAddr,
    session: u32,
    upgrade: bool,
    gone: mpsc::UnboundedSender<Instant>,
    reading: Option<Arc<Barrier>>,
) -> anyhow::Result<()> {
    let more = if upgrade { "Connection: Upgrade\r\nUpgrade: websocket\r\n" } else { "" };
    let token = token::mint(session)?;
    let request =
        format!("GET /endless HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 << 10];
        // Head and first piece: the rest follows.
        let mut read = 0;
        while read < PIECE.len() {
            match stream.read(&mut buffer).await {
                Ok(count) if count > 0 => read += count,
                _ => return,
            }
        }
        if let Some(reading) = reading {
            reading.wait().await;
        }
        while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        // The receiver is gone if the run was given up.
        let _ = gone.send(Instant::now());
    });
    Ok(())
}

/// A service whose answers never end.
async fn serve() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    Ok(address)
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let upgrade = head.windows(8).any(|window| window.eq_ignore_ascii_case(b"upgrade:"));
    let head = match upgrade {
        true => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        false => "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n",
    };
    stream.write_all(head.as_bytes()).await?;
    let mut every = tokio::time::interval(Duration::from_millis(10));
    loop {
        every.tick().await;
        stream.write_all(&PIECE).await?;
    }
}
