//! The recent events over a restart: a clean stop writes them, and the next start loads them.
//!
//! A file is loaded at most once, and only if no run in between could have taken a position: it is
//! deleted before the first position is taken, and written when none can be taken any more. So a
//! process that is killed leaves no file, and the next run continues none. If an older copy of the
//! folder is put back all the same, the runs before and after do not read each other's ids.

mod files;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use ::history::{Bounds, IdKey, NotLoaded, ResumeLimits, Ring};
use connection::{Sequencer, SequencerOptions};
use session::Sessions;
use subscription::Extractors;

use super::load::Loaded;
use crate::settings::RoomSettings;
use files::HistoryFiles;

/// How long reading or writing the file may take, so that no file and no disk delays a start or a
/// stop for longer.
const WITHIN: Duration = Duration::from_secs(10);

/// The recent events of this node, and where they are between two runs.
pub(super) struct History {
    pub(super) sequencer: Arc<Sequencer>,
    /// `None` if nothing outlives the process.
    files: Option<HistoryFiles>,
    /// Holds the lock of the folder.
    sessions: Sessions,
}

/// What the history is loaded with.
struct Given<'g> {
    /// The locked data folder; `None` if nothing outlives the process.
    folder: Option<PathBuf>,
    /// Holds the lock of the folder.
    sessions: &'g Sessions,
    /// The cookie that the nodes share: each then reads the ids of all.
    cookie: Option<&'g str>,
    /// Finds the events that constraints select.
    extractors: &'g Extractors,
    /// Whether events also come from other nodes.
    has_peers: bool,
}

impl History {
    /// Loads what the run before has kept, or begins anew. No file is left that a later run could
    /// load. Returns `None` without `bounds`: nothing is kept then.
    pub(super) fn load(bounds: Option<Bounds>, loaded: &Loaded, rooms: &RoomSettings) -> Option<Self> {
        let given = Given {
            folder: loaded.folder.clone(),
            sessions: &loaded.sessions,
            cookie: rooms.node_cookie.as_deref(),
            extractors: &rooms.extractors,
            has_peers: loaded.membership.is_some(),
        };
        Self::load_given(bounds, given)
    }

    fn load_given(bounds: Option<Bounds>, given: Given<'_>) -> Option<Self> {
        let files = given.folder.map(HistoryFiles::new);
        let Some(bounds) = bounds else {
            if let Some(files) = &files
                && let Err(error) = files.remove()
            {
                tracing::warn!(%error, file = %files.path().display(), "the history of an earlier run cannot be deleted: delete it");
            }
            return None;
        };
        let options =
            SequencerOptions { age: bounds.age, has_peers: given.has_peers, limits: ResumeLimits::default() };
        let key = match (given.cookie, &files) {
            (Some(cookie), _) => IdKey::of_cookie(cookie),
            (None, Some(files)) => kept_key(files),
            (None, None) => IdKey::random(),
        };
        let loaded = files.as_ref().and_then(|files| load(files, &bounds, given.extractors));
        let ring = match loaded {
            Some(mut ring) => {
                if given.has_peers {
                    // Other nodes went on publishing while this one was away.
                    ring.lose(None);
                }
                ring
            }
            None => Ring::new(bounds, Instant::now()),
        };
        let sequencer = Sequencer::new(ring, &key, options);
        Some(Self { sequencer, files, sessions: given.sessions.clone() })
    }

    /// Writes the recent events for the next run. Must be called when nothing can be published any
    /// more. Failing is only a warning: clients that come back then get a gap.
    pub(super) fn store(self) {
        let Some(files) = self.files else { return };
        let (done, stored) = sync_channel(1);
        let (sequencer, sessions) = (self.sequencer, self.sessions.clone());
        let writer = thread::Builder::new().name("history".into()).spawn(move || {
            let began = Instant::now();
            let stored = files.store(WITHIN, |output| sequencer.store(output));
            // The process exits after this: nothing waits for a disk that does not respond.
            let _ = done.send(stored.map(|bytes| (bytes, began.elapsed())));
            // The folder stays locked as long as this thread may rename a file in it.
            drop(sessions);
        });
        let reason = match stored.recv_timeout(WITHIN + Duration::from_secs(1)) {
            Ok(Ok((bytes, time))) => {
                tracing::info!(bytes, milliseconds = time.as_millis() as u64, "history stored");
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = reason {
            tracing::warn!(reason, "the history is not stored: clients that come back get a gap");
            return;
        }
        // The sessions are dropped here, at last: that waits until their log is written.
        if let Ok(writer) = writer {
            let _ = writer.join();
        }
    }
}

/// Loads the ring that the run before has written, and deletes its file.
fn load(files: &HistoryFiles, bounds: &Bounds, extractors: &Extractors) -> Option<Ring> {
    let began = Instant::now();
    let file = files.path().display();
    match files.take(bounds, extractors, WITHIN) {
        Ok(Some(ring)) => {
            let milliseconds = began.elapsed().as_millis() as u64;
            tracing::info!(%file, events = ring.len(), milliseconds, "history loaded");
            return Some(ring);
        }
        Ok(None) => {}
        Err(error) => {
            let reason = format!("{error:#}");
            match error.downcast_ref() {
                Some(NotLoaded::TooOld(_)) => tracing::info!(%file, reason, "history not loaded"),
                _ => tracing::warn!(%file, reason, "history not loaded: clients that come back get a gap"),
            }
        }
    }
    None
}

/// Returns the key of ids that the folder keeps, or a new one.
fn kept_key(files: &HistoryFiles) -> IdKey {
    files.key().unwrap_or_else(|error| {
        tracing::warn!(%error, "the key of event ids cannot be kept: after a restart, clients that come back get a gap");
        IdKey::random()
    })
}

#[cfg(test)]
mod tests;
