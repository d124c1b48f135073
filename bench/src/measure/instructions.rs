//! Instructions of an operation outside the kernel, counted by callgrind.
//!
//! A count does not depend on what else the machine does. The gateway has one worker thread;
//! clients are in this process, which is not counted.

use anyhow::Context;

use crate::Streaming;
use crate::client::{Crowd, Publisher};
use crate::event;
use crate::measure::proxy;
use crate::server::{Callgrind, Counter, Launch, Product, RunningServer, proxies};
use crate::token;

/// Subscribers of the events that are counted.
const SUBSCRIBERS: u32 = 100;

/// Has the gateway do everything in one thread after the other.
pub(super) const ONE_WORKER: (&str, &str) = ("TOKIO_WORKER_THREADS", "1");

/// Operations before the count begins.
const WARM_UP: u32 = 100;

/// Instructions for each of `operations` connects, deliveries, events without subscribers and
/// proxied requests.
///
/// # Errors
/// valgrind cannot be run, or a client is refused.
pub(crate) async fn count(build: &Launch, operations: u32) -> anyhow::Result<[(&'static str, f64); 5]> {
    let [connect, delivery, publish] = of_clients(build, operations).await?;
    let build = one_worker(build);
    let [open, secured] = proxied(&build, operations).await.context("instructions of a proxied request")?;
    Ok([
        connect,
        delivery,
        publish,
        ("proxied request: instructions", open),
        ("proxied request with a token: instructions", secured),
    ])
}

/// The same of connects, deliveries and events without subscribers alone.
///
/// # Errors
/// valgrind cannot be run, or a client is refused.
pub(super) async fn of_clients(build: &Launch, operations: u32) -> anyhow::Result<[(&'static str, f64); 3]> {
    let build = one_worker(build);
    let connect = connects(&build, operations).await.context("instructions of a connect")?;
    let [delivery, publish] = published(&build, operations).await.context("instructions of an event")?;
    Ok([
        ("connect, SSE: instructions", connect),
        ("delivery, SSE: instructions", delivery),
        ("publish: instructions", publish),
    ])
}

/// The same with one worker thread, and without a log on disk: builds before November 2026 read its
/// clock through the vDSO, which valgrind hides.
pub(super) fn one_worker(build: &Launch) -> Launch {
    build.with(&[ONE_WORKER, ("DATA_DIR", "memory")])
}

async fn connects(build: &Launch, operations: u32) -> anyhow::Result<f64> {
    let callgrind = Callgrind::new()?;
    let server = callgrind.launch(build).start(Product::Rig)?;
    let counter = callgrind.counter(&server);
    let first = event::numbered(0);
    Crowd::connect(&server, Streaming::Sse, WARM_UP, &first, None).await?.leave().await;
    counter.reset()?;
    let crowd = Crowd::connect(&server, Streaming::Sse, operations, &first, None).await?;
    let instructions = counter.instructions()?;
    crowd.ensure_complete()?;
    Ok(instructions as f64 / f64::from(operations))
}

async fn published(build: &Launch, operations: u32) -> anyhow::Result<[f64; 2]> {
    let callgrind = Callgrind::new()?;
    let server = callgrind.launch(build).start(Product::Rig)?;
    events(&server, &callgrind.counter(&server), operations).await
}

/// Instructions of a delivery, and of an event without subscribers.
///
/// # Errors
/// A client is refused.
pub(super) async fn events(
    server: &RunningServer,
    counter: &Counter<'_>,
    operations: u32,
) -> anyhow::Result<[f64; 2]> {
    let mut publisher = Publisher::connect(server.publishing()).await?;
    let publication = server.publication(&event::numbered(0));
    let publish = requests(counter, &mut publisher, &publication, operations).await?;

    let crowd = Crowd::connect(server, Streaming::Sse, SUBSCRIBERS, &event::numbered(0), None).await?;
    counter.reset()?;
    for number in 0..operations {
        publisher.publish(&server.publication(&event::numbered(number))).await?;
        crowd.receive(u64::from(number + 1) * u64::from(SUBSCRIBERS)).await?;
    }
    let all = counter.instructions()? as f64 / f64::from(operations);
    crowd.leave().await;
    // A delivery costs what is left without the event itself.
    Ok([(all - publish) / f64::from(SUBSCRIBERS), publish])
}

async fn proxied(build: &Launch, operations: u32) -> anyhow::Result<[f64; 2]> {
    let service = proxies::service(build)?;
    let callgrind = Callgrind::new()?;
    let server = proxy::gateway(&callgrind.launch(build), &service, 0, token::SECRET, "HS256")?;
    let (counter, address) = (callgrind.counter(&server), server.address);
    let mut client = Publisher::connect(address).await?;
    let open = format!("GET /open HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let token = token::mint(1)?;
    let secured =
        format!("GET /secured HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
    Ok([
        requests(&counter, &mut client, open.as_bytes(), operations).await?,
        requests(&counter, &mut client, secured.as_bytes(), operations).await?,
    ])
}

/// Instructions of one of `operations` requests that follow each other.
async fn requests(
    counter: &Counter<'_>,
    client: &mut Publisher,
    request: &[u8],
    operations: u32,
) -> anyhow::Result<f64> {
    for _ in 0..WARM_UP {
        client.publish(request).await?;
    }
    counter.reset()?;
    for _ in 0..operations {
        client.publish(request).await?;
    }
    Ok(counter.instructions()? as f64 / f64::from(operations))
}
