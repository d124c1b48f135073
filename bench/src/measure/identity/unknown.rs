//! What clients notice of tokens that name keys which the issuer does not have.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Figures, IdentityPlan, Provider};
use crate::Streaming;
use crate::client::{Publisher, look_in};
use crate::server::{Launch, Product, RunningServer};
use crate::stats::{millis, quantile};
use crate::token::Signature;

/// Tokens, each with another `kid`.
const TOKENS: u32 = 10_000;

/// For all of them.
const WITHIN: Duration = Duration::from_secs(10);

/// Requests with such tokens at the same time.
const LANES: u32 = 8;

/// Between two clients with good tokens.
const PACE: Duration = Duration::from_millis(20);

/// Measures.
///
/// # Errors
/// A gateway fails, a bad token is accepted, or a good one is refused.
pub(super) async fn run(launch: &Launch, plan: &IdentityPlan) -> anyhow::Result<Figures> {
    let tokens = plan.count(TOKENS, 40);
    let within = WITHIN.mul_f64(f64::from(tokens) / f64::from(TOKENS));
    let mut figures = Figures::new(format!(
        "{tokens} requests for Server-Sent Events with RS256 tokens of an issuer, each with another `kid`, evenly \
         over {:.1} s and over {LANES} connections, while a client with a good token connects, learns that it \
         is subscribed and leaves every {} ms; the same clients for as long before that are what it is compared with.",
        within.as_secs_f64(),
        PACE.as_millis()
    ));
    let provider = Provider::new(Signature::Rs256)?;
    let server = provider.trusted(launch).start(Product::Rig)?;
    provider.known(&server).await?;
    let mut before = good(&server, 0, within).await?;
    let resident = server.memory()?;
    let requests: Vec<Vec<u8>> =
        (0..tokens).map(|number| bad(&server, number)).collect::<anyhow::Result<_>>()?;
    let lanes = (0..LANES as usize).map(|lane| {
        let mine: Vec<_> = requests.iter().skip(lane).step_by(LANES as usize).collect();
        refused(&server, mine, within)
    });
    let flood = futures_util::future::try_join_all(lanes);
    let (_, mut during) = tokio::try_join!(flood, good(&server, 1_000_000, within))?;
    for part in [0.5, 0.99] {
        figures.times("connect with a good token, before", &mut before, part, None);
        figures.times("connect with a good token, meanwhile", &mut during, part, None);
    }
    let p99 = |times: &[Duration]| millis(quantile(times, 0.99));
    figures.at_most("p99, meanwhile to before", "", p99(&during) / p99(&before), 2.0);
    let grown = server.memory()?.rss_kib as f64 - resident.rss_kib as f64;
    figures.show("resident set, more than before", "KiB", grown);
    Ok(figures)
}

/// Good clients at an even pace. Returns how long each took, in ascending order.
async fn good(server: &RunningServer, first: u32, within: Duration) -> anyhow::Result<Vec<Duration>> {
    let count = (within.as_millis() / PACE.as_millis()) as u32;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut times = Vec::with_capacity(count as usize);
    for number in first..first + count {
        // From when it was due, so that a pause of the gateway counts for all whom it delays.
        let due = pace.tick().await;
        look_in(server, Streaming::Sse, number).await?;
        times.push(due.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Sends these requests one after the other, at an even pace. Each must be refused.
async fn refused(server: &RunningServer, requests: Vec<&Vec<u8>>, within: Duration) -> anyhow::Result<()> {
    let mut client = Publisher::connect(server.address).await?;
    let mut pace = interval(within / requests.len().max(1) as u32);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let since = Instant::now();
    for request in requests {
        pace.tick().await;
        let (status, body) = client.ask(request).await?;
        anyhow::ensure!(status == 400, "answered {status}: {}", String::from_utf8_lossy(&body));
    }
    anyhow::ensure!(since.elapsed() < within * 3, "the refusals took {:?}", since.elapsed());
    Ok(())
}

/// A request with the token of client `number`, whose header names another key.
fn bad(server: &RunningServer, number: u32) -> anyhow::Result<Vec<u8>> {
    let token = server.token(number)?;
    let (_, rest) = token.split_once('.').unwrap_or_default();
    let header = format!(r#"{{"alg":"RS256","kid":"unknown-{number}"}}"#);
    let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
    let head = "GET /_rig/v1/connection/sse HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ";
    Ok(format!("{head}{token}\r\n\r\n").into_bytes())
}
