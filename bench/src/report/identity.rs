//! Issuers and the logouts that they send, as a page of Markdown. A run of some parts keeps the
//! others.

use std::path::Path;

use clap::ValueEnum;

use super::figures::{MeasuredPart, Parts, Sections, kept};
use super::template;
use crate::machine::Testbed;
use crate::measure::identity::{self, IdentityPart, IdentityPlan};
use crate::server::{Launch, Product};

/// Measures and writes `identity.md` and `identity.json` into the folder, after each part.
///
/// # Errors
/// One of the parts fails, or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: &IdentityPlan, out: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(plan.portion > 0.0 && plan.portion <= 1.0, "the portion is above 0 and up to 1");
    let wanted = if plan.only.is_empty() { IdentityPart::value_variants() } else { &plan.only };
    let mut parts: Parts<IdentityPart> = kept(&out.join("identity.json"))?;
    for part in wanted {
        eprintln!("== {}", title(*part));
        let machine = Testbed::look(launch, &[Product::Rig])?;
        let figures = identity::run(launch, plan, *part).await?;
        parts.insert(*part, MeasuredPart { machine, portion: plan.portion, figures });
        super::write(out, "identity", &parts, page)?;
    }
    Ok(())
}

fn title(part: IdentityPart) -> &'static str {
    match part {
        IdentityPart::Cost => "What an issuer costs",
        IdentityPart::Latency => "From a logout to the end of the last connection",
        IdentityPart::Rate => "Ten thousand logouts in a minute",
        IdentityPart::Unknown => "Ten thousand tokens with unknown keys",
    }
}

fn page(parts: &Parts<IdentityPart>) -> anyhow::Result<String> {
    template::render(include_str!("identity.md.jinja"), Sections::of(parts, title))
}
