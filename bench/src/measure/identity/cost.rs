//! CPU time of a connect, and of a proxied request with a token: an issuer beside the static key,
//! with the same tokens.

use anyhow::Context;

use super::{Figures, IdentityPlan, Provider};
use crate::Streaming;
use crate::measure::{connect, proxy};
use crate::server::{Launch, Product, proxies};
use crate::stats::Spread;
use crate::token::Signature;

const CONNECTIONS: u32 = 10_000;
const ROUNDS: u32 = 5;

/// Seconds of proxied requests in each round.
const SECONDS: u32 = 5;

/// The most that an issuer may cost, by the static key.
const MOST: f64 = 1.03;

/// Measures.
///
/// # Errors
/// A gateway fails, or a client is refused.
pub(super) async fn run(launch: &Launch, plan: &IdentityPlan) -> anyhow::Result<Figures> {
    let (connections, rounds) = (plan.count(CONNECTIONS, 50), plan.count(ROUNDS, 1));
    let seconds = plan.count(SECONDS, 1);
    let mut figures = Figures::new(format!(
        "{rounds} rounds, in each a gateway with one issuer whose keys are in a file and one with the same key \
         in its settings, with the same tokens, in turns. A connect: {connections} clients of Server-Sent \
         Events, each with a token and a session of its own. A proxied request: wrk with one token, for \
         {seconds} s, one thread at the gateway, which verifies the token once. CPU time of the gateway, user \
         and system; medians of the rounds, ratios of the values of one round."
    ));
    for signature in [Signature::Es256, Signature::Rs256] {
        let provider = Provider::new(signature)?;
        let (mut connects, mut requests) = (Pairs::default(), Pairs::default());
        for round in 0..rounds {
            let mut ways = [(true, provider.trusted(launch)), (false, provider.static_key(launch))];
            ways.rotate_left(round as usize % 2);
            for (is_issuer, launch) in ways {
                eprintln!("round {} of {rounds}: {signature:?}, issuer: {is_issuer}", round + 1);
                let plan =
                    connect::Newcomers { server: Product::Rig, transport: Streaming::Sse, connections };
                let server = launch.start(Product::Rig)?;
                if is_issuer {
                    provider.known(&server).await?;
                }
                connects.add(is_issuer, connect::measure(&server, plan).await?.connect_microseconds);
                drop(server);
                let service = proxies::service(&launch)?;
                let server = proxy::secured(&launch, &service)?;
                if is_issuer {
                    provider.known(&server).await?;
                }
                let token = provider.signer.mint(1)?;
                requests.add(is_issuer, proxy::with_token(&server, &token, seconds)?);
            }
        }
        let name = provider.signer.algorithm();
        connects.show(&mut figures, &format!("connect, {name}"))?;
        requests.show(&mut figures, &format!("proxied request, {name}"))?;
    }
    Ok(figures)
}

/// Values of both, one pair for each round.
#[derive(Default)]
struct Pairs {
    issuer: Vec<f64>,
    static_key: Vec<f64>,
}

impl Pairs {
    fn add(&mut self, is_issuer: bool, value: f64) {
        if is_issuer { &mut self.issuer } else { &mut self.static_key }.push(value);
    }

    fn show(&self, figures: &mut Figures, what: &str) -> anyhow::Result<()> {
        let median = |values: &[f64]| {
            Spread::of(values.iter().copied()).map(|spread| spread.median).context("no rounds")
        };
        let ratios: Vec<_> =
            self.issuer.iter().zip(&self.static_key).map(|(one, other)| one / other).collect();
        figures.show(format!("{what}, static key"), "µs", median(&self.static_key)?);
        figures.show(format!("{what}, issuer"), "µs", median(&self.issuer)?);
        figures.at_most(format!("{what}, issuer to static key"), "", median(&ratios)?, MOST);
        Ok(())
    }
}
