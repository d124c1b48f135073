//! The tokens of a connection, as bytes for another node.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use connection::ConnectionTraces;
use listener::relayed::{MalformedMessage, read_bytes, write_bytes};
use session::{SessionName, TokenTraces};

/// Limit of the tokens of a connection, and of the claims of a token.
const MAX: u32 = 256;

/// Stands for tokens that do not expire.
const NEVER: u64 = u64::MAX;

/// Appends the tokens of a connection.
pub(super) fn write(message: &mut Vec<u8>, traces: &ConnectionTraces) {
    let left = traces.left.map_or(NEVER, |left| u64::try_from(left.as_millis()).unwrap_or(NEVER - 1));
    message.put_u64(left);
    message.put_u32(traces.tokens.len() as u32);
    for TokenTraces { session, claims, issued_at } in &traces.tokens {
        message.put_u32(*issued_at);
        // No name is empty.
        write_bytes(message, session.as_ref().map_or(b"", |name| name.as_str().as_bytes()));
        message.put_u32(claims.len() as u32);
        for (claim, value) in claims {
            write_bytes(message, claim.as_bytes());
            write_bytes(message, value.as_str().as_bytes());
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
    let count = number(message)?;
    let claim = |_| {
        let claim = read_bytes(message)?;
        let claim = std::str::from_utf8(&claim).map_err(|_| MalformedMessage)?;
        Ok((claim.into(), name(&read_bytes(message)?)?))
    };
    let claims = (0..count).map(claim).collect::<Result<_, _>>()?;
    Ok(TokenTraces { session, claims, issued_at })
}

fn number(message: &mut Bytes) -> Result<u32, MalformedMessage> {
    message.try_get_u32().ok().filter(|count| *count <= MAX).ok_or(MalformedMessage)
}

fn name(bytes: &[u8]) -> Result<SessionName, MalformedMessage> {
    let text = std::str::from_utf8(bytes).map_err(|_| MalformedMessage)?;
    text.try_into().map_err(|_| MalformedMessage)
}
