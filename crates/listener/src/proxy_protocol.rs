//! The PROXY protocol, versions 1 and 2: a load balancer names its client before the first byte of
//! the client (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt).
//!
//! Only the header is read, up to [`LONGEST`] bytes; the caller limits the time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::{self, FromStr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Length limit of a header of version 2 with its TLVs, in bytes. No sender uses nearly as many.
const LONGEST: usize = 16 << 10;

/// Length limit of a line of version 1 with its CRLF, in bytes (section 2.1).
const LONGEST_LINE: usize = 107;

/// The first bytes of version 2 (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The type of the TLV about TLS, and its bit for a client that uses TLS (section 2.2.6).
const TLV_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// The contents of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The balancer connects on its own behalf, or does not name a client.
    Local,
    /// It connects on behalf of a client.
    Proxied {
        /// The client's address.
        source: SocketAddr,
        /// The client uses TLS with the balancer.
        secure: bool,
    },
}

/// Reads a header, and nothing of what follows it.
///
/// # Errors
/// Fails if the bytes are not a header, or the stream ends within it.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Header> {
    let mut first = [0; SIGNATURE.len()];
    stream.read_exact(&mut first).await?;
    if first == *SIGNATURE { read_binary(stream).await } else { read_line(stream, first).await }
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin), first: [u8; 12]) -> io::Result<Header> {
    let mut line = first.to_vec();
    // Byte by byte, since what follows belongs to the client.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LONGEST_LINE || !line.starts_with(b"PROXY ") {
            return Err(invalid());
        }
        line.push(stream.read_u8().await?);
    }
    let line = str::from_utf8(&line[..line.len() - 2]).map_err(|_| invalid())?;
    parse_line(line).ok_or_else(invalid)
}

fn parse_line(line: &str) -> Option<Header> {
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let source: IpAddr = match words.next()? {
        // Whatever follows is ignored (section 2.1).
        "UNKNOWN" => return Some(Header::Local),
        "TCP4" => pair::<Ipv4Addr>(&mut words)?.into(),
        "TCP6" => pair::<Ipv6Addr>(&mut words)?.into(),
        _ => return None,
    };
    let mut port =
        || words.next().filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok();
    let source = SocketAddr::new(source, port()?);
    port()?;
    words.next().is_none().then_some(Header::Proxied { source, secure: false })
}

/// Parses two addresses: that of the client, and the one that it has connected to. Returns the
/// first.
fn pair<'a, A: FromStr>(words: &mut impl Iterator<Item = &'a str>) -> Option<A> {
    let [source, destination] = [words.next()?, words.next()?].map(|word| word.parse().ok());
    destination.and(source)
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Header> {
    let [command, family, length @ ..] = &mut [0; 4];
    stream.read_exact(std::slice::from_mut(command)).await?;
    stream.read_exact(std::slice::from_mut(family)).await?;
    stream.read_exact(length).await?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length > LONGEST {
        return Err(invalid());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    parse_binary(*command, *family, &rest).ok_or_else(invalid)
}

fn parse_binary(command: u8, family: u8, rest: &[u8]) -> Option<Header> {
    match command {
        0x20 => return Some(Header::Local),
        0x21 => {}
        _ => return None,
    }
    let (source, rest): (IpAddr, _) = match family {
        // TCP or UDP over IPv4, and over IPv6 below.
        0x11 | 0x12 => {
            let (source, rest) = rest.split_first_chunk::<4>()?;
            (Ipv4Addr::from(*source).into(), rest.get(4..)?)
        }
        0x21 | 0x22 => {
            let (source, rest) = rest.split_first_chunk::<16>()?;
            (Ipv6Addr::from(*source).into(), rest.get(16..)?)
        }
        // Unspecified, a Unix socket, or an unknown family: treated as a connection of the balancer
        // itself (section 2.2).
        _ => return Some(Header::Local),
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let source = SocketAddr::new(source, u16::from_be_bytes(*port));
    Some(Header::Proxied { source, secure: uses_tls(rest.get(2..)?)? })
}

/// Returns `true` if a TLV says that the client uses TLS; `None` if the TLVs are incomplete.
fn uses_tls(mut tlvs: &[u8]) -> Option<bool> {
    let mut uses_tls = false;
    while let Some((kind, rest)) = tlvs.split_first() {
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        uses_tls |= *kind == TLV_SSL && value.first().is_some_and(|client| client & CLIENT_SSL != 0);
        tlvs = rest;
    }
    Some(uses_tls)
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no header of the PROXY protocol")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns the header, and how many bytes are left.
    fn parsed(bytes: &[u8]) -> Option<(Header, usize)> {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let header = runtime.block_on(read(&mut rest)).ok()?;
        Some((header, rest.len()))
    }

    fn proxied(source: &str, secure: bool) -> Header {
        Header::Proxied { source: source.parse().unwrap(), secure }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, rest].concat()
    }

    const FOUR: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];

    #[test]
    fn f07_lines_of_version_1() {
        let one = proxied("192.0.2.1:56324", false);
        assert_eq!(parsed(b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET /"), Some((one, 5)));
        let six = proxied("[2001:db8::1]:1", false);
        assert_eq!(parsed(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), Some((six, 0)));
        assert_eq!(parsed(b"PROXY UNKNOWN\r\nx"), Some((Header::Local, 1)));
        assert_eq!(parsed(b"PROXY UNKNOWN ffff:f:f 1 2 3\r\n"), Some((Header::Local, 0)));
        for wrong in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 x\r\n",
            "PROXY TCP4 192.0.2.1  10.0.0.1 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n\r\n",
            "proxy UNKNOWN\r\n",
            "PROXY UNKNOWN",
            "",
        ] {
            assert_eq!(parsed(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(parsed(format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).as_bytes()), None, "too long");
    }

    #[test]
    fn f07_headers_of_version_2() {
        let clear = proxied("192.0.2.1:8080", false);
        let with = |additions: &[u8]| binary(0x21, 0x11, &[&FOUR, additions].concat());
        assert_eq!(parsed(&[&with(&[])[..], b"GET"].concat()), Some((clear, 3)));
        assert_eq!(parsed(&with(&[4, 0, 1, 9])), Some((clear, 0)));
        let secure = proxied("192.0.2.1:8080", true);
        assert_eq!(parsed(&with(&[TLV_SSL, 0, 5, 1, 0, 0, 0, 0])), Some((secure, 0)));
        assert_eq!(parsed(&with(&[TLV_SSL, 0, 5, 6, 0, 0, 0, 0])), Some((clear, 0)));
        let six = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
        assert_eq!(parsed(&binary(0x21, 0x21, &six)), Some((proxied("[2001:db8::1]:1", false), 0)));
        assert_eq!(parsed(&binary(0x20, 0x11, &FOUR)), Some((Header::Local, 0)), "LOCAL");
        assert_eq!(parsed(&binary(0x20, 0, &[])), Some((Header::Local, 0)));
        assert_eq!(parsed(&binary(0x21, 0, &[7; 9])), Some((Header::Local, 0)), "AF_UNSPEC");
        assert_eq!(parsed(&binary(0x21, 0x31, &[0; 216])), Some((Header::Local, 0)), "AF_UNIX");
        for wrong in [
            binary(0x11, 0x11, &FOUR),
            binary(0x22, 0x11, &FOUR),
            binary(0x21, 0x11, &FOUR[..11]),
            binary(0x21, 0x21, &FOUR),
            with(&[4]),
            with(&[4, 0, 9, 1]),
            with(&[])[..20].to_vec(),
            binary(0x20, 0, &vec![0; LONGEST + 1]),
        ] {
            assert_eq!(parsed(&wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn f07_no_more_is_read_than_belongs_to_it(
            start in prop::sample::select(vec![b"PROXY ".to_vec(), SIGNATURE.to_vec(), Vec::new()]),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, bytes].concat();
            let Some((header, left)) = parsed(&bytes) else { return Ok(()) };
            let used = bytes.len() - left;
            prop_assert_eq!(parsed(&bytes[..used]), Some((header, 0)));
            prop_assert_eq!(parsed(&bytes[..used - 1]), None);
        }
    }
}
