//! Plots as SVG: lines over a number, and bars with their names.
//!
//! Knows how a chart looks, nothing of what is measured. The same values give the same bytes.

use anyhow::{Context, ensure};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::stats::Spread;

/// Pixels; as wide as a page of Markdown is shown.
const WIDTH: u32 = 800;

/// Pixels, of a chart of lines.
const HEIGHT: u32 = 440;

/// Pixels from one bar to the next.
const ROW: u32 = 34;

/// Pixels above and below the bars: the title, the axis and the margins.
const AROUND_BARS: u32 = 110;

/// Pixels. The SVG backend writes sizes smaller than it is given, by a factor of 1.24.
const LETTERS: f64 = 14.0 * 1.24;

/// Pixels; see [`LETTERS`].
const TITLE: f64 = 17.0 * 1.24;

/// Pixels, of the marks of a line and of half a whisker's bars.
const MARK: u32 = 4;

/// A line of more points has no marks and no whiskers.
const MARKED: usize = 40;

// The colours of Okabe and Ito, which do not depend on full colour vision.
const BLACK: RGBColor = RGBColor(0x00, 0x00, 0x00);
const BLUE: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const GREEN: RGBColor = RGBColor(0x00, 0x9e, 0x73);
const GREY: RGBColor = RGBColor(0xa8, 0xa8, 0xa8);
const ORANGE: RGBColor = RGBColor(0xe6, 0x9f, 0x00);
const PURPLE: RGBColor = RGBColor(0xcc, 0x79, 0xa7);
const SKY: RGBColor = RGBColor(0x56, 0xb4, 0xe9);

/// Whose values they are; selects the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The gateway: blue.
    Gateway,
    /// The program that does the least that can be done: orange.
    Floor,
    /// Another product: grey bars, lines of other colours.
    Peer,
}

impl Side {
    /// The colours of this side's lines; bars have the last one.
    fn palette(self) -> &'static [RGBColor] {
        match self {
            Self::Gateway => &[SKY, BLACK, BLUE],
            Self::Floor => &[ORANGE],
            Self::Peer => &[GREEN, PURPLE, GREY],
        }
    }
}

/// What is around the lines.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// With the unit.
    pub(crate) x: &'static str,
    /// True if the x axis is logarithmic. The y axis is linear and starts at zero.
    pub(crate) log: bool,
    /// With the unit.
    pub(crate) y: &'static str,
    /// A value that the gateway shall not exceed, and its label: a dashed line.
    pub(crate) goal: Option<(f64, &'static str)>,
    /// Where the chart has room for the legend.
    pub(crate) legend: SeriesLabelPosition,
}

/// One line: a mark at each median, a whisker from the least to the most.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) side: Side,
    /// From the left to the right.
    pub(crate) points: Vec<(f64, Spread)>,
}

/// One bar, as long as the median; a whisker goes from the least to the most.
#[derive(Clone, Debug)]
pub(crate) struct BarRow {
    pub(crate) name: String,
    pub(crate) side: Side,
    pub(crate) value: Spread,
}

/// Returns the chart as SVG.
///
/// # Errors
/// Fails if there is no line, a line has no points, or a value cannot be drawn. The error names the
/// chart and the line.
pub(crate) fn lines(chart: &Chart, lines: &[Series]) -> anyhow::Result<String> {
    let mut svg = String::new();
    let mut drawn = || {
        ensure!(!lines.is_empty(), "there is no line");
        for line in lines {
            ensure_line(chart, line).with_context(|| format!("line {:?}", line.name))?;
        }
        let x = || lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x);
        let (least, most) = (x().fold(f64::INFINITY, f64::min), x().fold(f64::NEG_INFINITY, f64::max));
        // On a logarithmic axis a little more on both sides, for the marks; a range is never empty.
        let beyond = (most / least).max(10.0).powf(0.03);
        let sheet = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        if chart.log {
            draw_lines(&sheet, chart, (least / beyond..most * beyond).log_scale(), lines)
        } else {
            draw_lines(&sheet, chart, least..most.max(least + 1.0), lines)
        }
    };
    drawn().with_context(|| format!("chart {:?}", chart.title))?;
    Ok(svg)
}

fn ensure_line(chart: &Chart, line: &Series) -> anyhow::Result<()> {
    ensure!(!line.points.is_empty(), "no points");
    for (x, y) in &line.points {
        ensure!(x.is_finite(), "{x} is no number");
        ensure!(!chart.log || *x > 0.0, "{x} is not above zero, on a logarithmic axis");
        ensure_spread(*y)?;
    }
    Ok(())
}

fn ensure_spread(Spread { median, least, most }: Spread) -> anyhow::Result<()> {
    for value in [median, least, most] {
        ensure!(value.is_finite(), "{value} is no number");
    }
    ensure!(least <= median && median <= most, "{median} is not between {least} and {most}");
    Ok(())
}

fn draw_lines<X>(
    sheet: &DrawingArea<SVGBackend<'_>, Shift>,
    chart: &Chart,
    x: impl AsRangedCoord<CoordDescType = X, Value = f64>,
    lines: &[Series],
) -> anyhow::Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let spreads = lines.iter().flat_map(|line| &line.points).map(|(_, y)| y.most);
    let top = spreads.chain(chart.goal.map(|(value, _)| value)).fold(0.0, f64::max) * 1.05;
    sheet.fill(&WHITE)?;
    let mut area = ChartBuilder::on(sheet)
        .caption(&chart.title, ("sans-serif", TITLE))
        .margin(14)
        .margin_right(28)
        .x_label_area_size(48)
        .y_label_area_size(58)
        .build_cartesian_2d(x, 0.0..top)?;
    area.configure_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", LETTERS))
        .x_desc(chart.x)
        .y_desc(chart.y)
        .x_label_formatter(&|value| number(*value))
        .draw()?;
    for (nth, line) in lines.iter().enumerate() {
        let before = lines[..nth].iter().filter(|other| other.side == line.side).count();
        let palette = line.side.palette();
        // The first line of a side has the colour of its bars, but each peer has its own colour.
        let first = if line.side == Side::Peer { before } else { palette.len() - 1 + before };
        let style = palette[first % palette.len()].stroke_width(2).filled();
        let marked = line.points.len() <= MARKED;
        let medians = line.points.iter().map(|(x, y)| (*x, y.median));
        area.draw_series(LineSeries::new(medians, style).point_size(if marked { MARK } else { 0 }))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        let spreads = line.points.iter().filter(|(_, y)| marked && y.least < y.most);
        area.draw_series(
            spreads.map(|(x, y)| ErrorBar::new_vertical(*x, y.least, y.median, y.most, style, 2 * MARK)),
        )?;
    }
    if let Some((value, label)) = chart.goal {
        let across = area.x_range();
        let ends = [(across.start, value), (across.end, value)];
        area.draw_series(DashedLineSeries::new(ends, 6, 4, BLACK.stroke_width(2)))?
            .label(label)
            .legend(|(x, y)| DashedPathElement::new([(x, y), (x + 20, y)], 6, 4, BLACK.stroke_width(2)));
    }
    area.configure_series_labels()
        .position(chart.legend.clone())
        .background_style(WHITE)
        .label_font(("sans-serif", LETTERS))
        .draw()?;
    Ok(sheet.present()?)
}

/// Returns these bars from the top down as SVG. `label`, with the unit, is that of the values'
/// axis.
///
/// # Errors
/// Fails if there is no bar or a value cannot be drawn. The error names the chart and the bar.
pub(crate) fn bars(title: &str, label: &str, bars: &[BarRow]) -> anyhow::Result<String> {
    let mut svg = String::new();
    draw_bars(&mut svg, title, label, bars).with_context(|| format!("chart {title:?}"))?;
    Ok(svg)
}

fn draw_bars(svg: &mut String, title: &str, label: &str, bars: &[BarRow]) -> anyhow::Result<()> {
    ensure!(!bars.is_empty(), "there is no bar");
    for bar in bars {
        ensure_spread(bar.value).with_context(|| format!("bar {:?}", bar.name))?;
    }
    let most = bars.iter().map(|bar| bar.value.most).fold(0.0, f64::max);
    let last = bars.len() - 1;
    let size = (WIDTH, AROUND_BARS + ROW * bars.len() as u32);
    let sheet = SVGBackend::with_string(svg, size).into_drawing_area();
    sheet.fill(&WHITE)?;
    let mut area = ChartBuilder::on(&sheet)
        .caption(title, ("sans-serif", TITLE))
        .margin(14)
        .x_label_area_size(48)
        .y_label_area_size(185)
        // Room for the text behind the longest bar.
        .build_cartesian_2d(0.0..most * 1.1, (0..last).into_segmented())?;
    let name = |y: &SegmentValue<usize>| match y {
        SegmentValue::Exact(y) | SegmentValue::CenterOf(y) => bars[last - y].name.clone(),
        SegmentValue::Last => String::new(),
    };
    area.configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", LETTERS))
        .x_desc(label)
        .y_labels(bars.len())
        .y_label_formatter(&name)
        .draw()?;
    let rows = || bars.iter().enumerate().map(|(nth, bar)| (SegmentValue::CenterOf(last - nth), bar));
    for (row, bar) in rows() {
        let colour = *bar.side.palette().last().expect("each side has a colour");
        let Spread { median, least, most } = bar.value;
        let SegmentValue::CenterOf(y) = row else { continue };
        let corners = [(0.0, SegmentValue::Exact(y)), (median, SegmentValue::Exact(y + 1))];
        let mut rectangle = Rectangle::new(corners, colour.filled());
        rectangle.set_margin(6, 6, 0, 0);
        area.draw_series([rectangle])?;
        if least < most {
            area.draw_series([ErrorBar::new_horizontal(row, least, median, most, BLACK.filled(), 2 * MARK)])?;
        }
    }
    let style = TextStyle::from(("sans-serif", LETTERS)).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw_series(rows().map(|(row, bar)| {
        EmptyElement::at((bar.value.most, row)) + Text::new(number(bar.value.median), (8, 0), style.clone())
    }))?;
    Ok(sheet.present()?)
}

/// `0.523`, `25.1`, `1,234`, `100k`: with three digits, or all before the point.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e6 && value % 1e5 == 0.0 => format!("{}M", value / 1e6),
        size if size >= 1e3 && value % 1e2 == 0.0 => format!("{}k", value / 1e3),
        size => format!("{value:.*}", (2 - size.log10().floor() as i32).clamp(0, 6) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            title: "Memory of an idle connection".to_owned(),
            x: "connections",
            log: true,
            y: "RSS per connection, KiB",
            goal: Some((2.0, "goal: 2 KiB")),
            legend: SeriesLabelPosition::MiddleRight,
        }
    }

    fn spread(median: f64) -> Spread {
        Spread { median, least: median * 0.9, most: median * 1.1 }
    }

    fn line(name: &str, side: Side, medians: &[f64]) -> Series {
        let points = medians.iter().enumerate();
        let points = points.map(|(nth, median)| (1000.0 * (nth + 1) as f64, spread(*median))).collect();
        Series { name: name.to_owned(), side, points }
    }

    fn bar(name: &str, side: Side, median: f64) -> BarRow {
        BarRow { name: name.to_owned(), side, value: spread(median) }
    }

    fn attribute(element: &str, name: &str) -> f64 {
        let (_, rest) = element.split_once(&format!(" {name}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    }

    #[test]
    fn all_lines_are_drawn() {
        let both = [line("gateway", Side::Gateway, &[2.1, 2.0, 1.9]), line("R&D", Side::Peer, &[2.6, 2.5])];
        let svg = lines(&chart(), &both).unwrap();
        let labels = ["connections", "RSS per connection, KiB", "0.0"];
        let names = ["Memory of an idle connection", "gateway", "R&amp;D", "goal: 2 KiB"];
        for text in labels.iter().chain(&names) {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text}: {svg}");
        }
        assert!(svg.matches("<circle").count() >= 3 + 2, "{svg}");
        assert_eq!(svg, lines(&chart(), &both).unwrap());
    }

    #[test]
    fn more_is_higher_and_further_is_to_the_right() {
        let svg = lines(&chart(), &[line("gateway", Side::Gateway, &[1.0, 4.0])]).unwrap();
        let circles: Vec<_> = svg.lines().filter(|line| line.starts_with("<circle")).collect();
        let [first, second] = circles[..2] else { panic!("{circles:?}") };
        assert!(attribute(first, "cx") < attribute(second, "cx"), "{circles:?}");
        assert!(attribute(first, "cy") > attribute(second, "cy"), "{circles:?}");
    }

    #[test]
    fn an_error_names_the_chart_and_the_line() {
        let error =
            |chart: &Chart, all: &[Series]| format!("{:#}", lines(chart, all).expect_err("cannot be drawn"));
        let head = "chart \"Memory of an idle connection\": ";
        assert_eq!(error(&chart(), &[]), format!("{head}there is no line"));
        let empty = line("gateway", Side::Gateway, &[]);
        assert_eq!(error(&chart(), &[empty]), format!("{head}line \"gateway\": no points"));
        let nan = line("gateway", Side::Gateway, &[1.0, f64::NAN]);
        assert_eq!(error(&chart(), &[nan]), format!("{head}line \"gateway\": NaN is no number"));
        let zero = Series { points: vec![(0.0, spread(1.0))], ..line("gateway", Side::Gateway, &[]) };
        let said = error(&chart(), &[zero]);
        assert_eq!(said, format!("{head}line \"gateway\": 0 is not above zero, on a logarithmic axis"));
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let three = [
            bar("floor, SSE", Side::Floor, 3.4),
            bar("gateway, SSE", Side::Gateway, 3.72),
            bar("<peer>", Side::Peer, 25.0),
        ];
        let svg = bars("CPU time", "CPU per delivery, µs", &three).unwrap();
        let names = ["CPU time", "CPU per delivery, µs", "floor, SSE", "gateway, SSE", "&lt;peer&gt;"];
        for text in names.iter().chain(&["3.40", "3.72", "25.0", "0.0", "20.0"]) {
            assert!(svg.contains(&format!(">\n{text}\n</text>")), "{text}: {svg}");
        }
        let lengths = three.iter().map(|bar| {
            let colour = bar.side.palette().last().unwrap();
            let fill = format!("fill=\"#{:02X}{:02X}{:02X}\"", colour.0, colour.1, colour.2);
            let drawn: Vec<_> = svg.lines().filter(|line| line.contains(&fill)).collect();
            let [drawn] = drawn[..] else { panic!("{drawn:?}") };
            attribute(drawn, "width")
        });
        let lengths: Vec<_> = lengths.collect();
        assert!((lengths[2] / lengths[0] - 25.0 / 3.4).abs() < 0.1, "{lengths:?}");
    }

    #[test]
    fn an_error_names_the_chart_and_the_bar() {
        let error = |all: &[BarRow]| format!("{:#}", bars("CPU", "µs", all).expect_err("cannot be drawn"));
        assert_eq!(error(&[]), "chart \"CPU\": there is no bar");
        let nan = bar("gateway", Side::Gateway, f64::NAN);
        assert_eq!(error(&[nan]), "chart \"CPU\": bar \"gateway\": NaN is no number");
    }

    #[test]
    fn numbers_have_three_digits() {
        let values = [0.0, 0.0523, 0.5, 3.4, 25.06, 412.4, 1_234.4, 5_000.0, 20_000.0, 1_000_000.0];
        let texts = ["0", "0.0523", "0.500", "3.40", "25.1", "412", "1234", "5k", "20k", "1M"];
        assert_eq!(values.map(number), texts);
    }
}
