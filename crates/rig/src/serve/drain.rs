//! Serves until a signal, then drains.

use std::time::Duration;

use node::Tasks;
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::FLUSH;
use super::gateway::Gateway;
use super::ports::BoundPorts;
use crate::leave::LeaveSignals;
use crate::settings::ShutdownSettings;

/// How long brokers may take to deliver what is on its way, before connections are drained.
const LEAVE: Duration = Duration::from_secs(1);

/// A gateway that serves its ports. Dropping it aborts all tasks.
pub(super) struct Serving {
    gateway: Gateway,
    /// The background tasks.
    tasks: Tasks,
    ports: JoinSet<()>,
    /// Makes the ports close, and the tasks end that ask identity providers.
    leave: watch::Sender<bool>,
}

impl Serving {
    /// Starts to accept clients. `leave` is set when the ports close.
    pub(super) fn start(
        gateway: Gateway,
        ports: BoundPorts,
        tasks: Tasks,
        leave: watch::Sender<bool>,
    ) -> Self {
        let leaving = leave.subscribe();
        let ports = ports.serve(&gateway.inbound, &gateway.admin, gateway.joining.as_ref(), &leaving);
        Self { gateway, tasks, ports, leave }
    }

    /// Waits for a signal to shut down, and then for the delay, during which everything is still
    /// served.
    ///
    /// # Errors
    /// Fails if a background task stops: better no node than one on which tokens never expire.
    pub(super) async fn until_leaving(
        &mut self,
        signals: &mut LeaveSignals,
        ShutdownSettings { delay, grace }: ShutdownSettings,
    ) -> anyhow::Result<()> {
        tokio::select! {
            () = signals.next() => {}
            stopped = self.tasks.stopped() => return Err(stopped.into()),
        }
        tracing::info!(?delay, ?grace, "leaving");
        self.gateway.node.announce_shutdown();
        tokio::select! {
            () = signals.stay(delay) => Ok(()),
            stopped = self.tasks.stopped() => Err(stopped.into()),
        }
    }

    /// Closes the ports and drains their connections until `grace` has passed or another signal
    /// comes, then sends the last traces.
    ///
    /// # Errors
    /// Fails if sending the traces panics.
    pub(super) async fn drain(mut self, signals: &mut LeaveSignals, grace: Duration) -> anyhow::Result<()> {
        let node = &self.gateway.node;
        let ports = &mut self.ports;
        let deadline = Instant::now() + grace;
        self.leave.send_replace(true);
        let drained = async {
            self.gateway.node.leave_sources(LEAVE.min(grace / 4)).await;
            node.shut_down(deadline).await;
            timeout_at(deadline, async { while ports.join_next().await.is_some() {} }).await.is_ok()
        };
        let drained = tokio::select! {
            drained = drained => drained,
            () = signals.next() => {
                tracing::info!("another signal ends the grace period");
                // Connections that are still open get their farewell, and are closed.
                node.shut_down(Instant::now()).await;
                while ports.try_join_next().is_some() {}
                ports.is_empty()
            }
        };
        // Whatever is still open is closed before the other nodes may stop to wait for this one.
        ports.shutdown().await;
        node.leave().await;
        if !drained {
            tracing::warn!("requests were still open at the end of the grace period");
        }
        if let Some(log) = &self.gateway.request_log {
            log.leave(FLUSH).await;
        }
        if let Some(polls) = &mut self.gateway.polls {
            polls.leave(FLUSH).await;
        }
        self.gateway.reports.leave(FLUSH).await;
        if let Some(spans) = self.gateway.spans.take() {
            spawn_blocking(move || spans.shut_down(FLUSH)).await?;
        }
        Ok(())
    }
}
