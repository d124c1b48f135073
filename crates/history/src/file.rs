//! A ring on disk, between a clean stop and the next start.
//!
//! The file must be gone, and the folder synced, before the new run takes a position: if a ring
//! were loaded twice, two different events would have the same id. The caller takes care of that,
//! and of the mode of the file.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use subscription::Extractors;

use crate::dropped::{Missing, Why};
use crate::id::{EventPosition, Series};
use crate::keys::Fingerprint;
use crate::ring::{Bounds, Ring, Summary};

/// What the file begins with.
const MAGIC: [u8; 8] = *b"RIG-HIST";
/// The format of what follows; another one is refused.
const FORMAT: u32 = 1;

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
    Unreadable(#[source] io::Error),
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
        let mut output = Writer { output, digest: Context::new(&SHA256) };
        output.put(&MAGIC)?;
        output.put(&FORMAT.to_be_bytes())?;
        output.number(millis(wall.duration_since(UNIX_EPOCH).unwrap_or_default()))?;
        output.number(summary.series.to_bits())?;
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
        let Writer { output, digest } = output;
        output.write_all(digest.finish().as_ref())?;
        output.flush()
    }

    /// Reads a ring that [`Ring::write_to`] has written. It continues the series of that ring, as
    /// far as the bounds allow. Constraints are applied to its events with the present extractors.
    /// If the time of day was set back, the file counts as just written: events are then kept
    /// longer, which is harmless. The input should be buffered.
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
        let mut input = Reader { input, digest: Context::new(&SHA256) };
        if input.array()? != MAGIC || u32::from_be_bytes(input.array()?) != FORMAT {
            return Err(NotLoaded::Format);
        }
        let written = Duration::from_millis(input.number()?);
        let away = wall.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(written);
        if away > bounds.age {
            return Err(NotLoaded::TooOld(away));
        }
        let summary = Summary {
            series: Series::from_bits(input.number()?),
            last: input.position(EventPosition::MAX)?,
            complete_since: input.position(EventPosition::MAX)?,
            any_lost: input.position(EventPosition::MAX)?,
            secret: input.array()?,
        };
        let last = summary.last;
        // [`Ring::absent`] records what is missing before the next position.
        let next = last.next();
        if summary.complete_since > next || summary.any_lost > last {
            return Err(NotLoaded::Damaged);
        }
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
            let event_type = String::from_utf8(input.text()?).map_err(|_| NotLoaded::Damaged)?;
            let json = input.text()?;
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

/// Writes, and computes the digest of what was written.
struct Writer<'w, W> {
    output: &'w mut W,
    digest: Context,
}

impl<W: Write> Writer<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.output.write_all(bytes)
    }

    fn number(&mut self, number: u64) -> io::Result<()> {
        self.put(&number.to_be_bytes())
    }

    /// Writes bytes after their length.
    fn text(&mut self, text: &[u8]) -> io::Result<()> {
        self.number(text.len() as u64)?;
        self.put(text)
    }
}

/// Reads, and computes the digest of what was read. Nothing that was read may be trusted before
/// [`Reader::finish`].
struct Reader<'r, R> {
    input: &'r mut R,
    digest: Context,
}

impl<R: Read> Reader<'_, R> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotLoaded> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(refused)?;
        self.digest.update(&bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, NotLoaded> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a position up to `last`.
    fn position(&mut self, last: EventPosition) -> Result<EventPosition, NotLoaded> {
        let position = EventPosition(self.number()?);
        if position > last { Err(NotLoaded::Damaged) } else { Ok(position) }
    }

    /// Reads how old something was when the file was written. Returns how old it is now.
    fn age(&mut self, away: Duration) -> Result<Duration, NotLoaded> {
        Ok(Duration::from_millis(self.number()?).saturating_add(away))
    }

    /// Reads bytes after their length. Takes no more memory than there are bytes.
    fn text(&mut self) -> Result<Vec<u8>, NotLoaded> {
        let length = self.number()?;
        let mut text = Vec::new();
        let read = self.input.by_ref().take(length).read_to_end(&mut text).map_err(refused)?;
        if read as u64 != length {
            return Err(NotLoaded::Damaged);
        }
        self.digest.update(&text);
        Ok(text)
    }

    /// Fails if the digest does not follow, or something follows it.
    fn finish(self) -> Result<(), NotLoaded> {
        let mut digest = [0; SHA256_OUTPUT_LEN];
        self.input.read_exact(&mut digest).map_err(refused)?;
        let is_same = self.digest.finish().as_ref() == digest;
        let mut rest = [0];
        match (self.input.read(&mut rest), is_same) {
            (Ok(0), true) => Ok(()),
            (Err(error), _) => Err(refused(error)),
            _ => Err(NotLoaded::Damaged),
        }
    }
}

fn refused(error: io::Error) -> NotLoaded {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => NotLoaded::Damaged,
        _ => NotLoaded::Unreadable(error),
    }
}

#[cfg(test)]
mod tests;
