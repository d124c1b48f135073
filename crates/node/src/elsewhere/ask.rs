//! Asks the node that a client was connected to.

use std::sync::Arc;

use connection::{Elsewhere as Found, EventId, EventPosition, Gap, Kept};
use event::{Event, ExtensionNames};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use seal::Incarnation;
use subscription::Subscription;
use tokio::time::{Instant, sleep, timeout_at};

use super::message::{Answer, MissedBy, MissedEvents, Question, from_wire, gap_named, on_wire};
use super::{KNOWN, LOOK, WITHIN, cut};
use crate::bus::Stamp;
use crate::node::Node;

/// What a client has missed at another node.
#[derive(Default)]
struct Collected {
    events: Vec<(EventId, Kept)>,
    stamps: Vec<Option<Stamp>>,
    bytes: usize,
}

impl Node {
    /// Returns what a client with a cursor of another node has missed, or why that is not known:
    /// exactly what its subscriptions select, if it [goes on](connection::Resume) at this node with
    /// them. `None` if the cursor is not one of another node.
    ///
    /// Unless it has named all of its subscriptions, it is a gap: those that it adds later cannot
    /// be asked for any more.
    pub async fn missed_elsewhere(
        &self,
        cursor: &str,
        subscriptions: &[Subscription],
        is_complete: bool,
    ) -> Option<Result<Found, Gap>> {
        let series = self.hub().series_of(cursor)?.to_bits();
        self.peers()?;
        if !is_complete {
            return Some(Err(Gap::Elsewhere));
        }
        let deadline = Instant::now() + WITHIN;
        let asked = timeout_at(deadline, self.ask_elsewhere(series, cursor, subscriptions, deadline)).await;
        Some(asked.unwrap_or(Err(Gap::Elsewhere)))
    }

    async fn ask_elsewhere(
        &self,
        series: u64,
        cursor: &str,
        subscriptions: &[Subscription],
        deadline: Instant,
    ) -> Result<Found, Gap> {
        let known = self.elsewhere().life_of(series);
        if known == Some(None) {
            return Err(Gap::Elsewhere);
        }
        let _room = self.elsewhere().room.acquire().await.map_err(|_| Gap::Elsewhere)?;
        let life = self.life_of(series, deadline).await.ok_or(Gap::Elsewhere)?;
        let types = || subscriptions.iter().map(Subscription::event_type);
        let buckets = self.buckets_of(types()).ok_or(Gap::Elsewhere)?;
        self.want(types()).await;
        let since = self.hub().expect(subscriptions).ok_or(Gap::Elsewhere)?;
        if self.ledger().is_crowded(&buckets) || self.ledger().has_silent(&buckets, &self.peer_lives()) {
            return Err(Gap::Elsewhere);
        }
        // Read after the position: what comes between counts twice, which does no harm. What was
        // published before this node began to receive a bucket is among it.
        let required = self.reached(&buckets, Some(KNOWN));
        let (mut cursor, mut theirs) = (cursor.to_owned(), Collected::default());
        loop {
            let reached =
                self.collect(life, &mut cursor, subscriptions, &required, &mut theirs, deadline).await?;
            if !self.reach(&reached, deadline).await {
                return Err(Gap::Elsewhere);
            }
            let (positions, head, ours_reached) =
                self.hub().positions_since(since, subscriptions, || self.reached(&buckets, None))?;
            if !self.ledger().is_stamped_since(since, &buckets) {
                return Err(Gap::Elsewhere);
            }
            let stamps = self.ledger().stamps_at(positions.iter().copied());
            let ours = stamps.into_iter().collect::<Option<Vec<Stamp>>>().ok_or(Gap::Elsewhere)?;
            let cut = cut::find(
                &cut::Theirs { events: &theirs.stamps, reached: &reached },
                &cut::Ours { events: &ours, reached: &ours_reached },
            );
            if let Some(cut) = cut {
                theirs.events.truncate(cut.theirs);
                // The place before the first event that the client has not got.
                let position = positions.get(cut.ours).map_or(head, |position| EventPosition(position.0 - 1));
                return Ok(Found { events: theirs.events.into(), position });
            }
            sleep(5 * LOOK).await;
        }
    }

    /// Adds all events of another life after the cursor, which moves on with them. Returns what
    /// that life has reached after them.
    async fn collect(
        &self,
        life: Incarnation,
        cursor: &mut String,
        subscriptions: &[Subscription],
        required: &[Stamp],
        theirs: &mut Collected,
        deadline: Instant,
    ) -> Result<Vec<Stamp>, Gap> {
        let list = serde_json::to_value(subscriptions).map_err(|_| Gap::Elsewhere)?;
        let limits = self.hub().resume_limits().ok_or(Gap::Elsewhere)?;
        loop {
            let reached = on_wire(required.to_vec());
            let missed_by = MissedBy { cursor: cursor.clone(), subscriptions: list.clone(), reached };
            let answer = self.ask_life(life, &Question::Missed(missed_by), deadline).await;
            let MissedEvents { events, reached } = match answer {
                Some(Answer::Missed(missed)) => missed,
                Some(Answer::Gap(name)) => return Err(gap_named(&name)),
                _ => return Err(Gap::Elsewhere),
            };
            for event in events {
                let id = EventId::from_text(&event.id).ok_or(Gap::Elsewhere)?;
                let json: Box<str> = event.event.into();
                let json = String::from(json).into();
                let read = Event::from_json_with(json, ExtensionNames::Any).map_err(|_| Gap::Elsewhere)?;
                theirs.bytes += read.json().len();
                if theirs.events.len() >= limits.events || theirs.bytes > limits.bytes {
                    return Err(Gap::TooMany);
                }
                let event_type = Arc::from(read.event_type());
                let position = EventPosition::default();
                theirs.events.push((id, Kept { position, event_type, json: read.json().clone() }));
                theirs.stamps.push(event.stamp.map(|stamp| stamp.0));
                *cursor = event.id;
            }
            if let Some(reached) = reached {
                return Ok(from_wire(&reached));
            }
        }
    }

    /// Returns the life that continues a series.
    async fn life_of(&self, series: u64, deadline: Instant) -> Option<Incarnation> {
        if let Some(known) = self.elsewhere().life_of(series) {
            return known;
        }
        let mut answers: FuturesUnordered<_> = self
            .peer_lives()
            .into_iter()
            .map(|life| async move { (life, self.ask_life(life, &Question::Series(series), deadline).await) })
            .collect();
        let mut found = None;
        while let Some((life, answer)) = answers.next().await {
            if matches!(answer, Some(Answer::Series(true))) {
                found = Some(life);
                break;
            }
        }
        self.elsewhere().remember(series, found);
        found
    }

    /// Returns the answer of a life; `None` without one that can be read.
    pub(super) async fn ask_life(
        &self,
        life: Incarnation,
        question: &Question,
        deadline: Instant,
    ) -> Option<Answer> {
        let within = deadline.saturating_duration_since(Instant::now());
        let answer = self.ask_elsewhere_of(life, &question.to_bytes(), within).await.ok()?;
        serde_json::from_slice(&answer).ok()
    }
}
