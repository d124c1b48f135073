//! The runs with other numbers of connections, and those in other ways.

use super::{Idle, IdleClients, MOST, run};
use crate::client::{Variant, Way};
use crate::server::{Launch, Product};

/// How many connections, one after the other. The last is the most that the limit of descriptors
/// leaves.
const NUMBERS: [u32; 5] = [1_000, 2_000, 5_000, 10_000, MOST];

/// The servers of each number.
const SERVERS: [(Product, Way); 3] =
    [(Product::Rig, Way::Sse), (Product::Nginx, Way::Sse), (Product::Rig, Way::Ws)];

/// Streams of one HTTP/2 connection, if clients share it.
const STREAMS: u32 = 100;

/// Measures the gateway and nchan for each number of connections, in turns.
///
/// # Errors
/// One of the runs fails.
pub(crate) async fn sweep(launch: &Launch, settle: u64) -> anyhow::Result<Vec<Idle>> {
    let mut runs = Vec::new();
    for connections in NUMBERS {
        for (server, way) in SERVERS {
            eprintln!("{connections} idle connections: {server:?} {way:?}");
            let variant = Variant::plain(way);
            runs.push(run(launch, IdleClients { server, variant, connections, settle }).await?);
        }
    }
    Ok(runs)
}

/// Measures the gateway with clients in every way.
///
/// # Errors
/// One of the runs fails.
pub(crate) async fn variants(launch: &Launch, connections: u32, settle: u64) -> anyhow::Result<Vec<Idle>> {
    let mut runs = Vec::new();
    for variant in ways() {
        eprintln!("{connections} idle connections: {variant:?}");
        runs.push(run(launch, IdleClients { server: Product::Rig, variant, connections, settle }).await?);
    }
    Ok(runs)
}

fn ways() -> impl Iterator<Item = Variant> {
    let [sse, ws, polling] = [Way::Sse, Way::Ws, Way::LongPolling].map(Variant::plain);
    let without_session = [sse, ws, polling].map(|variant| Variant { session: false, ..variant });
    let tls = [sse, ws].map(|variant| Variant { tls: true, ..variant });
    let http2 = [(1, false), (STREAMS, false), (1, true), (STREAMS, true)];
    let http2 = http2.map(|(streams, tls)| Variant { http2: Some(streams), tls, ..sse });
    [sse, ws, polling].into_iter().chain(without_session).chain(tls).chain(http2)
}
