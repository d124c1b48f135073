//! Requests and answers as bytes: what one node has another node answer for it.
//!
//! Numbers are big-endian; a text or a list is preceded by its length. The bytes come from another
//! node, which may be of another version, so they are parsed as strictly as those of a client.

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use http_body_util::BodyExt;

use crate::body::{Body, BoxError};
use crate::own_answer::whole_body;

/// Limit of the fields of a head.
const FIELDS: usize = 1000;

/// The bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of another node is malformed")]
pub struct MalformedMessage;

/// A request that another node answers. Its method follows from what the node is asked.
#[derive(Clone, Debug)]
pub struct RelayedRequest {
    /// Its target.
    pub uri: Uri,
    /// Whether its client uses TLS, see [`Peer::secure`](crate::Peer::secure).
    pub secure: bool,
    /// The headers that the answer depends on.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The answer of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayedAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl RelayedRequest {
    /// Appends it to `message`, whose end it must be.
    pub fn write(&self, message: &mut Vec<u8>) {
        message.put_u8(self.secure.into());
        write_bytes(message, self.uri.to_string().as_bytes());
        write_fields(message, &self.headers);
        message.put_slice(&self.body);
    }

    /// Reads the rest of `message`.
    ///
    /// # Errors
    /// Fails if it is not a request.
    pub fn read(mut message: Bytes) -> Result<Self, MalformedMessage> {
        let secure = match read_u8(&mut message)? {
            0 => false,
            1 => true,
            _ => return Err(MalformedMessage),
        };
        let uri = Uri::from_maybe_shared(read_bytes(&mut message)?).map_err(|_| MalformedMessage)?;
        let headers = read_fields(&mut message)?;
        Ok(Self { uri, secure, headers, body: message })
    }
}

impl RelayedAnswer {
    /// Collects an answer.
    ///
    /// # Errors
    /// Fails if its body does.
    pub async fn of(answer: Response<Body>) -> Result<Self, BoxError> {
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Self { status: parts.status, headers: parts.headers, body })
    }

    /// Appends it to `message`, whose end it must be.
    pub fn write(&self, message: &mut Vec<u8>) {
        message.put_u16(self.status.as_u16());
        write_fields(message, &self.headers);
        message.put_slice(&self.body);
    }

    /// Reads the rest of `message`.
    ///
    /// # Errors
    /// Fails if it is not a final answer.
    pub fn read(mut message: Bytes) -> Result<Self, MalformedMessage> {
        let status = message.try_get_u16().ok().filter(|status| (200..600).contains(status));
        let status = status.and_then(|status| StatusCode::from_u16(status).ok()).ok_or(MalformedMessage)?;
        let headers = read_fields(&mut message)?;
        Ok(Self { status, headers, body: message })
    }
}

impl From<RelayedAnswer> for Response<Body> {
    fn from(answer: RelayedAnswer) -> Self {
        let mut response = Self::new(whole_body(answer.body));
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        response
    }
}

/// Appends bytes, preceded by their number.
pub fn write_bytes(message: &mut Vec<u8>, bytes: &[u8]) {
    message.put_u32(u32::try_from(bytes.len()).expect("a message is shorter than 4 GiB"));
    message.put_slice(bytes);
}

/// Takes one byte from the front of `message`.
///
/// # Errors
/// Fails if there is none.
pub fn read_u8(message: &mut Bytes) -> Result<u8, MalformedMessage> {
    message.try_get_u8().map_err(|_| MalformedMessage)
}

/// Takes what [`write_bytes`] has appended from the front of `message`.
///
/// # Errors
/// Fails if there are fewer bytes.
pub fn read_bytes(message: &mut Bytes) -> Result<Bytes, MalformedMessage> {
    let length = message.try_get_u32().map_err(|_| MalformedMessage)? as usize;
    if length > message.len() {
        return Err(MalformedMessage);
    }
    Ok(message.split_to(length))
}

fn write_fields(message: &mut Vec<u8>, fields: &HeaderMap) {
    message.put_u32(u32::try_from(fields.len()).expect("a map has fewer than 2³² fields"));
    for (name, value) in fields {
        write_bytes(message, name.as_str().as_bytes());
        write_bytes(message, value.as_bytes());
    }
}

fn read_fields(message: &mut Bytes) -> Result<HeaderMap, MalformedMessage> {
    let count = message.try_get_u32().map_err(|_| MalformedMessage)? as usize;
    if count > FIELDS {
        return Err(MalformedMessage);
    }
    let mut fields = HeaderMap::new();
    for _ in 0..count {
        let name = HeaderName::from_bytes(&read_bytes(message)?).map_err(|_| MalformedMessage)?;
        let value = HeaderValue::from_maybe_shared(read_bytes(message)?).map_err(|_| MalformedMessage)?;
        fields.append(name, value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields() -> impl Strategy<Value = HeaderMap> {
        let name = prop_oneof!["[a-z-]{1,20}", Just("set-cookie".to_owned())];
        let value = prop::collection::vec(0x20_u8..0x7f, 0..40);
        prop::collection::vec((name, value), 0..20).prop_map(|fields| {
            let field = |(name, value): (String, Vec<u8>)| {
                (HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(&value).unwrap())
            };
            fields.into_iter().map(field).collect()
        })
    }

    proptest! {
        #[test]
        fn an_answer_is_read_as_it_was_written(code in 200_u16..600, headers in fields(), body: Vec<u8>) {
            let answer =
                RelayedAnswer { status: StatusCode::from_u16(code).unwrap(), headers, body: body.into() };
            let mut message = Vec::new();
            answer.write(&mut message);
            prop_assert_eq!(RelayedAnswer::read(message.into()), Ok(answer));
        }

        #[test]
        fn a_request_is_read_as_it_was_written(
            path in "/[a-z/]{0,40}(\\?[a-z=&]{0,40})?", secure: bool, headers in fields(), body: Vec<u8>,
        ) {
            let request = RelayedRequest { uri: path.parse().unwrap(), secure, headers, body: body.into() };
            let mut message = Vec::new();
            request.write(&mut message);
            let read = RelayedRequest::read(message.into()).unwrap();
            prop_assert_eq!(
                (read.uri, read.secure, read.headers, read.body),
                (request.uri, request.secure, request.headers, request.body)
            );
        }

        #[test]
        fn no_bytes_make_it_panic(
            headers in fields(), cut: prop::sample::Index, at: prop::sample::Index, byte: u8, noise: Vec<u8>,
        ) {
            let mut message = Vec::new();
            let body = Bytes::from_static(b"body");
            RelayedRequest { uri: Uri::from_static("/"), secure: true, headers, body }.write(&mut message);
            *at.get_mut(&mut message) = byte;
            for bytes in [&message[..], &message[..cut.index(message.len())], &message[2..], &noise] {
                let _ = RelayedRequest::read(Bytes::copy_from_slice(bytes));
                let _ = RelayedAnswer::read(Bytes::copy_from_slice(bytes));
            }
        }
    }

    #[test]
    fn the_number_of_fields_is_limited() {
        let head = |count: u32, fields: usize| {
            let mut message = 200_u16.to_be_bytes().to_vec();
            message.put_u32(count);
            (0..fields).for_each(|_| {
                write_bytes(&mut message, b"a");
                write_bytes(&mut message, b"");
            });
            RelayedAnswer::read(message.into()).map(|answer| answer.headers.len())
        };
        assert_eq!(head(FIELDS as u32, FIELDS), Ok(FIELDS));
        assert_eq!(head(FIELDS as u32 + 1, FIELDS + 1), Err(MalformedMessage));
        assert_eq!(head(u32::MAX, 0), Err(MalformedMessage));
        assert_eq!(head(2, 1), Err(MalformedMessage));
    }
}
