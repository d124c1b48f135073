//! Limits the file descriptors that clients may take, so that operators always get some.
//!
//! A flood of the inbound port must not stop the internal port, the log of revocations or files
//! from working: these have a reserve. The rest is for clients, and for connections to services on
//! their behalf.

use anyhow::bail;
use listener::Limits;
use rlimit::Resource;

/// Descriptors that the process opens for itself in addition to its ports: the runtime, signals,
/// the logs of the data folder, two connections to the collector of traces, and the one of the
/// canary.
const OWN: usize = 12;

/// Per port: the listening socket, and a spare file, which is closed to accept a connection when no
/// other descriptor is left.
const OF_PORT: usize = 2;

/// Minimum number of clients; below it the node does not start.
const FEWEST_CLIENTS: usize = 4;

/// How the process's descriptors are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OpenFilesPlan {
    /// Sockets of the inbound ports.
    clients: usize,
    /// Sockets of the internal ports.
    internal: usize,
    /// Sockets of refused connections, which are drained for a moment.
    refusals: usize,
    /// `clients`, and connections to services.
    pool: usize,
}

/// Raises the limit of open files as far as the system allows, and lowers the connection limits to
/// what that leaves.
///
/// # Errors
/// Fails if the limit is too low to serve any client.
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

/// Returns the number of descriptors that are open already: those that the process has inherited.
fn open_now() -> usize {
    // One of those listed belongs to the listing itself.
    std::fs::read_dir("/dev/fd").map_or(3, |list| list.count().saturating_sub(1))
}

impl OpenFilesPlan {
    /// Divides `limit` descriptors, of which the gateway itself needs `own`; `None` if that leaves
    /// too few.
    fn new(limit: usize, own: usize, clients: usize, internal: usize) -> Option<Self> {
        let internal = internal.min((limit / 12).max(4));
        // For replacing the audit log and `apis.json`, reading certificates and definitions again,
        // and resolving the names of services.
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
