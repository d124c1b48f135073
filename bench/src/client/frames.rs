//! As much of WebSocket as a client needs that only counts: where frames begin, and what to answer
//! to a ping, be it WebSocket's own or that of Engine.IO, which is below Socket.IO.

/// The longest header of a frame from a server, which is never masked (RFC 6455, section 5.2).
const HEADER: usize = 10;

const PING: u8 = 0x9;
const PONG: u8 = 0xA;
const TEXT: u8 = 0x1;

/// Engine.IO's ping and pong are texts (Engine.IO protocol 4). No other server here sends a text of
/// one byte.
const ENGINE_PING: &[u8] = b"2";
const ENGINE_PONG: &[u8] = b"3";

/// Pongs that are due, back to back.
pub(super) type Pongs = Vec<u8>;

/// Where in the stream of frames a client is.
#[derive(Debug, Default)]
pub(super) struct FrameReader {
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    known: usize,
    /// Bytes of the payload that have not come.
    missing: u64,
    /// The payload so far of what may be a ping.
    ping: Vec<u8>,
}

impl FrameReader {
    /// Takes the next bytes. Writes the answers to pings that they complete.
    pub(super) fn take(&mut self, mut bytes: &[u8], pongs: &mut Pongs) {
        while let [first, rest @ ..] = bytes {
            if self.missing == 0 {
                self.header[self.known] = *first;
                self.known += 1;
                bytes = rest;
                if let Some(length) = self.length() {
                    self.missing = length;
                    self.end_of_frame(pongs);
                }
            } else {
                let length =
                    usize::try_from(self.missing).map_or(bytes.len(), |missing| missing.min(bytes.len()));
                let (payload, rest) = bytes.split_at(length);
                if self.opcode() == PING || (self.opcode() == TEXT && self.header[1] == 1) {
                    self.ping.extend_from_slice(payload);
                }
                self.missing -= length as u64;
                bytes = rest;
                self.end_of_frame(pongs);
            }
        }
    }

    fn opcode(&self) -> u8 {
        self.header[0] & 0xF
    }

    /// Returns the length of the payload; `None` if the header is not complete.
    fn length(&self) -> Option<u64> {
        let [_, length, long @ ..] = self.header;
        match (length & 0x7F, self.known) {
            (length @ 0..=125, 2..) => Some(length.into()),
            (126, 4..) => Some(u16::from_be_bytes([long[0], long[1]]).into()),
            (_, HEADER..) => Some(u64::from_be_bytes(long)),
            _ => None,
        }
    }

    fn end_of_frame(&mut self, pongs: &mut Pongs) {
        if self.missing > 0 {
            return;
        }
        match (self.opcode(), &self.ping[..]) {
            (PING, payload) => short(PONG, payload, pongs),
            (TEXT, ENGINE_PING) => short(TEXT, ENGINE_PONG, pongs),
            _ => {}
        }
        self.ping = Vec::new();
        self.known = 0;
    }
}

/// Masked, as all frames from clients are (RFC 6455, section 5.3), with a key that changes nothing.
/// The payload of a control frame is at most 125 bytes; what is longer is no ping.
fn short(opcode: u8, payload: &[u8], frames: &mut Vec<u8>) {
    if let Ok(length @ 0..=125) = u8::try_from(payload.len()) {
        frames.extend_from_slice(&[0x80 | opcode, 0x80 | length, 0, 0, 0, 0]);
        frames.extend_from_slice(payload);
    }
}

/// A short text.
pub(super) fn text(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    short(TEXT, payload, &mut frame);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pongs_of(pieces: &[&[u8]]) -> Pongs {
        let (mut frames, mut pongs) = (FrameReader::default(), Pongs::new());
        for piece in pieces {
            frames.take(piece, &mut pongs);
        }
        pongs
    }

    #[test]
    fn pings_between_frames_of_all_lengths_are_answered() {
        let short = [&[0x81, 3][..], b"abc"].concat();
        let middle = [&[0x81, 126, 1, 0][..], &[0x89; 256]].concat();
        let long = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0][..], &[0x89; 65536]].concat();
        let empty = [0x89, 0];
        let ping = [0x89, 2, b'h', b'i'];
        let all = [&short[..], &empty, &middle, &ping, &long, &empty].concat();
        let expected =
            [&[0x8A, 0x80, 0, 0, 0, 0][..], &[0x8A, 0x82, 0, 0, 0, 0, b'h', b'i'], &[0x8A, 0x80, 0, 0, 0, 0]]
                .concat();
        assert_eq!(pongs_of(&[&all]), expected);
        let bytes: Vec<_> = all.chunks(1).collect();
        assert_eq!(pongs_of(&bytes), expected);
    }

    #[test]
    fn pings_of_engine_io_are_answered_and_texts_like_them_are_not() {
        let all = [0x81, 1, b'2', 0x81, 1, b'6', 0x81, 2, b'2', b'2', 0x82, 1, b'2', 0x81, 1, b'2'];
        let pong = [0x81, 0x81, 0, 0, 0, 0, b'3'];
        let bytes: Vec<_> = all.chunks(1).collect();
        assert_eq!(pongs_of(&bytes), pong.repeat(2));
    }

    #[test]
    fn an_empty_text_is_a_whole_frame() {
        assert_eq!(pongs_of(&[&[0x81, 0, 0x89, 0]]), [0x8A, 0x80, 0, 0, 0, 0]);
    }
}
