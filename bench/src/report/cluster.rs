//! Several nodes over NATS, as a page of Markdown. A run of some parts keeps the others.

use std::collections::BTreeMap;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::figures::{Row, kept, rows};
use super::template;
use crate::machine::Testbed;
use crate::measure::cluster::{self, ClusterPlan, Part};
use crate::measure::figures::Figures;
use crate::server::{Launch, Product};

/// One part, and on what it was measured.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    machine: Testbed,
    /// The nats-server.
    nats: String,
    /// Less than 1: the counts were not those of the method.
    portion: f64,
    figures: Figures,
}

type Parts = BTreeMap<Part, Measured>;

/// What the page shows.
#[derive(Serialize)]
struct Page<'a> {
    parts: Vec<PageOfPart<'a>>,
}

#[derive(Serialize)]
struct PageOfPart<'a> {
    title: String,
    #[serde(flatten)]
    measured: &'a Measured,
    rows: Vec<Row<'a>>,
}

/// Measures and writes `cluster.md` and `cluster.json` into the folder, after each part.
///
/// # Errors
/// One of the parts fails, after all have run; or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: &ClusterPlan, out: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(plan.portion > 0.0 && plan.portion <= 1.0, "the portion is above 0 and up to 1");
    let wanted = if plan.only.is_empty() { Part::value_variants() } else { &plan.only };
    let mut parts: Parts = kept(&out.join("cluster.json"))?;
    let mut failed = Vec::new();
    for part in wanted {
        eprintln!("== {}", title(*part));
        let machine = Testbed::look(launch, &[Product::Rig])?;
        match cluster::run(launch, plan, *part).await {
            Ok(figures) => {
                let (nats, portion) = (launch.nats_version()?, plan.portion);
                parts.insert(*part, Measured { machine, nats, portion, figures });
                super::write(out, "cluster", &parts, page)?;
            }
            Err(error) => {
                eprintln!("{}: {error:#}", title(*part));
                failed.push(title(*part));
            }
        }
    }
    anyhow::ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn title(part: Part) -> String {
    let title = match part {
        Part::Revoked => "Revocations, all nodes well",
        Part::Cuts => "Revocations, one node cut off or stopped",
        Part::Throngs => "Many connections of one session",
        Part::Outage => "NATS fails, no node does",
        Part::Rate => "Revocations in a second",
        Part::Joining => "A million operations",
        Part::Events => "Events to other nodes",
        Part::Fence => "The fence",
        Part::Elsewhere => "Requests that another node answers",
        Part::Stops => "Nodes stopped for longer than their lease",
        Part::Size => "The binary",
    };
    title.to_owned()
}

fn page(parts: &Parts) -> anyhow::Result<String> {
    let parts = parts.iter().map(|(part, measured)| PageOfPart {
        title: title(*part),
        rows: rows(&measured.figures),
        measured,
    });
    template::render(include_str!("cluster.md.jinja"), Page { parts: parts.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_their_targets() {
        let mut figures = Figures::new("Ten times.");
        figures.at_most("201", "ms", 8.26, 8.0);
        figures.at_least("in a second", "", 1712.4, 1500.0);
        figures.show("fence", "ns", 29.96);
        let (machine, nats) = (Testbed::unknown(), "2.15.1".to_owned());
        let measured = Measured { machine, nats, portion: 1.0, figures };
        let page = page(&BTreeMap::from([(Part::Revoked, measured)])).unwrap();
        let rows = "| 201 | 8.26 ms | ≤ 8 | **missed** |\n| in a second | 1712 | ≥ 1500 | met |\n\
                    | fence | 30.0 ns |  |  |\n";
        assert!(page.ends_with(rows), "{page}");
    }
}
