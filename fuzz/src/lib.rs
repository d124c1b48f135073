//! Shared by all targets: the limit of memory that an input may allocate. Shared by those of
//! statements: what holds for each revocation that one asks for.

use std::time::{Duration, UNIX_EPOCH};

use identity::Ordered;
use tikv_jemalloc_ctl::thread;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Limit of bytes allocated for each byte of input, freed ones included. JSON as `Value` in a
/// growing list takes several hundred; allocations that grow with the square of the input exceed
/// the limit at a few KiB.
const FOR_EACH_BYTE: u64 = 2048;

/// Limit of bytes allocated for an empty input.
const FOR_ANY_INPUT: u64 = 256 << 10;

/// Runs `work` for an input and checks that its allocations are proportional to the length of the
/// input.
///
/// # Panics
/// Panics if they exceed the limit.
pub fn in_proportion<T>(input: &[u8], work: impl FnOnce() -> T) -> T {
    let allocated = || thread::allocatedp::read().expect("jemalloc counts").get();
    let before = allocated();
    let result = work();
    let asked_for = allocated() - before;
    let allowed = FOR_ANY_INPUT + FOR_EACH_BYTE * input.len() as u64;
    assert!(asked_for <= allowed, "{asked_for} bytes allocated for an input of {}", input.len());
    result
}

/// The present second for statements.
pub const NOW: u64 = 1_615_305_160;

/// How much later than now an event may be: clocks differ, of the statement and of the event.
const AHEAD: u64 = 120;

/// Checks what holds for each revocation that a statement asks for.
///
/// # Panics
/// Panics if it does not.
pub fn check_order(order: &Ordered) {
    let at = |second: u64| UNIX_EPOCH + Duration::from_secs(second);
    assert!(order.issued_up_to <= NOW + AHEAD + 2 && order.happened_at <= at(NOW + AHEAD));
    assert!(order.ends_at > at(NOW) && order.ends_at > order.happened_at);
    assert!(order.reason.len() <= Ordered::REASON && !order.reason.contains(char::is_control));
    assert!(order.claim.starts_with('/') && !order.value.as_str().is_empty());
}
