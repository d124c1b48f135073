//! CPU time of a proxied request: the gateway, nginx and haproxy before the same service, in turns.

use std::process::Command;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use crate::process::Cpu;
use crate::server::{Launch, RunningServer, proxies};
use crate::token::{self, Signature, Signer};

/// What wrk keeps open.
const CONNECTIONS: u32 = 32;

/// How many runs, and of what length.
#[derive(Clone, Debug, Args, Serialize)]
pub(crate) struct Rounds {
    /// Runs of each.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) rounds: u32,
    /// Seconds of each run; one more before it does not count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) seconds: u32,
    /// Endpoints of the gateway that has many.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) endpoints: u32,
}

/// What is measured: a proxy, or a kind of endpoint of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Contender {
    Nginx,
    Haproxy,
    /// The gateway, an endpoint without a token.
    Open,
    /// The same, with `path_replacement`.
    Rewritten,
    /// An endpoint with a token.
    Hs256,
    Es256,
    /// The endpoint without a token, among many others.
    Many,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) subject: Contender,
    pub(crate) round: u32,
    pub(crate) requests: u64,
    /// CPU time of the proxy for a request.
    pub(crate) microseconds: f64,
    /// The part of it inside the kernel, 0 to 1.
    pub(crate) system_part: f64,
}

/// A server and the request that it gets.
struct Case<'a> {
    subject: Contender,
    server: &'a RunningServer,
    path: &'static str,
    token: Option<String>,
}

/// Measures all, in turns.
///
/// # Errors
/// A server cannot be started, or an answer is not the service's.
pub(crate) fn run(launch: &Launch, plan: &Rounds) -> anyhow::Result<Vec<Run>> {
    let service = proxies::service(launch)?;
    let nginx = proxies::nginx_proxy(launch, service.address)?;
    let haproxy = proxies::haproxy(launch, service.address)?;
    let few = gateway(launch, &service, 0, token::SECRET, "HS256")?;
    let many = gateway(launch, &service, plan.endpoints, token::SECRET, "HS256")?;
    let signer = Signer::new(Signature::Es256)?;
    let es256 = gateway(launch, &service, 0, signer.public_key(), "ES256")?;
    let case = |subject, server, path, token| Case { subject, server, path, token };
    let cases = [
        case(Contender::Nginx, &nginx, "/open", None),
        case(Contender::Open, &few, "/open", None),
        case(Contender::Haproxy, &haproxy, "/open", None),
        case(Contender::Hs256, &few, "/secured", Some(token::mint(1)?)),
        case(Contender::Many, &many, "/open", None),
        case(Contender::Es256, &es256, "/secured", Some(signer.mint(1)?)),
        case(Contender::Rewritten, &few, "/rewritten/a/b", None),
    ];
    let mut runs = Vec::new();
    for round in 1..=plan.rounds {
        for case in &cases {
            eprintln!("proxied requests, round {round} of {}: {:?}", plan.rounds, case.subject);
            case.load(1)?;
            let (used, requests) = case.measure(plan.seconds)?;
            let microseconds = used.microseconds_each(requests as f64);
            let (subject, system_part) = (case.subject, used.system_part());
            runs.push(Run { subject, round, requests, microseconds, system_part });
        }
    }
    Ok(runs)
}

/// CPU time of a request to the open endpoint and to the one with a token, µs, for one gateway.
///
/// # Errors
/// A server cannot be started, or an answer is not the service's.
pub(crate) fn both(launch: &Launch, seconds: u32) -> anyhow::Result<[(&'static str, f64); 2]> {
    let service = proxies::service(launch)?;
    let server = gateway(launch, &service, 0, token::SECRET, "HS256")?;
    let each = |subject, path, token| {
        let case = Case { subject, server: &server, path, token };
        case.load(1)?;
        case.measure(seconds).map(|(used, requests)| used.microseconds_each(requests as f64))
    };
    Ok([
        ("proxied request", each(Contender::Open, "/open", None)?),
        ("proxied request with a token", each(Contender::Hs256, "/secured", Some(token::mint(1)?))?),
    ])
}

/// A gateway with one thread, and `others` endpoints more.
pub(super) fn gateway(
    launch: &Launch,
    service: &RunningServer,
    others: u32,
    key: &str,
    alg: &str,
) -> anyhow::Result<RunningServer> {
    let settings = [("TOKIO_WORKER_THREADS", "1"), ("JWT_SECRET_KEY", key), ("JWT_ALG", alg)];
    proxies::gateway(launch, service.address, endpoints(others), &settings)
}

/// A gateway with one thread that trusts the tokens of `launch`.
pub(super) fn secured(launch: &Launch, service: &RunningServer) -> anyhow::Result<RunningServer> {
    proxies::gateway(launch, service.address, endpoints(0), &[("TOKIO_WORKER_THREADS", "1")])
}

/// CPU time of a request with this token to the endpoint that needs one. µs.
///
/// # Errors
/// An answer is not the service's.
pub(super) fn with_token(server: &RunningServer, token: &str, seconds: u32) -> anyhow::Result<f64> {
    load(server, "/secured", Some(token), 1)?;
    let before = server.cpu()?;
    let requests = load(server, "/secured", Some(token), seconds)?;
    Ok((server.cpu()? - before).microseconds_each(requests as f64))
}

fn endpoints(others: u32) -> Vec<Value> {
    let mut endpoints = vec![
        json!({ "id": "open", "method": "GET", "path_regex": "/open" }),
        json!({ "id": "secured", "method": "GET", "path_regex": "/secured", "secured": true }),
        json!({ "id": "rewritten", "method": "GET", "path_regex": "/rewritten/(.+)", "path_replacement": "/to/\\1" }),
    ];
    endpoints.extend((0..others).map(|number| {
        let path_regex = match number % 2 {
            0 => format!("/service-{number}/items/[^/]+"),
            _ => format!("/service-{number}/list"),
        };
        json!({ "id": number.to_string(), "method": "GET", "path_regex": path_regex })
    }));
    endpoints
}

impl Case<'_> {
    /// Runs wrk for `seconds`. Returns the CPU time of the server and the number of answers.
    fn measure(&self, seconds: u32) -> anyhow::Result<(Cpu, u64)> {
        let before = self.server.cpu()?;
        let requests = self.load(seconds)?;
        Ok((self.server.cpu()? - before, requests))
    }

    /// Runs wrk for `seconds`. Returns the number of answers.
    fn load(&self, seconds: u32) -> anyhow::Result<u64> {
        load(self.server, self.path, self.token.as_deref(), seconds)
            .with_context(|| format!("{:?}", self.subject))
    }
}

/// Runs wrk for `seconds`. Returns the number of answers.
fn load(server: &RunningServer, path: &str, token: Option<&str>, seconds: u32) -> anyhow::Result<u64> {
    let mut wrk = Command::new("wrk");
    wrk.arg("-t1").arg(format!("-c{CONNECTIONS}")).arg(format!("-d{seconds}s"));
    if let Some(token) = token {
        wrk.arg("-H").arg(format!("Authorization: Bearer {token}"));
    }
    wrk.arg(format!("http://{}{path}", server.address));
    let output = wrk.output().context("wrk cannot be run; scripts/bench installs it")?;
    let said = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(output.status.success(), "wrk: {said}");
    anyhow::ensure!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in "));
    requests.and_then(|(count, _)| count.parse().ok()).with_context(|| format!("wrk says {said}"))
}
