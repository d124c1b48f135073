//! The normal form of a path: one spelling for all equivalent paths (RFC 3986, section 6.2.2).
//!
//! A path is normalized once, before it is used. So routing, checks, logs and services all see the
//! same spelling.

use std::borrow::Cow;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Uri};
use memchr::{memchr, memmem};

/// Why a path has no normal form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// RFC 3986, section 2.1.
    #[error("In a path, % must be followed by two hexadecimal digits.")]
    Percent,
    /// RFC 3629, section 3: lenient decoders find `/` and `.` in it.
    #[error("A path must not contain overlong UTF-8.")]
    Overlong,
}

/// Decodes unreserved characters, writes all other percent-encodings with upper-case digits, and
/// then removes dot segments (RFC 3986, sections 6.2.2.1 to 6.2.2.3). Borrows if nothing changes.
///
/// # Errors
/// Fails if the path has no normal form.
pub fn normal_path(path: &str) -> Result<Cow<'_, str>, PathFault> {
    // Nearly every path has nothing to normalize.
    if !path.bytes().any(|byte| matches!(byte, b'%' | b'.')) {
        return Ok(Cow::Borrowed(path));
    }
    Ok(match normal_encoding(path)? {
        Cow::Borrowed(path) => without_dots(path),
        Cow::Owned(path) => {
            let shorter = match without_dots(&path) {
                Cow::Owned(shorter) => Some(shorter),
                Cow::Borrowed(_) => None,
            };
            Cow::Owned(shorter.unwrap_or(path))
        }
    })
}

/// Decodes unreserved characters, and writes all other percent-encodings with upper-case digits.
///
/// # Errors
/// Fails as [`normal_path`] does.
pub fn normal_encoding(path: &str) -> Result<Cow<'_, str>, PathFault> {
    let bytes = path.as_bytes();
    let Some(first) = memchr(b'%', bytes) else { return Ok(Cow::Borrowed(path)) };
    let mut normal = Vec::with_capacity(bytes.len());
    normal.extend_from_slice(&bytes[..first]);
    let (mut rest, mut before) = (&bytes[first..], 0);
    while let [byte, after @ ..] = rest {
        rest = after;
        before = match byte {
            b'%' => {
                let (byte, after) = triplet(rest).ok_or(PathFault::Percent)?;
                rest = after;
                match byte {
                    _ if is_overlong(before, byte) => return Err(PathFault::Overlong),
                    _ if is_unreserved(byte) => normal.push(byte),
                    _ => push_triplet(&mut normal, byte),
                }
                byte
            }
            byte => {
                normal.push(*byte);
                *byte
            }
        };
    }
    Ok(match normal == bytes {
        true => Cow::Borrowed(path),
        false => Cow::Owned(String::from_utf8(normal).expect("only ASCII bytes are decoded")),
    })
}

/// Removes dot segments (RFC 3986, section 5.2.4). Borrows if there are none.
pub fn without_dots(path: &str) -> Cow<'_, str> {
    let is_dots = |segment: &str| matches!(segment, "." | "..");
    let may_have_dots = path.starts_with('/') && memmem::find(path.as_bytes(), b"/.").is_some();
    if !may_have_dots || !path.split('/').any(is_dots) {
        return Cow::Borrowed(path);
    }
    let mut segments = Vec::new();
    let mut rest = path[1..].split('/').peekable();
    while let Some(segment) = rest.next() {
        if !is_dots(segment) {
            segments.push(segment);
            continue;
        }
        if segment == ".." {
            segments.pop();
        }
        if rest.peek().is_none() {
            segments.push("");
        }
    }
    Cow::Owned(format!("/{}", segments.join("/")))
}

/// Returns the byte whose two digits `rest` begins with, and what follows them.
pub fn triplet(rest: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = rest else { return None };
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let byte = digit(high)? << 4 | digit(low)?;
    Some((u8::try_from(byte).ok()?, after))
}

/// Writes a percent-encoding in its normal form (RFC 3986, section 2.1).
pub fn push_triplet(into: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    into.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
}

/// Returns `true` for unreserved characters (RFC 3986, section 2.3).
pub const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Returns `true` if two bytes begin a longer UTF-8 sequence than their character needs (RFC 3629,
/// section 3).
fn is_overlong(lead: u8, next: u8) -> bool {
    match lead {
        0xc0 | 0xc1 => (0x80..0xc0).contains(&next),
        0xe0 => (0x80..0xa0).contains(&next),
        0xf0 => (0x80..0x90).contains(&next),
        _ => false,
    }
}

/// Gives a request the normal form of its path; the query stays as it is.
pub(crate) fn normalize<B>(request: &mut Request<B>) -> Result<(), PathFault> {
    let uri = request.uri();
    let Cow::Owned(mut target) = normal_path(uri.path())? else { return Ok(()) };
    if let Some(query) = uri.query() {
        target.extend(["?", query]);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = PathAndQuery::from_maybe_shared(Bytes::from(target)).ok();
    *request.uri_mut() = Uri::from_parts(parts).expect("a normal path is a path");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f04_a_path_has_one_normal_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/%61dmin/%7Eme/a%2Db%5fc", "/admin/~me/a-b_c"),
            ("/a%20b/%c3%a4/%2b/%2f/%5c/%25", "/a%20b/%C3%A4/%2B/%2F/%5C/%25"),
            ("/%2561dmin", "/%2561dmin"),
            ("/ä/%3b;x=1,2/@:!$&'()*+=", "/ä/%3B;x=1,2/@:!$&'()*+="),
            ("/%E4%C4", "/%E4%C4"),
            ("/%00/%0a/%7f", "/%00/%0A/%7F"),
            ("/open/x/../y", "/open/y"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/%2E%2e/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a//../b", "/a/b"),
            ("/...", "/..."),
            ("/.a/b.", "/.a/b."),
            ("/%2f..", "/%2F.."),
            ("/a%20b/.well-known", "/a%20b/.well-known"),
            ("//a", "//a"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(normal_path(path).as_deref(), Ok(expected), "{path}");
            assert_eq!(normal_path(expected), Ok(Cow::Borrowed(expected)), "once is enough");
        }
        for (path, fault) in [
            ("/%", PathFault::Percent),
            ("/a%4", PathFault::Percent),
            ("/%zz", PathFault::Percent),
            ("/%u002e", PathFault::Percent),
            ("/%+1", PathFault::Percent),
            ("/%C0%AE%C0%AE/", PathFault::Overlong),
            ("/%c0%af", PathFault::Overlong),
            ("/%E0%80%AF", PathFault::Overlong),
            ("/%F0%80%80%AF", PathFault::Overlong),
        ] {
            assert_eq!(normal_path(path), Err(fault), "{path}");
        }
    }

    #[test]
    fn f04_a_request_gets_it_and_keeps_its_query() {
        let of = |uri: &str| {
            let mut request = Request::builder().uri(uri).body(()).unwrap();
            normalize(&mut request).map(|()| request.uri().to_string())
        };
        assert_eq!(of("/%61?b=%61&/../%zz").as_deref(), Ok("/a?b=%61&/../%zz"));
        assert_eq!(of("http://h:1/x/../%2d?").as_deref(), Ok("http://h:1/-?"));
        assert_eq!(of("*").as_deref(), Ok("*"));
        assert_eq!(of("/%"), Err(PathFault::Percent));
    }
}
