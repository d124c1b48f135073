//! How many descriptors clients may take, so that some are left for those who operate the gateway.
//!
//! Whoever floods the inbound port must not be able to keep the internal port, the log of
//! revocations, or files from working: these have a reserve. What is left over is for clients and
//! for connections to services on their behalf.

use anyhow::bail;
use listener::Limits;
use rlimit::Resource;

/// Descriptors that the process opens for itself beside its ports: the runtime, signals, the logs
/// of the data folder; two connections to the collector of traces, and that of the canary.
const OWN: usize = 12;

/// Per port: the socket that listens, and a file that is given up where no other descriptor is
/// left.
const OF_PORT: usize = 2;

/// The fewest clients for which it is worth starting.
const FEWEST_CLIENTS: usize = 4;

/// How the descriptors of the process are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OpenFilesPlan {
    /// Sockets of the inbound ports.
    clients: usize,
    /// Sockets of the internal ports.
    internal: usize,
    /// Sockets that were refused and are read from for a moment.
    refusals: usize,
    /// `clients` and connections to services.
    pool: usize,
}

/// Raises the limit of open files as far as the system allows, and lowers the limits of connections
/// to what it leaves.
///
/// # Errors
/// The limit is too low to serve anybody.
pub(crate) fn share_out(inbound: &mut Limits, internal: &mut Limits, ports: usize) -> anyhow::Result<()> {
    let limit = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files stays");
            Resource::NOFILE.get_soft()?
        }
    };
    tracing::info!(limit, "open files");
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let own = open_now() + OWN + ports * OF_PORT;
    let Some(plan) = OpenFilesPlan::new(limit, own, inbound.connections, internal.connections) else {
        bail!(
            "the limit of open files is {limit}, of which the gateway itself needs {own} and a reserve: \
             raise it (ulimit -n, LimitNOFILE), to several thousand if it can be"
        );
    };
    for (setting, limits, planned) in
        [("MAX_CONNECTIONS", &mut *inbound, plan.clients), ("MAX_API_CONNECTIONS", internal, plan.internal)]
    {
        if planned < limits.connections {
            let wanted = limits.connections;
            tracing::warn!(
                "{setting} = {wanted} is lowered to {planned}: the limit of open files is {limit}"
            );
            limits.connections = planned;
            limits.lowered = true;
        }
        limits.refusals = plan.refusals;
    }
    ::descriptors::bound(plan.pool);
    Ok(())
}

/// Descriptors that are open now: what the process was started with.
fn open_now() -> usize {
    // One of those listed is the list itself.
    std::fs::read_dir("/dev/fd").map_or(3, |list| list.count().saturating_sub(1))
}

impl OpenFilesPlan {
    /// Shares out `limit` descriptors, of which `own` are the gateway's own; `None` if that is too
    /// few.
    fn new(limit: usize, own: usize, clients: usize, internal: usize) -> Option<Self> {
        let internal = internal.min((limit / 12).max(4));
        // The audit log and `apis.json` are replaced, certificates and definitions read again,
        // names of services looked up.
        let files = (limit / 20).clamp(3, 64);
        let refusals = (limit / 64).clamp(1, 32);
        let services = (limit / 48).clamp(1, 1024);
        let pool = limit.checked_sub(own + internal + files + refusals)?;
        let most = pool.checked_sub(services)?;
        (most >= FEWEST_CLIENTS).then(|| Self { clients: clients.min(most), internal, refusals, pool })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f03_clients_never_get_the_reserve() {
        for limit in 0..5000 {
            let Some(plan) = OpenFilesPlan::new(limit, 16, 100_000, 1024) else {
                assert!(limit < 32, "{limit} is enough");
                continue;
            };
            assert!(
                plan.clients < plan.pool && plan.internal >= 4 && plan.refusals >= 1,
                "{limit}: {plan:?}"
            );
            assert!(16 + plan.pool + plan.internal + plan.refusals + 3 <= limit, "{limit}: {plan:?}");
        }
        let plenty = OpenFilesPlan::new(1 << 20, 16, 100_000, 1024).unwrap();
        assert_eq!((plenty.clients, plenty.internal), (100_000, 1024));
        assert!(plenty.pool > 900_000, "connections to services can have the rest");
    }
}
