//! Horizontal bars, each with its name and its value.

use anyhow::{Context, ensure};
use plotters::element::{Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, WHITE};

use super::frame::Frame;
use super::look::{INK, Side};
use super::page::{Entry, LETTERS, MARGIN, Pixels, Point, dashes, letters, page, whisker, width};
use super::scale::{Scale, exact};
use super::{Goal, ensure_number, ensure_spread};
use crate::stats::Spread;

/// From one bar to the next. Pixels.
const ROW: u32 = 34;

/// At most, on the axis of the values.
const TICKS: u32 = 5;

/// Half of a bar. Pixels.
const HALF: i32 = 11;

/// Of the axis below the bars and the margins. Pixels.
const AXIS: u32 = 80;

/// One bar, as long as the median; a whisker goes from the least to the most.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// There is room for about forty letters.
    pub(crate) name: String,
    pub(crate) side: Side,
    pub(crate) value: Spread,
}

/// A chart of these bars from the top down, as SVG. The label, with the unit, is that of the
/// values' axis.
///
/// # Errors
/// There is no bar, or a value cannot be drawn. The error names the chart and the bar.
pub(crate) fn bars(title: &str, label: &str, bars: &[Bar], goal: Option<&Goal>) -> anyhow::Result<String> {
    drawn(title, label, bars, goal).with_context(|| format!("chart {title:?}"))
}

fn drawn(title: &str, label: &str, bars: &[Bar], goal: Option<&Goal>) -> anyhow::Result<String> {
    ensure!(!bars.is_empty(), "there is no bar");
    for bar in bars {
        ensure_spread(bar.value, false).with_context(|| format!("bar {:?}", bar.name))?;
    }
    if let Some(goal) = goal {
        ensure_number(goal.value, false).context("goal")?;
    }
    let legend: Vec<_> = goal.iter().map(|goal| Entry::Goal(&goal.label)).collect();
    page(title, &legend, AXIS + ROW * bars.len() as u32, |sheet, area| {
        let (frame, middles) = axes(area, label, bars, goal)?;
        let bars = || bars.iter().zip(&middles);
        bars().try_for_each(|(bar, y)| draw(sheet, &frame, bar, *y))?;
        if let Some(goal) = goal {
            let (_, down) = frame.room();
            let (x, _) = frame.place(goal.value, 0.0);
            dashes(sheet, (x, down.start), (x, down.end))?;
        }
        bars().try_for_each(|(bar, y)| write(sheet, frame.place(bar.value.most, *y), bar.value.median))
    })
}

/// With the middle of each bar on the axis of names.
fn axes<'a>(
    area: &Pixels<'a>,
    label: &str,
    bars: &[Bar],
    goal: Option<&Goal>,
) -> anyhow::Result<(Frame<'a>, Vec<f64>)> {
    let ends = bars.iter().flat_map(|bar| [bar.value.least, bar.value.most]);
    let x = Scale::linear(ends.chain(goal.map(|goal| goal.value)).chain([0.0]), TICKS);
    let y = Scale::names(bars.iter().map(|bar| bar.name.as_str()));
    let middles = y.ticks.iter().map(|tick| tick.0).collect();
    let widest = bars.iter().map(|bar| width(&exact(bar.value.median), LETTERS)).max().unwrap_or(0);
    Ok((Frame::draw(area, (x, label), (y, None), widest + MARGIN)?, middles))
}

fn draw(sheet: &Pixels<'_>, frame: &Frame<'_>, bar: &Bar, y: f64) -> anyhow::Result<()> {
    let at = |value| frame.place(value, y);
    let (start, end) = (at(0.0), at(bar.value.median));
    let corners = [(start.0, start.1 - HALF), (end.0, end.1 + HALF)];
    sheet.draw(&Rectangle::new(corners, bar.side.colour().filled()))?;
    whisker(sheet, at(bar.value.least), at(bar.value.most), INK)
}

/// Writes a value behind the end of a bar, on white, as the line of the goal may be there.
fn write(sheet: &Pixels<'_>, (x, y): Point, value: f64) -> anyhow::Result<()> {
    let text = exact(value);
    let (start, end) = (x + 7, x + 9 + width(&text, LETTERS));
    sheet.draw(&Rectangle::new([(start, y - HALF + 2), (end, y + HALF - 2)], WHITE.filled()))?;
    let style = letters().pos(Pos::new(HPos::Left, VPos::Center));
    Ok(sheet.draw(&Text::new(text, (start + 1, y), style))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, side: Side, median: f64) -> Bar {
        Bar { name: name.to_owned(), side, value: Spread { median, least: median * 0.9, most: median * 1.1 } }
    }

    #[test]
    fn all_that_is_given_is_drawn() {
        let three = [
            bar("floor, SSE", Side::Floor, 3.4),
            bar("gateway, SSE", Side::Gateway, 3.72),
            bar("<peer>", Side::Peer, 25.0),
        ];
        let goal = Goal { label: "goal: 3.9 µs".to_owned(), value: 3.9 };
        let svg = bars("CPU time", "CPU per delivery, µs", &three, Some(&goal)).unwrap();
        let names = ["CPU time", "CPU per delivery, µs", "floor, SSE", "gateway, SSE", "&lt;peer&gt;"];
        for text in names.iter().chain(&["3.40", "3.72", "25.0", "goal: 3.9 µs", "0", "10", "20"]) {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text}: {svg}");
        }
        let lengths = three.iter().map(|bar| {
            let colour = bar.side.colour();
            let fill = format!("fill=\"#{:02X}{:02X}{:02X}\"", colour.0, colour.1, colour.2);
            let drawn: Vec<_> = svg.lines().filter(|line| line.contains(&fill)).collect();
            let [drawn] = drawn[..] else { panic!("{drawn:?}") };
            let (_, rest) = drawn.split_once(" width=\"").unwrap();
            rest.split_once('"').unwrap().0.parse().unwrap()
        });
        let lengths: Vec<f64> = lengths.collect();
        assert!((lengths[2] / lengths[0] - 25.0 / 3.4).abs() < 0.1, "{lengths:?}");
        assert_eq!(svg, bars("CPU time", "CPU per delivery, µs", &three, Some(&goal)).unwrap());
    }

    #[test]
    fn an_error_names_the_chart_and_the_bar() {
        let error = |all: &[Bar]| format!("{:#}", bars("CPU", "µs", all, None).expect_err("cannot be drawn"));
        assert_eq!(error(&[]), "chart \"CPU\": there is no bar");
        let nan = bar("gateway", Side::Gateway, f64::NAN);
        assert_eq!(error(&[nan]), "chart \"CPU\": bar \"gateway\": NaN is no number");
    }
}
