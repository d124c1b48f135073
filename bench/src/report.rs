//! The results as pages of Markdown, and as plots.

pub(crate) mod beside;
pub(crate) mod cluster;
mod figures;
pub(crate) mod identity;
pub(crate) mod kafka;
mod plots;
pub(crate) mod proxy;
pub(crate) mod resume;
mod template;

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::event;
use crate::results::Results;
use crate::server::nginx_configuration;

pub(crate) use plots::plots;

/// What the page shows.
#[derive(Serialize)]
struct Page<'a> {
    #[serde(flatten)]
    results: &'a Results,
    /// Percent, from the second fifth of the time in which clients come and go to the last.
    growth: f64,
    /// Bytes.
    event_size: usize,
    event_type: &'static str,
    nginx_configuration: String,
}

/// Returns the page of all measurements.
///
/// # Errors
/// Fails if the template names something that is not in the results.
pub(crate) fn markdown(results: &Results) -> anyhow::Result<String> {
    let page = Page {
        results,
        growth: results.churn.growth(),
        event_size: event::SIZE,
        event_type: event::TYPE,
        nginx_configuration: nginx_configuration(Path::new("FOLDER"), ([127, 0, 0, 1], 8080).into()),
    };
    template::render(include_str!("report/table.md.jinja"), page)
}

/// Writes the raw numbers and the page, `NAME.json` and `NAME.md`, into the folder. Prints the
/// page. The raw numbers come first: a page that fails must not lose them.
///
/// # Errors
/// Fails if a file cannot be written, or with the error of the page.
fn write<R: Serialize>(
    out: &Path,
    name: &str,
    results: &R,
    page: fn(&R) -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let write = |extension, text: &str| {
        let file = out.join(name).with_extension(extension);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))
    };
    write("json", &format!("{}\n", serde_json::to_string_pretty(results)?))?;
    let page = page(results)?;
    write("md", &page)?;
    print!("{page}");
    Ok(())
}
