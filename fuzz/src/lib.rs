//! Shared by all targets: the limit of memory that an input may allocate.

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
