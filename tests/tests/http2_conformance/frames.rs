//! Frames, and the states of a stream.

use rig_tests::raw::{self, flag, kind};

use crate::expect::Expect::{Answers, AnswersOr, Connection, Stream};
use crate::expect::*;
use crate::steps::*;

/// Frames of valid and invalid sizes and formats (RFC 9113, sections 4 and 5.5).
pub(crate) const FRAMES: &[Case] = &[
    ("4.1 unknown type", |c, p| (c.frame(0x16, 0, 0, [0; 8]), c.get(1, p)).1, Answers(&[1])),
    ("4.1 unknown type on a stream", |c, p| (c.frame(0xfa, 0xff, 1, [0; 8]), c.get(1, p)).1, Answers(&[1])),
    ("4.1 unknown flags", |c, p| (c.frame(kind::PING, 0x16, 0, [0; 8]), c.get(1, p)).1, Answers(&[1])),
    ("4.1 reserved bit", |c, p| c.frame(kind::HEADERS, END, 1 | 1 << 31, raw::get(p)), Answers(&[1])),
    ("4.2 largest DATA", |c, p| post(c, p, &[&[b'x'; 16_384]]), Answers(&[1])),
    ("4.2 DATA too large", |c, p| post(c, p, &[&[b'x'; 16_385]]), Stream(SIZE)),
    (
        "4.2 HEADERS too large",
        |c, p| c.frame(kind::HEADERS, END, 1, [raw::get(p), vec![0; 16_384]].concat()),
        Connection(SIZE),
    ),
    ("4.2 SETTINGS too large", |c, _| c.frame(kind::SETTINGS, 0, 0, [0; 16_386]), Connection(SIZE)),
    ("4.3 block that is none", |c, _| c.frame(kind::HEADERS, END, 1, [0xff; 16]), Connection(COMPRESSION)),
    (
        "4.3 PRIORITY inside a block",
        |c, p| (begin(c, p), c.frame(kind::PRIORITY, 0, 1, [0; 5])).1,
        Connection(PROTOCOL),
    ),
    (
        "4.3 HEADERS of another stream inside a block",
        |c, p| (begin(c, p), c.get(3, p)).1,
        Connection(PROTOCOL),
    ),
    (
        "4.3 unknown frame inside a block",
        |c, p| (begin(c, p), c.frame(0x16, 0, 1, [])).1,
        Connection(PROTOCOL),
    ),
    (
        "4.3 PING inside a block",
        |c, p| (begin(c, p), c.frame(kind::PING, 0, 0, [0; 8])).1,
        Connection(PROTOCOL),
    ),
    ("6.1 DATA on stream 0", |c, _| c.frame(kind::DATA, 0, 0, "x"), Connection(PROTOCOL)),
    ("6.1 DATA with padding", |c, p| data(c, p, flag::PADDED, b"\x03xy\0\0\0"), Answers(&[1])),
    (
        "6.1 padding as long as the frame",
        |c, p| data(c, p, flag::PADDED, b"\x06xy\0\0\0"),
        Connection(PROTOCOL),
    ),
    ("6.1 padding without its length", |c, p| data(c, p, flag::PADDED, b""), Connection(SIZE)),
    ("6.2 HEADERS on stream 0", |c, p| c.frame(kind::HEADERS, END, 0, raw::get(p)), Connection(PROTOCOL)),
    (
        "6.2 HEADERS with padding",
        |c, p| c.frame(kind::HEADERS, END | flag::PADDED, 1, [vec![2], raw::get(p), vec![0; 2]].concat()),
        Answers(&[1]),
    ),
    (
        "6.2 padding longer than HEADERS",
        |c, p| c.frame(kind::HEADERS, END | flag::PADDED, 1, [vec![250], raw::get(p)].concat()),
        Connection(PROTOCOL),
    ),
    (
        "6.2 HEADERS with a priority",
        |c, p| c.frame(kind::HEADERS, END | flag::PRIORITY, 1, [vec![0, 0, 0, 0, 9], raw::get(p)].concat()),
        Answers(&[1]),
    ),
    ("6.3 PRIORITY on stream 0", |c, _| c.frame(kind::PRIORITY, 0, 0, [0; 5]), Connection(PROTOCOL)),
    (
        "6.3 PRIORITY of four bytes",
        |c, p| (c.get(1, p), c.frame(kind::PRIORITY, 0, 1, [0; 4])).1,
        Stream(SIZE),
    ),
    (
        "6.3 PRIORITY of an idle stream",
        |c, p| (c.frame(kind::PRIORITY, 0, 9, [0; 5]), c.get(1, p)).1,
        Answers(&[1]),
    ),
    (
        "6.4 RST_STREAM on stream 0",
        |c, _| c.frame(kind::RST_STREAM, 0, 0, [0, 0, 0, 8]),
        Connection(PROTOCOL),
    ),
    (
        "6.4 RST_STREAM of an idle stream",
        |c, _| c.frame(kind::RST_STREAM, 0, 1, [0, 0, 0, 8]),
        Connection(PROTOCOL),
    ),
    (
        "6.4 RST_STREAM of three bytes",
        |c, p| (open(c, p), c.frame(kind::RST_STREAM, 0, 1, [0, 0, 8])).1,
        Connection(SIZE),
    ),
    ("6.6 PUSH_PROMISE of a client", |c, p| promise(c, p), Connection(PROTOCOL)),
    ("6.7 PING on a stream", |c, _| c.frame(kind::PING, 0, 1, [0; 8]), Connection(PROTOCOL)),
    ("6.7 PING of seven bytes", |c, _| c.frame(kind::PING, 0, 0, [0; 7]), Connection(SIZE)),
    (
        "6.7 PING ACK that answers nothing",
        |c, p| (c.frame(kind::PING, flag::ACK, 0, [7; 8]), c.get(1, p)).1,
        Answers(&[1]),
    ),
    ("6.8 GOAWAY on a stream", |c, _| c.frame(kind::GOAWAY, 0, 1, [0; 8]), Connection(PROTOCOL)),
    ("6.8 GOAWAY of seven bytes", |c, _| c.frame(kind::GOAWAY, 0, 0, [0; 7]), Connection(SIZE)),
    ("6.10 CONTINUATION in three parts", |c, p| parts(c, p), Answers(&[1])),
    (
        "6.10 CONTINUATION after END_HEADERS",
        |c, p| (c.get(1, p), c.frame(kind::CONTINUATION, flag::END_HEADERS, 1, [])).1,
        Connection(CLOSED_OR_PROTOCOL),
    ),
    (
        "6.10 CONTINUATION on stream 0",
        |c, p| (begin(c, p), c.frame(kind::CONTINUATION, 4, 0, [])).1,
        Connection(PROTOCOL),
    ),
    (
        "6.10 CONTINUATION of another stream",
        |c, p| (begin(c, p), c.frame(kind::CONTINUATION, 4, 3, [])).1,
        Connection(PROTOCOL),
    ),
    ("6.10 CONTINUATION out of nowhere", |c, _| c.frame(kind::CONTINUATION, 4, 1, []), Connection(PROTOCOL)),
    (
        "10.5 CONTINUATION without end",
        |c, p| (begin(c, p), (0..5_000).for_each(|_| c.frame(kind::CONTINUATION, 0, 1, []))).1,
        Connection(&["ENHANCE_YOUR_CALM", "PROTOCOL_ERROR", "COMPRESSION_ERROR"]),
    ),
];

/// The states of a stream (RFC 9113, sections 3.4, 5.1 and 5.3).
pub(crate) const STATES: &[Case] = &[
    (
        "6.5 SETTINGS ACK for nothing",
        |c, _| c.frame(kind::SETTINGS, flag::ACK, 0, []),
        AnswersOr(&[], "PROTOCOL_ERROR"),
    ),
    (
        "5.1 DATA of an idle stream",
        |c, _| c.frame(kind::DATA, flag::END_STREAM, 1, "x"),
        Connection(PROTOCOL),
    ),
    ("5.1 WINDOW_UPDATE of an idle stream", |c, _| c.window(1, 100), Connection(PROTOCOL)),
    (
        "5.1 DATA after END_STREAM",
        |c, p| (data(c, p, 0, b"x"), c.frame(kind::DATA, flag::END_STREAM, 1, "y")).1,
        Stream(CLOSED_OR_PROTOCOL),
    ),
    ("5.1 HEADERS after END_STREAM", |c, p| (data(c, p, 0, b"x"), c.get(1, p)).1, Stream(CLOSED_OR_PROTOCOL)),
    ("5.1 WINDOW_UPDATE after END_STREAM", |c, p| (c.get(1, p), c.window(1, 9)).1, Answers(&[1])),
    ("5.1 RST_STREAM after END_STREAM", |c, p| (c.get(1, p), cancel(c, 1), c.get(3, p)).2, Answers(&[3])),
    ("5.1 RST_STREAM twice", |c, p| (open(c, p), cancel(c, 1), cancel(c, 1), c.get(3, p)).3, Answers(&[3])),
    (
        "5.1 DATA after RST_STREAM",
        |c, p| (open(c, p), cancel(c, 1), c.frame(kind::DATA, 0, 1, "x")).2,
        Stream(CLOSED_OR_PROTOCOL),
    ),
    (
        "5.1 HEADERS after RST_STREAM",
        |c, p| (open(c, p), cancel(c, 1), c.get(1, p)).2,
        Stream(CLOSED_OR_PROTOCOL),
    ),
    (
        "5.1 WINDOW_UPDATE after RST_STREAM",
        |c, p| (open(c, p), cancel(c, 1), c.window(1, 9), c.get(3, p)).3,
        Answers(&[3]),
    ),
    (
        "5.1 PRIORITY after RST_STREAM",
        |c, p| (open(c, p), cancel(c, 1), c.frame(kind::PRIORITY, 0, 1, [0; 5])).2,
        Answers(&[]),
    ),
    (
        "5.1 WINDOW_UPDATE after the answer",
        |c, p| (c.get(1, p), answered(c, 1), c.window(1, 9), c.get(3, p)).3,
        Answers(&[1, 3]),
    ),
    ("5.1.1 even stream", |c, p| c.get(2, p), Connection(PROTOCOL)),
    (
        "5.1.1 a number that is lower",
        |c, p| (c.get(5, p), answered(c, 5), c.get(3, p)).2,
        Connection(CLOSED_OR_PROTOCOL),
    ),
    ("5.1.1 numbers that are left out", |c, p| (c.get(5, p), c.get(101, p)).1, Answers(&[5, 101])),
    (
        "5.3 a stream that depends on itself",
        |c, p| (c.frame(kind::PRIORITY, 0, 1, [0, 0, 0, 1, 9]), c.get(3, p)).1,
        AnswersOr(&[3], "PROTOCOL_ERROR"),
    ),
    (
        "6.8 a request before GOAWAY",
        |c, p| (c.get(1, p), c.frame(kind::GOAWAY, 0, 0, [0; 8])).1,
        AnswersOr(&[1], "NO_ERROR"),
    ),
];
