//! Which node does what one of them has to do, by rendezvous hashing: each node computes the same
//! number for each node and task, and the node with the highest one is chosen. If it goes, another
//! one is; if one joins, it takes over only what it is chosen for.

use std::hash::Hasher;

use session::NodeName;
use siphasher::sip::SipHasher13;

use crate::node::Node;

impl Node {
    /// Returns whether this node, of all that are alive, is the one for a task of this name.
    /// Without peers it always is. Without a lease it never is: it may be cut off from the others,
    /// and one of these does it then. While nodes come and go, none or two of them may be chosen
    /// for some time.
    pub fn is_chosen_for(&self, task: &str) -> bool {
        if self.lease().is_some_and(|lease| !lease.fence().is_open()) {
            return false;
        }
        let others = self.peers().map_or_else(Vec::new, |peers| peers.names());
        is_highest(self.name(), &others, task)
    }
}

fn is_highest(own: &NodeName, others: &[NodeName], task: &str) -> bool {
    let weight = |node: &NodeName| {
        // The same in every process.
        let mut hasher = SipHasher13::new();
        hasher.write(node.as_str().as_bytes());
        // Never occurs in UTF-8.
        hasher.write_u8(0xff);
        hasher.write(task.as_bytes());
        hasher.finish()
    };
    let highest = others.iter().map(|node| (weight(node), node)).max();
    highest.is_none_or(|highest| (weight(own), own) >= highest)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn one_of_the_nodes_is_chosen_and_few_tasks_move() {
        let nodes: Vec<NodeName> = ["a", "b", "c"].map(NodeName::from).into();
        let chosen = |nodes: &[NodeName], task: &str| {
            let mut chosen = nodes.iter().filter(|own| {
                let others: Vec<_> = nodes.iter().filter(|other| other != own).cloned().collect();
                is_highest(own, &others, task)
            });
            let one = chosen.next().cloned();
            assert!(chosen.next().is_none(), "two are chosen for {task}");
            one.expect("one is chosen")
        };
        let mut share = BTreeMap::new();
        for n in 0..300 {
            let task = format!("task {n}");
            let one = chosen(&nodes, &task);
            let without_c = chosen(&nodes[..2], &task);
            assert!(one == without_c || one == nodes[2], "{task} moved");
            *share.entry(one).or_insert(0) += 1;
        }
        assert!(share.len() == 3 && share.values().all(|tasks| (60..140).contains(tasks)), "{share:?}");
        assert!(is_highest(&nodes[0], &[], "alone") && is_highest(&nodes[0], &nodes[..1], "another life"));
    }
}
