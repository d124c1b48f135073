//! Settings, windows, requests, and their compression.

use rig_tests::raw::{self, flag, kind, literal};

use crate::expect::Expect::{Answers, AnswersOr, Connection, Stream};
use crate::expect::*;
use crate::steps::*;

/// SETTINGS (RFC 9113, section 6.5) and flow control (section 6.9).
pub(crate) const SETTINGS: &[Case] = &[
    (
        "6.5 SETTINGS ACK with a payload",
        |c, _| c.frame(kind::SETTINGS, flag::ACK, 0, [0; 6]),
        Connection(SIZE),
    ),
    ("6.5 SETTINGS on a stream", |c, _| c.frame(kind::SETTINGS, 0, 1, []), Connection(PROTOCOL)),
    ("6.5 SETTINGS of five bytes", |c, _| c.frame(kind::SETTINGS, 0, 0, [0; 5]), Connection(SIZE)),
    ("6.5.2 ENABLE_PUSH 2", |c, _| c.settings(&[(2, 2)]), Connection(PROTOCOL)),
    (
        "6.5.2 ENABLE_PUSH 0, then 1",
        |c, p| (c.settings(&[(2, 0)]), c.settings(&[(2, 1)]), c.get(1, p)).2,
        Answers(&[1]),
    ),
    ("6.5.2 window of 2^31", |c, _| c.settings(&[(4, 1 << 31)]), Connection(FLOW)),
    ("6.5.2 frames of 16383", |c, _| c.settings(&[(5, 16_383)]), Connection(PROTOCOL)),
    ("6.5.2 frames of 2^24", |c, _| c.settings(&[(5, 1 << 24)]), Connection(PROTOCOL)),
    ("6.5.2 frames of 2^24-1", |c, p| (c.settings(&[(5, (1 << 24) - 1)]), c.get(1, p)).1, Answers(&[1])),
    ("6.5.2 unknown setting", |c, p| (c.settings(&[(0xff, 7)]), c.get(1, p)).1, Answers(&[1])),
    ("6.5.2 header table of 0", |c, p| (c.settings(&[(1, 0)]), c.get(1, p), c.get(3, p)).2, Answers(&[1, 3])),
    (
        "6.5.3 the last of two counts",
        |c, p| (c.settings(&[(4, 1), (4, 65_535)]), c.get(1, p)).1,
        Answers(&[1]),
    ),
    ("6.9 WINDOW_UPDATE of 0", |c, _| c.window(0, 0), Connection(PROTOCOL)),
    ("6.9 WINDOW_UPDATE of 0 on a stream", |c, p| (open(c, p), c.window(1, 0)).1, Stream(PROTOCOL)),
    (
        "6.9 WINDOW_UPDATE of three bytes",
        |c, _| c.frame(kind::WINDOW_UPDATE, 0, 0, [0, 0, 1]),
        Connection(SIZE),
    ),
    ("6.9.1 window beyond 2^31-1", |c, _| (c.window(0, i32::MAX as u32), c.window(0, 1)).1, Connection(FLOW)),
    (
        "6.9.1 window of a stream beyond 2^31-1",
        |c, p| (open(c, p), c.window(1, i32::MAX as u32), c.window(1, i32::MAX as u32)).2,
        Stream(FLOW),
    ),
    (
        "6.9.2 a new initial window beyond 2^31-1",
        |c, p| (open(c, p), c.window(1, 1 << 30), c.settings(&[(4, i32::MAX as u32)])).2,
        Connection(FLOW),
    ),
];

/// Requests that are malformed, or look malformed (RFC 9113, section 8).
pub(crate) const MESSAGES: &[Case] = &[
    ("8.1 trailers", |c, p| trailers(c, p, flag::END_STREAM, &literal("x-sum", "1")), Answers(&[1])),
    (
        "8.1 trailers that do not end the stream",
        |c, p| trailers(c, p, 0, &literal("x-sum", "1")),
        Stream(PROTOCOL),
    ),
    // Malformed according to the RFC; the library drops the field, so no service receives it.
    (
        "8.1 pseudo-header in trailers",
        |c, p| trailers(c, p, flag::END_STREAM, &[0x82]),
        AnswersOr(&[1], "PROTOCOL_ERROR"),
    ),
    ("8.1.1 content-length, one DATA", |c, p| lengths(c, p, "1", &[b"hello"]), Stream(PROTOCOL)),
    ("8.1.1 content-length, two DATA", |c, p| lengths(c, p, "9", &[b"hello", b"hello"]), Stream(PROTOCOL)),
    (
        "8.1.1 content-length, too little DATA",
        |c, p| lengths(c, p, "11", &[b"hello", b"hello"]),
        Stream(PROTOCOL),
    ),
    ("8.2.1 upper case in a name", |c, p| with(c, p, &literal("X-Test", "1")), Stream(PROTOCOL)),
    ("8.2.1 space in a name", |c, p| with(c, p, &literal("x test", "1")), Stream(PROTOCOL)),
    ("8.2.1 empty name", |c, p| with(c, p, &literal("", "1")), Stream(PROTOCOL)),
    ("8.2.1 line end in a value", |c, p| with(c, p, &literal("x-test", "1\n2")), Stream(PROTOCOL)),
    ("8.2.2 connection", |c, p| with(c, p, &literal("connection", "keep-alive")), Stream(PROTOCOL)),
    ("8.2.2 te: trailers", |c, p| with(c, p, &literal("te", "trailers")), Answers(&[1])),
    ("8.2.2 te: gzip", |c, p| with(c, p, &literal("te", "gzip")), Stream(PROTOCOL)),
    (
        "8.2.3 cookie in two fields",
        |c, p| with(c, p, &[literal("cookie", "a=1"), literal("cookie", "b=2")].concat()),
        Answers(&[1]),
    ),
    ("8.3 unknown pseudo-header", |c, p| with(c, p, &literal(":test", "1")), Stream(PROTOCOL)),
    ("8.3 pseudo-header of answers", |c, p| with(c, p, &[0x88]), Stream(PROTOCOL)),
    (
        "8.3 pseudo-header after a field",
        |c, p| with(c, p, &[literal("x-test", "1"), vec![0x82]].concat()),
        Stream(PROTOCOL),
    ),
    ("8.3.1 no method", |c, p| block(c, &raw::request(&[0x86], p)), Stream(PROTOCOL)),
    ("8.3.1 no scheme", |c, p| block(c, &raw::request(&[0x82], p)), Stream(PROTOCOL)),
    ("8.3.1 no path", |c, _| block(c, &[0x82, 0x86, 0x01, 1, b'x']), Stream(PROTOCOL)),
    ("8.3.1 two methods", |c, p| block(c, &raw::request(&[0x82, 0x83, 0x86], p)), Stream(PROTOCOL)),
    ("8.3.1 two schemes", |c, p| block(c, &raw::request(&[0x82, 0x86, 0x87], p)), Stream(PROTOCOL)),
    ("8.3.1 two paths", |c, p| block(c, &raw::request(&[0x82, 0x86, 0x84], p)), Stream(PROTOCOL)),
    ("8.3.1 empty path", |c, _| block(c, &raw::request(&[0x82, 0x86], "")), Stream(PROTOCOL)),
];

/// HPACK (RFC 7541).
pub(crate) const HPACK: &[Case] = &[
    ("2.3.3 an index beyond both tables", |c, p| with(c, p, &[0xc6]), Connection(COMPRESSION)),
    ("6.1 index 0", |c, p| with(c, p, &[0x80]), Connection(COMPRESSION)),
    ("2.3.2 a field from the dynamic table", |c, p| dynamic(c, p), Answers(&[1, 3])),
    ("4.2 table larger than allowed", |c, p| updated(c, p, &[0x3f, 0xe2, 0x7f]), Connection(COMPRESSION)),
    ("4.2 table of 0, then of 4096", |c, p| updated(c, p, &[0x20, 0x3f, 0xe1, 0x1f]), Answers(&[1])),
    ("4.2 size at the end of a block", |c, p| with(c, p, &[0x20]), Connection(COMPRESSION)),
    (
        "4.3 an entry larger than the table",
        |c, p| (updated(c, p, &[0x20]), with_on(c, 3, p, &entry())).1,
        Answers(&[1, 3]),
    ),
    (
        "5.1 an integer without end",
        |c, p| with(c, p, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        Connection(COMPRESSION),
    ),
    ("5.2 a text longer than the block", |c, p| with(c, p, &[0x00, 0x7e, b'x']), Connection(COMPRESSION)),
    ("5.2 Huffman code", |c, p| with(c, p, &[0x00, 1, b'a', 0x81, 0x1f]), Answers(&[1])),
    (
        "5.2 padding of more than seven bits",
        |c, p| with(c, p, &[0x00, 1, b'a', 0x82, 0x1f, 0xff]),
        Connection(COMPRESSION),
    ),
    (
        "5.2 padding that is not of ones",
        |c, p| with(c, p, &[0x00, 1, b'a', 0x81, 0x18]),
        Connection(COMPRESSION),
    ),
    (
        "5.2 EOS in a text",
        |c, p| with(c, p, &[0x00, 1, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]),
        Connection(COMPRESSION),
    ),
    ("6.2.3 never indexed", |c, p| with(c, p, &[0x10, 1, b'a', 1, b'b']), Answers(&[1])),
    ("6.2.1 a literal that is not complete", |c, p| with(c, p, &[0x40, 1, b'a']), Connection(COMPRESSION)),
];
