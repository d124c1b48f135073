//! Instructions of an operation outside the kernel, counted by callgrind.
//!
//! A count does not depend on what else the machine does. The gateway has one worker thread;
//! clients are in this process, which is not counted.

use anyhow::Context;

use crate::Streaming;
use crate::client::{Crowd, Publisher};
use crate::event;
use crate::measure::proxy;
use crate::server::{Counted, Launch, Product, proxies};
use crate::token;

/// Subscribers of the events that are counted.
const SUBSCRIBERS: u32 = 100;

/// Operations before the count begins.
const WARM_UP: u32 = 100;

/// Instructions for each of `operations` connects, deliveries, events without subscribers and
/// proxied requests.
///
/// # Errors
/// valgrind cannot be run, or a client is refused.
pub(crate) async fn count(build: &Launch, operations: u32) -> anyhow::Result<[(&'static str, f64); 5]> {
    // valgrind hides the vDSO, which the clock of a log on disk is read through.
    let build = build.with(&[("TOKIO_WORKER_THREADS", "1"), ("DATA_DIR", "memory")]);
    let connect = connects(&build, operations).await.context("instructions of a connect")?;
    let [delivery, publish] = events(&build, operations).await.context("instructions of an event")?;
    let [open, secured] = proxied(&build, operations).await.context("instructions of a proxied request")?;
    Ok([
        ("connect, SSE: instructions", connect),
        ("delivery, SSE: instructions", delivery),
        ("publish: instructions", publish),
        ("proxied request: instructions", open),
        ("proxied request with a token: instructions", secured),
    ])
}

async fn connects(build: &Launch, operations: u32) -> anyhow::Result<f64> {
    let counted = Counted::start(build, |build| build.start(Product::Rig))?;
    let first = event::numbered(0);
    Crowd::connect(&counted.server, Streaming::Sse, WARM_UP, &first, None).await?.leave().await;
    counted.reset()?;
    let crowd = Crowd::connect(&counted.server, Streaming::Sse, operations, &first, None).await?;
    let instructions = counted.instructions()?;
    crowd.ensure_complete()?;
    Ok(instructions as f64 / f64::from(operations))
}

async fn events(build: &Launch, operations: u32) -> anyhow::Result<[f64; 2]> {
    let counted = Counted::start(build, |build| build.start(Product::Rig))?;
    let mut publisher = Publisher::connect(counted.server.publishing()).await?;
    let publication = counted.server.publication(&event::numbered(0));
    let publish = requests(&counted, &mut publisher, &publication, operations).await?;

    let crowd =
        Crowd::connect(&counted.server, Streaming::Sse, SUBSCRIBERS, &event::numbered(0), None).await?;
    counted.reset()?;
    for number in 0..operations {
        publisher.publish(&counted.server.publication(&event::numbered(number))).await?;
        crowd.receive(u64::from(number + 1) * u64::from(SUBSCRIBERS)).await?;
    }
    let all = counted.instructions()? as f64 / f64::from(operations);
    crowd.leave().await;
    // A delivery costs what is left without the event itself.
    Ok([(all - publish) / f64::from(SUBSCRIBERS), publish])
}

async fn proxied(build: &Launch, operations: u32) -> anyhow::Result<[f64; 2]> {
    let service = proxies::service(build)?;
    let counted = Counted::start(build, |build| proxy::gateway(build, &service, 0, token::SECRET, "HS256"))?;
    let address = counted.server.address;
    let mut client = Publisher::connect(address).await?;
    let open = format!("GET /open HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let token = token::mint(1)?;
    let secured =
        format!("GET /secured HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    Ok([
        requests(&counted, &mut client, open.as_bytes(), operations).await?,
        requests(&counted, &mut client, secured.as_bytes(), operations).await?,
    ])
}

/// Instructions of one of `operations` requests that follow each other.
async fn requests(
    counted: &Counted,
    client: &mut Publisher,
    request: &[u8],
    operations: u32,
) -> anyhow::Result<f64> {
    for _ in 0..WARM_UP {
        client.publish(request).await?;
    }
    counted.reset()?;
    for _ in 0..operations {
        client.publish(request).await?;
    }
    Ok(counted.instructions()? as f64 / f64::from(operations))
}
