//! What the history of events costs, and what clients that come back cost: the figures that
//! docs/performance/resume.md shows beside their targets.

mod before;
mod kept;
mod missed;
mod rounds;
mod storm;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::figures::Figures;
use crate::server::Launch;

pub(crate) use storm::{Returning, come_back};

/// What is measured, and how much.
#[derive(Args, Clone, Debug)]
pub(crate) struct ResumePlan {
    /// Only this part; the page keeps the others. Again for more.
    #[arg(long, value_enum)]
    pub(crate) only: Vec<ResumePart>,
    /// This part of all counts, above 0 and up to 1. Less than 1 shows only that it works.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) portion: f64,
    /// Rounds of everything that is repeated.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) rounds: u32,
    /// The binary of an earlier build, from before there was a history.
    #[arg(long)]
    pub(crate) other: Option<PathBuf>,
    /// What the page calls that build: its commit.
    #[arg(long, default_value = "unnamed")]
    pub(crate) name: String,
    /// Without nchan.
    #[arg(long)]
    pub(crate) alone: bool,
    /// Without the parts of a part that run under callgrind.
    #[arg(long)]
    pub(crate) uncounted: bool,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ResumePart {
    /// Deliveries, publications and connects beside those of a build without a history.
    Before,
    /// CPU time and memory of events that are kept.
    Kept,
    /// CPU time of a client that comes back.
    Missed,
    /// Very many clients that come back together.
    Storm,
}

impl ResumePlan {
    /// Returns this portion of a count, at least `least`.
    fn count(&self, whole: u32, least: u32) -> u32 {
        ((f64::from(whole) * self.portion) as u32).max(least)
    }

    fn rounds(&self) -> u32 {
        if self.portion < 1.0 { 1 } else { self.rounds }
    }
}

/// Measures one part.
///
/// # Errors
/// A program cannot be started, or a client sees what it must not see.
pub(crate) async fn run(launch: &Launch, plan: &ResumePlan, part: ResumePart) -> anyhow::Result<Figures> {
    match part {
        ResumePart::Before => before::run(launch, plan).await,
        ResumePart::Kept => kept::run(launch, plan).await,
        ResumePart::Missed => missed::run(launch, plan).await,
        ResumePart::Storm => storm::run(launch, plan).await,
    }
}
