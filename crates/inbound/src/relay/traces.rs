//! The tokens of a connection, as bytes for another node.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use connection::ConnectionTraces;
use listener::relayed::{MalformedMessage, read_bytes, write_bytes};
use session::{SessionName, TokenTraces};

/// Limit of the tokens of a connection, and of the claims of a token.
const MAX: u32 = 256;

/// The name of a token's issuer among its claims.
const ISSUER: &str = "iss";

/// Stands for tokens that do not expire.
const NEVER: u64 = u64::MAX;

/// Appends the tokens of a connection.
pub(super) fn write(message: &mut Vec<u8>, traces: &ConnectionTraces) {
    let left = traces.left.map_or(NEVER, |left| u64::try_from(left.as_millis()).unwrap_or(NEVER - 1));
    message.put_u64(left);
    message.put_u32(traces.tokens.len() as u32);
    for TokenTraces { issuer, session, claims, marks, issued_at } in &traces.tokens {
        message.put_u32(*issued_at);
        // No name is empty.
        write_bytes(message, session.as_ref().map_or(b"", |name| name.as_str().as_bytes()));
        // A node of a version that knows neither issuers nor marks takes them for claims that no
        // revocation selects by: a JSON Pointer to a claim begins with a slash.
        message.put_u32((claims.len() + marks.len() + usize::from(issuer.is_some())) as u32);
        let named = claims.iter().chain(marks).map(|(name, value)| (&**name, value.as_str()));
        for (name, value) in issuer.iter().map(|issuer| (ISSUER, &**issuer)).chain(named) {
            write_bytes(message, name.as_bytes());
            write_bytes(message, value.as_bytes());
        }
    }
}

/// Reads a message with the tokens of a connection.
pub(super) fn read(mut message: Bytes) -> Result<ConnectionTraces, MalformedMessage> {
    let left = message.try_get_u64().map_err(|_| MalformedMessage)?;
    let left = (left != NEVER).then(|| Duration::from_millis(left));
    let count = number(&mut message)?;
    let tokens = (0..count).map(|_| token(&mut message)).collect::<Result<_, _>>()?;
    if message.is_empty() { Ok(ConnectionTraces { tokens, left }) } else { Err(MalformedMessage) }
}

fn token(message: &mut Bytes) -> Result<TokenTraces, MalformedMessage> {
    let issued_at = message.try_get_u32().map_err(|_| MalformedMessage)?;
    let session = read_bytes(message)?;
    let session = (!session.is_empty()).then(|| name(&session)).transpose()?;
    let mut token = TokenTraces { session, issued_at, ..TokenTraces::default() };
    for _ in 0..number(message)? {
        let of = read_bytes(message)?;
        let of = std::str::from_utf8(&of).map_err(|_| MalformedMessage)?;
        let value = name(&read_bytes(message)?)?;
        match of {
            ISSUER => token.issuer = Some(value.as_str().into()),
            claim if claim.starts_with('/') => token.claims.push((claim.into(), value)),
            mark => token.marks.push((mark.into(), value)),
        }
    }
    Ok(token)
}

fn number(message: &mut Bytes) -> Result<u32, MalformedMessage> {
    message.try_get_u32().ok().filter(|count| *count <= MAX).ok_or(MalformedMessage)
}

fn name(bytes: &[u8]) -> Result<SessionName, MalformedMessage> {
    let text = std::str::from_utf8(bytes).map_err(|_| MalformedMessage)?;
    text.try_into().map_err(|_| MalformedMessage)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> SessionName {
        name.try_into().expect("a test name is a name")
    }

    fn token() -> TokenTraces {
        TokenTraces {
            issuer: Some("https://id.example".into()),
            session: Some(named("s")),
            claims: vec![("/sub".into(), named("alice")), ("/iss".into(), named("not the issuer"))],
            marks: vec![("key".into(), named("thumbprint")), ("status".into(), named("https://l.example#7"))],
            issued_at: 1_800_000_000,
        }
    }

    fn written(tokens: Vec<TokenTraces>, left: Option<Duration>) -> Bytes {
        let mut message = Vec::new();
        write(&mut message, &ConnectionTraces { tokens, left });
        message.into()
    }

    #[test]
    fn traces_are_read_as_they_were_written() {
        let bare = TokenTraces { issued_at: 7, ..TokenTraces::default() };
        let of_static_key = TokenTraces { issuer: None, marks: Vec::new(), ..token() };
        for left in [None, Some(Duration::from_millis(1))] {
            let tokens = vec![token(), bare.clone(), of_static_key.clone()];
            let read = read(written(tokens.clone(), left)).unwrap();
            assert_eq!(read, ConnectionTraces { tokens, left });
        }
    }

    /// Before there were issuers and marks, a token was its time, its session and its claims.
    #[test]
    fn older_nodes_take_the_issuer_and_the_marks_for_claims() {
        let mut message = written(vec![token()], None);
        message.advance(8 + 4);
        assert_eq!(message.get_u32(), 1_800_000_000);
        assert_eq!(read_bytes(&mut message).unwrap(), "s");
        let count = message.get_u32();
        let claims = (0..count).map(|_| {
            let [claim, value] = [(); 2].map(|()| read_bytes(&mut message).unwrap());
            (String::from_utf8(claim.to_vec()).unwrap(), name(&value).unwrap().to_string())
        });
        let claims: Vec<_> = claims.collect();
        let of_selectors = claims.iter().filter(|(claim, _)| claim.starts_with('/'));
        assert_eq!(of_selectors.map(|(claim, _)| &**claim).collect::<Vec<_>>(), ["/sub", "/iss"]);
        assert_eq!(claims.len(), 5);
        assert!(message.is_empty());
    }

    #[test]
    fn a_message_that_is_cut_off_or_too_large_is_malformed() {
        let whole = written(vec![token()], None);
        for length in 0..whole.len() {
            assert!(read(whole.slice(..length)).is_err(), "{length} bytes");
        }
        let longer = [&whole[..], b"x"].concat();
        assert!(read(longer.into()).is_err());
        let claims = (0..=MAX).map(|n| (format!("/{n}").into(), named("v"))).collect();
        let many = TokenTraces { claims, ..TokenTraces::default() };
        assert!(read(written(vec![many], None)).is_err());
    }
}
