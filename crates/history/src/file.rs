//! A ring on disk, between a clean stop and the next start.
//!
//! The file must be gone, and the folder synced, before the new run takes a position: if a ring
//! were loaded twice, a reader with a cursor of it would miss what the run in between has taken,
//! and not know. The caller takes care of that, and of the mode of the file. If a copy is put back
//! all the same, no id that the run in between gave out is read: see [`Lineage`](crate::Lineage).

use std::io::{self, Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event::MAX_TYPE;
use subscription::Extractors;

use crate::dropped::{Missing, Why};
use crate::id::EventPosition;
use crate::keys::Fingerprint;
use crate::ring::{Bounds, Ring, Summary};

mod codec;

use codec::{Reader, Writer};

/// What the file begins with.
const MAGIC: [u8; 8] = *b"RIG-HIST";
/// The format of what follows; another one is refused.
const FORMAT: u32 = 2;

/// Why a file was not loaded. Its content is of no use; the gap is
/// [`Gap::Restarted`](crate::Gap::Restarted).
#[derive(Debug, thiserror::Error)]
pub enum NotLoaded {
    /// The file is not a ring, or one of another format.
    #[error("unknown format")]
    Format,
    /// The file was cut off or changed.
    #[error("damaged")]
    Damaged,
    /// The file was written longer ago than events are kept.
    #[error("written {} s ago, longer than events are kept", .0.as_secs())]
    TooOld(Duration),
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

impl Ring {
    /// Writes the ring. `wall` is the time of day, by which the next run knows how old the file is.
    /// The output should be buffered.
    ///
    /// # Errors
    /// Fails if the output does.
    pub fn write_to(&mut self, output: &mut impl Write, now: Instant, wall: SystemTime) -> io::Result<()> {
        self.oldest(now);
        let summary = self.summary();
        let mut output = Writer::new(output);
        output.put(&MAGIC)?;
        output.put(&FORMAT.to_be_bytes())?;
        output.number(millis(wall.duration_since(UNIX_EPOCH).unwrap_or_default()))?;
        output.lineage(&summary.lineage)?;
        output.number(summary.last.0)?;
        output.number(summary.complete_since.0)?;
        output.number(summary.any_lost.0)?;
        output.put(&summary.secret)?;
        output.number(self.missing().len() as u64)?;
        for (event_type, Missing { position, why }) in self.missing() {
            output.number(event_type.0[0])?;
            output.number(event_type.0[1])?;
            output.number(position.0)?;
            output.put(&[why as u8])?;
        }
        output.number(self.revocations().len() as u64)?;
        for (key, position, age) in self.revocations() {
            output.put(&key)?;
            output.number(position.0)?;
            output.number(millis(age))?;
        }
        output.number(self.len() as u64)?;
        for event in self.stored() {
            output.number(event.position.0)?;
            output.number(millis(event.age))?;
            output.text(event.event_type.as_bytes())?;
            output.text(event.json)?;
        }
        output.finish()
    }

    /// Reads a ring that [`Ring::write_to`] has written. It continues the positions of that ring
    /// with a new series, and keeps the newest events, as far as the bounds allow. Constraints are
    /// applied to its events with the present extractors. If the time of day was set back, the file
    /// counts as just written: events are then kept longer, which is harmless. The input should be
    /// buffered.
    ///
    /// # Errors
    /// Fails if the input is not such a file, complete and unchanged, or is too old.
    pub fn read_from(
        input: &mut impl Read,
        bounds: Bounds,
        extractors: &Extractors,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Self, NotLoaded> {
        let mut input = Reader::new(input);
        if input.array()? != MAGIC || u32::from_be_bytes(input.array()?) != FORMAT {
            return Err(NotLoaded::Format);
        }
        let written = Duration::from_millis(input.number()?);
        let away = wall.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(written);
        if away > bounds.age {
            return Err(NotLoaded::TooOld(away));
        }
        let summary = Summary {
            lineage: input.lineage()?,
            last: input.position(EventPosition::MAX)?,
            complete_since: input.position(EventPosition::MAX)?,
            any_lost: input.position(EventPosition::MAX)?,
            secret: input.array()?,
        };
        let last = summary.last;
        // [`Ring::absent`] records what is missing before the next position.
        let next = last.next();
        let latest = summary.lineage.earlier().last().map_or(EventPosition::default(), |(_, latest)| *latest);
        if summary.complete_since > next || summary.any_lost > last || latest > last {
            return Err(NotLoaded::Damaged);
        }
        let largest = bounds.bytes as u64;
        let mut ring = Self::continuing(summary, bounds, now);
        for _ in 0..input.number()? {
            let event_type = Fingerprint([input.number()?, input.number()?]);
            let (position, why) = (input.position(next)?, input.array()?);
            let why = match why {
                [why] if why == Why::NotKept as u8 => Why::NotKept,
                [why] if why == Why::Lost as u8 => Why::Lost,
                _ => return Err(NotLoaded::Damaged),
            };
            ring.restore_missing(event_type, Missing { position, why });
        }
        let mut before = EventPosition::default();
        for _ in 0..input.number()? {
            let (key, position, age) = (input.array()?, input.position(last)?, input.age(away)?);
            rising(&mut before, position)?;
            ring.restore_revocation(key, position, age);
        }
        // There may be events before `complete_since`: a revocation that was removed expires
        // cursors earlier than events do.
        let mut before = EventPosition::default();
        for _ in 0..input.number()? {
            let (position, age) = (input.position(last)?, input.age(away)?);
            rising(&mut before, position)?;
            let event_type = input.text_up_to(MAX_TYPE as u64)?.ok_or(NotLoaded::Damaged)?;
            let event_type = String::from_utf8(event_type).map_err(|_| NotLoaded::Damaged)?;
            let Some(json) = input.text_up_to(largest)? else {
                ring.restore_none(&event_type, position);
                continue;
            };
            let values = extractors.values(&event_type, &json);
            ring.restore_event((&event_type, &json), &values, position, age);
        }
        input.finish()?;
        Ok(ring)
    }
}

fn rising(before: &mut EventPosition, position: EventPosition) -> Result<(), NotLoaded> {
    if position <= *before {
        return Err(NotLoaded::Damaged);
    }
    *before = position;
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
