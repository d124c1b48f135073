//! A chunked answer that is read byte by byte (RFC 9112, section 7.1), so that it can be cut
//! anywhere.

/// What comes next of an answer.
pub(crate) enum Body {
    Head(Vec<u8>),
    Size(Vec<u8>),
    Chunk(usize),
    /// The line end after a chunk: this many bytes are left.
    AfterChunk(usize),
    End,
}

impl Default for Body {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Body {
    /// Returns an answer whose head was read already.
    pub(crate) fn after_head() -> Self {
        Self::Size(Vec::new())
    }

    /// Returns the byte if it is one of the body.
    ///
    /// # Panics
    /// Panics if the answer is not a stream.
    pub(crate) fn decode(&mut self, byte: u8) -> Option<u8> {
        match self {
            Self::Head(head) => {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(head).into_owned();
                    assert!(head.starts_with("HTTP/1.1 200 "), "refused: {head}");
                    assert!(head.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{head}");
                    *self = Self::Size(Vec::new());
                }
            }
            Self::Size(line) => {
                line.push(byte);
                if line.ends_with(b"\r\n") {
                    let size = std::str::from_utf8(line).expect("a chunk size").trim();
                    *self = match usize::from_str_radix(size, 16).expect("a chunk size") {
                        0 => Self::End,
                        size => Self::Chunk(size),
                    };
                }
            }
            Self::Chunk(left) => {
                *left -= 1;
                if *left == 0 {
                    *self = Self::AfterChunk(2);
                }
                return Some(byte);
            }
            Self::AfterChunk(left) => {
                *left -= 1;
                if *left == 0 {
                    *self = Self::Size(Vec::new());
                }
            }
            Self::End => {}
        }
        None
    }
}
