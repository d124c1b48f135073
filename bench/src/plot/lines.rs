//! Lines over a number.

use anyhow::{Context, ensure};
use plotters::element::Polygon;
use plotters::style::Color;

use super::frame::Frame;
use super::look::{Look, Side};
use super::page::{Entry, MARGIN, Pixels, dashes, page, stroke, whisker};
use super::scale::Scale;
use super::{Goal, ensure_number, ensure_spread};
use crate::stats::Spread;

/// Of the axes and what is between them. Pixels.
const HEIGHT: u32 = 400;

/// At most, on one axis.
const TICKS: u32 = 8;

/// A line of more points has no marks, and a band in place of whiskers.
const MARKED: usize = 40;

/// What is around the lines.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) goal: Option<Goal>,
}

/// One axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// With the unit.
    pub(crate) label: String,
    /// Whether it is logarithmic. Where it is not, the one that goes up starts at zero.
    pub(crate) log: bool,
}

/// One line: a mark at each median, a whisker from the least to the most.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) side: Side,
    /// From the left to the right.
    pub(crate) points: Vec<(f64, Spread)>,
}

/// The chart as SVG.
///
/// # Errors
/// There is no line, a line has no points, or a value cannot be drawn. The error names the chart
/// and the line.
pub(crate) fn lines(chart: &Chart, lines: &[Line]) -> anyhow::Result<String> {
    drawn(chart, lines).with_context(|| format!("chart {:?}", chart.title))
}

fn drawn(chart: &Chart, lines: &[Line]) -> anyhow::Result<String> {
    ensure!(!lines.is_empty(), "there is no line");
    for line in lines {
        ensure_line(chart, line).with_context(|| format!("line {:?}", line.name))?;
    }
    if let Some(goal) = &chart.goal {
        ensure_number(goal.value, chart.y.log).context("goal")?;
    }
    let looks = Look::of(&lines.iter().map(|line| line.side).collect::<Vec<_>>());
    let look = |line: &Line, look: Look| if line.points.len() > MARKED { look.plain() } else { look };
    let lines: Vec<_> = lines.iter().zip(looks).map(|(line, marked)| (line, look(line, marked))).collect();
    let mut legend: Vec<_> = lines.iter().map(|(line, look)| Entry::Line(&line.name, *look)).collect();
    legend.extend(chart.goal.iter().map(|goal| Entry::Goal(&goal.label)));
    page(&chart.title, &legend, HEIGHT, |sheet, area| {
        let frame = axes(area, chart, &lines)?;
        if let Some(goal) = &chart.goal {
            let (across, _) = frame.room();
            let (_, y) = frame.place(1.0, goal.value);
            dashes(sheet, (across.start, y), (across.end, y))?;
        }
        lines.iter().try_for_each(|(line, look)| draw(sheet, &frame, line, *look))
    })
}

fn ensure_line(chart: &Chart, line: &Line) -> anyhow::Result<()> {
    ensure!(!line.points.is_empty(), "no points");
    for (x, y) in &line.points {
        ensure_number(*x, chart.x.log)?;
        ensure_spread(*y, chart.y.log)?;
    }
    Ok(())
}

fn axes<'a>(area: &Pixels<'a>, chart: &Chart, lines: &[(&Line, Look)]) -> anyhow::Result<Frame<'a>> {
    let points = || lines.iter().flat_map(|(line, _)| &line.points);
    let goal = chart.goal.as_ref().map(|goal| goal.value);
    let x = points().map(|(x, _)| *x);
    let y = points().flat_map(|(_, y)| [y.least, y.most]).chain(goal);
    let x = if chart.x.log { Scale::logarithmic(x) } else { Scale::linear(x, TICKS) };
    let y = if chart.y.log { Scale::logarithmic(y) } else { Scale::linear(y.chain([0.0]), TICKS) };
    Frame::draw(area, (x, &chart.x.label), (y, Some(&chart.y.label)), 2 * MARGIN)
}

fn draw(sheet: &Pixels<'_>, frame: &Frame<'_>, line: &Line, look: Look) -> anyhow::Result<()> {
    let all = |value: fn(&Spread) -> f64| line.points.iter().map(move |(x, y)| frame.place(*x, value(y)));
    let (least, most) = (all(|y| y.least), all(|y| y.most));
    let medians: Vec<_> = all(|y| y.median).collect();
    stroke(sheet, medians.clone(), look.colour)?;
    if medians.len() > MARKED {
        let around: Vec<_> = least.chain(most.rev()).collect();
        return Ok(sheet.draw(&Polygon::new(around, look.colour.mix(0.25)))?);
    }
    for ((least, most), median) in least.zip(most).zip(medians) {
        whisker(sheet, least, most, look.colour)?;
        look.mark(sheet, median)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            title: "Memory of an idle connection".to_owned(),
            x: Axis { label: "connections".to_owned(), log: true },
            y: Axis { label: "RSS per connection, KiB".to_owned(), log: false },
            goal: Some(Goal { label: "goal: 2 KiB".to_owned(), value: 2.0 }),
        }
    }

    fn line(name: &str, side: Side, medians: &[f64]) -> Line {
        let spread = |median: f64| Spread { median, least: median * 0.9, most: median * 1.1 };
        let points = medians.iter().enumerate();
        let points = points.map(|(nth, median)| (1000.0 * (nth + 1) as f64, spread(*median))).collect();
        Line { name: name.to_owned(), side, points }
    }

    fn error(chart: &Chart, line: &Line) -> String {
        format!("{:#}", lines(chart, std::slice::from_ref(line)).expect_err("cannot be drawn"))
    }

    #[test]
    fn all_that_is_given_is_drawn() {
        let both = [line("gateway", Side::Gateway, &[2.1, 2.0, 1.9]), line("R&D", Side::Peer, &[2.6, 2.5])];
        let svg = lines(&chart(), &both).unwrap();
        let labels = ["connections", "RSS per connection, KiB", "1k", "2k", "0.0", "2.5"];
        let names = ["Memory of an idle connection", "gateway", "R&amp;D", "goal: 2 KiB"];
        for text in labels.iter().chain(&names) {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text}: {svg}");
        }
        // The gateway's marks are circles: one a point, one in the legend. The other's are squares.
        assert_eq!(svg.matches("<circle").count(), 3 + 1);
        assert_eq!(svg.matches("<polygon").count(), 2 + 1);
        assert_eq!(svg, lines(&chart(), &both).unwrap());
    }

    #[test]
    fn more_is_higher_and_further_is_to_the_right() {
        let svg = lines(&chart(), &[line("gateway", Side::Gateway, &[1.0, 4.0])]).unwrap();
        let number = |circle: &str, name: &str| -> i32 {
            let (_, rest) = circle.split_once(&format!(" {name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.parse().unwrap()
        };
        let circles: Vec<_> = svg.lines().filter(|line| line.starts_with("<circle")).collect();
        let [_, first, second] = circles[..] else { panic!("{circles:?}") };
        assert!(number(first, "cx") < number(second, "cx"), "{circles:?}");
        assert!(number(first, "cy") > number(second, "cy"), "{circles:?}");
    }

    #[test]
    fn many_points_have_a_band_and_no_marks() {
        let svg = lines(&chart(), &[line("gateway", Side::Gateway, &[2.0; 600])]).unwrap();
        assert_eq!((svg.matches("<circle").count(), svg.matches("<polygon").count()), (0, 1));
    }

    #[test]
    fn an_error_names_the_chart_and_the_line() {
        let head = "chart \"Memory of an idle connection\": ";
        let nothing = format!("{:#}", lines(&chart(), &[]).expect_err("no line"));
        assert_eq!(nothing, format!("{head}there is no line"));
        let empty = line("gateway", Side::Gateway, &[]);
        assert_eq!(error(&chart(), &empty), format!("{head}line \"gateway\": no points"));
        let nan = line("gateway", Side::Gateway, &[1.0, f64::NAN]);
        assert_eq!(error(&chart(), &nan), format!("{head}line \"gateway\": NaN is no number"));
        let logarithmic = Chart { y: Axis { label: String::new(), log: true }, goal: None, ..chart() };
        let zero = line("gateway", Side::Gateway, &[0.0]);
        let said = error(&logarithmic, &zero);
        assert_eq!(said, format!("{head}line \"gateway\": 0 is not above zero, on a logarithmic axis"));
        let goal = Some(Goal { label: String::new(), value: f64::NAN });
        let said = error(&Chart { goal, ..chart() }, &line("gateway", Side::Gateway, &[1.0]));
        assert_eq!(said, format!("{head}goal: NaN is no number"));
    }
}
