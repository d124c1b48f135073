//! The files of the history in the data folder.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use history::{Bounds, IdKey, NotLoaded, Ring};
use rustix::fs::OFlags;
use subscription::Extractors;

/// The ring of the run before.
const RING: &str = "history";
/// A ring that is still being written.
const NEW_RING: &str = "history.new";
/// The key of ids, if they do not depend on the cookie.
const KEY: &str = "history.key";
/// A key that is still being written.
const NEW_KEY: &str = "history.key.new";

/// Bytes of a key.
const KEY_BYTES: u64 = 16;
/// Bytes that are read or written at once. The time is looked at in between.
const AT_ONCE: usize = 1 << 20;

/// What a ring is written to.
pub(super) type Output = BufWriter<Limited<File>>;

/// The files in a folder that only this process uses. A link in place of one is refused: it leads
/// to a file of someone else, which must be neither read nor changed.
pub(super) struct HistoryFiles {
    folder: PathBuf,
    ring: PathBuf,
}

impl HistoryFiles {
    /// Opens nothing yet.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { ring: folder.join(RING), folder }
    }

    /// Returns the path of the ring.
    pub(super) fn path(&self) -> &Path {
        &self.ring
    }

    /// Reads the ring that the run before has written, and deletes the file, whatever it contains.
    /// `None` if there is none.
    ///
    /// # Errors
    /// Fails if the file is not a ring or is too old, which is a [`NotLoaded`]; if it could not be
    /// read `within` this time; or if it cannot be deleted, since it could then be loaded again.
    pub(super) fn take(
        &self,
        bounds: &Bounds,
        extractors: &Extractors,
        within: Duration,
    ) -> anyhow::Result<Option<Ring>> {
        let read = self.read(bounds, extractors, within);
        self.remove().context("cannot be deleted: delete it")?;
        Ok(read?)
    }

    fn read(
        &self,
        bounds: &Bounds,
        extractors: &Extractors,
        within: Duration,
    ) -> Result<Option<Ring>, NotLoaded> {
        let file = match open(&self.ring, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(NotLoaded::Unreadable(error)),
        };
        let mut input = BufReader::with_capacity(AT_ONCE, Limited::new(file, within));
        let (now, wall) = (Instant::now(), SystemTime::now());
        Ring::read_from(&mut input, bounds.clone(), extractors, now, wall).map(Some)
    }

    /// Deletes a ring that an earlier run has written, for good: it does not come back after a
    /// power failure either.
    ///
    /// # Errors
    /// Fails if that is not certain.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.folder.join(NEW_RING))?;
        // Without content, it is never loaded, even if deleting it fails. A link is only deleted.
        if let Ok(file) = open(&self.ring, OpenOptions::new().write(true)) {
            file.set_len(0).and_then(|()| file.sync_all())?;
        }
        remove(&self.ring)?;
        self.sync()
    }

    /// Stores a ring that `write` writes. Returns the bytes of the file.
    ///
    /// # Errors
    /// Fails if it cannot be written, or not `within` this time.
    pub(super) fn store(
        &self,
        within: Duration,
        write: impl FnOnce(&mut Output) -> io::Result<()>,
    ) -> io::Result<u64> {
        let stored = self.replace(NEW_RING, RING, within, write);
        if stored.is_err() {
            // It takes space on a disk that may be full.
            let _ = remove(&self.folder.join(NEW_RING));
        }
        stored
    }

    /// Returns the key of ids of this folder; makes one if there is none.
    ///
    /// # Errors
    /// Fails if the key cannot be read, or the new one cannot be stored.
    pub(super) fn key(&self) -> io::Result<IdKey> {
        let path = self.folder.join(KEY);
        match open(&path, OpenOptions::new().read(true)) {
            Ok(file) => {
                let mut bytes = Vec::new();
                file.take(KEY_BYTES + 1).read_to_end(&mut bytes).map_err(|error| of(&path, error))?;
                match bytes.try_into() {
                    Ok(bytes) => return Ok(IdKey::from_bytes(bytes)),
                    Err(_) => {
                        tracing::warn!(file = %path.display(), "damaged: there is a new key of event ids");
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let key = IdKey::random();
        self.replace(NEW_KEY, KEY, Duration::MAX, |output| output.write_all(&key.to_bytes()))?;
        Ok(key)
    }

    /// Writes a file that only this user can read, under another name until it is complete.
    fn replace(
        &self,
        new: &str,
        name: &str,
        within: Duration,
        write: impl FnOnce(&mut Output) -> io::Result<()>,
    ) -> io::Result<u64> {
        let new = self.folder.join(new);
        remove(&new)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let mut output = BufWriter::with_capacity(AT_ONCE, Limited::new(file, within));
        write(&mut output)?;
        output.flush()?;
        let limited = output.get_mut();
        limited.inner.sync_all()?;
        limited.check()?;
        let bytes = limited.inner.metadata()?.len();
        fs::rename(&new, self.folder.join(name))?;
        self.sync()?;
        Ok(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// Opens a regular file that is there. Never waits for a writer.
///
/// # Errors
/// Fails if there is something else, or a link, even if it replaces the file meanwhile.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let regular = |found: &Metadata| match found.file_type() {
        kind if kind.is_file() => Ok(()),
        kind => Err(io::Error::new(
            ErrorKind::InvalidInput,
            if kind.is_symlink() { "a symbolic link" } else { "not a regular file" },
        )),
    };
    let options = options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed());
    let opened = || {
        // Checked before it is opened: opening a device may have an effect.
        regular(&fs::symlink_metadata(path)?)?;
        let file = options.open(path)?;
        regular(&file.metadata()?)?;
        Ok(file)
    };
    opened().map_err(|error| of(path, error))
}

/// Returns an error that names the file.
fn of(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Deletes a file, if there is one; not what it leads to if it is a link.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Reads or writes for a limited time.
pub(super) struct Limited<T> {
    inner: T,
    began: Instant,
    within: Duration,
}

impl<T> Limited<T> {
    fn new(inner: T, within: Duration) -> Self {
        Self { inner, began: Instant::now(), within }
    }

    fn check(&self) -> io::Result<()> {
        match self.began.elapsed() > self.within {
            true => {
                Err(io::Error::new(ErrorKind::TimedOut, format!("it took longer than {:?}", self.within)))
            }
            false => Ok(()),
        }
    }
}

impl<T: Read> Read for Limited<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Limited<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests;
