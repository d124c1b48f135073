//! What is said of the memory of idle connections.

use super::{cell, line, spread_of};
use crate::client::{Variant, Way};
use crate::event;
use crate::measure::idle::Idle;
use crate::server::Product;
use crate::suite::Results;

pub(super) fn section(results: &Results) -> String {
    let plan = &results.plan;
    let few = results.variants.first().map_or(0, |run| run.settle_seconds);
    let mut text = format!(
        "## Memory of an idle connection\n\n\
         KiB of the server for each connection; memory of the kernel, such as socket buffers, is not in it. {} \
         connections, each with its own JWT session (HS256, its own `jti`) and one subscription, \
         `{{\"eventType\":\"{}\"}}`; {} s after the last connect, so that each has had a heartbeat (WebSocket clients answer \
         the pings). The others know no sessions: their subscribers present no token; Socket.IO and Pushpin have at most \
         5000 connections, once.\n\n\
         | | RSS | anonymous part |\n| --- | ---: | ---: |\n",
        plan.connections,
        event::TYPE,
        plan.settle
    );
    let mut known = Vec::new();
    for run in &results.idle {
        if known.contains(&(run.server, run.variant)) {
            continue;
        }
        known.push((run.server, run.variant));
        let of = |value| cell(results.idle(run.server, run.variant, value), 2);
        let (rss, anonymous) = (of(|run| run.rss_kib_per_connection), of(|run| run.anon_kib_per_connection));
        let (server, way) = (super::name(run.server), name(run.variant));
        line(&mut text, format_args!("| {server}, {way} | {rss} | {anonymous} |"));
    }
    let (numbers, variants) = (numbers(&results.numbers), variants(&results.variants));
    line(
        &mut text,
        format_args!(
            "\nOther numbers of connections, {few} s after the last connect. More than one process may have come from several \
             processes of the gateway and of clients; RSS is that of all gateways together.\n\n{numbers}\n\
             ![RSS of an idle connection over their number](idle.svg)\n\n\
             What the gateway holds for one of them, part by part: [memory.md](memory.md).\n\n\
             The gateway with {} connections in every way, {few} s after the last connect. An idle client of long polling \
             has a poll that waits.\n\n{variants}",
            plan.connections
        ),
    );
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// One row for each number of connections.
fn numbers(runs: &[Idle]) -> String {
    let columns = [(Product::Rig, Way::Sse), (Product::Rig, Way::Ws), (Product::Nginx, Way::Sse)];
    let mut text = "| connections | processes | gateway, SSE | gateway, WebSocket | nginx, nchan, SSE |\n\
                    | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let mut rows: Vec<_> = runs.iter().map(|run| (run.connections, run.processes)).collect();
    rows.sort_unstable();
    rows.dedup();
    for row in rows {
        let cells = columns.map(|(server, way)| {
            let variant = Variant::plain(way);
            one(runs, |run| {
                (run.connections, run.processes, run.server, run.variant) == (row.0, row.1, server, variant)
            })
        });
        line(&mut text, format_args!("| {} | {} | {} |", row.0, row.1, cells.join(" | ")));
    }
    text
}

/// One row for each way to wait, in the order of the runs.
fn variants(runs: &[Idle]) -> String {
    let mut text = "| | session | RSS | anonymous part |\n| --- | --- | ---: | ---: |\n".to_owned();
    let mut known = Vec::new();
    for run in runs.iter().filter(|run| run.server == Product::Rig) {
        if known.contains(&run.variant) {
            continue;
        }
        known.push(run.variant);
        let same = |value: fn(&Idle) -> f64| {
            figure(
                runs.iter().filter(|other| (other.server, other.variant) == (run.server, run.variant)),
                value,
            )
        };
        let session = if run.variant.session { "its own" } else { "none" };
        let (rss, anonymous) =
            (same(|run| run.rss_kib_per_connection), same(|run| run.anon_kib_per_connection));
        line(&mut text, format_args!("| {} | {session} | {rss} | {anonymous} |", name(run.variant)));
    }
    text
}

fn one(runs: &[Idle], which: impl Fn(&Idle) -> bool) -> String {
    figure(runs.iter().filter(|run| which(run)), |run| run.rss_kib_per_connection)
}

/// The median, with the least and the most where there are several; nothing of none.
fn figure<'a>(runs: impl Iterator<Item = &'a Idle>, value: fn(&Idle) -> f64) -> String {
    let values: Vec<_> = runs.map(value).collect();
    match values.as_slice() {
        [] => String::new(),
        [value] => format!("{value:.2}"),
        several => super::show(spread_of(several.iter().copied()), 2),
    }
}

fn name(variant: Variant) -> String {
    let way = match variant.way {
        Way::Sse => "SSE",
        Way::Ws => "WebSocket",
        Way::LongPolling => "long polling",
    };
    let http2 = match variant.http2 {
        None => String::new(),
        Some(1) => ", HTTP/2, one stream for each connection".to_owned(),
        Some(streams) => format!(", HTTP/2, {streams} streams for each connection"),
    };
    format!("{way}{http2}{}", if variant.tls { ", TLS" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Memory;
    use crate::server::Population;

    fn run(server: Product, variant: Variant, connections: u32, rss_kib_per_connection: f64) -> Idle {
        let memory = Memory::default();
        Idle {
            server,
            variant,
            connections,
            processes: connections.div_ceil(10_000),
            before: memory,
            connected: memory,
            settled: memory,
            after_event: memory,
            settle_seconds: 3,
            connecting_seconds: 1.0,
            population: Population { connections: 0, sessions: None, subscriptions: None },
            rss_kib_per_connection,
            anon_kib_per_connection: rss_kib_per_connection - 0.5,
        }
    }

    #[test]
    fn each_number_is_a_row_and_each_server_a_column() {
        let [sse, ws] = [Way::Sse, Way::Ws].map(Variant::plain);
        let runs = [
            run(Product::Rig, sse, 20_000, 1.5),
            run(Product::Rig, sse, 1000, 2.0),
            run(Product::Rig, sse, 1000, 4.0),
            run(Product::Rig, ws, 1000, 3.0),
            run(Product::Nginx, sse, 1000, 10.0),
            run(Product::Rig, Variant { tls: true, ..sse }, 1000, 99.0),
        ];
        let text = numbers(&runs);
        let rows: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(rows, ["| 1000 | 1 | 3.00 (2.00–4.00) | 3.00 | 10.00 |", "| 20000 | 2 | 1.50 |  |  |"]);
    }

    #[test]
    fn each_way_is_a_row() {
        let sse = Variant::plain(Way::Sse);
        let other = Variant { session: false, tls: true, http2: Some(100), ..sse };
        let runs = [
            run(Product::Rig, sse, 1000, 2.0),
            run(Product::Nginx, sse, 1000, 10.0),
            run(Product::Rig, other, 1000, 3.0),
        ];
        let text = variants(&runs);
        let rows: Vec<_> = text.lines().skip(2).collect();
        let expected = [
            "| SSE | its own | 2.00 | 1.50 |",
            "| SSE, HTTP/2, 100 streams for each connection, TLS | none | 3.00 | 2.50 |",
        ];
        assert_eq!(rows, expected);
    }
}
