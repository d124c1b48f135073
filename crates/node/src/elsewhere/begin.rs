//! With which numbers a node begins to receive, and how it finds out what it has missed.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use seal::Incarnation;
use tokio::time::Instant;

use super::Numbers;
use super::message::{Answer, Question};
use crate::bus::Stamp;
use crate::node::Node;

/// How long another node may take to say which numbers it has given. A client waits for that if it
/// is the first one that wants a bucket.
const WITHIN: Duration = Duration::from_secs(1);

/// Limit of the buckets of a question, so that its answer fits into a message: up to 27 bytes each.
const AT_ONCE: usize = 1024;

/// What lives have said about the numbers that they have given.
struct Given {
    stamps: Vec<Stamp>,
    silent: Vec<Incarnation>,
}

impl Node {
    /// Begins to receive these buckets, to which the [bus](crate::Bus) is subscribed. When this
    /// returns, whatever another node publishes in them is received, or its loss is noticed.
    ///
    /// A life that does not answer may have published something that is lost, so its first event
    /// is taken for the first one after a loss.
    pub async fn begin(&self, buckets: &[u16], numbers: &Numbers) {
        numbers.expect(buckets);
        let Given { stamps, silent } = self.given(&self.peer_lives(), buckets).await;
        let mut begun = numbers.settle(buckets, &stamps, &silent);
        begun.extend(self.bus().into_iter().flat_map(|bus| bus.own_stamps(buckets)));
        self.ledger().begin(&begun, buckets, &silent);
    }

    /// Looks for what was lost while nothing could be received. Publishers that have given further
    /// numbers meanwhile are asked to say so among their events, so the losses are noticed there,
    /// each in its bucket.
    ///
    /// Returns `false` if that is not known, since one of these lives does not answer.
    pub async fn find_lost(&self, lives: &[Incarnation], numbers: &Numbers) -> bool {
        let Given { stamps, silent } = self.given(lives, &numbers.buckets()).await;
        let mut missing: HashMap<Incarnation, Vec<u16>> = HashMap::new();
        for stamp in stamps.into_iter().filter(|stamp| !numbers.has_reached(*stamp)) {
            missing.entry(stamp.life).or_default().push(stamp.bucket);
        }
        let deadline = Instant::now() + WITHIN;
        let heads = missing.into_iter().map(|(life, buckets)| async move {
            let answer = self.ask_life(life, &Question::Heads(buckets), deadline).await;
            matches!(answer, Some(Answer::Done))
        });
        silent.is_empty() && join_all(heads).await.into_iter().all(|is_done| is_done)
    }

    /// Asks lives which numbers they have given last in these buckets.
    async fn given(&self, lives: &[Incarnation], buckets: &[u16]) -> Given {
        let answers = lives.iter().map(|life| async { (*life, self.given_by(*life, buckets).await) });
        let mut given = Given { stamps: Vec::new(), silent: Vec::new() };
        for (life, stamps) in join_all(answers).await {
            match stamps {
                Some(stamps) => given.stamps.extend(stamps),
                None => given.silent.push(life),
            }
        }
        given
    }

    async fn given_by(&self, life: Incarnation, buckets: &[u16]) -> Option<Vec<Stamp>> {
        let deadline = Instant::now() + WITHIN;
        let mut stamps = Vec::new();
        for buckets in buckets.chunks(AT_ONCE) {
            let answer = self.ask_life(life, &Question::Numbers(buckets.to_vec()), deadline).await;
            let Some(Answer::Numbers(numbers)) = answer else { return None };
            stamps.extend(numbers.into_iter().map(|(bucket, number)| Stamp { life, bucket, number }));
        }
        Some(stamps)
    }
}
