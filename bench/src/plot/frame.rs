//! The axes of a chart with their ticks, labels and grid.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::cartesian::Cartesian2d;
use plotters::prelude::SVGBackend;

use super::look::{GRID, INK};
use super::page::{LETTERS, MARGIN, Pixels, Point, letters, width};
use super::scale::Scale;

/// Room below the chart for what is written at the ticks and for the axis' label. Pixels.
const BELOW: u32 = 48;

/// How far a tick stands out. Pixels.
const TICK: u32 = 4;

/// What a chart is drawn into.
pub(super) struct Frame<'a>(ChartContext<'a, SVGBackend<'a>, Cartesian2d<Scale, Scale>>);

impl<'a> Frame<'a> {
    /// Draws the axes into an area, each with its label; an axis of names has none. At the right
    /// some pixels stay free.
    ///
    /// # Errors
    /// The drawing fails.
    pub(super) fn draw(
        area: &Pixels<'a>,
        (x, x_label): (Scale, &str),
        (y, y_label): (Scale, Option<&str>),
        right: i32,
    ) -> anyhow::Result<Self> {
        let widest = y.ticks.iter().map(|(_, label)| width(label, LETTERS)).max().unwrap_or(0);
        let mut chart = ChartBuilder::on(area)
            .margin(MARGIN)
            .margin_right(right)
            .x_label_area_size(BELOW)
            .y_label_area_size(widest + if y_label.is_some() { 34 } else { 12 })
            .build_cartesian_2d(x, y)?;
        let mut mesh = chart.configure_mesh();
        mesh.bold_line_style(GRID).axis_style(INK).label_style(letters()).x_desc(x_label);
        mesh.set_all_tick_mark_size(TICK);
        match y_label {
            Some(label) => mesh.y_desc(label),
            None => mesh.disable_y_mesh(),
        };
        mesh.draw()?;
        Ok(Self(chart))
    }

    /// Where on the sheet these values are.
    pub(super) fn place(&self, x: f64, y: f64) -> Point {
        self.0.backend_coord(&(x, y))
    }

    /// From the left to the right and from the top to the bottom, on the sheet.
    pub(super) fn room(&self) -> (Range<i32>, Range<i32>) {
        self.0.plotting_area().get_pixel_range()
    }
}
