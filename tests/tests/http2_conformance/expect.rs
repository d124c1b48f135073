//! What a case is, and what it must lead to.

use rig_tests::raw::{Outcome, RawHttp2};

use Expect::{Answers, AnswersOr, Closes, Connection, Stream};

/// What a case must lead to.
pub(crate) enum Expect {
    /// The connection goes on, and these streams are answered.
    Answers(&'static [u32]),
    /// The connection ends with one of these codes.
    Connection(&'static [&'static str]),
    /// Stream 1 is reset with one of these codes, or the connection ends with one.
    Stream(&'static [&'static str]),
    /// The connection is closed, with or without a GOAWAY.
    Closes,
    /// Whatever it is: the connection goes on, or ends with this code.
    AnswersOr(&'static [u32], &'static str),
}

/// Section; what is sent, on a connection that is greeted; what it must lead to.
pub(crate) type Case = (&'static str, fn(&mut RawHttp2, &str), Expect);

pub(crate) const PROTOCOL: &[&str] = &["PROTOCOL_ERROR"];
// The HTTP/2 library names some errors of the connection PROTOCOL_ERROR for which the RFCs have
// names of their own. The connection is closed all the same; docs/compatibility.md says so.
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
                // The gateway may have answered before the frame came, and want no more of the
                // request (RFC 9113, section 8.1). What comes on a stream that it has reset itself
                // is ignored (section 5.1).
                let was_early = reset == Some("NO_ERROR") && answered.contains(&1);
                was_early || goaway.or(reset).is_some_and(|code| codes.contains(&code))
            }
            Closes => !alive,
        }
    }
}
