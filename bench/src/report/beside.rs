//! Two builds of the gateway beside each other, as a page of Markdown.

use std::path::Path;

use serde::Serialize;

use super::template;
use crate::machine::Testbed;
use crate::measure::beside::{self, Comparison, Figure};
use crate::server::{Launch, Product};

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Compared {
    machine: Testbed,
    plan: Comparison,
    figures: Vec<Figure>,
}

/// Measures and writes `beside.md` and `beside.json` into the folder.
///
/// # Errors
/// One of the runs fails, or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: &Comparison, out: &Path) -> anyhow::Result<()> {
    let machine = Testbed::look(launch, &[Product::Rig])?;
    let figures = beside::run(launch, plan).await?;
    let results = Compared { machine, plan: plan.clone(), figures };
    super::write(out, "beside", &results, page)
}

fn page(results: &Compared) -> anyhow::Result<String> {
    template::render(include_str!("beside.md.jinja"), results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let figure =
            Figure { name: "connect".into(), unit: "µs", other: vec![1.0, 10.0], this: vec![2.0, 5.0] };
        let plan = Comparison {
            other: "rig".into(),
            name: "c945dfd".into(),
            rounds: 2,
            connections: 1,
            subscribers: 1,
            events: 1,
            seconds: 1,
            counted: 0,
        };
        let page = page(&Compared { machine: Testbed::unknown(), plan, figures: vec![figure] }).unwrap();
        assert!(
            page.ends_with("| connect | µs | 5.50 (1.00–10.00) | 3.50 (2.00–5.00) | 1.250 (0.500–2.000) |\n"),
            "{page}"
        );
    }
}
