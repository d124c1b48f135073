//! Runs the suite for every log over the log on disk.

use session::suite::{self, Place};

use super::*;

impl Place for Temporary {
    type Log = Journal;

    fn new() -> Self {
        Temporary::new()
    }

    fn open(&self) -> Journal {
        Temporary::open(self)
    }
}

#[test]
fn the_log_on_disk_agrees_with_the_model() {
    suite::run::<Temporary>(48);
}
