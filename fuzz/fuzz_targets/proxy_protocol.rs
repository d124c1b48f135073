//! The first bytes of a connection from a balancer: no byte after the header is read, the bytes
//! read parse as the same header again, and a truncated header is invalid.
#![no_main]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use listener::proxy_protocol::{self, Header};
use rig_fuzz::in_proportion;

/// Returns the header that these bytes begin with, and its length.
fn read(bytes: &[u8]) -> Option<(Header, usize)> {
    let mut rest = bytes;
    let read = pin!(proxy_protocol::read(&mut rest)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(header) = read else { panic!("bytes that are there are not waited for") };
    header.ok().map(|header| (header, bytes.len() - rest.len()))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((header, length)) = in_proportion(bytes, || read(bytes)) else { return };
    assert_eq!(read(&bytes[..length]), Some((header, length)));
    assert_eq!(read(&bytes[..length - 1]), None);
    if bytes.starts_with(b"PROXY ") {
        assert!(length <= 107 && !matches!(header, Header::Proxied { secure: true, .. }));
    }
});
