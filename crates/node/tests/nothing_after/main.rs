//! Nothing after the kill, over random interleavings. Clients of all transports connect, read
//! slowly or not at all, renew their tokens and leave. Events are published. Sessions and users are
//! revoked, at once or in steps that interleave with everything else. Revocations are lifted.
//! Tokens expire. The node loses its lease and gets it back. Finally, the node shuts down.
//!
//! Each case is compared with a small model, which states who is refused; that revoked connections
//! are terminated when the revocation returns; that from then on no byte of an event is written to
//! them, whether the event is new, was queued, or was written in part; that no byte of an event is
//! written to a client of a session while the node has no lease; and that all other clients stay
//! connected and receive everything, in order.
//!
//! Time is paused, and the sockets ensure that the same case always yields the same bytes.
//! `NOTHING_AFTER_SEED` selects other cases, `NOTHING_AFTER_CASES` their number. A failure is
//! shrunk to the fewest steps that reproduce it.

mod client;
mod end;
mod model;
mod plan;
mod run;
mod world;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn runner(seed: u64, cases: u32) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

#[test]
fn nothing_is_written_after_the_kill_and_nobody_else_is_touched() {
    let seed = from_environment("NOTHING_AFTER_SEED", 3);
    let cases = from_environment("NOTHING_AFTER_CASES", 512) as u32;
    let outcome = runner(seed, cases).run(&plan::plans(), |plan| {
        run::run(&plan);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("NOTHING_AFTER_SEED={seed}: {failure}"));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let traces = |seed| -> Vec<_> {
        let mut runner = runner(seed, 1);
        let mut plan = || plan::plans().new_tree(&mut runner).expect("a plan").current();
        (0..8).map(|_| run::run(&plan())).collect()
    };
    let first = traces(1);
    assert_eq!(first, traces(1));
    assert_ne!(first, traces(2));
    assert!(first.concat().len() > 1000, "the traces show nothing: {first:?}");
}
