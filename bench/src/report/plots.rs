//! The results as plots.

use super::{label, name};
use crate::Transport;
use crate::client::{Variant, Way};
use crate::plot::{Axis, Bar, Chart, Goal, Line, Side, bars, lines};
use crate::server::Product;
use crate::stats::Spread;
use crate::suite::Results;

/// Each plot, and the name of its file.
///
/// # Errors
/// A value cannot be drawn.
pub(crate) fn plots(results: &Results) -> anyhow::Result<[(&'static str, String); 5]> {
    Ok([
        ("idle.svg", idle(results)?),
        ("delivery.svg", delivery(results)?),
        ("sustained.svg", sustained(results)?),
        ("filter.svg", filter(results)?),
        ("churn.svg", churn(results)?),
    ])
}

fn side(server: Product) -> Side {
    match server {
        Product::Rig => Side::Gateway,
        Product::Floor => Side::Floor,
        _ => Side::Peer,
    }
}

fn axis(label: &str, log: bool) -> Axis {
    Axis { label: label.to_owned(), log }
}

fn idle(results: &Results) -> anyhow::Result<String> {
    let chart = Chart {
        title: "Memory of an idle connection".into(),
        x: axis("connections", true),
        y: axis("RSS of the server for each, KiB", false),
        goal: None,
    };
    let plain = [(Product::Nginx, Way::Sse), (Product::Rig, Way::Ws), (Product::Rig, Way::Sse)];
    let line = |(server, way): (Product, Way)| {
        let of =
            results.numbers.iter().filter(|run| (run.server, run.variant) == (server, Variant::plain(way)));
        let once = |value| Spread { median: value, least: value, most: value };
        let points = of.map(|run| (f64::from(run.connections), once(run.rss_kib_per_connection)));
        let transport = if way == Way::Ws { Transport::Ws } else { Transport::Sse };
        let name = format!("{}, {}", name(server), label(transport));
        Line { name, side: side(server), points: points.collect() }
    };
    lines(&chart, &drawable(plain.into_iter().map(line)))
}

fn delivery(results: &Results) -> anyhow::Result<String> {
    let servers = [Product::Floor, Product::Rig, Product::Nginx, Product::SocketIo, Product::Pushpin];
    let all = [Transport::Sse, Transport::Ws]
        .into_iter()
        .flat_map(|transport| servers.map(|server| (server, transport)));
    let bar = |(server, transport)| {
        let value = results.fanout(server, transport, |run| run.server_microseconds)?;
        Some(Bar { name: format!("{}, {}", name(server), label(transport)), side: side(server), value })
    };
    let title = format!("One event at a time to {} subscribers", results.plan.subscribers);
    bars(
        &title,
        "CPU time of the server for one delivery, µs",
        &all.filter_map(bar).collect::<Vec<_>>(),
        None,
    )
}

fn sustained(results: &Results) -> anyhow::Result<String> {
    let chart = Chart {
        title: format!("Events that keep coming, to {} subscribers (SSE)", results.plan.subscribers),
        x: axis("deliveries in a second; the last point of each: the publisher never waits", true),
        y: axis("CPU time of the server for each, µs", false),
        goal: None,
    };
    let servers = [Product::Nginx, Product::Floor, Product::Rig];
    let line = |server| {
        let of = |rate: Option<u32>| {
            let cpu = results.sustained(server, Transport::Sse, rate, |run| run.server_microseconds)?;
            let speed = results.sustained(server, Transport::Sse, rate, |run| run.per_second)?;
            let offered = rate.map(|rate| f64::from(rate) * f64::from(results.plan.subscribers));
            Some((offered.unwrap_or(speed.median), cpu))
        };
        let rates = results.rates().into_iter().map(Some).chain([None]);
        Line { name: name(server).into(), side: side(server), points: rates.filter_map(of).collect() }
    };
    lines(&chart, &drawable(servers.into_iter().map(line)))
}

fn filter(results: &Results) -> anyhow::Result<String> {
    let chart = Chart {
        title: "One event to one of many subscriptions to the same field".into(),
        x: axis("subscriptions", true),
        y: axis("CPU time in the filter, µs", false),
        goal: Some(Goal { label: "goal: at most 3 µs".into(), value: 3.0 }),
    };
    let points = results.filter().into_iter().map(|(number, cpu)| (number as f64, cpu)).collect();
    lines(&chart, &[Line { name: "gateway".into(), side: Side::Gateway, points }])
}

fn churn(results: &Results) -> anyhow::Result<String> {
    let chart = Chart {
        title: "Memory while clients come and go".into(),
        x: axis("time, s", false),
        y: axis("RSS of the gateway, MiB", false),
        goal: None,
    };
    let point = |(second, kib): &(f64, u64)| {
        let mib = *kib as f64 / 1024.0;
        (*second, Spread { median: mib, least: mib, most: mib })
    };
    let points = results.churn.memory.iter().map(point).collect();
    lines(&chart, &[Line { name: "gateway".into(), side: Side::Gateway, points }])
}

/// Those that were measured.
fn drawable(lines: impl Iterator<Item = Line>) -> Vec<Line> {
    lines.filter(|line| !line.points.is_empty()).collect()
}
