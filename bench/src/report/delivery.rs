//! What is said of deliveries.

use super::{cell, label, line, name};
use crate::Transport;
use crate::event;
use crate::measure::fanout::Fanout;
use crate::measure::sustained::Sustained;
use crate::server::Product;
use crate::suite::Results;

/// Those that are compared, in the order of the rows.
const ROWS: [(Product, Transport); 8] = [
    (Product::Rig, Transport::Sse),
    (Product::Floor, Transport::Sse),
    (Product::Nginx, Transport::Sse),
    (Product::Rig, Transport::Ws),
    (Product::Floor, Transport::Ws),
    (Product::Nginx, Transport::Ws),
    (Product::SocketIo, Transport::Ws),
    (Product::Pushpin, Transport::Ws),
];

pub(super) fn one_at_a_time(results: &Results) -> String {
    let plan = &results.plan;
    let mut text = format!(
        "## Delivery, one event at a time\n\n\
         {} subscribers, events of {} bytes, each to all of them; the next follows when all have the last. CPU time of the \
         server (user and system, all threads and processes) for one event to one subscriber, the publishing of the \
         events included. The time to all is from the publisher's first byte until the last subscriber has the event and \
         the publisher its answer; it contains the clients' own reading, which is one thread.\n\n\
         | | runs | events | CPU, µs | in the kernel | bytes | to all: p50, ms | p99, ms | clients' CPU, µs |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        plan.subscribers,
        event::SIZE
    );
    for (server, transport) in ROWS {
        let of = |value: fn(&Fanout) -> f64| results.fanout(server, transport, value);
        let runs = results.fanout.iter().filter(|run| (run.server, run.transport) == (server, transport));
        let (count, Some(cpu)) = (runs.count(), of(|run| run.server_microseconds)) else { continue };
        line(
            &mut text,
            format_args!(
                "| {}, {} | {count} | {} | {} | {} % | {} | {} | {} | {} |",
                name(server),
                label(transport),
                cell(of(|run| run.events.into()), 0),
                cell(Some(cpu), 2),
                of(|run| run.server_system_part * 100.0).map_or(0, |part| part.median.round() as u32),
                of(|run| run.bytes_per_delivery).map_or(0, |bytes| bytes.median.round() as u32),
                cell(of(|run| run.to_all_p50_milliseconds), 2),
                cell(of(|run| run.to_all_p99_milliseconds), 2),
                cell(of(|run| run.client_microseconds), 2)
            ),
        );
    }
    text.push_str("\n![CPU time of a delivery](delivery.svg)\n\n");
    for transport in [Transport::Sse, Transport::Ws] {
        for other in [Product::Floor, Product::Nginx] {
            let ratio = results.fanout_ratio(other, transport, |run| run.server_microseconds);
            if ratio.is_some() {
                let (transport, other) = (label(transport), name(other));
                let ratio = cell(ratio, 2);
                line(
                    &mut text,
                    format_args!("- {transport}: the gateway takes {ratio} times the CPU time of {other}."),
                );
            }
        }
    }
    text
}

pub(super) fn sustained(results: &Results) -> String {
    let rates = results.rates();
    let mut text = format!(
        "## Delivery while events keep coming\n\n\
         {} subscribers; one connection publishes at a pace, or sends all events as fast as the server takes them and never \
         waits for an answer. CPU time of the server for one event to one subscriber, µs.\n\n",
        results.plan.subscribers
    );
    let columns: String = rates.iter().map(|rate| format!(" {rate} events/s |")).collect();
    line(&mut text, format_args!("| |{columns} never waits | then, deliveries/s | clients' CPU, µs |"));
    line(&mut text, format_args!("| --- |{} ---: | ---: | ---: |", " ---: |".repeat(rates.len())));
    for (server, transport) in ROWS {
        let of = |rate, value: fn(&Sustained) -> f64| results.sustained(server, transport, rate, value);
        let Some(saturated) = of(None, |run| run.server_microseconds) else { continue };
        let paced: String = rates
            .iter()
            .map(|rate| format!(" {} |", cell(of(Some(*rate), |run| run.server_microseconds), 2)))
            .collect();
        line(
            &mut text,
            format_args!(
                "| {}, {} |{paced} {} | {} | {} |",
                name(server),
                label(transport),
                cell(Some(saturated), 2),
                cell(of(None, |run| run.per_second), 0),
                cell(of(None, |run| run.client_microseconds), 2)
            ),
        );
    }
    text.push_str(
        "\n![CPU time of a delivery over the rate](sustained.svg)\n\n\
         Events that come while the gateway still delivers the ones before leave together, in one write for each \
         connection: what a delivery costs falls as the load rises.\n",
    );
    text
}
