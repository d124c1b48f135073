//! What a proxied request costs, as a page of Markdown.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::{met, show};
use crate::machine::Testbed;
use crate::measure::cut::{self, CutRound};
use crate::measure::proxy::{self, Contender, Rounds, Run};
use crate::server::{Launch, Product};
use crate::stats::Spread;

/// µs for a request of RIG 3.0.0 on a machine of this kind. Not measured here.
const RIG_3: &str = "270–310";

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct ProxyRuns {
    machine: Testbed,
    plan: Rounds,
    runs: Vec<Run>,
    cuts: Vec<CutRound>,
}

/// Measures and writes `proxy.md` and `proxy.json` into the folder.
///
/// # Errors
/// One of the runs fails, or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: &Rounds, out: &Path) -> anyhow::Result<()> {
    let machine = Testbed::look(launch, &[Product::Rig, Product::Nginx, Product::Haproxy])?;
    let cuts = cut::run(launch, plan.rounds).await?;
    let runs = proxy::run(launch, plan)?;
    let results = ProxyRuns { machine, plan: plan.clone(), runs, cuts };
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let mut raw = serde_json::to_string_pretty(&results)?;
    raw.push('\n');
    let page = page(&results)?;
    for (name, text) in [("proxy.json", &raw), ("proxy.md", &page)] {
        let file = out.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    print!("{page}");
    Ok(())
}

fn page(results: &ProxyRuns) -> anyhow::Result<String> {
    let ProxyRuns { machine, plan, runs, cuts } = results;
    let peers = machine.peers.join(", ");
    let mut text = format!(
        "# A proxied request\n\n\
         Written by `scripts/bench proxy` on {} (UTC); every single run is in [proxy.json](proxy.json). {}, {} cores; \
         wrk, the proxy and the service (nginx, 64 bytes) share them; load average {} when it began. Gateway: {}, \
         commit {}; {peers}.\n\n\
         GET, keep-alive, 32 connections, each proxy with one thread; {} runs of {} s each, in turns. CPU time of the \
         proxy for a request (user and system), medians; in brackets the least and the most. Ratios are of runs of the \
         same round.\n\n\
         | | CPU, µs | in the kernel | to nginx | to the open endpoint | goal | |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        machine.time,
        machine.processor,
        machine.cores,
        machine.load,
        machine.rig,
        machine.commit,
        plan.rounds,
        plan.seconds
    );
    let many = format!("gateway, {} endpoints more", plan.endpoints);
    for (subject, name, goal) in [
        (Contender::Nginx, "nginx", None),
        (Contender::Haproxy, "haproxy", None),
        (Contender::Open, "gateway, open endpoint", Some((Contender::Nginx, 1.0))),
        (Contender::Rewritten, "gateway, path replaced", None),
        (Contender::Hs256, "gateway, HS256 token", Some((Contender::Open, 1.1))),
        (Contender::Es256, "gateway, ES256 token", Some((Contender::Open, 1.1))),
        (Contender::Many, &many, Some((Contender::Open, 1.05))),
    ] {
        let of = |value: fn(&Run) -> f64| {
            let values = runs.iter().filter(|run| run.subject == subject).map(value);
            Spread::of(values).with_context(|| format!("no run of {name}"))
        };
        let (cpu, system) = (of(|run| run.microseconds)?, of(|run| run.system_part)?.median * 100.0);
        let to = |other| ratio(runs, subject, other).with_context(|| format!("no ratio of {name}"));
        let (goal, is_met) = match goal {
            Some((other, most)) => {
                let of = if other == Contender::Nginx { "nginx" } else { "open" };
                (format!("≤ {most} × {of}"), met(to(other)?.median <= most))
            }
            None => Default::default(),
        };
        writeln!(
            text,
            "| {name} | {} | {system:.0} % | {} | {} | {goal} | {is_met} |",
            show(cpu, 2),
            show(to(Contender::Nginx)?, 2),
            show(to(Contender::Open)?, 2)
        )?;
    }
    writeln!(
        text,
        "\nRIG 3.0.0 took {RIG_3} µs on a machine of this kind; that was not measured in this run. \
         [proxy-profile.md](proxy-profile.md) says where the gateway's time goes."
    )?;
    let spread =
        |value: fn(&CutRound) -> f64| Spread::of(cuts.iter().map(value)).context("no session was revoked");
    writeln!(
        text,
        "\n## Revoking a session with {} downloads and {} upgraded connections\n\n\
         `POST /v3/session-blacklist`, on disk before it is answered; {} rounds. Downloads of another session went on. \
         Answered after {} ms; the last client was cut after {} ms.",
        cut::DOWNLOADS,
        cut::TUNNELS,
        cuts.len(),
        show(spread(|cut| cut.answered_milliseconds)?, 1),
        show(spread(|cut| cut.last_cut_milliseconds)?, 1)
    )?;
    Ok(text)
}

/// How much one takes of what another takes, round by round.
fn ratio(runs: &[Run], subject: Contender, other: Contender) -> Option<Spread> {
    let of = |subject, round| runs.iter().find(|run| run.subject == subject && run.round == round);
    let rounds = runs.iter().map(|run| run.round).max()?;
    Spread::of(
        (1..=rounds)
            .filter_map(|round| Some(of(subject, round)?.microseconds / of(other, round)?.microseconds)),
    )
}
