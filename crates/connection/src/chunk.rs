//! HTTP/1.1 chunks (RFC 9112, section 7.1).

use bytes::{BufMut, Bytes};

/// Closes a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Room for the size line in front of a chunk: 16 hexadecimal digits, CR, LF.
const SIZE_LINE: usize = 18;

/// Makes a chunk of what `write` writes, for which there is room for `size` bytes: the size line is
/// written into the room left for it, and what was not needed of that room is cut off.
pub(crate) fn chunk(size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut chunk = Vec::with_capacity(SIZE_LINE + size + b"\r\n".len());
    chunk.resize(SIZE_LINE, 0);
    write(&mut chunk);
    let (mut start, mut size) = (SIZE_LINE - 2, chunk.len() - SIZE_LINE);
    chunk[start..SIZE_LINE].copy_from_slice(b"\r\n");
    while size > 0 {
        start -= 1;
        chunk[start] = b"0123456789ABCDEF"[size % 16];
        size /= 16;
    }
    chunk.put_slice(b"\r\n");
    Bytes::from(chunk).slice(start..)
}
