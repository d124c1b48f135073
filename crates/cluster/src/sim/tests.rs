//! The schedules.

use super::plan::{Fault, Plan};
use super::world::World;
use crate::flaw::Flaw;

/// The result of a run.
struct Run {
    violation: Option<String>,
    events: u64,
    trace: Vec<String>,
}

fn run(plan: Plan, flaw: Option<Flaw>, traced: bool) -> Run {
    let mut world = World::new(plan, flaw, traced);
    let result = world.run();
    let trace = world.trace.take().unwrap_or_default();
    match result {
        Ok(events) => Run { violation: None, events, trace },
        Err(violation) => Run { violation: Some(violation), events: 0, trace },
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Removes faults that the failure does not need.
fn shrink(mut plan: Plan, flaw: Option<Flaw>, violation: &str) -> Plan {
    let number = violation.get(..2);
    let fails = |plan: &Plan| {
        run(plan.clone(), flaw, false).violation.is_some_and(|violation| violation.get(..2) == number)
    };
    let mut size = plan.faults.len().div_ceil(2);
    while size > 0 {
        let mut from = 0;
        while from < plan.faults.len() {
            let mut smaller = plan.clone();
            smaller.faults.drain(from..(from + size).min(plan.faults.len()));
            if fails(&smaller) {
                plan = smaller;
            } else {
                from += size;
            }
        }
        size /= 2;
    }
    let mut at = 0;
    while at < plan.orders.len() {
        match without_order(&plan, at).filter(|smaller| fails(smaller)) {
            Some(smaller) => plan = smaller,
            None => at += 1,
        }
    }
    plan
}

/// Returns the plan without an order; `None` if a fault names it.
fn without_order(plan: &Plan, removed: usize) -> Option<Plan> {
    let mut smaller = plan.clone();
    smaller.orders.remove(removed);
    for (_, fault) in &mut smaller.faults {
        if let Fault::CutAfterBeat { order, .. } = fault {
            if *order == removed {
                return None;
            }
            *order -= usize::from(*order > removed);
        }
    }
    Some(smaller)
}

/// Describes a failure: the faults that it needs, and the last lines of its trace.
fn describe(plan: Plan, violation: &str) -> String {
    let plan = shrink(plan, None, violation);
    let traced = run(plan.clone(), None, true);
    let lines = setting("LINES").unwrap_or(40) as usize;
    let tail = traced.trace[traced.trace.len().saturating_sub(lines)..].join("\n");
    format!("SEED={} {violation}\n{plan:#?}\n{tail}\n{:?}", plan.seed, traced.violation)
}

#[test]
fn schedules_of_faults() {
    if let Some(seed) = setting("SEED") {
        let traced = run(Plan::new(seed), None, true);
        println!("{:#?}\n{}", Plan::new(seed), traced.trace.join("\n"));
        assert_eq!(traced.violation, None);
        return;
    }
    let many = setting("SCHEDULES").unwrap_or(10_000);
    let first = setting("FIRST").unwrap_or(0);
    let started = std::time::Instant::now();
    let (mut events, mut failed) = (0, Vec::new());
    for seed in first..first + many {
        let result = std::panic::catch_unwind(|| run(Plan::new(seed), None, false));
        match result {
            Err(_) => failed.push((seed, "panic".to_owned())),
            Ok(Run { violation: Some(violation), .. }) => failed.push((seed, violation)),
            Ok(result) => events += result.events,
        }
        if failed.len() >= setting("FAILURES").unwrap_or(1) as usize {
            break;
        }
    }
    println!("seeds {first}..{}: {events} events in {:?}", first + many, started.elapsed());
    for (seed, violation) in &failed {
        println!("SEED={seed} {violation}");
    }
    if let Some((seed, violation)) = failed.first() {
        panic!("{}", describe(Plan::new(*seed), violation));
    }
}

/// Seeds that have found faults of the protocol, each of which few others find.
const FAULTS: [u64; 10] =
    [31_717, 53_357, 54_737, 123_568, 145_999, 150_036, 222_438, 235_438, 247_535, 251_909];

#[test]
fn schedules_that_have_found_faults() {
    for seed in FAULTS {
        assert_eq!(run(Plan::new(seed), None, false).violation, None, "seed {seed}");
    }
}

/// Within how many seeds each planted bug is found.
const FOUND: u64 = 2_000;

/// The planted bugs, each with the seed that finds it.
#[test]
fn planted_bugs_are_found() {
    let mut missed = Vec::new();
    for flaw in Flaw::ALL {
        let found = (0..FOUND).find_map(|seed| {
            let violation = run(Plan::new(seed), Some(flaw), false).violation?;
            let is_new = run(Plan::new(seed), None, false).violation.is_none();
            is_new.then_some((seed, violation))
        });
        match found {
            Some((seed, violation)) => println!("{flaw:?}: SEED={seed} {violation}"),
            None => missed.push(flaw),
        }
    }
    assert_eq!(missed, [], "not found within {FOUND} seeds");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..50 {
        let [first, second] = [(), ()].map(|()| run(Plan::new(seed), None, true).trace);
        assert!(first.len() > 100, "a trace of {} lines", first.len());
        assert_eq!(first, second, "seed {seed}");
    }
}
