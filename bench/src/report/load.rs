//! What is said of connects, of events for few or nobody, of slow readers, and of clients that come
//! and go.

use super::{cell, label, line, name};
use crate::Transport;
use crate::measure::connect::Connect;
use crate::measure::filter::Filter;
use crate::measure::publish::Publish;
use crate::server::Product;
use crate::stats::Spread;
use crate::suite::Results;

/// Those that have all of this.
const SERVERS: [Product; 2] = [Product::Rig, Product::Nginx];

pub(super) fn connects(results: &Results) -> String {
    let mut text = format!(
        "## Connecting and leaving\n\n\
         {} clients, 64 at a time; those of the gateway each with an HS256 token of their own, those of nchan without. From \
         the TCP connection until the client is told that it is subscribed; then all close their connections, until the \
         server counts none. CPU time of the server for each.\n\n\
         | | connect: CPU, µs | in the kernel | connects/s | leave: CPU, µs | clients' CPU for a connect, µs |\n\
         | --- | ---: | ---: | ---: | ---: | ---: |\n",
        results.plan.connections
    );
    for transport in [Transport::Sse, Transport::Ws] {
        for server in SERVERS {
            let of = |value: fn(&Connect) -> f64| results.connect(server, transport, value);
            let Some(cpu) = of(|run| run.connect_microseconds) else { continue };
            line(
                &mut text,
                format_args!(
                    "| {}, {} | {} | {} % | {} | {} | {} |",
                    name(server),
                    label(transport),
                    cell(Some(cpu), 1),
                    of(|run| run.connect_system_part * 100.0).map_or(0, |part| part.median.round() as u32),
                    cell(of(|run| run.connects_per_second), 0),
                    cell(of(|run| run.leave_microseconds), 1),
                    cell(of(|run| run.client_microseconds), 1)
                ),
            );
        }
    }
    text
}

pub(super) fn filter(results: &Results) -> String {
    let mut text = "## One event to one of many\n\n\
                    All subscriptions are of one event type and constrain the same field, each to another value; each event \
                    is for one of them, in random order. CPU time to find it, from the event's bytes; with the gateway's own \
                    library, in the process of the benchmark.\n\n\
                    | subscriptions | CPU, µs | bytes of memory for each |\n| ---: | ---: | ---: |\n"
        .to_owned();
    for (number, cpu) in results.filter() {
        // What the runs before have given back is used again: only the largest says something.
        let largest = |run: &&Filter| run.subscriptions == number && number == results.plan.subscriptions;
        let bytes = Spread::of(results.filter.iter().filter(largest).map(|run| run.bytes_per_subscription));
        line(&mut text, format_args!("| {number} | {} | {} |", cell(Some(cpu), 2), cell(bytes, 0)));
    }
    text.push_str(
        "\n![CPU time to find the subscriber over their number](filter.svg)\n\n\
         It is a look-up in a hash table; no subscription that wants another value is looked at.\n",
    );
    text
}

pub(super) fn without_subscribers(results: &Results) -> String {
    let mut text = "## An event without subscribers\n\n\
                    One event of 256 bytes in each request, over connections that are kept; each publisher sends the next \
                    when its last is answered. CPU time of the server for each event.\n\n\
                    | | publishers | CPU, µs | in the kernel | events/s | answer: p50, ms | p99, ms | clients' CPU, µs |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    for publishers in [32, 1] {
        for server in SERVERS {
            let of = |value: fn(&Publish) -> f64| results.publish(server, publishers, value);
            let Some(cpu) = of(|run| run.server_microseconds) else { continue };
            line(
                &mut text,
                format_args!(
                    "| {} | {publishers} | {} | {} % | {} | {} | {} | {} |",
                    name(server),
                    cell(Some(cpu), 2),
                    of(|run| run.server_system_part * 100.0).map_or(0, |part| part.median.round() as u32),
                    cell(of(|run| run.events_per_second), 0),
                    cell(of(|run| run.answer_p50_milliseconds), 2),
                    cell(of(|run| run.answer_p99_milliseconds), 2),
                    cell(of(|run| run.client_microseconds), 2)
                ),
            );
        }
    }
    text
}

pub(super) fn slow_readers(results: &Results) -> String {
    let Some(first) = results.slow.first() else { return String::new() };
    let mut text = format!(
        "## Slow readers among others\n\n\
         {} clients that read all (SSE), {} events of {} bytes, {} in a second; once alone, once beside clients that read a \
         thousand bytes in a second. From the time when an event was due until a client that reads all has it. RSS: what is more of it when all events have arrived than before the first; \
         servers that have cut slow readers off have given their buffers back by then. One run of each.\n\n\
         | | slow readers | p50, ms | p99, ms | CPU for a delivery, µs | slow ones cut off | growth of the RSS, MiB |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        first.subscribers, first.events, first.event_bytes, first.rate
    );
    for run in &results.slow {
        line(
            &mut text,
            format_args!(
                "| {} | {} | {:.2} | {:.2} | {:.2} | {} | {:.1} |",
                name(run.server),
                run.slow,
                run.p50_milliseconds,
                run.p99_milliseconds,
                run.server_microseconds,
                run.cut,
                run.grown_kib as f64 / 1024.0
            ),
        );
    }
    text
}

pub(super) fn coming_and_going(results: &Results) -> String {
    let churn = &results.churn;
    let mib = |spread: Spread| cell(Some(spread.scaled(1.0 / 1024.0)), 2);
    format!(
        "## Clients that come and go\n\n\
         For {} s, {} clients at a time (half SSE, half WebSocket): each connects in a session of its own, subscribes, gets an \
         event and leaves; {} did. RSS of the gateway in the second fifth of the time: {} MiB; in the last fifth: {} MiB; \
         {:+.1} %. When all had left it counted {} connections, {} sessions, {} subscriptions.\n\n\
         ![RSS while clients come and go](churn.svg)\n",
        churn.seconds,
        churn.clients,
        churn.visits,
        mib(churn.early),
        mib(churn.late),
        churn.growth(),
        churn.population.connections,
        churn.population.sessions.unwrap_or_default(),
        churn.population.subscriptions.unwrap_or_default()
    )
}
