//! HTTP/1.1 chunks (RFC 9112, section 7.1).

use bytes::{BufMut, Bytes};

/// Closes a chunked body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Room for the size line in front of a chunk: 16 hexadecimal digits, CR, LF.
const SIZE_LINE: usize = 18;

/// Appends a chunk of what `write` appends. The size line is written into room that is left for it,
/// and the chunk is moved to where it begins.
pub(crate) fn append_chunk(text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = text.len();
    let body = start + SIZE_LINE;
    text.resize(body, 0);
    write(text);
    let (mut line, mut size) = (body - 2, text.len() - body);
    text[line..body].copy_from_slice(b"\r\n");
    while size > 0 {
        line -= 1;
        text[line] = b"0123456789ABCDEF"[size % 16];
        size /= 16;
    }
    text.copy_within(line.., start);
    text.truncate(text.len() - (line - start));
    text.put_slice(b"\r\n");
}

/// Makes a chunk of what `write` writes, for which there is room for `size` bytes.
pub(crate) fn chunk(size: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut chunk = Vec::with_capacity(SIZE_LINE + size + b"\r\n".len());
    append_chunk(&mut chunk, write);
    chunk.into()
}
