//! Response heads that the gateway writes itself, for connections whose socket it takes over from
//! hyper.

use std::io::Write;
use std::time::SystemTime;

use http::HeaderMap;

/// The capacity with which the buffer of a head starts, in bytes: enough for most heads.
pub(crate) const CAPACITY: usize = 320;

/// Writes header lines, and the date that RFC 9110 (section 6.6.1) requires of a server with a
/// clock.
pub(crate) fn write_headers(head: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    write!(head, "date: {}\r\n", httpdate::HttpDate::from(SystemTime::now())).expect("there is room");
}
