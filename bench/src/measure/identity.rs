//! Tokens of an issuer, and logouts that the issuer sends: the figures that
//! docs/performance/identity.md shows beside their targets.

mod cost;
mod latency;
mod rate;
mod unknown;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::figures::Figures;
use crate::client::get;
use crate::server::{Launch, RunningServer, TempFolder};
use crate::token::{AUDIENCE, ISSUER, Signature, Signer};

/// What is measured, and how much.
#[derive(Args, Clone, Debug)]
pub(crate) struct IdentityPlan {
    /// Only this part; the page keeps the others. Again for more.
    #[arg(long, value_enum)]
    pub(crate) only: Vec<IdentityPart>,
    /// This part of all counts, above 0 and up to 1. Less than 1 shows only that it works.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) portion: f64,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdentityPart {
    /// CPU time of a connect and of a proxied request, with an issuer and with a static key.
    Cost,
    /// From the issuer's logout to the end of the last connection.
    Latency,
    /// What clients notice of many logouts.
    Rate,
    /// What clients notice of tokens that name keys which do not exist.
    Unknown,
}

impl IdentityPlan {
    /// Returns this portion of a count, at least `least`.
    fn count(&self, whole: u32, least: u32) -> u32 {
        ((f64::from(whole) * self.portion) as u32).max(least)
    }
}

/// Measures one part.
///
/// # Errors
/// A program cannot be started, or a client sees what it must not see.
pub(crate) async fn run(launch: &Launch, plan: &IdentityPlan, part: IdentityPart) -> anyhow::Result<Figures> {
    match part {
        IdentityPart::Cost => cost::run(launch, plan).await,
        IdentityPart::Latency => latency::run(launch, plan).await,
        IdentityPart::Rate => rate::run(launch, plan).await,
        IdentityPart::Unknown => unknown::run(launch, plan).await,
    }
}

/// An issuer of the benchmark: its key, and the file that the gateway reads it from.
struct Provider {
    signer: Arc<Signer>,
    /// Contains the file.
    folder: TempFolder,
}

/// The name of the issuer in paths.
const ID: &str = "bench";

/// For a gateway to read the keys.
const READ: Duration = Duration::from_secs(10);

/// Between two looks at whether it has.
const LOOK: Duration = Duration::from_millis(20);

impl Provider {
    fn new(signature: Signature) -> anyhow::Result<Self> {
        let (signer, folder) = (Arc::new(Signer::new(signature)?), TempFolder::new("issuer")?);
        folder.write("keys.json", &signer.key_set())?;
        Ok(Self { signer, folder })
    }

    /// A gateway that trusts tokens of this issuer, and no others.
    fn trusted(&self, launch: &Launch) -> Launch {
        let issuers = json!([{
            "id": ID,
            "issuer": ISSUER,
            "audience": [AUDIENCE],
            "jwks_file": self.folder.join("keys.json"),
            "session_field": "/sid",
            "client_ids": [AUDIENCE],
        }]);
        let variables = [("ISSUERS", &*issuers.to_string()), ("JWT_SECRET_KEY", "")];
        launch.signed_by(&self.signer, &variables)
    }

    /// A gateway that trusts the same tokens by the key in its settings.
    fn static_key(&self, launch: &Launch) -> Launch {
        let (key, algorithm) = (self.signer.public_key(), self.signer.algorithm());
        let variables = [("JWT_SECRET_KEY", key), ("JWT_ALG", &*algorithm), ("JWT_SESSION_FIELD", "/sid")];
        launch.signed_by(&self.signer, &variables)
    }

    /// Waits until a gateway has read the keys, which it does after it listens.
    async fn known(&self, server: &RunningServer) -> anyhow::Result<()> {
        let known = format!("rig_issuer_keys{{issuer=\"{ID}\"}} 1\n");
        let read = async {
            while !get(server.status, "/metrics").await?.contains(&known) {
                sleep(LOOK).await;
            }
            anyhow::Ok(())
        };
        timeout(READ, read).await.context("the gateway has not read the keys of the issuer")?
    }

    /// The request by which the issuer logs the session of client `number` out.
    fn logout(&self, server: &RunningServer, number: u32) -> anyhow::Result<Vec<u8>> {
        let body = format!("logout_token={}", self.signer.logout(number)?);
        let head = format!(
            "POST /_rig/v1/issuers/{ID}/logout HTTP/1.1\r\nHost: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            server.address,
            body.len()
        );
        Ok([head, body].concat().into_bytes())
    }
}
