//! Parts of figures beside their targets. A run of some parts keeps the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::machine::Testbed;
use crate::measure::figures::{Figure, Figures};

/// One part, and on what it was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MeasuredPart {
    pub(super) machine: Testbed,
    /// Less than 1: the counts were not those of the method.
    pub(super) portion: f64,
    pub(super) figures: Figures,
}

/// The parts of a page.
pub(super) type Parts<P> = BTreeMap<P, MeasuredPart>;

/// What a page shows.
#[derive(Serialize)]
pub(super) struct Sections<'a> {
    parts: Vec<Section<'a>>,
}

#[derive(Serialize)]
struct Section<'a> {
    title: &'static str,
    #[serde(flatten)]
    measured: &'a MeasuredPart,
    rows: Vec<Row<'a>>,
}

impl<'a> Sections<'a> {
    /// Returns the sections of these parts, in their order.
    pub(super) fn of<P: Copy>(parts: &'a Parts<P>, title: fn(P) -> &'static str) -> Self {
        let section = |(part, measured): (&P, &'a MeasuredPart)| Section {
            title: title(*part),
            rows: rows(&measured.figures),
            measured,
        };
        Self { parts: parts.iter().map(section).collect() }
    }
}

/// A figure as a page shows it.
#[derive(Serialize)]
pub(super) struct Row<'a> {
    #[serde(flatten)]
    figure: &'a Figure,
    digits: usize,
    limit: String,
    met: Option<bool>,
}

/// Returns the rows of a table.
pub(super) fn rows(figures: &Figures) -> Vec<Row<'_>> {
    let figures = figures.figures.iter();
    let rows = figures.map(|figure| Row {
        figure,
        digits: figure.digits(),
        limit: figure.limit(),
        met: figure.met(),
    });
    rows.collect()
}

/// Reads the parts that were measured before; none if there is no such file.
///
/// # Errors
/// The file cannot be read.
pub(super) fn kept<P: DeserializeOwned + Default>(file: &Path) -> anyhow::Result<P> {
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| format!("read {}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(P::default()),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}
