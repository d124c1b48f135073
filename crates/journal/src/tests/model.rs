//! Runs the suite for every log over the log on disk.

use session::suite::{self, Storage};

use super::*;

/// The folder of a node in a cluster.
struct InCluster(Temporary);

/// The folder of a node without peers.
struct Alone(Temporary);

impl Storage for InCluster {
    type Log = Journal;

    const CLUSTERED: bool = true;

    fn new() -> Self {
        Self(Temporary::new())
    }

    fn open(&self) -> Journal {
        self.0.open_clustered()
    }
}

impl Storage for Alone {
    type Log = Journal;

    const CLUSTERED: bool = false;

    fn new() -> Self {
        Self(Temporary::new())
    }

    fn open(&self) -> Journal {
        self.0.open()
    }
}

#[test]
fn the_log_of_a_node_in_a_cluster_agrees_with_the_model() {
    suite::run::<InCluster>(48);
}

#[test]
fn the_log_of_a_node_without_peers_agrees_with_the_model() {
    suite::run::<Alone>(24);
}
