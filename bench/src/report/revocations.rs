//! What is said of revocations.

use super::{label, line, met, show};
use crate::suite::Results;

/// How many times as long as otherwise a delivery to a bystander may take, at the 99th percentile.
const RATIO_GOAL: f64 = 2.0;

/// Bytes of resident memory for each live revocation.
const BYTES_GOAL: f64 = 64.0;

/// Nanoseconds to look one up.
const LOOKUP_GOAL: f64 = 200.0;

pub(super) const METHOD: &str = "- A revocation is timed from its request to the moment when a client's socket is at its \
    end. The clients of the session are one thread, those beside it and the publisher another; both run on the cores \
    of the gateway. An event to the bystanders counts from the time when it was due, every 20 ms, also where the one \
    before it took longer. The gateway must say that no payload was written after a kill.\n\
    - Revocations in memory and on disk are measured in the process of the benchmark, with the gateway's own library \
    and allocator. A single lookup is timed with the reading of the clock; the mean is without it.\n";

pub(super) fn section(results: &Results) -> String {
    [crowd(results), in_memory(results), on_disk(results)].join("\n")
}

fn crowd(results: &Results) -> String {
    let plan = &results.plan;
    let mut text = format!(
        "## Revoking a session with {} connections\n\n\
         `POST /v3/session-blacklist`, on disk before it is answered; {} rounds each. {} clients of other sessions get \
         an event every 20 ms meanwhile.\n\n\
         | ms | closed: p50 | p99 | last one | answered | to bystanders, before: p50 | p99 | during: p50 | p99 | \
         during by before, p99 | goal | |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        plan.revoked, plan.rounds, plan.bystanders
    );
    for run in &results.revoke {
        line(
            &mut text,
            format_args!(
                "| {} | {:.1} | {:.1} | {} | {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | ≤ {RATIO_GOAL} | {} |",
                label(run.transport),
                run.closed_p50_milliseconds,
                run.closed_p99_milliseconds,
                show(run.last_closed_milliseconds, 1),
                show(run.answered_milliseconds, 1),
                run.before_p50_milliseconds,
                run.before_p99_milliseconds,
                run.during_p50_milliseconds,
                run.during_p99_milliseconds,
                run.ratio,
                met(run.ratio <= RATIO_GOAL)
            ),
        );
    }
    text
}

fn in_memory(results: &Results) -> String {
    let run = &results.in_memory;
    let mut text = format!(
        "## {} live revocations in memory\n\n\
         {:.1} bytes each (goal: ≤ {BYTES_GOAL}; {}), loaded in {:.1} s from a log that costs nothing. A call of the \
         sweep, which holds one part of 256 at a time, takes {:.2} ms, the longest {:.2} ms.\n\n\
         | a lookup, ns | mean | p50 | p99 | goal | |\n| --- | --- | --- | --- | --- | --- |\n",
        run.revocations,
        run.bytes_per_revocation,
        met(run.bytes_per_revocation <= BYTES_GOAL),
        run.load_seconds,
        run.sweep_p50_milliseconds,
        run.sweep_longest_milliseconds
    );
    for (name, lookup) in [("revoked", &run.hit), ("not revoked", &run.miss)] {
        let mean = lookup.mean_nanoseconds;
        let (p50, p99) = (lookup.p50_nanoseconds, lookup.p99_nanoseconds);
        line(
            &mut text,
            format_args!(
                "| {name} | {mean:.0} | {p50} | {p99} | mean ≤ {LOOKUP_GOAL} | {} |",
                met(mean <= LOOKUP_GOAL)
            ),
        );
    }
    text
}

fn on_disk(results: &Results) -> String {
    let run = &results.on_disk;
    let mut text = format!(
        "## Revocations on disk\n\n\
         {} revocations, {:.0} bytes each in their file, are loaded in {:.1} s. {} callers that each wait for their \
         answer:\n\n\
         | | revocations in a second | an answer, ms: p50 | p99 |\n| --- | --- | --- | --- |\n",
        run.revocations, run.file_bytes_per_revocation, run.load_seconds, run.callers
    );
    for (name, rate) in [("what waits goes to disk together", &run.together), ("one by one", &run.one_by_one)]
    {
        let (p50, p99) = (rate.p50_milliseconds, rate.p99_milliseconds);
        line(&mut text, format_args!("| {name} | {:.0} | {p50:.2} | {p99:.2} |", rate.per_second));
    }
    text
}
