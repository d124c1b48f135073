//! Faults of real processes, while clients watch. `scripts/nemesis` runs it for longer.

use std::time::Duration;

use rig_tests::*;

/// Reads a number from the environment.
fn given(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}: a number")))
}

#[test]
fn under_faults_no_revoked_session_receives_anything() {
    let outcome = Nemesis::start(NemesisOptions {
        seed: given("NEMESIS_SEED", 13),
        length: Duration::from_secs(60 * given("NEMESIS_MINUTES", 3)),
        sessions: given("NEMESIS_SESSIONS", 80) as usize,
        revocations: given("NEMESIS_REVOCATIONS", 20) as u32,
    })
    .run();
    println!("{outcome}");
    let verdict = &outcome.verdict;
    assert_eq!(verdict.violations(), 0, "{outcome}");
    assert!(outcome.calms > 1 && !outcome.faults.is_empty(), "{outcome}");
    assert!(
        verdict.answered("201 complete") > 100 && verdict.payloads > 10_000,
        "nothing was judged: {outcome}"
    );
}
