//! What all targets share: the bound on the memory that an input may ask for.

use tikv_jemalloc_ctl::thread;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Bytes that may be allocated for a byte of input, freed ones included. JSON as `Value` in a
/// growing list takes some hundred; what grows with the square of its input is beyond at a few KiB.
const FOR_EACH_BYTE: u64 = 2048;

/// Bytes that may be allocated for no input at all.
const FOR_ANY_INPUT: u64 = 256 << 10;

/// Does the work of an input, and fails where it allocates more than in proportion to the input's
/// length.
///
/// # Panics
/// Where it does.
pub fn in_proportion<T>(input: &[u8], work: impl FnOnce() -> T) -> T {
    let allocated = || thread::allocatedp::read().expect("jemalloc counts").get();
    let before = allocated();
    let result = work();
    let asked_for = allocated() - before;
    let allowed = FOR_ANY_INPUT + FOR_EACH_BYTE * input.len() as u64;
    assert!(asked_for <= allowed, "{asked_for} bytes allocated for an input of {}", input.len());
    result
}
