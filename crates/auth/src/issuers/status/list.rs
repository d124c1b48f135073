//! A status list (draft-ietf-oauth-status-list-20, section 4), without I/O.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::{Decompress, FlushDecompress, Status};
use serde_json::{Map, Value};

/// Limit of a list when it is unpacked, in bytes. A list is packed up to 1,030 times smaller.
pub(super) const MAX_UNPACKED: usize = 16 << 20;

/// Bytes of a list are allocated in pieces of this size as they are unpacked, so that a list never
/// takes more memory than it has bytes.
const PAGE: usize = 16 << 10;

/// An unpacked list. All pages but the last one are full.
type Pages = Vec<Box<[u8]>>;

/// The statuses of tokens, each at the index that the token names.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusList {
    /// Bits of one status: 1, 2, 4 or 8.
    bits: u8,
    pages: Pages,
    /// The number of its bytes.
    len: usize,
}

/// Why a status list is not used. The text never contains a value of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListFlaw {
    /// There is no list.
    #[error("expected an object in the claim /status_list")]
    NoList,
    /// The size of a status is none of those allowed.
    #[error("expected 1, 2, 4 or 8 in /status_list/bits")]
    Bits,
    /// The list is not text in base64url.
    #[error("expected text in base64url without padding in /status_list/lst")]
    Text,
    /// The list is not in the format of ZLIB (RFC 1950), or its checksum differs.
    #[error("/status_list/lst is not compressed with ZLIB")]
    Zlib,
    /// The list is cut off.
    #[error("/status_list/lst is incomplete")]
    Incomplete,
    /// Something follows the list.
    #[error("/status_list/lst has further bytes after the list")]
    Trailing,
    /// The list is larger than is read.
    #[error("the list has more than {MAX_UNPACKED} bytes when it is decompressed")]
    TooLarge,
    /// `sub` is not the URI that the list was fetched from.
    #[error("the claim /sub is not the URI of the list")]
    Subject,
    /// A time is missing, or is none.
    #[error("the claim /{0} is missing or not a number of seconds")]
    Time(&'static str),
    /// `iat` or `nbf` is in the future.
    #[error("the claim /{0} is in the future")]
    Future(&'static str),
    /// `exp` is past.
    #[error("the list has expired")]
    Expired,
}

impl StatusList {
    /// Parses the list in the claims of a status list token.
    ///
    /// # Errors
    /// Fails if there is none, or it cannot be unpacked.
    pub fn parse(claims: &Map<String, Value>) -> Result<Self, ListFlaw> {
        let list = claims.get("status_list").and_then(Value::as_object).ok_or(ListFlaw::NoList)?;
        let bits = match list.get("bits").and_then(Value::as_u64) {
            Some(1) => 1,
            Some(2) => 2,
            Some(4) => 4,
            Some(8) => 8,
            _ => return Err(ListFlaw::Bits),
        };
        let text = list.get("lst").and_then(Value::as_str).ok_or(ListFlaw::Text)?;
        let packed = URL_SAFE_NO_PAD.decode(text).map_err(|_| ListFlaw::Text)?;
        let (pages, len) = unpack(&packed)?;
        Ok(Self { bits, pages, len })
    }

    /// Returns the status at an index (section 4.1); `None` if the list has no such index.
    pub fn get(&self, index: u64) -> Option<u8> {
        let in_a_byte = u64::from(8 / self.bits);
        let at = usize::try_from(index / in_a_byte).ok().filter(|at| *at < self.len)?;
        let byte = self.pages[at / PAGE][at % PAGE];
        let shift = (index % in_a_byte) as u8 * self.bits;
        Some((byte >> shift) & (u8::MAX >> (8 - self.bits)))
    }

    /// Returns the number of statuses.
    pub fn entries(&self) -> u64 {
        self.len as u64 * u64::from(8 / self.bits)
    }

    /// Returns the memory that the list takes, in bytes.
    pub(super) fn size(&self) -> usize {
        self.pages.len() * PAGE
    }
}

/// Unpacks a list into pages, and returns them with the number of bytes.
fn unpack(packed: &[u8]) -> Result<(Pages, usize), ListFlaw> {
    let mut unpacker = Decompress::new(true);
    let mut pages = Pages::new();
    let (mut read, mut len) = (0, 0);
    loop {
        if len == pages.len() * PAGE {
            pages.push(vec![0; PAGE].into_boxed_slice());
        }
        let page = pages.last_mut().ok_or(ListFlaw::TooLarge)?;
        let status = unpacker
            .decompress(&packed[read..], &mut page[len % PAGE..], FlushDecompress::None)
            .map_err(|_| ListFlaw::Zlib)?;
        let (before, written) = ((read, len), unpacker.total_out() as usize);
        (read, len) = (unpacker.total_in() as usize, written);
        if len > MAX_UNPACKED {
            return Err(ListFlaw::TooLarge);
        }
        match status {
            Status::StreamEnd if read < packed.len() => return Err(ListFlaw::Trailing),
            Status::StreamEnd => break,
            Status::Ok | Status::BufError if (read, len) == before => return Err(ListFlaw::Incomplete),
            Status::Ok | Status::BufError => {}
        }
    }
    pages.truncate(len.div_ceil(PAGE));
    Ok((pages, len))
}

impl fmt::Debug for StatusList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusList").field("bits", &self.bits).field("len", &self.len).finish_non_exhaustive()
    }
}
