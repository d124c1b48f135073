//! The list of the shards of a stream.

use std::collections::BTreeSet;

use aws_sdk_kinesis::Client;
use tokio::time::Instant;

use super::aws::{Failed, Trouble};
use super::lease::ShardId;
use super::shards::Shard;

/// Limit of the shards that are followed; more are an error. AWS allows 20,000 open ones.
const SHARDS: usize = 20_000;

/// The shards that were listed last.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// When that was begun; `None` before the first time.
    began: Option<Instant>,
    shards: BTreeSet<ShardId>,
}

impl Listed {
    /// Returns what was listed from `began` on.
    pub(crate) fn new(began: Instant, shards: &[Shard]) -> Self {
        Self { began: Some(began), shards: shards.iter().map(|shard| shard.id.clone()).collect() }
    }

    /// Returns whether the shards were listed after `since`, but not this one.
    pub(crate) fn lacks(&self, shard: &ShardId, since: Instant) -> bool {
        self.began.is_some_and(|began| began > since) && !self.shards.contains(shard)
    }
}

/// Returns the shards of a stream, at least one.
///
/// # Errors
/// Fails if there are too many, or none, as of a stream that is being created.
pub(crate) async fn list(kinesis: &Client, stream: &str) -> Result<Vec<Shard>, Failed> {
    let mut shards = Vec::new();
    let mut token: Option<String> = None;
    loop {
        // A token stands for the stream.
        let request = match token.take() {
            Some(token) => kinesis.list_shards().next_token(token),
            None => kinesis.list_shards().stream_name(stream),
        };
        let page = Box::pin(request.send()).await?;
        shards.extend(page.shards.unwrap_or_default().into_iter().map(|shard| {
            let parents = [shard.parent_shard_id, shard.adjacent_parent_shard_id];
            let range = shard.sequence_number_range;
            Shard {
                id: shard.shard_id.into(),
                parents: parents.into_iter().flatten().map(Into::into).collect(),
                is_closed: range.is_some_and(|range| range.ending_sequence_number.is_some()),
            }
        }));
        if shards.len() > SHARDS {
            return Err(Failed::new(Trouble::Refused, format!("the stream has more than {SHARDS} shards")));
        }
        token = page.next_token;
        if token.is_none() {
            return match shards.is_empty() {
                true => Err(Failed::new(Trouble::Away, "the stream has no shards")),
                false => Ok(shards),
            };
        }
    }
}
