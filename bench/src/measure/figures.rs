//! Figures beside their targets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::stats::{millis, quantile};

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    what: String,
    unit: String,
    value: f64,
    target: Option<Target>,
}

/// What a figure is measured against.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// The figures of a part, and how they were measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// What was done.
    pub(crate) method: String,
    pub(crate) figures: Vec<Figure>,
}

impl Figures {
    pub(crate) fn new(method: impl Into<String>) -> Self {
        Self { method: method.into(), figures: Vec::new() }
    }

    pub(super) fn add(&mut self, what: impl Into<String>, unit: &str, value: f64, target: Option<Target>) {
        let (what, unit) = (what.into(), unit.to_owned());
        eprintln!("{what}: {value:.3} {unit}");
        self.figures.push(Figure { what, unit, value, target });
    }

    pub(crate) fn show(&mut self, what: impl Into<String>, unit: &str, value: f64) {
        self.add(what, unit, value, None);
    }

    pub(crate) fn at_most(&mut self, what: impl Into<String>, unit: &str, value: f64, target: f64) {
        self.add(what, unit, value, Some(Target::AtMost(target)));
    }

    pub(crate) fn at_least(&mut self, what: impl Into<String>, unit: &str, value: f64, target: f64) {
        self.add(what, unit, value, Some(Target::AtLeast(target)));
    }

    /// Adds a quantile of times, in milliseconds.
    pub(super) fn times(&mut self, what: &str, times: &mut [Duration], part: f64, target: Option<f64>) {
        times.sort_unstable();
        let what = if part < 1.0 { format!("{what}, p{}", part * 100.0) } else { format!("{what}, longest") };
        self.add(what, "ms", millis(quantile(times, part)), target.map(Target::AtMost));
    }
}

impl Figure {
    /// Returns `true` if it is as good as demanded; `None` if nothing is demanded.
    pub(crate) fn met(&self) -> Option<bool> {
        Some(match self.target? {
            Target::AtMost(limit) => self.value <= limit,
            Target::AtLeast(limit) => self.value >= limit,
        })
    }

    /// Returns how many digits behind the point are worth showing.
    pub(crate) fn digits(&self) -> usize {
        match self.value.abs() {
            value if value.fract() == 0.0 || value >= 100.0 => 0,
            10.0.. => 1,
            _ => 2,
        }
    }

    /// Returns the limit as the page shows it.
    pub(crate) fn limit(&self) -> String {
        match self.target {
            None => String::new(),
            Some(Target::AtMost(limit)) => format!("≤ {limit}"),
            Some(Target::AtLeast(limit)) => format!("≥ {limit}"),
        }
    }
}
