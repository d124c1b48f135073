//! The bytes of a WebSocket client after the handshake. The first byte sets the size of the pieces
//! in which they arrive. In pieces of any size, they produce the same messages, the answers are no
//! longer than the input and a close frame, and an error has one of the codes of RFC 6455.
#![no_main]

use connection::websocket::{Incoming, Protocol, ProtocolError};
use libfuzzer_sys::fuzz_target;
use rig_fuzz::in_proportion;

/// The values that the gateway uses for its clients.
const MAX_MESSAGE: usize = 64 << 10;
const READ_BUFFER: usize = 128;

/// The length of the longest close frame (RFC 6455, section 5.5).
const CLOSE_FRAME: usize = 2 + 125;

/// Returns all messages up to the end or the first error, and the number of bytes in the answers.
fn receive(bytes: &[u8], piece: usize) -> (Vec<Incoming>, Option<ProtocolError>, usize) {
    let mut protocol = Protocol::new(MAX_MESSAGE, READ_BUFFER);
    let (mut messages, mut answered) = (Vec::new(), 0);
    for piece in bytes.chunks(piece) {
        protocol.feed(piece);
        loop {
            let received = protocol.receive();
            answered += protocol.take_output().len();
            match received {
                Ok(None) => break,
                Ok(Some(Incoming::Closed(code))) => {
                    messages.push(Incoming::Closed(code));
                    return (messages, None, answered);
                }
                Ok(Some(message)) => messages.push(message),
                Err(error) => return (messages, Some(error), answered),
            }
        }
    }
    (messages, None, answered)
}

fuzz_target!(|input: &[u8]| {
    let Some((piece, bytes)) = input.split_first() else { return };
    let (messages, error, answered) = in_proportion(input, || receive(bytes, bytes.len().max(1)));
    assert!(answered <= bytes.len() + CLOSE_FRAME, "{answered} bytes answer {}", bytes.len());
    if let Some(error) = &error {
        assert!(matches!(error.code, 1002 | 1007 | 1009) && !error.reason.is_empty(), "{error:?}");
    }
    let (in_pieces, error_in_pieces, _) = in_proportion(input, || receive(bytes, usize::from(*piece).max(1)));
    assert_eq!(in_pieces, messages);
    assert_eq!(error_in_pieces.map(|error| error.code), error.map(|error| error.code));
});
