//! The PROXY protocol header that names a balancer's client, and which peers may send one.

use std::io;

use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::app::App;
use crate::client::{TrustedProxies, canonical};
use crate::closing;
use crate::limits::{Limits, Permit};
use crate::log_limiter::LogLimiter;
use crate::metrics::RefusalReason;
use crate::peer::Origin;
use crate::proxy_protocol::{self, Header};
use crate::refusal;

static LOG: LogLimiter = LogLimiter::new();

/// A connection before its first byte is read.
pub(crate) struct Arrived {
    pub(crate) tcp: TcpStream,
    pub(crate) origin: Origin,
    pub(crate) permit: Permit,
}

/// Why a connection is closed before its first request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BalancerError {
    /// Closed before its first byte, as the health checks of balancers do.
    #[error("closed before the first byte")]
    Closed,
    #[error("the address is not in TRUSTED_PROXIES")]
    Untrusted,
    #[error("no complete header within HEAD_TIMEOUT")]
    Late(#[from] Elapsed),
    #[error("{0}")]
    Header(#[from] io::Error),
    #[error("too many connections from the client's address")]
    Full,
}

impl BalancerError {
    /// Counts and logs the error, except for health checks.
    pub(crate) fn note(&self, arrived: &Arrived) {
        let refusal = match self {
            Self::Closed => return,
            Self::Full => RefusalReason::ConnectionsPerAddress,
            Self::Untrusted | Self::Late(_) | Self::Header(_) => RefusalReason::ProxyProtocol,
        };
        arrived.permit.places().metrics().refused(refusal);
        if refusal == RefusalReason::ProxyProtocol && LOG.allows() {
            tracing::warn!(
                address = %arrived.origin.hop,
                reason = %self,
                "connection closed: PROXY_PROTOCOL is on, and it did not begin with a valid header of a trusted peer"
            );
        }
    }
}

impl Arrived {
    /// Reads which client a trusted balancer connects for. The gateway's own host may connect
    /// without being trusted, but not on behalf of a client.
    pub(crate) async fn read_balancer_header(
        &mut self,
        app: &impl App,
        balancers: &TrustedProxies,
        limits: &Limits,
    ) -> Result<(), BalancerError> {
        let is_trusted = self.origin.trusted.is_some();
        if !is_trusted && !self.origin.hop.ip().to_canonical().is_loopback() {
            return Err(BalancerError::Untrusted);
        }
        let header = async {
            if self.tcp.peek(&mut [0]).await? == 0 {
                return Err(BalancerError::Closed);
            }
            Ok(proxy_protocol::read(&mut self.tcp).await?)
        };
        match timeout(limits.head_timeout, header).await?? {
            Header::Local => Ok(()),
            Header::Proxied { .. } if !is_trusted => Err(BalancerError::Untrusted),
            Header::Proxied { source, secure } => {
                self.origin =
                    Origin { secure, ..Origin::new(canonical(source), self.origin.local, balancers) };
                if self.origin.trusted.is_none() && self.permit.belongs_to(self.origin.hop.ip()).is_err() {
                    closing::send_last(
                        &self.tcp,
                        &refusal::no_place(app, RefusalReason::ConnectionsPerAddress).await,
                    );
                    return Err(BalancerError::Full);
                }
                Ok(())
            }
        }
    }
}
