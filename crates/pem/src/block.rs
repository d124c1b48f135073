//! The blocks of a PEM file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A line outside of blocks that is at least this long and nothing but Base64 belongs to a block
/// that has lost its first line.
const STRAY: usize = 60;

/// Most characters of a label that an error repeats.
const SHOWN: usize = 64;

/// A file that is not PEM as RFC 7468 has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct PemError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there. Repeats nothing of what a block holds: it may be a key.
    pub reason: String,
}

impl PemError {
    pub(crate) fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// The content between a BEGIN and an END line.
pub(crate) struct Block {
    /// The words behind BEGIN.
    pub(crate) label: String,
    /// The line of BEGIN, from 1.
    pub(crate) line: usize,
    /// The decoded bytes: one DER element, unless they are encrypted.
    pub(crate) der: Vec<u8>,
    /// The cipher, if the block is encrypted in OpenSSL's older form (RFC 1421, section 4.6.1.3).
    pub(crate) cipher: Option<String>,
}

/// Reads all blocks. Text around them explains them (RFC 7468, section 2), as long as it looks like
/// no part of one.
///
/// # Errors
/// Fails if a block is damaged or cut off, or a line outside looks like a part of one.
pub(crate) fn blocks(pem: &[u8]) -> Result<Vec<Block>, PemError> {
    if pem.starts_with(b"\xff\xfe") || pem.starts_with(b"\xfe\xff") {
        return Err(PemError::new(1, "UTF-16; PEM is ASCII"));
    }
    let end = if pem.contains(&b'\n') { b'\n' } else { b'\r' };
    let (mut blocks, mut open) = (Vec::new(), None::<Open>);
    for (index, text) in pem.split(|byte| *byte == end).enumerate() {
        let (line, text) = (index + 1, text.trim_ascii());
        match (open.take(), Boundary::of(text)) {
            (None, Some(Boundary::Begin(label))) => open = Some(Open::new(label, line)),
            (None, Some(Boundary::End(label))) => {
                return Err(PemError::new(line, format!("END {} without its BEGIN", shown(label))));
            }
            (None, None) => outside(text).map_err(|reason| PemError::new(line, reason))?,
            (Some(block), Some(Boundary::End(label))) if label == block.label => blocks.push(block.close()?),
            (Some(block), Some(_)) => return Err(block.cut()),
            (Some(mut block), None) => {
                block.push(text).map_err(|reason| PemError::new(line, reason))?;
                open = Some(block);
            }
        }
    }
    match open {
        Some(block) => Err(block.cut()),
        None => Ok(blocks),
    }
}

/// Checks that all of a text is PEM, whatever its blocks hold.
///
/// # Errors
/// Fails with what is wrong with it.
pub fn check(pem: &[u8]) -> Result<(), PemError> {
    blocks(pem).map(drop)
}

/// A line that begins or ends a block, with its label.
enum Boundary<'t> {
    Begin(&'t str),
    End(&'t str),
}

impl<'t> Boundary<'t> {
    fn of(line: &'t [u8]) -> Option<Self> {
        let text = str::from_utf8(line).ok()?.strip_prefix("-----")?.strip_suffix("-----")?;
        if text.contains("--") {
            return None;
        }
        match text.split_once(' ')? {
            ("BEGIN", label) => Some(Self::Begin(label)),
            ("END", label) => Some(Self::End(label)),
            _ => None,
        }
    }
}

/// Checks a line outside of blocks. Fails with what is wrong with it.
fn outside(text: &[u8]) -> Result<(), &'static str> {
    if text.starts_with(b"\xef\xbb\xbf") {
        return Err("a byte order mark; PEM is ASCII");
    }
    if text.contains(&0) {
        return Err("a NUL; PEM is ASCII");
    }
    let has = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    if [&b"-BEGIN"[..], b"-END", b"- BEGIN", b"- END"].iter().any(|part| has(part)) {
        return Err("a BEGIN or END line that is damaged, or not alone on its line");
    }
    if text.len() >= STRAY && text.iter().any(u8::is_ascii_alphanumeric) && text.iter().all(is_base64) {
        return Err("Base64 outside of a block");
    }
    Ok(())
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(byte)
}

/// A block before its END line.
struct Open {
    label: String,
    line: usize,
    base64: Vec<u8>,
    encrypted: bool,
    cipher: Option<String>,
}

impl Open {
    fn new(label: &str, line: usize) -> Self {
        Self { label: label.to_owned(), line, base64: Vec::new(), encrypted: false, cipher: None }
    }

    /// Adds a line: Base64 or, before that in a key, a header (RFC 1421, section 4.6).
    fn push(&mut self, text: &[u8]) -> Result<(), String> {
        if text.contains(&b':') && self.base64.is_empty() && self.label.ends_with("PRIVATE KEY") {
            let text = String::from_utf8_lossy(text);
            let (name, value) = text.split_once(':').unwrap_or((&text, ""));
            match name {
                "Proc-Type" => self.encrypted = value.contains("ENCRYPTED"),
                "DEK-Info" => self.cipher = value.split(',').next().map(|cipher| shown(cipher.trim())),
                _ => {}
            }
            return Ok(());
        }
        if !text.iter().all(is_base64) {
            let what = if text.contains(&b'-') { "no END line by itself" } else { "not Base64" };
            return Err(format!("{what}, in the block {}", shown(&self.label)));
        }
        self.base64.extend_from_slice(text);
        Ok(())
    }

    fn close(self) -> Result<Block, PemError> {
        let fault =
            |reason: &str| PemError::new(self.line, format!("the block {} {reason}", shown(&self.label)));
        let der = STANDARD
            .decode(&self.base64)
            .map_err(|_| fault("is not Base64 as a whole: a part is missing"))?;
        let cipher = self.encrypted.then(|| self.cipher.clone().unwrap_or_else(|| "unknown".to_owned()));
        if cipher.is_none() && !is_one_element(&der) {
            return Err(fault("is cut off, or has something behind its end"));
        }
        Ok(Block { label: self.label, line: self.line, der, cipher })
    }

    fn cut(&self) -> PemError {
        PemError::new(self.line, format!("the block {} is cut off: it has no END line", shown(&self.label)))
    }
}

/// Returns `true` if this is exactly one DER element (X.690, section 8.1).
fn is_one_element(der: &[u8]) -> bool {
    let Some(&[_, first]) = der.first_chunk() else { return false };
    let rest = &der[2..];
    match first {
        0..=0x7f => rest.len() == usize::from(first),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let Some((length, content)) = rest.split_at_checked(count) else { return false };
            content.len() == length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        }
        _ => false,
    }
}

/// Shortens a label or a name for an error.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN).filter(|char| !char.is_control()).collect()
}
