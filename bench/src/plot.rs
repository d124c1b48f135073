//! Plots as SVG: lines over a number, and bars with their names.
//!
//! Knows how a chart looks, nothing of what is measured. The same values give the same bytes. Text
//! is set in the reader's own sans-serif font, so its width is not known here: there is room for a
//! wide one.

mod bars;
mod frame;
mod lines;
mod look;
mod page;
mod scale;

use anyhow::ensure;

pub(crate) use bars::{Bar, bars};
pub(crate) use lines::{Axis, Chart, Line, lines};
pub(crate) use look::Side;

use crate::stats::Spread;

/// A value that the gateway shall not exceed, drawn as a dashed line and named above the chart.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    /// With the value and its unit.
    pub(crate) label: String,
    /// In the unit of the axis.
    pub(crate) value: f64,
}

/// Whether it can be drawn: a number, and above zero on a logarithmic axis.
fn ensure_number(value: f64, log: bool) -> anyhow::Result<()> {
    ensure!(value.is_finite(), "{value} is no number");
    ensure!(!log || value > 0.0, "{value} is not above zero, on a logarithmic axis");
    Ok(())
}

/// Whether all of it can be drawn.
fn ensure_spread(Spread { median, least, most }: Spread, log: bool) -> anyhow::Result<()> {
    [median, least, most].into_iter().try_for_each(|value| ensure_number(value, log))?;
    ensure!(least <= median && median <= most, "{median} is not between {least} and {most}");
    Ok(())
}
