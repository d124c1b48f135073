//! The frames of a client, by name.

use rig_tests::raw::{self, RawHttp2, flag, kind, literal};

pub(crate) const END: u8 = flag::END_HEADERS | flag::END_STREAM;

pub(crate) fn data(c: &mut RawHttp2, path: &str, flags: u8, payload: &[u8]) {
    open(c, path);
    c.frame(kind::DATA, flags | flag::END_STREAM, 1, payload);
}

pub(crate) fn post(c: &mut RawHttp2, path: &str, parts: &[&[u8]]) {
    open(c, path);
    for (number, part) in parts.iter().enumerate() {
        let end = if number + 1 == parts.len() { flag::END_STREAM } else { 0 };
        c.frame(kind::DATA, end, 1, part);
    }
}

/// Sends the head of a POST without END_STREAM.
pub(crate) fn open(c: &mut RawHttp2, path: &str) {
    c.frame(kind::HEADERS, flag::END_HEADERS, 1, raw::post(path));
}

/// Sends the beginning of a header block.
pub(crate) fn begin(c: &mut RawHttp2, path: &str) {
    c.frame(kind::HEADERS, flag::END_STREAM, 1, raw::get(path));
}

pub(crate) fn parts(c: &mut RawHttp2, path: &str) {
    let block = raw::get(path);
    c.frame(kind::HEADERS, flag::END_STREAM, 1, &block[..1]);
    c.frame(kind::CONTINUATION, 0, 1, &block[1..3]);
    c.frame(kind::CONTINUATION, 0, 1, []);
    c.frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block[3..]);
}

pub(crate) fn promise(c: &mut RawHttp2, path: &str) {
    open(c, path);
    c.frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, [vec![0, 0, 0, 2], raw::get(path)].concat());
}

pub(crate) fn cancel(c: &mut RawHttp2, stream: u32) {
    c.frame(kind::RST_STREAM, 0, stream, [0, 0, 0, 8]);
}

/// Returns the bytes of a request that is cancelled immediately.
pub(crate) fn cancelled(stream: u32, path: &str) -> Vec<u8> {
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("a small frame");
        [&[0, 0, length, kind, flags], &stream.to_be_bytes()[..], payload].concat()
    };
    [frame(kind::HEADERS, END, &raw::get(path)), frame(kind::RST_STREAM, 0, &[0, 0, 0, 8])].concat()
}

pub(crate) fn answered(c: &mut RawHttp2, stream: u32) {
    c.until(|frame| {
        frame.stream == stream && frame.kind <= kind::HEADERS && frame.flags & flag::END_STREAM != 0
    });
}

pub(crate) fn trailers(c: &mut RawHttp2, path: &str, end: u8, fields: &[u8]) {
    open(c, path);
    c.frame(kind::DATA, 0, 1, "hello");
    c.frame(kind::HEADERS, flag::END_HEADERS | end, 1, fields);
}

pub(crate) fn lengths(c: &mut RawHttp2, path: &str, length: &str, parts: &[&[u8]]) {
    let block = [raw::post(path), literal("content-length", length)].concat();
    let mut request = raw::encoded(kind::HEADERS, flag::END_HEADERS, 1, block);
    for (number, part) in parts.iter().enumerate() {
        let end = if number + 1 == parts.len() { flag::END_STREAM } else { 0 };
        request.extend(raw::encoded(kind::DATA, end, 1, part));
    }
    // In one write: an answer that does not need the body could come before it.
    c.bytes(request);
}

pub(crate) fn block(c: &mut RawHttp2, block: &[u8]) {
    c.frame(kind::HEADERS, END, 1, block);
}

pub(crate) fn with(c: &mut RawHttp2, path: &str, more: &[u8]) {
    with_on(c, 1, path, more);
}

pub(crate) fn with_on(c: &mut RawHttp2, stream: u32, path: &str, more: &[u8]) {
    c.frame(kind::HEADERS, END, stream, [raw::get(path), more.to_vec()].concat());
}

pub(crate) fn updated(c: &mut RawHttp2, path: &str, updates: &[u8]) {
    block(c, &[updates.to_vec(), raw::get(path)].concat());
}

/// Returns a field that is added to the dynamic table (RFC 7541, section 6.2.1).
pub(crate) fn entry() -> Vec<u8> {
    [&[0x40][..], &literal("x-test", "value")[1..]].concat()
}

/// Index 62 is the newest entry of the dynamic table (RFC 7541, section 2.3.3).
pub(crate) fn dynamic(c: &mut RawHttp2, path: &str) {
    with(c, path, &entry());
    with_on(c, 3, path, &[0xbe]);
}
