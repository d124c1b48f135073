//! Measures what it costs to ask the fence, which happens before each system call that writes
//! payload of a session: `fence_cost`. Prints nanoseconds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rig_session::Fence;

const ASKED: u32 = 10_000_000;

fn main() {
    let fence = Fence::since_boot();
    measure("closed", &fence);
    fence.extend(fence.now() + Duration::from_secs(3600));
    measure("open", &fence);
    measure("of a node without peers", &Fence::default());
}

fn measure(what: &str, fence: &Fence) {
    let began = Instant::now();
    for _ in 0..ASKED {
        black_box(black_box(fence).is_open());
    }
    println!("{:6.2}  {what}", began.elapsed().as_nanos() as f64 / f64::from(ASKED));
}
