//! A gateway that is stopped in order and started again, at the same ports and with the same
//! folder.

use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;

use super::{Launch, RunningServer, TempFolder, free_address, rig};

/// A gateway with a place of its own. Dropping it stops the gateway and removes the folder.
#[derive(Debug)]
pub(crate) struct Restartable {
    /// `None`: it was stopped.
    server: Option<RunningServer>,
    launch: Launch,
    /// Dropped after the gateway.
    _folder: TempFolder,
}

impl Restartable {
    /// Starts a gateway.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(launch: &Launch) -> anyhow::Result<Self> {
        let folder = TempFolder::new("place")?;
        let [inbound, internal] = [free_address()?, free_address()?].map(|at| at.port().to_string());
        let launch = launch.with(&[
            ("INBOUND_PORT", &inbound),
            ("API_HTTP_PORT", &internal),
            ("DATA_DIR", &folder.join("data").to_string_lossy()),
        ]);
        let mut gateway = Self { server: None, launch, _folder: folder };
        gateway.start_again(rig::START)?;
        Ok(gateway)
    }

    /// The gateway that runs.
    ///
    /// # Errors
    /// Fails if it was stopped.
    pub(crate) fn server(&self) -> anyhow::Result<&RunningServer> {
        self.server.as_ref().context("the gateway does not run")
    }

    /// Asks it to leave; returns at once.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn leave(&self) -> anyhow::Result<()> {
        self.server()?.child.signal(Signal::TERM)
    }

    /// Waits until it has left.
    pub(crate) fn left(&mut self) {
        self.server = None;
    }

    /// Starts it again and waits until it listens.
    ///
    /// # Errors
    /// It does not start in time.
    pub(crate) fn start_again(&mut self, within: Duration) -> anyhow::Result<()> {
        self.server = Some(self.launch.start_within(within)?);
        Ok(())
    }
}
