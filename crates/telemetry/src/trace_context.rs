//! The place of a request in a trace (W3C Trace Context, level 1), received and passed on in a
//! header.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header with the trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header in which tracing systems add their own data.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits (section 3.2.2).
const LENGTH: usize = 55;

/// The flag that says that the caller records the trace (section 3.2.2.5.1).
const SAMPLED: u8 = 1;

/// One span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Identifies the trace; not zero.
    pub trace_id: TraceId,
    /// Identifies the span; not zero.
    pub span_id: u64,
    /// The span that caused this one; `None` for the first span, and for a caller's.
    pub parent_id: Option<u64>,
    /// `true` if the trace is recorded.
    pub sampled: bool,
}

/// Identifies a trace; shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl TraceContext {
    /// Starts a trace. It counts as recorded (RIG), so that services that can record it do.
    pub fn root() -> Self {
        let trace_id = TraceId(fastrand::u128(1..=u128::MAX));
        Self { trace_id, span_id: new_span_id(), parent_id: None, sampled: true }
    }

    /// Returns the caller's span. `None` if there is no valid header, or more than one, since none
    /// of several can be trusted.
    pub fn of_caller(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next().filter(|_| values.next().is_none())?;
        Self::parse(value.as_bytes())
    }

    /// Parses a `traceparent` (section 3.2). Future versions may be longer; only the part known in
    /// this version is used.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let dashes = [known[2], known[35], known[52]] == *b"---";
        let version = hex(&known[..2])?;
        if !dashes || version == 0xff || version == 0 && !rest.is_empty() {
            return None;
        }
        if rest.first().is_some_and(|byte| *byte != b'-') {
            return None;
        }
        let trace_id = hex(&known[3..35]).filter(|id| *id != 0)?;
        let span_id = hex(&known[36..52]).filter(|id| *id != 0)? as u64;
        let flags = hex(&known[53..])? as u8;
        let sampled = flags & SAMPLED != 0;
        Some(Self { trace_id: TraceId(trace_id), span_id, parent_id: None, sampled })
    }

    /// Returns a new span of the same trace, caused by this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: new_span_id(), parent_id: Some(self.span_id), ..*self }
    }

    /// Returns the header for the next service.
    pub fn traceparent(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], self.trace_id.0);
        write_hex(&mut text[36..52], self.span_id.into());
        write_hex(&mut text[53..], u128::from(self.sampled));
        HeaderValue::from_bytes(&text).expect("digits and dashes")
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn new_span_id() -> u64 {
    fastrand::u64(1..=u64::MAX)
}

/// Parses up to 32 hexadecimal digits in lower case (section 3.2.1).
fn hex(digits: &[u8]) -> Option<u128> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | u128::from(value(*digit)?)))
}

/// Writes the last digits of a number, as many as fit.
fn write_hex(into: &mut [u8], number: u128) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in into.rchunks_exact_mut(2).zip(number.to_le_bytes()) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests;
