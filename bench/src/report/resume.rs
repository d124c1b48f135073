//! The history of events and clients that come back, as a page of Markdown. A run of some parts
//! keeps the others.

use std::path::Path;

use clap::ValueEnum;

use super::figures::{MeasuredPart, Parts, Sections, kept};
use super::template;
use crate::machine::Testbed;
use crate::measure::resume::{self, ResumePart, ResumePlan};
use crate::server::{Launch, Product};

/// Measures and writes `resume.md` and `resume.json` into the folder, after each part.
///
/// # Errors
/// One of the parts fails, or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: &ResumePlan, out: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(plan.portion > 0.0 && plan.portion <= 1.0, "the portion is above 0 and up to 1");
    let wanted = if plan.only.is_empty() { ResumePart::value_variants() } else { &plan.only };
    let mut parts: Parts<ResumePart> = kept(&out.join("resume.json"))?;
    for part in wanted {
        eprintln!("== {}", title(*part));
        let peer = matches!(part, ResumePart::Kept | ResumePart::Missed) && !plan.alone;
        let products = if peer { &[Product::Rig, Product::Nginx][..] } else { &[Product::Rig] };
        let machine = Testbed::look(launch, products)?;
        let figures = resume::run(launch, plan, *part).await?;
        parts.insert(*part, MeasuredPart { machine, portion: plan.portion, figures });
        super::write(out, "resume", &parts, page)?;
    }
    Ok(())
}

fn title(part: ResumePart) -> &'static str {
    match part {
        ResumePart::Before => "Clients that never come back",
        ResumePart::Kept => "Events that are kept",
        ResumePart::Missed => "A client that comes back",
        ResumePart::Storm => "A hundred thousand clients that come back together",
    }
}

fn page(parts: &Parts<ResumePart>) -> anyhow::Result<String> {
    template::render(include_str!("resume.md.jinja"), Sections::of(parts, title))
}
