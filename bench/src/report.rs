//! The results as a page of Markdown, and as plots.

pub(crate) mod beside;
mod delivery;
mod figures;
mod goals;
mod idle;
mod load;
mod method;
mod plots;
pub(crate) mod proxy;
mod revocations;

use std::fmt::Write;

use crate::Transport;
use crate::server::Product;
use crate::stats::Spread;
use crate::suite::Results;

pub(crate) use plots::plots;

/// KiB that the gateway may take without any connection.
const IDLE_GOAL: f64 = 20.0 * 1024.0;

/// Milliseconds that the gateway may take to start.
const START_GOAL: f64 = 100.0;

/// The page.
pub(crate) fn markdown(results: &Results) -> String {
    let sections = [
        head,
        goals::section,
        idle::section,
        start,
        load::connects,
        delivery::one_at_a_time,
        delivery::sustained,
        load::filter,
        load::without_subscribers,
        load::slow_readers,
        revocations::section,
        load::coming_and_going,
        method::section,
    ];
    sections.map(|section| section(results)).join("\n")
}

fn head(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "# Performance\n\n\
         Written by `scripts/bench` on {} (UTC); every single run is in [raw.json](raw.json).\n\n\
         | | |\n| --- | --- |\n\
         | machine | {}, {} cores, {} GiB; clients and server share it; load average {} when it began |\n\
         | system | {}, {} |\n\
         | gateway | {}, commit {}, {} |\n\
         | beside it | {} |\n\n\
         Values are medians; in brackets the least and the most of all runs. Ratios are of runs of the same round. The \
         floor is a program that makes one write of the ready frame for each subscriber and nothing else: \
         `bench/src/bin/rig-bench-floor`.\n",
        machine.time,
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.load,
        machine.system,
        machine.kernel,
        machine.rig,
        machine.commit,
        machine.compiler,
        machine.peers.join("; ")
    )
}

fn start(results: &Results) -> String {
    let start = &results.start;
    let before =
        results.idle.iter().filter(|run| run.server == Product::Rig).map(|run| run.before.rss_kib as f64);
    let before = Spread::of(before).map(|kib| kib.scaled(1.0 / 1024.0));
    format!(
        "## Start\n\n\
         From starting the process until a client has connected and its first request is answered: {} ms \
         (goal: below 100; {}), {} starts. Without connections, a second after its start: {} MiB RSS (goal: below 20; \
         {}).\n",
        show(start.milliseconds, 1),
        met(start.milliseconds.median < START_GOAL),
        start.times,
        cell(before, 1),
        met(before.is_some_and(|before| before.median * 1024.0 < IDLE_GOAL))
    )
}

fn spread_of(values: impl Iterator<Item = f64>) -> Spread {
    Spread::of(values).unwrap_or(Spread { median: f64::NAN, least: f64::NAN, most: f64::NAN })
}

pub(super) fn show(spread: Spread, digits: usize) -> String {
    let Spread { median, least, most } = spread;
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

/// Empty where nothing was measured; without brackets where it was measured once.
fn cell(spread: Option<Spread>, digits: usize) -> String {
    match spread {
        None => String::new(),
        Some(Spread { median, least, most }) if least == most => format!("{median:.digits$}"),
        Some(spread) => show(spread, digits),
    }
}

pub(super) fn met(yes: bool) -> &'static str {
    if yes { "met" } else { "**missed**" }
}

fn name(server: Product) -> &'static str {
    match server {
        Product::Rig => "gateway",
        Product::Nginx => "nginx, nchan",
        Product::Haproxy => "haproxy",
        Product::Floor => "floor",
        Product::Pushpin => "Pushpin",
        Product::SocketIo => "Socket.IO",
    }
}

fn label(transport: Transport) -> &'static str {
    match transport {
        Transport::Sse => "SSE",
        Transport::Ws => "WebSocket",
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes all text");
}
