//! The results as plots.

use plotters::chart::SeriesLabelPosition;

use crate::Streaming;
use crate::client::{Variant, Way};
use crate::measure::fanout::Fanout;
use crate::measure::sustained::Sustained;
use crate::plot::{BarRow, Chart, Series, Side, bars, lines};
use crate::results::Results;
use crate::server::Product;
use crate::stats::Spread;

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

fn idle(results: &Results) -> anyhow::Result<String> {
    let chart = Chart {
        title: "Memory of an idle connection".into(),
        x: "connections",
        log: true,
        y: "RSS of the server for each, KiB",
        goal: None,
        legend: SeriesLabelPosition::MiddleRight,
    };
    let plain = [(Product::Nginx, Way::Sse), (Product::Rig, Way::Ws), (Product::Rig, Way::Sse)];
    let line = |(server, way): (Product, Way)| {
        let of =
            results.numbers.iter().filter(|run| (run.server, run.variant) == (server, Variant::plain(way)));
        let once = |value| Spread { median: value, least: value, most: value };
        let points = of.map(|run| (f64::from(run.connections), once(run.rss_kib_per_connection)));
        let transport = if way == Way::Ws { Streaming::Ws } else { Streaming::Sse };
        let name = format!("{}, {}", name(server), label(transport));
        Series { name, side: side(server), points: points.collect() }
    };
    lines(&chart, &drawable(plain.into_iter().map(line)))
}

fn delivery(results: &Results) -> anyhow::Result<String> {
    let servers = [Product::Floor, Product::Rig, Product::Nginx, Product::SocketIo, Product::Pushpin];
    let all = [Streaming::Sse, Streaming::Ws]
        .into_iter()
        .flat_map(|transport| servers.map(|server| (server, transport)));
    let bar = |(server, transport)| {
        let value = results.fanout(server, transport, |run| run.server_microseconds)?;
        Some(BarRow { name: format!("{}, {}", name(server), label(transport)), side: side(server), value })
    };
    let title = format!("One event at a time to {} subscribers", results.plan.subscribers);
    bars(&title, "CPU time of the server for one delivery, µs", &all.filter_map(bar).collect::<Vec<_>>())
}

fn sustained(results: &Results) -> anyhow::Result<String> {
    let chart = Chart {
        title: format!("Events that keep coming, to {} subscribers (SSE)", results.plan.subscribers),
        x: "deliveries in a second; the last point of each: the publisher never waits",
        log: true,
        y: "CPU time of the server for each, µs",
        goal: None,
        legend: SeriesLabelPosition::UpperRight,
    };
    let servers = [Product::Nginx, Product::Floor, Product::Rig];
    let line = |server| {
        let of = |rate: Option<u32>| {
            let cpu = results.sustained(server, Streaming::Sse, rate, |run| run.server_microseconds)?;
            let speed = results.sustained(server, Streaming::Sse, rate, |run| run.per_second)?;
            let offered = rate.map(|rate| f64::from(rate) * f64::from(results.plan.subscribers));
            Some((offered.unwrap_or(speed.median), cpu))
        };
        let rates = results.rates().into_iter().map(Some).chain([None]);
        Series { name: name(server).into(), side: side(server), points: rates.filter_map(of).collect() }
    };
    lines(&chart, &drawable(servers.into_iter().map(line)))
}

fn filter(results: &Results) -> anyhow::Result<String> {
    let chart = Chart {
        title: "One event to one of many subscriptions to the same field".into(),
        x: "subscriptions",
        log: true,
        y: "CPU time in the filter, µs",
        goal: Some((3.0, "goal: at most 3 µs")),
        legend: SeriesLabelPosition::LowerRight,
    };
    let points = results.filter().into_iter().map(|(number, cpu)| (number as f64, cpu)).collect();
    lines(&chart, &[Series { name: "gateway".into(), side: Side::Gateway, points }])
}

fn churn(results: &Results) -> anyhow::Result<String> {
    let chart = Chart {
        title: "Memory while clients come and go".into(),
        x: "time, s",
        log: false,
        y: "RSS of the gateway, MiB",
        goal: None,
        legend: SeriesLabelPosition::LowerRight,
    };
    let point = |(second, kib): &(f64, u64)| {
        let mib = *kib as f64 / 1024.0;
        (*second, Spread { median: mib, least: mib, most: mib })
    };
    let points = results.churn.memory.iter().map(point).collect();
    lines(&chart, &[Series { name: "gateway".into(), side: Side::Gateway, points }])
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

fn label(transport: Streaming) -> &'static str {
    match transport {
        Streaming::Sse => "SSE",
        Streaming::Ws => "WebSocket",
    }
}

/// Keeps the lines that were measured.
fn drawable(lines: impl Iterator<Item = Series>) -> Vec<Series> {
    lines.filter(|line| !line.points.is_empty()).collect()
}

/// Medians and extremes of all runs of one thing; `None` if it was not measured.
impl Results {
    fn fanout(&self, server: Product, transport: Streaming, value: fn(&Fanout) -> f64) -> Option<Spread> {
        Spread::of(self.fanouts(server, transport).map(value))
    }

    fn fanouts(&self, server: Product, transport: Streaming) -> impl Iterator<Item = &Fanout> {
        self.fanout.iter().filter(move |run| (run.server, run.transport) == (server, transport))
    }

    /// Without a rate: as fast as the server takes them.
    fn sustained(
        &self,
        server: Product,
        transport: Streaming,
        rate: Option<u32>,
        value: fn(&Sustained) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.sustaineds(server, transport, rate).map(value))
    }

    fn sustaineds(
        &self,
        server: Product,
        transport: Streaming,
        rate: Option<u32>,
    ) -> impl Iterator<Item = &Sustained> {
        let of = move |run: &&Sustained| (run.server, run.transport, run.rate) == (server, transport, rate);
        self.sustained.iter().filter(of)
    }

    /// The rates that were tried, in events in a second.
    fn rates(&self) -> Vec<u32> {
        let mut rates: Vec<_> = self.sustained.iter().filter_map(|run| run.rate).collect();
        rates.sort_unstable();
        rates.dedup();
        rates
    }

    /// Numbers of subscriptions in the index, and the CPU time of an event, µs.
    fn filter(&self) -> Vec<(u64, Spread)> {
        let mut numbers: Vec<_> = self.filter.iter().map(|run| run.subscriptions).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let of = |number| {
            let runs = self.filter.iter().filter(move |run| run.subscriptions == number);
            Spread::of(runs.map(|run| run.microseconds))
        };
        numbers.into_iter().filter_map(|number| Some((number, of(number)?))).collect()
    }
}
