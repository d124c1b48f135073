//! How it is measured, so that a reader can do it again.

use std::path::Path;

use super::revocations;
use crate::server::nginx_configuration;
use crate::suite::Results;

pub(super) fn section(results: &Results) -> String {
    let plan = &results.plan;
    let configuration = nginx_configuration(Path::new("FOLDER"), ([127, 0, 0, 1], 8080).into());
    format!(
        "## How it is measured\n\n\
         ```sh\nscripts/bench --rounds {}   # builds, installs the peers (Debian, npm), then runs this, and `rig-bench proxy`:\n\
         target/dist/rig-bench table --rounds {} --connections {} --many {} --settle {} --starts {} --subscribers {} \
         --events {} --subscriptions {} --revoked {} --bystanders {} --in-memory {} --on-disk {} --churn {}{}\n\
         target/dist/rig-bench report   # the page and the plots again, from raw.json\n```\n\n\
         Single runs: `rig-bench idle`, `start`, `connect`, `fanout`, `sustained`, `filter`, `publish`, `slow`, `revoke`, \
         `sessions`, `journal`, `churn`; `--server` names the system.\n\n\
         - Each run starts a server of its own. The runs of the gateway, nginx and the floor take turns, A B A B; Pushpin and \
         Socket.IO come after them.\n\
         - RSS and its anonymous part are `VmRSS` and `RssAnon` of `/proc/PID/status`, summed over the server's processes, \
         less the same before the first client. CPU time is `utime` + `stime` of `/proc/PID/stat`, in ticks of 10 ms, of all \
         processes of a system.\n\
         - Of a system that needs an application behind it (Pushpin), the application is not counted.\n\
         - The gateway runs with its defaults: a worker thread for each core, session checks on. Only the limit of \
         connections per minute is raised. While all clients wait, it is asked for its metrics, and must say as many \
         connections, sessions and subscriptions as there are clients.\n\
         - After the memory has been read, one event is published and must reach every client, byte for byte.\n\
         - In the deliveries, the first event is compared byte for byte by every subscriber, and the copies of every event \
         are counted: one too few or too many fails the run.\n\
         - At most 19,000 descriptors for a process.\n\
         {}\
         - nginx has a master and one worker; nchan is at its defaults, but for heartbeats every 15 s as the gateway's. Its \
         configuration:\n\n\
         ```nginx\n{configuration}```\n",
        plan.rounds,
        plan.rounds,
        plan.connections,
        plan.many,
        plan.settle,
        plan.starts,
        plan.subscribers,
        plan.events,
        plan.subscriptions,
        plan.revoked,
        plan.bystanders,
        plan.in_memory,
        plan.on_disk,
        plan.churn,
        if plan.alone { " --alone" } else { "" },
        revocations::METHOD
    )
}
