//! What clients notice while an issuer logs many others out.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{Figures, IdentityPlan, Provider};
use crate::Streaming;
use crate::client::{Crowd, Publisher};
use crate::measure::bystanders::{Bystanders, PACE};
use crate::server::{Launch, Product, RunningServer};
use crate::stats::{millis, quantile};
use crate::token::Signature;

/// Sessions that are logged out, each with one connection.
const LOGOUTS: u32 = 10_000;

/// For all of them.
const WITHIN: Duration = Duration::from_secs(60);

/// Clients of other sessions, which count the time that each event takes.
const BYSTANDERS: u32 = 1000;

/// The number of the first client that is logged out; the bystanders count from zero.
const FIRST: u32 = 1_000_000;

/// Requests of the issuer at the same time.
const ISSUERS: u32 = 8;

/// Measures.
///
/// # Errors
/// A gateway fails, a logout is refused, or a bystander loses an event.
pub(super) async fn run(launch: &Launch, plan: &IdentityPlan) -> anyhow::Result<Figures> {
    let (logouts, bystanders) = (plan.count(LOGOUTS, 40), plan.count(BYSTANDERS, 10));
    let within = WITHIN.mul_f64(f64::from(logouts) / f64::from(LOGOUTS));
    let mut figures = Figures::new(format!(
        "{logouts} sessions with one connection each are logged out by RS256 logout tokens, evenly over \
         {:.1} s and over {ISSUERS} connections of the issuer, while an event every {} ms goes to \
         {bystanders} clients of other sessions; the same events for as long before that are what it is \
         compared with. Time is from when an event is due until a bystander has it.",
        within.as_secs_f64(),
        PACE.as_millis()
    ));
    let provider = Provider::new(Signature::Rs256)?;
    let server = provider.trusted(launch).start(Product::Rig)?;
    provider.known(&server).await?;
    let gone = Crowd::unsubscribed(&server, Streaming::Sse, FIRST..FIRST + logouts).await?;
    let mut audience = Bystanders::connect(&server, bystanders).await?;

    let mut before = audience.watch(within, async { Ok(()) }).await?;
    let requests = (0..logouts).map(|number| provider.logout(&server, FIRST + number));
    let requests = requests.collect::<anyhow::Result<Vec<_>>>()?;
    let (mut answered, done) = (Vec::new(), Instant::now());
    let logging_out = async {
        let lanes = (0..ISSUERS as usize).map(|lane| {
            let mine: Vec<_> = requests.iter().skip(lane).step_by(ISSUERS as usize).collect();
            log_out(&server, mine, within)
        });
        answered = futures_util::future::try_join_all(lanes).await?.concat();
        anyhow::Ok(())
    };
    let mut during = audience.watch(within, logging_out).await?;
    let took = done.elapsed();
    let left = server.population().await?.connections;
    anyhow::ensure!(left == u64::from(bystanders), "{left} connections are left, {bystanders} should be");
    gone.leave().await;

    figures.at_least("logouts in a minute", "", f64::from(logouts) * 60.0 / took.as_secs_f64(), 9_900.0);
    for part in [0.5, 0.99] {
        figures.times("200", &mut answered, part, None);
        figures.times("event to a bystander, before", &mut before, part, None);
        figures.times("event to a bystander, meanwhile", &mut during, part, None);
    }
    let p99 = |times: &[Duration]| millis(quantile(times, 0.99));
    figures.at_most("p99, meanwhile to before", "", p99(&during) / p99(&before), 2.0);
    Ok(figures)
}

/// Sends these requests one after the other, at an even pace, over one connection.
async fn log_out(
    server: &RunningServer,
    requests: Vec<&Vec<u8>>,
    within: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let mut issuer = Publisher::connect(server.address).await?;
    let mut pace = interval(within / requests.len().max(1) as u32);
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut times = Vec::with_capacity(requests.len());
    for request in requests {
        pace.tick().await;
        let asked = Instant::now();
        let (status, body) = issuer.ask(request).await?;
        times.push(asked.elapsed());
        anyhow::ensure!(status == 200, "answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(times)
}
