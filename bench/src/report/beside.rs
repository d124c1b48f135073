//! Two builds of the gateway beside each other, as a page of Markdown.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::show;
use crate::machine::Testbed;
use crate::measure::beside::{self, Comparison, Figure};
use crate::server::{Launch, Product};
use crate::stats::Spread;

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
    let mut raw = serde_json::to_string_pretty(&results)?;
    raw.push('\n');
    let page = page(&results)?;
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    for (name, text) in [("beside.json", &raw), ("beside.md", &page)] {
        let file = out.join(name);
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    print!("{page}");
    Ok(())
}

fn page(results: &Compared) -> anyhow::Result<String> {
    let Compared { machine, plan, figures } = results;
    let mut text = format!(
        "# This build beside an earlier one\n\n\
         Written by `scripts/bench beside` on {} (UTC); every round is in [beside.json](beside.json). {}, {} cores, load \
         average {} when it began. Earlier build: {}; this build: commit {}.\n\n\
         {} rounds; each measures both builds, and every other round the other one first. Medians; the least and the \
         most in brackets. Ratios are of values of the same round.\n\n\
         | | unit | earlier | this | ratio |\n\
         | --- | --- | --- | --- | --- |\n",
        machine.time, machine.processor, machine.cores, machine.load, plan.name, machine.commit, plan.rounds,
    );
    for Figure { name, unit, other, this } in figures {
        let ratios = this.iter().zip(other).map(|(this, other)| this / other);
        let spread = |values: Option<Spread>| values.context("a figure without a value");
        let digits = if *unit == "instructions" { 0 } else { 2 };
        let (before, after) =
            (spread(Spread::of(other.iter().copied()))?, spread(Spread::of(this.iter().copied()))?);
        let ratio = show(spread(Spread::of(ratios))?, 3);
        writeln!(text, "| {name} | {unit} | {} | {} | {ratio} |", show(before, digits), show(after, digits))?;
    }
    Ok(text)
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
