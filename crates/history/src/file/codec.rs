//! What a file of a ring is made of, with the digest over all of it.

use std::io::{self, Read, Write};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use super::NotLoaded;
use crate::id::{EventPosition, Series};
use crate::lineage::Lineage;

/// The most that is read at once of what is not kept.
const SKIPPED_AT_ONCE: usize = 16 << 10;

/// Writes, and computes the digest of what was written.
pub(super) struct Writer<'w, W> {
    output: &'w mut W,
    digest: Context,
}

impl<'w, W: Write> Writer<'w, W> {
    pub(super) fn new(output: &'w mut W) -> Self {
        Self { output, digest: Context::new(&SHA256) }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.output.write_all(bytes)
    }

    pub(super) fn number(&mut self, number: u64) -> io::Result<()> {
        self.put(&number.to_be_bytes())
    }

    /// Writes bytes after their length.
    pub(super) fn text(&mut self, text: &[u8]) -> io::Result<()> {
        self.number(text.len() as u64)?;
        self.put(text)
    }

    /// Writes the series of a run and those before, with their last positions.
    pub(super) fn lineage(&mut self, lineage: &Lineage) -> io::Result<()> {
        self.number(lineage.present().to_bits())?;
        self.number(lineage.earlier().len() as u64)?;
        for (series, last) in lineage.earlier() {
            self.number(series.to_bits())?;
            self.number(last.0)?;
        }
        Ok(())
    }

    /// Writes the digest.
    pub(super) fn finish(self) -> io::Result<()> {
        self.output.write_all(self.digest.finish().as_ref())?;
        self.output.flush()
    }
}

/// Reads, and computes the digest of what was read. Nothing that was read may be trusted before
/// [`Reader::finish`].
pub(super) struct Reader<'r, R> {
    input: &'r mut R,
    digest: Context,
}

impl<'r, R: Read> Reader<'r, R> {
    pub(super) fn new(input: &'r mut R) -> Self {
        Self { input, digest: Context::new(&SHA256) }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], NotLoaded> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes).map_err(refused)?;
        self.digest.update(&bytes);
        Ok(bytes)
    }

    pub(super) fn number(&mut self) -> Result<u64, NotLoaded> {
        self.array().map(u64::from_be_bytes)
    }

    /// Reads a position up to `last`.
    pub(super) fn position(&mut self, last: EventPosition) -> Result<EventPosition, NotLoaded> {
        let position = EventPosition(self.number()?);
        if position > last { Err(NotLoaded::Damaged) } else { Ok(position) }
    }

    /// Reads how old something was when the file was written. Returns how old it is now.
    pub(super) fn age(&mut self, away: Duration) -> Result<Duration, NotLoaded> {
        Ok(Duration::from_millis(self.number()?).saturating_add(away))
    }

    /// Reads what [`Writer::lineage`] has written.
    pub(super) fn lineage(&mut self) -> Result<Lineage, NotLoaded> {
        let present = Series::from_bits(self.number()?);
        let mut earlier = Vec::new();
        let mut latest = EventPosition::default();
        for at in 0..self.number()? {
            let (series, last) = (Series::from_bits(self.number()?), self.position(EventPosition::MAX)?);
            if at >= Lineage::EARLIER as u64 || last < latest {
                return Err(NotLoaded::Damaged);
            }
            latest = last;
            earlier.push((series, last));
        }
        Ok(Lineage::new(present, earlier))
    }

    /// Reads bytes after their length. Takes no more memory than there are bytes. `None` if there
    /// are more than `most`: they are skipped.
    pub(super) fn text_up_to(&mut self, most: u64) -> Result<Option<Vec<u8>>, NotLoaded> {
        let length = self.number()?;
        if length > most {
            self.skip(length)?;
            return Ok(None);
        }
        let mut text = Vec::new();
        let read = self.input.by_ref().take(length).read_to_end(&mut text).map_err(refused)?;
        if read as u64 != length {
            return Err(NotLoaded::Damaged);
        }
        self.digest.update(&text);
        Ok(Some(text))
    }

    fn skip(&mut self, length: u64) -> Result<(), NotLoaded> {
        let mut bytes = [0; SKIPPED_AT_ONCE];
        let mut left = length;
        while left > 0 {
            let some = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.input.read_exact(&mut bytes[..some]).map_err(refused)?;
            self.digest.update(&bytes[..some]);
            left -= some as u64;
        }
        Ok(())
    }

    /// Fails if the digest does not follow, or something follows it.
    pub(super) fn finish(self) -> Result<(), NotLoaded> {
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
