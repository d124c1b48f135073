//! HTTP/2 by prior knowledge (RFC 9113), frame by frame: header lists are sent exactly as the test
//! has written them.

pub mod raw;

use std::net::SocketAddr;

use crate::wire::Wire;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A connection on which one request is sent.
pub struct Http2 {
    wire: Wire,
}

impl Http2 {
    /// Connects and sends the preface.
    pub fn connect(address: SocketAddr) -> Self {
        let mut wire = Wire::connect(address);
        wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut http2 = Self { wire };
        http2.frame(SETTINGS, 0, 0, &[]);
        http2
    }

    /// Sends a request with these header fields, pseudo-headers included. Returns the status,
    /// `RESET` or `GOAWAY`.
    pub fn ask(&mut self, fields: &[(&str, &str)], body: Option<&str>) -> String {
        let mut block = Vec::new();
        for (name, value) in fields {
            // A literal without Huffman coding, not indexed (RFC 7541, section 6.2.2).
            block.push(0);
            string(&mut block, name);
            string(&mut block, value);
        }
        let end = if body.is_none() { END_STREAM } else { 0 };
        self.frame(HEADERS, END_HEADERS | end, 1, &block);
        if let Some(body) = body {
            self.frame(DATA, END_STREAM, 1, body.as_bytes());
        }
        loop {
            let Some(head) = self.wire.exactly(9) else { return "END".into() };
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some(payload) = self.wire.exactly(length) else { return "END".into() };
            match head[3] {
                SETTINGS if head[4] & ACK == 0 => self.frame(SETTINGS, ACK, 0, &[]),
                HEADERS => return status(&payload),
                RST_STREAM => return "RESET".into(),
                GOAWAY => return "GOAWAY".into(),
                _ => {}
            }
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.wire.send(frame);
    }
}

/// Appends a string (RFC 7541, sections 5.1 and 5.2).
fn string(block: &mut Vec<u8>, text: &str) {
    // Each character stands for one byte.
    let bytes: Vec<u8> = text.chars().map(|byte| u8::try_from(byte).expect("a byte")).collect();
    match bytes.len() {
        length @ ..127 => block.push(length as u8),
        length => {
            block.push(127);
            let mut rest = length - 127;
            while rest >= 128 {
                block.push((rest % 128) as u8 | 128);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend(bytes);
}

/// Returns the status at the beginning of a header block: an entry of the static table (RFC 7541,
/// appendix A), or a literal with an indexed name.
fn status(block: &[u8]) -> String {
    match block {
        // A server may first update the size of the dynamic table.
        [update, rest @ ..] if update & 0xe0 == 0x20 => status(rest),
        [index @ 0x88..=0x8e, ..] => {
            ["200", "204", "206", "304", "400", "404", "500"][usize::from(index - 0x88)].into()
        }
        [0x48 | 0x08 | 0x18, length, text @ ..] if length & 0x80 == 0 => {
            String::from_utf8_lossy(&text[..usize::from(*length)]).into_owned()
        }
        [0x48 | 0x08 | 0x18, length, text @ ..] => huffman_digits(&text[..usize::from(length & 0x7f)]),
        _ => format!("{block:?}"),
    }
}

/// Decodes Huffman-coded digits (RFC 7541, appendix B): `0` to `2` have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let mut rest = bits.as_str();
    let mut digits = String::new();
    while rest.len() >= 5 {
        let short = u8::from_str_radix(&rest[..5], 2).expect("bits");
        let (digit, length) = match short {
            0..=2 => (short, 5),
            _ if rest.len() >= 6 => (u8::from_str_radix(&rest[..6], 2).expect("bits").wrapping_sub(0x16), 6),
            _ => break,
        };
        if digit > 9 {
            break;
        }
        digits.push(char::from(b'0' + digit));
        rest = &rest[length..];
    }
    digits
}
