//! Where values stand on an axis, and what is written at its ticks.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// One axis, from the left to the right or from the bottom to the top.
pub(super) struct Scale {
    log: bool,
    range: Range<f64>,
    /// Values and what is written beside them.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Scale {
    /// From a little before the least of these values, or from zero where zero is near, to a little
    /// above the most; with at most as many ticks.
    pub(super) fn linear(values: impl IntoIterator<Item = f64>, ticks: u32) -> Self {
        let (least, most) = ends(values);
        let beyond = match most - least {
            0.0 => most.abs().max(1.0) * 0.5,
            span => span * 0.03,
        };
        let least = if least >= 0.0 && least <= most / 3.0 { 0.0 } else { least - beyond };
        let range = least..most + beyond;
        let step = step((range.end - range.start) / f64::from(ticks));
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let numbers = (range.start / step).ceil() as i64..=(range.end / step).floor() as i64;
        let tick = |number| number as f64 * step;
        let ticks = numbers.map(|number| (tick(number), separated(tick(number), decimals)));
        Self { log: false, ticks: ticks.collect(), range }
    }

    /// For values above zero. Ticks are powers of ten, where there are few also 2 and 5 of each.
    pub(super) fn logarithmic(values: impl IntoIterator<Item = f64>) -> Self {
        let (least, most) = ends(values);
        let beyond = (most / least).max(10.0).powf(0.03);
        let range = least / beyond..most * beyond;
        let digits: &[f64] = if most / least < 300.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
        let values = decades.flat_map(|decade| digits.iter().map(move |digit| digit * 10_f64.powi(decade)));
        let ticks = values.filter(|value| range.contains(value)).map(|value| (value, short(value)));
        Self { log: true, ticks: ticks.collect(), range }
    }

    /// For names from the top down, each a step of 1 apart.
    pub(super) fn names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Self {
        let count = names.len() as f64;
        let ticks = names.enumerate().map(|(nth, name)| (count - nth as f64 - 0.5, name.to_owned()));
        Self { log: false, range: 0.0..count, ticks: ticks.collect() }
    }
}

impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let place = |value: f64| if self.log { value.log10() } else { value };
        let (least, most) = (place(self.range.start), place(self.range.end));
        let part = (place(*value) - least) / (most - least);
        start + (part * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // There are no lines between the ticks.
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.ticks.iter().map(|(value, _)| *value).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Scale {
    fn format_ext(&self, value: &f64) -> String {
        self.ticks.iter().find(|tick| tick.0 == *value).map_or_else(String::new, |tick| tick.1.clone())
    }
}

fn ends(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    values
        .into_iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)))
}

/// 1, 2 or 5 of a power of ten, and not below this.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= least);
    digit.unwrap_or(10.0) * power
}

/// `19,000`.
fn separated(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let digits = text.find('.').unwrap_or(text.len());
    let mut out = String::new();
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at < digits && (digits - at) % 3 == 0 && !out.ends_with('-') {
            out.push(',');
        }
        out.push(letter);
    }
    out
}

/// `10k`, for 1, 2 or 5 of a power of ten.
fn short(value: f64) -> String {
    match value {
        _ if value > 0.9e9 => format!("{:.0}G", value / 1e9),
        _ if value > 0.9e6 => format!("{:.0}M", value / 1e6),
        _ if value > 0.9e3 => format!("{:.0}k", value / 1e3),
        _ if value > 0.9 => format!("{value:.0}"),
        _ => format!("{value:.*}", (-value.log10() - 1e-9).ceil() as usize),
    }
}

/// With three digits or all that stand before the point: `0.523`, `25.1`, `1,234`.
pub(super) fn exact(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let before = value.abs().log10().floor() as i32 + 1;
    separated(value, (3 - before).clamp(0, 6) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale) -> String {
        scale.ticks.iter().map(|(_, label)| label.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ticks_of_linear_axes() {
        assert_eq!(labels(&Scale::linear([1_000.0, 19_000.0], 6)), "0 5,000 10,000 15,000");
        assert_eq!(labels(&Scale::linear([0.0, 3.0], 8)), "0.0 0.5 1.0 1.5 2.0 2.5 3.0");
        assert_eq!(labels(&Scale::linear([0.0, 0.3], 8)), "0.00 0.05 0.10 0.15 0.20 0.25 0.30");
        assert_eq!(labels(&Scale::linear([-1_200.0, 1_200.0], 6)), "-1,000 -500 0 500 1,000");
    }

    #[test]
    fn ticks_of_logarithmic_axes() {
        assert_eq!(labels(&Scale::logarithmic([1_000.0, 1_000_000.0])), "1k 10k 100k 1M");
        assert_eq!(labels(&Scale::logarithmic([0.04, 3.0])), "0.05 0.1 0.2 0.5 1 2");
    }

    #[test]
    fn numbers_have_three_digits() {
        let values = [0.0, 0.0523, 0.5, 3.4, 25.06, 412.4, 1_234.4, 1_234_567.0];
        let texts = ["0", "0.0523", "0.500", "3.40", "25.1", "412", "1,234", "1,234,567"];
        assert_eq!(values.map(exact), texts);
    }
}
