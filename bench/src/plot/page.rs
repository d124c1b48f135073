//! The sheet that every chart is drawn on: white, with the title and the legend above the chart.

use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{DashedPathElement, PathElement, Text};
use plotters::prelude::SVGBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBColor, TextStyle, WHITE};

use super::look::{INK, Look};

/// The sheet or a part of it.
pub(super) type Pixels<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// From the left and from the top, in pixels.
pub(super) type Point = (i32, i32);

/// As wide as a page of Markdown is shown.
pub(super) const WIDTH: u32 = 800;

/// Size of all text but the title. Pixels.
pub(super) const LETTERS: f64 = 14.0;

/// Pixels between the chart and the edge.
pub(super) const MARGIN: i32 = 14;

/// Size of the title. Pixels.
const TITLE: f64 = 17.0;

/// Of a row of the title. Pixels.
const TITLE_ROW: i32 = 24;

/// Of a row of the legend. Pixels.
const LEGEND_ROW: i32 = 24;

/// Of what stands for a line in the legend. Pixels.
const SAMPLE: i32 = 30;

/// From one entry of the legend to the next. Pixels.
const BETWEEN: i32 = 22;

/// One entry of the legend.
pub(super) enum Entry<'a> {
    Line(&'a str, Look),
    Goal(&'a str),
}

impl Entry<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Line(name, _) | Self::Goal(name) => name,
        }
    }

    fn draw(&self, area: &Pixels<'_>, (x, y): Point) -> anyhow::Result<()> {
        match self {
            Self::Line(_, look) => {
                stroke(area, vec![(x, y), (x + SAMPLE, y)], look.colour)?;
                look.mark(area, (x + SAMPLE / 2, y))?;
            }
            Self::Goal(_) => dashes(area, (x, y), (x + SAMPLE, y))?,
        }
        let style = letters().pos(Pos::new(HPos::Left, VPos::Center));
        Ok(area.draw(&Text::new(self.name().to_owned(), (x + SAMPLE + 7, y), style))?)
    }
}

/// A whole picture with a chart of this height. The chart is drawn by its own piece of code, which
/// gets the sheet and, as a part of it, the room for the chart.
///
/// # Errors
/// That code's.
pub(super) fn page(
    title: &str,
    legend: &[Entry<'_>],
    height: u32,
    chart: impl for<'a> FnOnce(&Pixels<'a>, &Pixels<'a>) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let room = WIDTH as i32 - 2 * MARGIN;
    let words: Vec<_> = title.split(' ').collect();
    let title = rows(&words, room, |word| width(&format!("{word} "), TITLE));
    let legend = rows(legend, room, |entry| SAMPLE + 7 + width(entry.name(), LETTERS) + BETWEEN);
    let above = MARGIN + title.len() as i32 * TITLE_ROW + legend.len() as i32 * LEGEND_ROW;

    let mut svg = String::new();
    let sheet = SVGBackend::with_string(&mut svg, (WIDTH, above as u32 + height)).into_drawing_area();
    sheet.fill(&WHITE)?;
    let mut y = MARGIN + TITLE_ROW / 2;
    let style = TextStyle::from(("sans-serif", pixels(TITLE), FontStyle::Bold).into_font()).color(&INK);
    for row in title {
        let text = row.iter().map(|(_, word)| **word).collect::<Vec<_>>().join(" ");
        sheet.draw(&Text::new(text, (MARGIN, y), style.pos(Pos::new(HPos::Left, VPos::Center))))?;
        y += TITLE_ROW;
    }
    for row in legend {
        for (x, entry) in row {
            entry.draw(&sheet, (MARGIN + x, y))?;
        }
        y += LEGEND_ROW;
    }
    chart(&sheet, &sheet.split_vertically(above).1)?;
    sheet.present()?;
    drop(sheet);
    Ok(svg)
}

/// Things of these widths in rows, each with its place from the left.
fn rows<T>(things: &[T], room: i32, width: impl Fn(&T) -> i32) -> Vec<Vec<(i32, &T)>> {
    let mut rows: Vec<Vec<_>> = Vec::new();
    let mut x = room;
    for thing in things {
        if x + width(thing) > room || rows.is_empty() {
            rows.push(Vec::new());
            x = 0;
        }
        rows.last_mut().expect("one was pushed").push((x, thing));
        x += width(thing);
    }
    rows
}

/// How text looks.
pub(super) fn letters() -> TextStyle<'static> {
    TextStyle::from(("sans-serif", pixels(LETTERS)).into_font()).color(&INK)
}

/// The SVG backend writes sizes smaller than it is told, by this factor.
fn pixels(size: f64) -> f64 {
    size * 1.24
}

/// What text takes in a wide font. Pixels.
pub(super) fn width(text: &str, size: f64) -> i32 {
    (text.chars().count() as f64 * size * 0.6).ceil() as i32
}

/// A line through these points.
pub(super) fn stroke(area: &Pixels<'_>, points: Vec<Point>, colour: RGBColor) -> anyhow::Result<()> {
    Ok(area.draw(&PathElement::new(points, colour.stroke_width(2)))?)
}

/// The line of a goal.
pub(super) fn dashes(area: &Pixels<'_>, from: Point, to: Point) -> anyhow::Result<()> {
    Ok(area.draw(&DashedPathElement::new([from, to], 6, 4, INK.stroke_width(2)))?)
}

/// A thin line with a bar at each end, level or upright. Nothing where both ends are one.
pub(super) fn whisker(area: &Pixels<'_>, from: Point, to: Point, colour: RGBColor) -> anyhow::Result<()> {
    if from == to {
        return Ok(());
    }
    area.draw(&PathElement::new(vec![from, to], colour))?;
    let (right, down) = if from.0 == to.0 { (4, 0) } else { (0, 4) };
    for (x, y) in [from, to] {
        area.draw(&PathElement::new(vec![(x - right, y - down), (x + right, y + down)], colour))?;
    }
    Ok(())
}
