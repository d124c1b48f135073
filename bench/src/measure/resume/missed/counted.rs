//! Instructions of a resume outside the kernel, with few and with many events of another type kept.

use anyhow::Context;

use super::{Figures, ResumePlan, Stage, portion};
use crate::measure::{connect, instructions};
use crate::server::{Callgrind, Launch, Product};

/// Events of another type under callgrind: few, and many.
const OTHERS_COUNTED: [u32; 2] = [100, 10_000];

/// Events that were missed under callgrind.
const MISSED_COUNTED: [u32; 3] = [0, 100, 1_000];

/// Clients under callgrind that have missed them.
const COUNTED: u32 = 100;

/// What a resume may cost more with many events kept than with few.
const MOST_BY_KEPT: f64 = 1.05;

/// Counts, and adds the figures.
///
/// # Errors
/// valgrind cannot be run, or a client does not get exactly what it has missed.
pub(super) async fn run(launch: &Launch, plan: &ResumePlan, figures: &mut Figures) -> anyhow::Result<()> {
    let others = OTHERS_COUNTED.map(|events| plan.count(events, 10));
    let few = counted(launch, plan, others[0]).await.context("instructions of a resume")?;
    let many = counted(launch, plan, others[1]).await.context("instructions of a resume")?;
    for ((missed, few), (_, many)) in few.into_iter().zip(many) {
        let [a, b] = others;
        figures.show(format!("instructions of a resume, {missed} missed, {a} others kept"), "", few);
        figures.show(format!("instructions of a resume, {missed} missed, {b} others kept"), "", many);
        // The instructions of so few are less than those that a connect varies by.
        if missed >= 100 {
            figures.at_most(format!("{b} others kept to {a}, {missed} missed"), "", many / few, MOST_BY_KEPT);
        }
    }
    Ok(())
}

/// Instructions for each client by what it missed, without those of a connect.
async fn counted(launch: &Launch, plan: &ResumePlan, others: u32) -> anyhow::Result<Vec<(u32, f64)>> {
    let clients = plan.count(COUNTED, 5);
    let callgrind = Callgrind::new()?;
    let server = callgrind.launch(&instructions::one_worker(launch)).start(Product::Rig)?;
    let counter = callgrind.counter(&server);
    let mut stage = Stage::set(&server, others).await?;
    let count = async |stage: &Stage<'_>, missed| {
        stage.clients(clients, missed).await?;
        connect::left(&server, 0).await?;
        counter.reset()?;
        let _readers = stage.clients(clients, missed).await?;
        anyhow::Ok(counter.instructions()? as f64 / f64::from(clients))
    };
    let connect = count(&stage, None).await?;
    let mut resumes = Vec::new();
    for missed in MISSED_COUNTED.map(|missed| portion(plan, missed)) {
        connect::left(&server, 0).await?;
        stage.publish(missed).await?;
        resumes.push((missed, count(&stage, Some(missed)).await? - connect));
    }
    Ok(resumes)
}
