//! The results as a page of Markdown.

pub(crate) mod idle;
pub(crate) mod proxy;
mod revocations;

use std::fmt::Write;
use std::path::Path;

use crate::Transport;
use crate::event;
use crate::measure::fanout::Fanout;
use crate::measure::idle::Idle;
use crate::server::{Product, nginx_configuration};
use crate::stats::Spread;
use crate::table::Results;

/// KiB for each connection, with a session of its own, of RIG 3.0.0 on a machine of this kind. Not measured here.
const RIG_3: [(Transport, f64); 2] = [(Transport::Sse, 87.4), (Transport::Ws, 20.8)];

/// KiB for each connection that the gateway may take.
const GOALS: [(Transport, f64); 2] = [(Transport::Sse, 2.5), (Transport::Ws, 3.5)];

/// KiB that the gateway may take without any connection.
const IDLE_GOAL: f64 = 20.0 * 1024.0;

/// Milliseconds that the gateway may take to start.
const START_GOAL: f64 = 100.0;

/// The page.
pub(crate) fn markdown(results: &Results) -> String {
    let sections = [head, memory, start, fanout, revocations::section, method];
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
         Values are medians; in brackets the least and the most of all runs.\n",
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
        machine.nginx
    )
}

fn memory(results: &Results) -> String {
    let plan = &results.plan;
    let mut text = format!(
        "## Memory of an idle connection\n\n\
         {} connections, each with its own JWT session (HS256, its own `jti`) and one subscription, \
         `{{\"eventType\":\"{}\"}}`; {} s after the last connect, so that each has had a heartbeat (WebSocket \
         clients answer the pings). KiB of the \
         server for each connection; memory of the kernel, such as socket buffers, is not in it. {} runs each. \
         nchan knows no sessions: its subscribers present no token.\n\n\
         | | RSS | anonymous part | goal | | RIG 3.0.0¹ |\n| --- | --- | --- | --- | --- | --- |\n",
        plan.connections,
        event::TYPE,
        plan.settle,
        plan.idle_rounds
    );
    for transport in [Transport::Sse, Transport::Ws] {
        for server in [Product::Rig, Product::Nginx] {
            let of = |value: fn(&Idle) -> f64| spread_of(idle(results, server, transport).map(value));
            let rss = of(|run| run.rss_kib_per_connection);
            let goal = lookup(&GOALS, transport);
            let (goal, met, old) = match server {
                Product::Rig => {
                    (format!("≤ {goal}"), met(rss.median <= goal), lookup(&RIG_3, transport).to_string())
                }
                _ => Default::default(),
            };
            let anonymous = show(of(|run| run.anon_kib_per_connection), 2);
            let name = name(server, transport);
            line(
                &mut text,
                format_args!("| {name} | {} | {anonymous} | {goal} | {met} | {old} |", show(rss, 2)),
            );
        }
    }
    let before = spread_of(
        results.idle.iter().filter(|run| run.server == Product::Rig).map(|run| run.before.rss_kib as f64),
    );
    line(&mut text, format_args!("\n¹ Measured before, on a machine of this kind, not in this run.\n"));
    line(
        &mut text,
        format_args!(
            "The gateway without connections, a second after its start: {} MiB RSS (goal: below 20; {}).",
            show(before.scaled(1.0 / 1024.0), 1),
            met(before.median < IDLE_GOAL)
        ),
    );
    text
}

fn start(results: &Results) -> String {
    let start = &results.start;
    format!(
        "## Start\n\n\
         From starting the process until a client has connected and its first request is answered: {} ms \
         (goal: below 100; {}), {} starts.\n",
        show(start.milliseconds, 1),
        met(start.milliseconds.median < START_GOAL),
        start.times
    )
}

fn fanout(results: &Results) -> String {
    let plan = &results.plan;
    let mut text = format!(
        "## Delivery\n\n\
         {} subscribers, {} events of {} bytes, each to all of them, {} runs each; the next event follows when all \
         have the last. CPU time of the server (user and system, all threads and processes) for one event to one \
         subscriber, the publishing of the events included.\n\n\
         | | CPU, µs | in the kernel | bytes | one event to all: p50, ms | p99, ms | clients' CPU, µs |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
        plan.subscribers,
        plan.events,
        event::SIZE,
        plan.fanout_rounds
    );
    for transport in [Transport::Sse, Transport::Ws] {
        for server in [Product::Rig, Product::Nginx] {
            let of = |value: fn(&Fanout) -> f64| spread_of(runs(results, server, transport).map(value));
            line(
                &mut text,
                format_args!(
                    "| {} | {} | {:.0} % | {:.0} | {} | {} | {} |",
                    name(server, transport),
                    show(of(|run| run.server_microseconds), 2),
                    of(|run| run.server_system_part).median * 100.0,
                    of(|run| run.bytes_per_delivery).median,
                    show(of(|run| run.to_all_p50_milliseconds), 2),
                    show(of(|run| run.to_all_p99_milliseconds), 2),
                    show(of(|run| run.client_microseconds), 2)
                ),
            );
        }
    }
    text.push('\n');
    for transport in [Transport::Sse, Transport::Ws] {
        let ratio = spread_of(ratios(results, transport));
        line(
            &mut text,
            format_args!(
                "- {}: the gateway takes {} times the CPU time of nginx with nchan, compared run by run.",
                label(transport),
                show(ratio, 2)
            ),
        );
    }
    let ticks = results.fanout.iter().map(|run| run.server_ticks).min().unwrap_or(0).max(1);
    line(
        &mut text,
        format_args!(
            "\nThe kernel counts CPU time in ticks; the shortest run has {ticks} of them, one is {:.2} %. The time \
             for one event to all contains the clients' own reading, which is one thread.",
            100.0 / ticks as f64
        ),
    );
    text
}

fn method(results: &Results) -> String {
    let plan = &results.plan;
    let configuration = nginx_configuration(Path::new("FOLDER"), ([127, 0, 0, 1], 8080).into());
    format!(
        "## How it is measured\n\n\
         ```sh\nscripts/bench   # builds, installs nginx and nchan (Debian), then runs:\n\
         target/release/rig-bench table --connections {} --settle {} --idle-rounds {} --starts {} \
         --subscribers {} --events {} --fanout-rounds {} {}\n```\n\n\
         Single runs: `rig-bench idle`, `rig-bench start`, `rig-bench fanout`, with `--server nginx` for the other \
         side; `rig-bench revoke`, `rig-bench sessions`, `rig-bench journal`.\n\n\
         - Each run starts a server of its own. The runs of the two servers take turns, A B A B.\n\
         - RSS, anonymous and shared parts are `VmRSS`, `RssAnon`, `RssShmem` of `/proc/PID/status`, summed over the \
         server's processes, less the same before the first client. CPU time is `utime` + `stime` of \
         `/proc/PID/stat`.\n\
         - The gateway runs with its defaults: a worker thread for each core, session checks on. Only the limit of \
         connections per minute is raised. While all clients wait, it is asked for its metrics, and must say as many \
         connections, sessions and subscriptions as there are clients.\n\
         - After the memory has been read, one event is published and must reach every client, byte for byte.\n\
         - In the fan-out, the first event is compared byte for byte by every subscriber, and the copies of every \
         event are counted: one too few or too many fails the run.\n\
         {}\
         - nginx has a master and one worker; nchan is at its defaults, but for heartbeats every 15 s as the gateway's. \
         Its configuration:\n\n\
         ```nginx\n{configuration}```\n",
        plan.connections,
        plan.settle,
        plan.idle_rounds,
        plan.starts,
        plan.subscribers,
        plan.events,
        plan.fanout_rounds,
        revocations::options(plan),
        revocations::METHOD
    )
}

fn idle(results: &Results, server: Product, transport: Transport) -> impl Iterator<Item = &Idle> {
    results.idle.iter().filter(move |run| (run.server, run.variant) == (server, transport.into()))
}

fn runs(results: &Results, server: Product, transport: Transport) -> impl Iterator<Item = &Fanout> {
    results.fanout.iter().filter(move |run| (run.server, run.transport) == (server, transport))
}

/// Of each round: the gateway's CPU time by nginx's.
fn ratios(results: &Results, transport: Transport) -> impl Iterator<Item = f64> {
    let both = runs(results, Product::Rig, transport).zip(runs(results, Product::Nginx, transport));
    both.map(|(rig, nginx)| rig.server_microseconds / nginx.server_microseconds)
}

fn spread_of(values: impl Iterator<Item = f64>) -> Spread {
    Spread::of(values).unwrap_or(Spread { median: f64::NAN, least: f64::NAN, most: f64::NAN })
}

pub(super) fn show(spread: Spread, digits: usize) -> String {
    let Spread { median, least, most } = spread;
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

pub(super) fn met(yes: bool) -> &'static str {
    if yes { "met" } else { "**missed**" }
}

fn lookup(table: &[(Transport, f64)], transport: Transport) -> f64 {
    table.iter().find(|(key, _)| *key == transport).map_or(f64::NAN, |(_, value)| *value)
}

fn name(server: Product, transport: Transport) -> String {
    let server = match server {
        Product::Rig => "gateway",
        Product::Nginx => "nginx, nchan",
        Product::Haproxy => "haproxy",
        Product::Floor => "floor",
        Product::Pushpin => "Pushpin",
        Product::SocketIo => "Socket.IO",
    };
    format!("{server}, {}", label(transport))
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
