//! The audit log: one JSON line for each request, each bound to the line before it.
//!
//! A line ends with `,"hash":"…"}`, where the hash is the SHA-256 of everything before it in the
//! line, and `prev` is the hash of the line before. Changing, removing or inserting a line breaks
//! the chain at the next one. Lines may be moved from the front to an archive, day by day for
//! example: the chain continues across the files, which are verified in order.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use session::Revocation;

use crate::pseudonyms::Shown;

/// A position in the chain: the number of a line and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The number, from 1.
    pub seq: u64,
    /// The SHA-256, in hexadecimal digits.
    pub hash: String,
}

impl Default for ChainHead {
    /// Returns the position before the first line.
    fn default() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }
}

/// The log of a folder, open for appending.
pub(crate) struct Audit {
    file: File,
    /// The last line that is on disk. `length` is the length of the file up to its end.
    synced: ChainHead,
    length: u64,
    /// The last line, on disk or not.
    head: ChainHead,
    /// How names and claim values are shown.
    shown: Shown,
    /// Lines that are not on disk yet.
    pending: Vec<u8>,
}

/// The contents of a line, with its members in their order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditEntry<'e> {
    pub(crate) action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mark: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_up_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    validity_in_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'e str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'e str>,
}

/// What was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Action {
    /// A node has opened the folder.
    Open,
    /// A revocation was accepted.
    Revoke,
    /// A revocation was lifted.
    Lift,
}

#[derive(Serialize)]
struct Line<'l> {
    seq: u64,
    time: String,
    #[serde(flatten)]
    entry: &'l AuditEntry<'l>,
    prev: &'l str,
}

/// The members that every line must have.
#[derive(Deserialize)]
struct Links {
    seq: u64,
    prev: String,
}

const HASH: &str = ",\"hash\":\"";

impl Audit {
    /// Opens the log for appending. `known` is the last line that a commit has recorded; if that
    /// line is missing or different, an error is logged and the chain continues from `known`.
    /// Removes an incomplete last line, which is left if the process exits while writing: it was
    /// never acknowledged.
    pub(crate) fn open(mut file: File, known: ChainHead, key: Option<&str>) -> io::Result<Self> {
        let whole = length_of_whole_lines(&mut file)?;
        if whole < file.metadata()?.len() {
            tracing::warn!("the last line of the audit log was incomplete and has been removed");
            file.set_len(whole)?;
        }
        let head = match last_line(&mut file, whole)? {
            Some(last) if last.seq == known.seq && last != known => {
                tracing::error!(
                    line = last.seq,
                    "the audit log is not the one that was written: its chain has been created anew"
                );
                known
            }
            Some(last) if last.seq >= known.seq => last,
            Some(last) => {
                tracing::error!(
                    has = last.seq,
                    had = known.seq,
                    "lines are missing at the end of the audit log"
                );
                known
            }
            None => known,
        };
        let shown = Shown::new(key);
        Ok(Self { file, synced: head.clone(), length: whole, head, shown, pending: Vec::new() })
    }

    /// Adds a line; [`Audit::sync`] writes it to disk.
    pub(crate) fn add(&mut self, wall: u64, entry: &AuditEntry<'_>) {
        let time = jiff::Timestamp::try_from(UNIX_EPOCH + Duration::from_millis(wall));
        let time = time.map_or_else(|_| wall.to_string(), |time| format!("{time:.3}"));
        let line = Line { seq: self.head.seq + 1, time, entry, prev: &self.head.hash };
        let line = serde_json::to_string(&line).expect("texts and numbers are JSON");
        let mut line = json::escape_json(&line).into_owned();
        line.pop();
        let hash = hex(digest(&SHA256, line.as_bytes()).as_ref());
        self.pending.extend_from_slice(format!("{line}{HASH}{hash}\"}}\n").as_bytes());
        self.head = ChainHead { seq: self.head.seq + 1, hash };
    }

    /// Writes all added lines to disk, and returns when they are there. If this fails, it is as if
    /// they had not been added.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        // Removes what a failed attempt may have left: the next line must not follow half a line.
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(&pending)?;
        self.file.sync_data()?;
        self.synced.clone_from(&self.head);
        self.length += pending.len() as u64;
        Ok(())
    }

    /// Discards lines that are not on disk yet. Those on disk stay: they record what was requested.
    pub(crate) fn rewind(&mut self) {
        self.pending.clear();
        self.head.clone_from(&self.synced);
    }

    pub(crate) fn head(&self) -> &ChainHead {
        &self.head
    }

    pub(crate) fn opened() -> AuditEntry<'static> {
        AuditEntry {
            action: Action::Open,
            id: None,
            issuer: None,
            claim: None,
            mark: None,
            value: None,
            issued_up_to: None,
            mode: None,
            validity_in_seconds: None,
            by: None,
            reason: None,
        }
    }

    pub(crate) fn entry<'e>(
        &self,
        action: Action,
        revocation: &'e Revocation,
        by: Option<&'e str>,
    ) -> AuditEntry<'e> {
        let more = u64::from(revocation.validity.subsec_nanos() > 0);
        let validity = revocation.validity.as_secs().saturating_add(more);
        AuditEntry {
            action,
            id: Some(self.shown.id(revocation)),
            issuer: revocation.selector.issuer.as_deref(),
            claim: revocation.selector.claim(),
            mark: revocation.selector.mark_kind(),
            value: Some(self.shown.value(revocation.selector.value().as_str())),
            issued_up_to: revocation.issued_up_to,
            mode: Some(revocation.mode.as_str()),
            validity_in_seconds: Some(validity),
            by,
            reason: revocation.reason.as_deref(),
        }
    }
}

/// Returns the offset behind the last line feed; 0 if there is none.
fn length_of_whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = [0; 4096];
    while end > 0 {
        let begin = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

/// Returns the last line of a file whose last line feed is in front of `end`.
fn last_line(file: &mut File, end: u64) -> io::Result<Option<ChainHead>> {
    /// Longer than any line: an id, a value, an issuer and two texts of 1 KiB, escaped.
    const LINE: u64 = 64 << 10;
    let begin = end.saturating_sub(LINE);
    let mut tail = vec![0; (end - begin) as usize];
    file.seek(SeekFrom::Start(begin))?;
    file.read_exact(&mut tail)?;
    let Some(last) = tail.strip_suffix(b"\n") else { return Ok(None) };
    let last = last.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    check(last)
        .map(|(_, head)| Some(head))
        .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// Checks a complete line. Returns the position of the line before it and its own.
fn check(line: &[u8]) -> Result<(ChainHead, ChainHead), &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "is not UTF-8")?;
    let (hashed, rest) = line.rsplit_once(HASH).ok_or("has no hash")?;
    let hash = rest.strip_suffix("\"}").ok_or("does not end with its hash")?;
    if hash != hex(digest(&SHA256, hashed.as_bytes()).as_ref()) {
        return Err("has been changed: its hash does not match its text");
    }
    let links: Links = serde_json::from_str(line).map_err(|_| "has no seq, or no prev")?;
    let before = ChainHead { seq: links.seq.saturating_sub(1), hash: links.prev };
    Ok((before, ChainHead { seq: links.seq, hash: hash.to_owned() }))
}

/// The audit log differs from what was written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line is invalid, whatever its neighbours are.
    #[error("line {line} {reason}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A line does not follow the one before.
    #[error(
        "line {line} does not follow the line before it: lines are missing, or have been inserted or moved"
    )]
    Chain {
        /// Its number, from 1.
        line: u64,
    },
    /// The revocation log in the same folder has recorded another line.
    #[error(
        "line {line} is not the one that the revocation log has recorded: the chain has been created anew"
    )]
    Other {
        /// Its number, from 1.
        line: u64,
    },
    /// The revocation log in the same folder has recorded later lines.
    #[error(
        "lines are missing at the end: it ends with number {last}, the revocation log has recorded number {known}"
    )]
    CutOff {
        /// The number in its last line.
        last: u64,
        /// The number of the last line that was committed.
        known: u64,
    },
}

/// The result of verifying a log without errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many lines it has.
    pub lines: u64,
    /// The number in its first line; more than 1 if earlier lines have been moved away.
    pub first: u64,
    /// The hash of the line before the first.
    pub begins_after: String,
    /// The hash of its last line.
    pub head: String,
}

impl Verified {
    /// Returns the number in the last line.
    pub fn last(&self) -> u64 {
        (self.first + self.lines).saturating_sub(1)
    }

    /// Returns `true` if it continues where the other stops.
    pub fn follows(&self, earlier: &Self) -> bool {
        self.first == earlier.last() + 1 && self.begins_after == earlier.head
    }
}

/// Checks every line of an audit log, and that each follows the one before it.
///
/// Missing lines at the end, or a chain that was created anew, can only be detected by comparison
/// with a head that was stored elsewhere: `known`, for example
/// [`committed_audit_head`](crate::committed_audit_head). If `goes_on` says that another file
/// follows, a log that stops before `known` is accepted.
///
/// # Errors
/// Fails at the first invalid line.
pub fn verify(log: impl Read, known: Option<&ChainHead>, goes_on: bool) -> Result<Verified, AuditError> {
    let ChainHead { hash, .. } = ChainHead::default();
    let mut verified = Verified { lines: 0, first: 1, begins_after: hash.clone(), head: hash };
    let mut last: Option<ChainHead> = None;
    for line in BufReader::new(log).split(b'\n') {
        let number = verified.lines + 1;
        let (before, own) = check(&line?).map_err(|reason| AuditError::Line { line: number, reason })?;
        match last {
            Some(last) if last != before => return Err(AuditError::Chain { line: number }),
            Some(_) => {}
            None if before.seq == 0 && before != ChainHead::default() => {
                return Err(AuditError::Chain { line: number });
            }
            None => (verified.first, verified.begins_after) = (own.seq, before.hash),
        }
        if known.is_some_and(|known| known.seq == own.seq && *known != own) {
            return Err(AuditError::Other { line: number });
        }
        verified.lines = number;
        verified.head.clone_from(&own.hash);
        last = Some(own);
    }
    match known {
        Some(known) if known.seq > verified.last() && !goes_on => {
            Err(AuditError::CutOff { last: verified.last(), known: known.seq })
        }
        _ => Ok(verified),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
