//! The whole measurement: all scenarios, repeated, the systems in turns; then the page and the
//! plots.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::Streaming;
use crate::client::Variant;
use crate::machine::Testbed;
use crate::measure::{churn, idle, journal, revoke, sessions, start};
use crate::report;
use crate::results::{Plan, RAW, Results};
use crate::server::{Launch, Product};

mod turns;

/// Measures everything and writes the page, the plots and `raw.json` into the folder.
///
/// # Errors
/// One of the runs fails, or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: Plan, out: &Path) -> anyhow::Result<()> {
    let results = measure(launch, plan).await?;
    fs::create_dir_all(out).with_context(|| format!("create {}", out.display()))?;
    let mut raw = serde_json::to_string_pretty(&results)?;
    raw.push('\n');
    write(out, RAW, &raw)?;
    report(out)
}

/// Writes the page and the plots from the `raw.json` of the folder.
///
/// # Errors
/// It cannot be read, or the files cannot be written.
pub(crate) fn report(out: &Path) -> anyhow::Result<()> {
    let file = out.join(RAW);
    let raw = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let results: Results = serde_json::from_str(&raw).with_context(|| format!("read {}", file.display()))?;
    for (name, plot) in report::plots(&results)? {
        write(out, name, &plot)?;
    }
    let page = report::markdown(&results)?;
    write(out, "table.md", &page)?;
    print!("{page}");
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let file = folder.join(name);
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))
}

async fn measure(launch: &Launch, plan: Plan) -> anyhow::Result<Results> {
    let machine = Testbed::look(launch, turns::products(&plan))?;
    // First, while this process has not had any memory to give back.
    eprintln!("{} revocations in memory", plan.in_memory);
    let in_memory = sessions::run(plan.in_memory)?;
    eprintln!("clients that come and go, for {} s", plan.churn);
    let churn = churn::run(launch, churn::Visitors { seconds: plan.churn, clients: 16 }).await?;
    eprintln!("{} revocations on disk", plan.on_disk);
    let on_disk = journal::run(journal::StoredRevocations { revocations: plan.on_disk, callers: 64 })?;
    let filter = turns::filter(&plan)?;
    let mut revoke = Vec::new();
    for transport in [Streaming::Sse, Streaming::Ws] {
        eprintln!("{} connections revoked: {transport:?}", plan.revoked);
        let Plan { revoked: connections, bystanders, rounds, .. } = plan;
        revoke.push(
            revoke::run(launch, revoke::RevokedSession { transport, connections, bystanders, rounds })
                .await?,
        );
    }
    eprintln!("{} starts", plan.starts);
    let start = start::run(launch, plan.starts)?;
    let fanout = turns::fanout(launch, &plan).await?;
    let sustained = turns::sustained(launch, &plan).await?;
    let publish = turns::publish(launch, &plan).await?;
    let connect = turns::connect(launch, &plan).await?;
    let slow = turns::slow(launch, &plan).await?;
    let idle = turns::idle(launch, &plan).await?;
    let few = plan.settle.min(3);
    let mut numbers = if plan.alone { Vec::new() } else { idle::sweep(launch, few).await? };
    eprintln!("{} idle connections", plan.many);
    let variant = Variant::from(Streaming::Sse);
    let many = idle::IdleClients { server: Product::Rig, variant, connections: plan.many, settle: few };
    numbers.push(idle::run(launch, many).await?);
    let variants = idle::variants(launch, plan.connections, few).await?;
    Ok(Results {
        machine,
        plan,
        start,
        idle,
        numbers,
        variants,
        connect,
        fanout,
        sustained,
        filter,
        publish,
        slow,
        revoke,
        in_memory,
        on_disk,
        churn,
    })
}
