//! What the core asks of the stream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use session::{Operation, RevocationId};
use telemetry::Told;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::{AGAIN, Driver};
use crate::codec::Codec;
use crate::core::{Input, StreamState, Unpublished};
use crate::message::{Shared, Stored, Tag};
use crate::wire::{Link, Live, Publication, PublishError, StreamInfo, StreamMessage, Wire, WireError};

/// Number of messages of one fetch.
const PAGE: usize = 2000;

/// From how many missing messages on the stream is replayed instead of fetched.
const REPLAY: u64 = 10_000;

const FOR_REVOCATIONS: u64 = StreamInfo::FOR_REVOCATIONS;

/// Up to how many sixteenths of the limit of its size the stream takes repairs. The rest is for
/// beats and lifts.
const FOR_REPAIRS: u64 = 15;

const HALF: u64 = 8;

/// How often the size of the stream is read, up to half of its limit.
const SIZE: Duration = Duration::from_secs(1);

/// The same above half: it must not be full before this node knows it.
const LARGE_SIZE: Duration = Duration::from_millis(100);

/// How much longer the stream keeps an operation than it counts, at least, since the clock of NATS
/// may be set. A tenth of its time if that is longer.
const KEPT_LONGER: Duration = Duration::from_secs(3600);

/// How far a replay may be ahead of what is applied, in messages.
const UNAPPLIED: u64 = 20_000;

impl Driver {
    /// Reads the state of the stream and the last beat of each node.
    pub(super) fn inspect(&self) {
        let (wire, inputs) = (self.parts.wire.clone(), self.parts.inputs.clone());
        let (codec, beats) = (self.parts.codec.clone(), self.parts.names.beats());
        let told = self.told.clone();
        tokio::spawn(async move {
            let inspected = async {
                let info = wire.info().await?;
                if !can_be_followed(&info, &told) {
                    return Ok(None);
                }
                let beats = wire.latest(beats).await?;
                let beats = beats.iter().map(|message| decode(&codec, message)).collect();
                Ok::<_, WireError>(Some(StreamState {
                    epoch: info.epoch,
                    last: info.last,
                    adopted: info.adopted,
                    beats,
                    now: info.now,
                }))
            };
            let input = match inspected.await {
                Ok(Some(stream)) => Input::Inspected(stream),
                Ok(None) => Input::NotInspected,
                Err(error) => {
                    if told.is_due(&error) {
                        tracing::warn!(%error, "the stream cannot be inspected");
                    }
                    Input::NotInspected
                }
            };
            let _ = inputs.send(input);
        });
    }

    /// Gets messages from a sequence on: a page, or everything while a node that catches up lacks
    /// many.
    pub(super) fn fetch(&mut self, from: u64, target: u64) {
        let (wire, codec, inputs) =
            (self.parts.wire.clone(), self.parts.codec.clone(), self.parts.inputs.clone());
        if self.replay.as_ref().is_some_and(|replay| !replay.is_finished()) {
            return;
        }
        if target.saturating_sub(from) > REPLAY && !self.core.is_following() {
            let (applied, told) = (self.applied.subscribe(), self.told.clone());
            self.replay = Some(tokio::spawn(async move {
                let next = replay(&*wire, &codec, &inputs, (applied, &told), from).await;
                // Nothing else is fetched before this task has ended.
                tokio::spawn(async move {
                    let _ = inputs.send(fetch_page(&*wire, &codec, next).await);
                });
            }));
            return;
        }
        if self.core.is_following() {
            self.parts.metrics.gap.inc();
        }
        tokio::spawn(async move {
            let _ = inputs.send(fetch_page(&*wire, &codec, from).await);
        });
    }

    /// Watches the size of the stream, for as long as the process runs. NATS stores nothing in a
    /// full stream, not even a beat in the place of another one, and without beats no node has a
    /// lease.
    pub(super) fn watch_size(&self) {
        let (wire, metrics) = (self.parts.wire.clone(), self.parts.metrics.clone());
        let filled = self.filled.clone();
        tokio::spawn(async move {
            loop {
                let mut every = SIZE;
                if let Ok(info) = wire.info().await {
                    metrics.stream_bytes.set(info.bytes.cast_signed());
                    metrics.stream_max_bytes.set(info.max_bytes.cast_signed());
                    let now = info.sixteenths();
                    if filled.swap(now, Ordering::Relaxed) < FOR_REVOCATIONS && now >= FOR_REVOCATIONS {
                        tracing::error!(
                            bytes = info.bytes,
                            max_bytes = info.max_bytes,
                            "the stream is nearly full: revocations are queued, and in force at the node that takes them only, until max_bytes is raised"
                        );
                    }
                    if now >= HALF {
                        every = LARGE_SIZE;
                    }
                }
                sleep(every).await;
            }
        });
    }

    /// Stores an operation if the last message of its id has the expected sequence. Nodes have to
    /// know of it for as long as it is `kept`.
    pub(super) fn publish(&self, message: &Shared, expected: u64, kept: Duration) {
        let limit = match message.operation {
            Operation::Revoke(_) if message.tag.number < Tag::REPAIRS => FOR_REVOCATIONS,
            Operation::Revoke(_) => FOR_REPAIRS,
            // It replaces a message that is no smaller.
            Operation::Lift { .. } => u64::MAX,
        };
        if self.filled.load(Ordering::Relaxed) >= limit {
            let result = Err(Unpublished::Full);
            let _ = self.parts.inputs.send(Input::Published { number: message.tag.number, result });
            return;
        }
        let subject = self.parts.names.operation(&self.parts.codec.subject_of(message.id()));
        let payload = Bytes::from(self.parts.codec.operation(&subject, self.epoch(), message));
        let kept = kept.checked_add(KEPT_LONGER.max(kept / 10));
        let ttl = kept.filter(|kept| *kept < Duration::from_secs(10 * 365 * 24 * 3600));
        let number = message.tag.number;
        // The expected sequence tells a repeated publication. An id would do harm: NATS answers a
        // known id with the sequence of a message that it may have lost since.
        let publication = Publication { subject, payload, expected: Some(expected), ttl };
        let (wire, inputs) = (self.parts.wire.clone(), self.parts.inputs.clone());
        let (round_trip, told) = (self.parts.metrics.round_trip.clone(), self.told.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let result = wire.publish(publication).await;
            round_trip.observe(began.elapsed().as_secs_f64());
            let result = result.map_err(|error| match error {
                PublishError::Conflict => Unpublished::Conflict,
                PublishError::Refused(reason) => {
                    if told.is_due(&reason) {
                        tracing::warn!(reason, "NATS refuses an operation; it is tried again");
                    }
                    Unpublished::Unknown
                }
                PublishError::Unknown => Unpublished::Unknown,
            });
            let _ = inputs.send(Input::Published { number, result });
        });
    }

    /// Reads the last message of an id.
    pub(super) fn read(&self, number: u64, id: &RevocationId, again: bool) {
        let subject = self.parts.names.operation(&self.parts.codec.subject_of(id));
        let (wire, codec, inputs) =
            (self.parts.wire.clone(), self.parts.codec.clone(), self.parts.inputs.clone());
        tokio::spawn(async move {
            let input = match wire.last(subject).await {
                Ok(found) => {
                    Input::Read { number, again, found: found.map(|message| decode(&codec, &message)) }
                }
                Err(error) => {
                    tracing::debug!(%error, "the state of an id cannot be read");
                    Input::NotRead { number, again }
                }
            };
            let _ = inputs.send(input);
        });
    }

    /// Reads the first messages of the stream. If it does not answer, they are read the next time.
    pub(super) fn read_oldest(&self) {
        let (wire, codec, inputs) =
            (self.parts.wire.clone(), self.parts.codec.clone(), self.parts.inputs.clone());
        tokio::spawn(async move {
            let Ok(info) = wire.info().await else { return };
            let Ok(fetched) = wire.fetch(info.first, PAGE).await else { return };
            let messages = fetched.messages.iter().map(|message| decode(&codec, message)).collect();
            let missing = (info.last + 1).saturating_sub(info.first).saturating_sub(info.messages);
            let _ = inputs.send(Input::Oldest { messages, missing });
        });
    }

    /// Passes what comes from NATS to the core, for as long as the process runs.
    pub(super) fn listen(&self) {
        let (wire, codec, inputs) =
            (self.parts.wire.clone(), self.parts.codec.clone(), self.parts.inputs.clone());
        let told = self.told.clone();
        tokio::spawn(async move {
            loop {
                match wire.live().await {
                    Ok(mut live) => {
                        while let Some(live) = live.next().await {
                            match live {
                                Live::Message(message) => {
                                    let _ = inputs.send(Input::Live(decode(&codec, &message)));
                                }
                                Live::Link(link) => {
                                    if matches!(link, Link::Connected(_)) {
                                        tracing::info!(?link, "connection to NATS");
                                        let _ = inputs.send(Input::Reconnected);
                                    } else if link == Link::Disconnected
                                        || told.is_due(format_args!("{link:?}"))
                                    {
                                        tracing::warn!(?link, "connection to NATS");
                                    }
                                }
                            }
                        }
                    }
                    Err(error) if told.is_due(&error) => {
                        tracing::warn!(%error, "no subscription to the stream");
                    }
                    Err(_) => {}
                }
                sleep(AGAIN).await;
            }
        });
        let (wire, codec, inputs) =
            (self.parts.wire.clone(), self.parts.codec.clone(), self.parts.inputs.clone());
        tokio::spawn(async move {
            loop {
                if let Ok(mut broadcasts) = wire.broadcasts().await {
                    while let Some(payload) = broadcasts.next().await {
                        match codec.read_direct(None, &payload) {
                            Ok(message) => _ = inputs.send(Input::Direct(message)),
                            Err(error) => tracing::debug!(%error, "a broadcast is not used"),
                        }
                    }
                }
                sleep(AGAIN).await;
            }
        });
    }
}

/// Logs how the stream differs from what the protocol needs. Returns whether a node can follow it.
fn can_be_followed(info: &StreamInfo, told: &Told) -> bool {
    for danger in info.dangers.iter().filter(|danger| told.is_due(danger)) {
        tracing::error!(
            "the stream can lose messages, so this node does not join until it is as `rig cluster init` makes it: {danger}"
        );
    }
    for deviation in info.deviations.iter().filter(|deviation| told.is_due(deviation)) {
        tracing::warn!("the stream is not as `rig cluster init` makes it: {deviation}");
    }
    info.dangers.is_empty()
}

fn decode(codec: &Codec, message: &StreamMessage) -> Stored {
    codec.stored(&message.subject, message.sequence, message.stored_at, &message.payload)
}

async fn fetch_page(wire: &dyn Wire, codec: &Codec, from: u64) -> Input {
    match wire.fetch(from, PAGE).await {
        Ok(fetched) => {
            let messages = fetched.messages.iter().map(|message| decode(codec, message)).collect();
            Input::Fetched { from, messages, upto: fetched.upto }
        }
        Err(error) => {
            tracing::debug!(%error, "messages of the stream cannot be fetched");
            Input::NotFetched
        }
    }
}

/// Reads the stream from `from` on, not faster than it is applied. Returns the sequence from which
/// on the rest is to be fetched.
async fn replay(
    wire: &dyn Wire,
    codec: &Codec,
    inputs: &mpsc::UnboundedSender<Input>,
    (mut applied, told): (watch::Receiver<u64>, &Told),
    from: u64,
) -> u64 {
    let mut next = from;
    let mut replay = match wire.replay(from).await {
        Ok(replay) => replay,
        Err(error) => {
            if told.is_due(format_args!("replay: {error}")) {
                tracing::warn!(%error, "the stream cannot be replayed; it is fetched");
            }
            return next;
        }
    };
    let mut page = Vec::with_capacity(PAGE);
    loop {
        let message = replay.next().await;
        let is_last = !matches!(message, Some(Ok(_)));
        match message {
            Some(Ok(message)) => page.push(decode(codec, &message)),
            Some(Err(error)) => {
                tracing::warn!(%error, "the replay of the stream has stopped; the rest is fetched")
            }
            None => {}
        }
        if (page.len() == PAGE || is_last)
            && let Some(last) = page.last()
        {
            let (first, upto) = (next, last.position.sequence);
            next = upto + 1;
            let messages = std::mem::replace(&mut page, Vec::with_capacity(PAGE));
            let _ = inputs.send(Input::Fetched { from: first, messages, upto });
            // The driver has stopped if this fails.
            let _ = applied.wait_for(|applied| next.saturating_sub(*applied) < UNAPPLIED).await;
        }
        if is_last {
            return next;
        }
    }
}

#[cfg(test)]
mod tests {
    use session::Epoch;

    use super::*;

    #[tokio::test]
    async fn a_stream_that_can_lose_messages_is_not_followed() {
        let info = StreamInfo {
            epoch: Epoch(7),
            format: 1,
            adopted: true,
            first: 1,
            last: 0,
            messages: 0,
            bytes: 0,
            max_bytes: 1,
            now: 0,
            replicas: 1,
            dangers: Vec::new(),
            deviations: vec!["num_replicas is 1, but has to be 3".to_owned()],
        };
        assert!(can_be_followed(&info, &Told::default()));
        let dangers = vec!["max_age is 3, but has to be 0".to_owned()];
        assert!(!can_be_followed(&StreamInfo { dangers, ..info.clone() }, &Told::default()));
        let filled = |bytes| StreamInfo { bytes, max_bytes: 1 << 30, ..info.clone() };
        assert!(!filled((7 << 27) - 1).is_nearly_full() && filled(7 << 27).is_nearly_full());
    }
}
