//! The results as pages of Markdown, and as plots.

pub(crate) mod beside;
mod plots;
pub(crate) mod proxy;
mod template;

use std::path::Path;

use serde::Serialize;

use crate::Streaming;
use crate::event;
use crate::results::Results;
use crate::server::{Product, nginx_configuration};
use crate::stats::Spread;

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

fn show(spread: Spread, digits: usize) -> String {
    let Spread { median, least, most } = spread;
    format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
}

fn met(yes: bool) -> &'static str {
    if yes { "met" } else { "**missed**" }
}

fn name(server: Product) -> &'static str {
    match server {
        Product::Rig => "gateway",
        Product::Nginx => "nginx, nchan",
        Product::Haproxy => "haproxy",
        Product::Floor => "floor",
        Product::Pushpin => "Pushpin",
        Product::SocketIo => "Socket.IO",
    }
}

fn label(transport: Streaming) -> &'static str {
    match transport {
        Streaming::Sse => "SSE",
        Streaming::Ws => "WebSocket",
    }
}
