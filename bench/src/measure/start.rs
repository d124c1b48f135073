//! How long it takes from starting the process to the first answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::process::ResidentSet;
use crate::server::{Launch, Product};
use crate::stats::{Spread, millis};

/// For the first answer.
const ANSWER: Duration = Duration::from_secs(10);

/// How long a process rests before its memory is read.
const QUIET: Duration = Duration::from_millis(300);

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) times: u32,
    /// Until a client's connection was accepted and its first request answered.
    pub(crate) milliseconds: Spread,
    /// Resident set of the process that has answered one request.
    pub(crate) idle_rss_kib: Spread,
    /// Each of them.
    pub(crate) all_milliseconds: Vec<f64>,
}

/// Starts the gateway that many times.
///
/// # Errors
/// It does not start, or does not answer 200.
pub(crate) fn run(launch: &Launch, times: u32) -> anyhow::Result<Start> {
    let (mut all_milliseconds, mut memories) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let start = Instant::now();
        let server = launch.start(Product::Rig)?;
        let mut stream = TcpStream::connect(server.address)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"GET /_rig/health HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        all_milliseconds.push(millis(start.elapsed()));
        anyhow::ensure!(&answer == b"HTTP/1.1 200", "{:?}", String::from_utf8_lossy(&answer));
        drop(stream);
        std::thread::sleep(QUIET);
        let ResidentSet { rss_kib, .. } = server.memory()?;
        memories.push(rss_kib as f64);
    }
    let spread = |values: &[f64]| {
        Spread::of(values.iter().copied()).ok_or_else(|| anyhow::anyhow!("not started at all"))
    };
    Ok(Start {
        times,
        milliseconds: spread(&all_milliseconds)?,
        idle_rss_kib: spread(&memories)?,
        all_milliseconds,
    })
}
