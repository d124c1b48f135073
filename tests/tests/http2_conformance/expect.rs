//! Cases and their expected outcomes.

use rig_tests::raw::{Outcome, RawHttp2};

use Expect::{Answers, AnswersOr, Closes, Connection, Stream};

/// The expected outcome of a case.
pub(crate) enum Expect {
    /// The connection stays open, and these streams are answered.
    Answers(&'static [u32]),
    /// The connection is closed with one of these codes.
    Connection(&'static [&'static str]),
    /// Stream 1 is reset, or the connection is closed, with one of these codes.
    Stream(&'static [&'static str]),
    /// The connection is closed, with or without a GOAWAY.
    Closes,
    /// Either these streams are answered, or the connection is closed with this code.
    AnswersOr(&'static [u32], &'static str),
}

/// The section of the RFC, the frames that are sent after the preface, and the expected outcome.
pub(crate) type Case = (&'static str, fn(&mut RawHttp2, &str), Expect);

pub(crate) const PROTOCOL: &[&str] = &["PROTOCOL_ERROR"];
// The HTTP/2 library reports some connection errors as PROTOCOL_ERROR for which the RFCs define
// other codes. The connection is closed all the same (docs/compatibility.md).
pub(crate) const SIZE: &[&str] = &["FRAME_SIZE_ERROR", "PROTOCOL_ERROR"];
pub(crate) const FLOW: &[&str] = &["FLOW_CONTROL_ERROR", "PROTOCOL_ERROR"];
pub(crate) const COMPRESSION: &[&str] = &["COMPRESSION_ERROR", "PROTOCOL_ERROR"];
pub(crate) const CLOSED_OR_PROTOCOL: &[&str] = &["STREAM_CLOSED", "PROTOCOL_ERROR"];

impl Expect {
    pub(crate) fn streams(&self) -> &'static [u32] {
        match self {
            Answers(streams) | AnswersOr(streams, _) => streams,
            Connection(_) | Closes => &[],
            Stream(_) => &[1],
        }
    }

    pub(crate) fn holds(&self, outcome: &Outcome) -> bool {
        let Outcome { goaway, resets, answered, alive, .. } = outcome;
        let all = |streams: &[u32]| streams.iter().all(|stream| answered.contains(stream));
        match self {
            Answers(streams) => *alive && goaway.is_none() && all(streams),
            AnswersOr(streams, code) => {
                if *goaway == Some(*code) || goaway.is_none() && !alive {
                    true
                } else {
                    *alive && all(streams)
                }
            }
            Connection(codes) => goaway.is_some_and(|code| codes.contains(&code)),
            Stream(codes) => {
                let reset = resets.iter().find(|(stream, _)| *stream == 1).map(|(_, code)| *code);
                // The gateway may have answered before the frame arrived, and refuse the rest of
                // the request (RFC 9113, section 8.1). Frames on a stream that it has reset itself
                // are ignored (section 5.1).
                let was_early = reset == Some("NO_ERROR") && answered.contains(&1);
                was_early || goaway.or(reset).is_some_and(|code| codes.contains(&code))
            }
            Closes => !alive,
        }
    }
}
