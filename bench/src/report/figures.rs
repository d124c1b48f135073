//! Parts of figures beside their targets. A run of some parts keeps the others.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::measure::figures::{Figure, Figures};

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
