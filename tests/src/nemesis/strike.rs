//! How each fault is made, and healed.

use std::path::Path;

use super::Nemesis;
use super::fault::{Fault, SLOW, Strike};
use crate::cluster::LinkState;
use crate::folder::Folder;

impl Nemesis {
    /// Makes a fault and heals it.
    pub(super) fn strike(&mut self, Strike { fault, length }: Strike) {
        let stream = self.cluster.stream();
        match fault {
            Fault::KillNode(node) => {
                self.cluster.kill(node);
                self.wait(length);
                self.cluster.launch(node);
            }
            Fault::StopNode(node) => {
                self.cluster.gateway(node).signal("STOP");
                self.wait(length);
                self.cluster.gateway(node).signal("CONT");
            }
            Fault::CutNode(node, state) => {
                self.cluster.set_links(node, state);
                self.wait(length);
            }
            Fault::SlowNode(node) => {
                self.cluster.set_links(node, LinkState::Slow(SLOW));
                self.wait(length);
            }
            Fault::RollNodes => {
                for node in 0..3 {
                    self.cluster.stop(node);
                    self.cluster.launch(node);
                    self.await_ready();
                }
            }
            Fault::FullDisk(node) => {
                let largest = largest_file(Path::new(&self.cluster.node(node).folder().join("data")));
                self.cluster.node(node).limit_files(Some(largest + (4 << 10)));
                self.wait(length);
                self.cluster.node(node).limit_files(None);
                // The log writes nothing any more after an error, until it is opened again.
                self.cluster.launch(node);
            }
            Fault::FullServer(server) => {
                let full = self.cluster.nats.server(server);
                full.limit_files(Some(largest_file(&full.folder().join("store")) + (4 << 10)));
                self.wait(length);
                let full = self.cluster.nats.server(server);
                full.limit_files(None);
                // It does not write to a file again that an error has left incomplete.
                full.restart();
            }
            Fault::EmptyServer(server) => {
                self.cluster.nats.server(server).kill();
                self.cluster.nats.empty(server);
                self.wait(length);
                self.cluster.nats.server(server).restart();
            }
            Fault::KillLeader => {
                let leader = self.leader(&stream);
                self.cluster.nats.server(leader).kill();
                self.wait(length);
                self.cluster.nats.server(leader).restart();
            }
            Fault::StopLeader => {
                let leader = self.leader(&stream);
                self.cluster.nats.server(leader).signal("STOP");
                self.wait(length);
                self.cluster.nats.server(leader).signal("CONT");
            }
            Fault::CutLeader(state) => {
                let leader = self.leader(&stream);
                self.cluster.set_server_links(leader, state);
                self.wait(length);
            }
            Fault::KillServers => {
                self.kill_servers();
                self.save();
                self.wait(length);
                self.restart_servers();
            }
            Fault::CutMajority(state) => {
                self.cluster.set_server_links(0, state);
                self.cluster.set_server_links(1, state);
                self.wait(length);
            }
            Fault::RollServers => {
                for server in 0..self.cluster.nats.len() {
                    self.cluster.nats.stop(server);
                    self.cluster.nats.server(server).restart();
                    self.await_settled();
                }
            }
            Fault::SlowRoute(server) => {
                let other = (server + 1) % self.cluster.nats.len();
                self.cluster.nats.set_route(server, other, LinkState::Slow(SLOW));
                self.wait(length);
            }
            Fault::DeleteStream => {
                self.cluster.nats.delete(&stream);
                self.wait(length);
                self.cluster.init(&["--recover"]);
            }
            Fault::RestoreStream => {
                if self.copy.is_none() {
                    self.kill_servers();
                    self.save();
                    self.restart_servers();
                    self.await_ready();
                }
                self.kill_servers();
                let copy = self.copy.take().expect("made above, or earlier");
                self.cluster.nats.restore(copy.path());
                self.wait(length);
                self.restart_servers();
            }
        }
        self.cluster.heal_links();
    }

    fn leader(&mut self, stream: &str) -> usize {
        self.await_settled();
        self.cluster.nats.leader(stream).unwrap_or(0)
    }

    fn kill_servers(&mut self) {
        for server in 0..self.cluster.nats.len() {
            self.cluster.nats.server(server).kill();
        }
    }

    fn restart_servers(&mut self) {
        for server in 0..self.cluster.nats.len() {
            self.cluster.nats.server(server).restart();
        }
    }

    fn save(&mut self) {
        let folder = Folder::new();
        self.cluster.nats.save(folder.path());
        self.copy = Some(folder);
    }
}

/// Returns the size of the largest file in a folder and the folders in it, in bytes.
fn largest_file(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("a folder of ours").filter_map(Result::ok);
    let sizes = entries.filter_map(|entry| {
        // A server removes files meanwhile.
        let data = entry.metadata().ok()?;
        Some(if data.is_dir() { largest_file(&entry.path()) } else { data.len() })
    });
    sizes.max().unwrap_or_default()
}
