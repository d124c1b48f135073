//! Clients that get an event at an even pace: what they notice of something else.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, interval};

use crate::Streaming;
use crate::client::{Crowd, Publisher};
use crate::event;
use crate::server::RunningServer;

/// Between two events.
pub(super) const PACE: Duration = Duration::from_millis(20);

/// Clients that are connected.
pub(super) struct Bystanders<'a> {
    server: &'a RunningServer,
    crowd: Crowd,
    arrivals: UnboundedReceiver<(u32, Instant)>,
    /// When it was time for each event.
    due: Vec<Instant>,
    count: u32,
}

impl<'a> Bystanders<'a> {
    /// Connects that many clients of Server-Sent Events.
    ///
    /// # Errors
    /// One of them is refused.
    pub(super) async fn connect(server: &'a RunningServer, count: u32) -> anyhow::Result<Self> {
        let (sender, arrivals) = unbounded_channel();
        let first = event::numbered(0);
        let crowd = Crowd::connect(server, Streaming::Sse, count, &first, Some(sender)).await?;
        Ok(Self { server, crowd, arrivals, due: Vec::new(), count })
    }

    /// Publishes at an even pace for `within`, and while `meanwhile` lasts. Returns what each event
    /// took to each client, in ascending order.
    ///
    /// # Errors
    /// A client loses its connection or an event, or `meanwhile` fails.
    pub(super) async fn watch(
        &mut self,
        within: Duration,
        meanwhile: impl Future<Output = anyhow::Result<()>>,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut publisher = Publisher::connect(self.server.address).await?;
        let (start, first) = (Instant::now(), self.due.len());
        let mut pace = interval(PACE);
        let mut meanwhile = std::pin::pin!(meanwhile);
        let mut is_over = false;
        while !is_over || start.elapsed() < within {
            let due = tokio::select! {
                biased;
                done = &mut meanwhile, if !is_over => {
                    done?;
                    is_over = true;
                    continue;
                }
                due = pace.tick() => due,
            };
            let number = u32::try_from(self.due.len())?;
            self.due.push(due);
            let event = self.server.publication(&event::numbered(number));
            let publishing = publisher.publish(&event);
            let mut publishing = std::pin::pin!(publishing);
            // What is done meanwhile is not held up by the wait for the answer.
            loop {
                tokio::select! {
                    biased;
                    published = &mut publishing => break published?,
                    done = &mut meanwhile, if !is_over => {
                        done?;
                        is_over = true;
                    }
                }
            }
        }
        self.crowd.receive(self.due.len() as u64 * u64::from(self.count)).await?;
        let mut times = Vec::new();
        while let Ok((number, arrived)) = self.arrivals.try_recv() {
            if number as usize >= first {
                times.push(arrived - self.due[number as usize]);
            }
        }
        times.sort_unstable();
        Ok(times)
    }

    /// Closes all connections.
    pub(super) async fn leave(self) {
        self.crowd.leave().await;
    }
}
