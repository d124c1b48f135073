//! The goals, each in a row: what the gateway reached beside the others in the same run.

use super::{cell, line, met};
use crate::Transport;
use crate::client::Variant;
use crate::measure::fanout::Fanout;
use crate::server::Product;
use crate::stats::Spread;
use crate::suite::Results;

/// The most that the resident set may grow while clients come and go, in percent: what it moves by
/// itself.
const GROWTH: f64 = 2.0;

/// By how much a time may differ between few and many to be called flat.
const FLAT: f64 = 1.25;

/// A row. What was not measured stays empty.
struct Row {
    figure: String,
    /// Of RIG 3.0.0, on a machine of this kind; not of this run.
    rig_3: &'static str,
    /// nchan, the floor, the gateway.
    values: [Option<Spread>; 3],
    digits: usize,
    goal: &'static str,
    /// What the goal is about, in words, and whether it is reached.
    verdict: Option<(String, bool)>,
}

pub(super) fn section(results: &Results) -> String {
    let mut text = "## Goals\n\n\
                    | | RIG 3.0.0¹ | nginx, nchan | floor | gateway | goal | reached | |\n\
                    | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in rows(results) {
        let [nchan, floor, gateway] = row.values.map(|value| cell(value, row.digits));
        let (reached, is_met) =
            row.verdict.map_or_else(Default::default, |(reached, is_met)| (reached, met(is_met)));
        line(
            &mut text,
            format_args!(
                "| {} | {} | {nchan} | {floor} | {gateway} | {} | {reached} | {is_met} |",
                row.figure, row.rig_3, row.goal
            ),
        );
    }
    line(
        &mut text,
        format_args!(
            "\n¹ Measured before, on a machine of this kind, not in this run. What a goal costs that was missed, and what \
             was tried: [notes.md](notes.md)."
        ),
    );
    text
}

fn rows(results: &Results) -> Vec<Row> {
    let plan = &results.plan;
    let mut rows = Vec::new();
    for (transport, rig_3, goal, most) in
        [(Transport::Sse, "87.4", "≤ 2.0", 2.0), (Transport::Ws, "20.8", "≤ 3.0", 3.0)]
    {
        let rss = |server| results.idle(server, Variant::from(transport), |run| run.rss_kib_per_connection);
        rows.push(Row {
            figure: format!("RSS of an idle {} connection, own session, KiB", super::label(transport)),
            rig_3,
            values: [rss(Product::Nginx), None, rss(Product::Rig)],
            digits: 2,
            goal,
            verdict: at_most(rss(Product::Rig), most, "KiB", 2),
        });
    }
    rows.push(delivery(results));
    rows.push(saturated(results));
    for (transport, rig_3) in [(Transport::Sse, "13.3"), (Transport::Ws, "9.7")] {
        rows.push(to_all(results, transport, rig_3));
    }
    rows.extend(filter(results));
    let publish = |server| results.publish(server, 32, |run| run.server_microseconds);
    rows.push(Row {
        figure: "an event without subscribers, over HTTP: CPU, µs".into(),
        rig_3: "100",
        values: [publish(Product::Nginx), None, publish(Product::Rig)],
        digits: 2,
        goal: "≤ 10",
        verdict: at_most(publish(Product::Rig), 10.0, "µs", 2),
    });
    let connect = |server| results.connect(server, Transport::Sse, |run| run.connect_microseconds);
    rows.push(Row {
        figure: "a connect, SSE, with a token (HS256; nchan: without): CPU, µs".into(),
        rig_3: "500",
        values: [connect(Product::Nginx), None, connect(Product::Rig)],
        digits: 1,
        goal: "≤ 40",
        verdict: at_most(connect(Product::Rig), 40.0, "µs", 1),
    });
    let growth = results.churn.growth();
    rows.push(Row {
        figure: format!("growth of the RSS while clients come and go, {} s", plan.churn),
        rig_3: "",
        values: [None, None, None],
        digits: 0,
        goal: "none beyond noise",
        verdict: Some((format!("{growth:+.1} %"), growth <= GROWTH)),
    });
    rows
}

fn delivery(results: &Results) -> Row {
    let cpu: fn(&Fanout) -> f64 = |run| run.server_microseconds;
    let of = |server| results.fanout(server, Transport::Sse, cpu);
    let to = |other| results.fanout_ratio(other, Transport::Sse, cpu);
    let verdict = to(Product::Floor).map(|floor| {
        let nchan = to(Product::Nginx);
        let words = nchan.map_or_else(String::new, |nchan| format!(", {:.2} × nchan", nchan.median));
        let is_met = floor.median <= 1.15 && nchan.is_none_or(|nchan| nchan.median < 1.0);
        (format!("{:.2} × floor{words}", floor.median), is_met)
    });
    Row {
        figure: format!(
            "a delivery, SSE, {} subscribers, one event at a time: CPU, µs",
            results.plan.subscribers
        ),
        rig_3: "17",
        values: [Product::Nginx, Product::Floor, Product::Rig].map(of),
        digits: 2,
        goal: "≤ 1.15 × floor, below nchan",
        verdict,
    }
}

fn saturated(results: &Results) -> Row {
    let of = |server| results.sustained(server, Transport::Sse, None, |run| run.server_microseconds);
    let ratio = results.saturated_ratio(Product::Nginx, Transport::Sse);
    Row {
        figure: "a delivery, SSE, the publisher never waits: CPU, µs".into(),
        rig_3: "",
        values: [Product::Nginx, Product::Floor, Product::Rig].map(of),
        digits: 2,
        goal: "≤ 0.25 × nchan",
        verdict: ratio.map(|ratio| (format!("{:.2} × nchan", ratio.median), ratio.median <= 0.25)),
    }
}

fn to_all(results: &Results, transport: Transport, rig_3: &'static str) -> Row {
    let time: fn(&Fanout) -> f64 = |run| run.to_all_p50_milliseconds;
    let ratio = results.fanout_ratio(Product::Floor, transport, time);
    Row {
        figure: format!(
            "one event to all of {}, {}: p50, ms",
            results.plan.subscribers,
            super::label(transport)
        ),
        rig_3,
        values: [Product::Nginx, Product::Floor, Product::Rig]
            .map(|server| results.fanout(server, transport, time)),
        digits: 2,
        goal: "≤ 1.2 × floor",
        verdict: ratio.map(|ratio| (format!("{:.2} × floor", ratio.median), ratio.median <= 1.2)),
    }
}

fn filter(results: &Results) -> [Row; 2] {
    let runs = results.filter();
    let (few, many) = (runs.first().copied(), runs.last().copied());
    let of_many = many.map(|(_, spread)| spread);
    let growth = few.zip(many).map(|((few, of_few), (many, of_many))| {
        let times = of_many.median / of_few.median;
        let range = format!("{:.2} to {:.2} µs from {few} to {many}", of_few.median, of_many.median);
        (format!("{times:.1} ×: {range}"), times <= FLAT)
    });
    let row = |figure: &str, values, goal, verdict| Row {
        figure: format!("one event to one of {} {figure}", results.plan.subscriptions),
        rig_3: "grows with N",
        values,
        digits: 2,
        goal,
        verdict,
    };
    let cpu = "that constrain the same field: CPU in the filter, µs";
    [
        row(cpu, [None, None, of_many], "≤ 3", at_most(of_many, 3.0, "µs", 2)),
        row("of them, beside one of few", [None; 3], "flat", growth),
    ]
}

fn at_most(value: Option<Spread>, most: f64, unit: &str, digits: usize) -> Option<(String, bool)> {
    value.map(|value| (format!("{:.digits$} {unit}", value.median), value.median <= most))
}
