//! The opening handshake of a WebSocket (RFC 6455, section 4).

use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use session::Fence;
use tungstenite::handshake::derive_accept_key;

use crate::encoding::Encoding;
use crate::head;
use crate::socket::Socket;
use crate::stream::say_farewell;
use crate::transport::CloseReason;
use crate::websocket::frames::{NORMAL, close_frame};
use crate::writer::Writer;

/// The names of the subprotocol that is spoken: each message is an event in JSON (CloudEvents,
/// WebSockets protocol binding, section 1.3). A client that names none gets the same. One that has
/// its token among the subprotocols needs another beside it, which the answer can name.
const SUBPROTOCOLS: &[&str] = &["cloudevents.json", "rig"];

/// The same, for a gateway that keeps a history: in the last one, messages have ids.
const SUBPROTOCOLS_WITH_IDS: &[&str] = &["cloudevents.json", "rig", IDS];

/// The subprotocol whose messages have ids ([`Encoding::WebSocketIds`]).
const IDS: &str = "rig.ids";

/// The answer to a handshake that can be accepted.
#[derive(Clone, Debug)]
pub struct Accept {
    head: Bytes,
    encoding: Encoding,
}

/// Why a request does not open a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// It does not ask for an upgrade to `websocket` (RFC 6455, section 4.2.1).
    #[error("expected the headers connection: upgrade and upgrade: websocket")]
    NoUpgrade,
    /// Another version than 13 (RFC 6455, section 4.4).
    #[error("expected the header sec-websocket-version: 13")]
    Version,
    /// The key is missing or not 16 bytes in base64 (RFC 6455, section 4.2.1).
    #[error("expected a header sec-websocket-key of 16 bytes in base64")]
    Key,
    /// No subprotocol that it offers is spoken here. Browsers fail a handshake that chooses none of
    /// what they offer.
    #[error(
        "none of the subprotocols in sec-websocket-protocol is known here; known: {}, or no header at all",
        .0.join(", ")
    )]
    Subprotocol(&'static [&'static str]),
}

impl HandshakeError {
    /// The status to answer with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoUpgrade | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Key | Self::Subprotocol(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl Accept {
    /// Checks the headers of a GET request over HTTP/1.1.
    ///
    /// # Errors
    /// Fails with the header that is wrong.
    pub fn new(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        Self::choosing(SUBPROTOCOLS, headers)
    }

    /// As [`Accept::new`]; a client may also ask for ids.
    ///
    /// # Errors
    /// Fails with the header that is wrong.
    pub fn with_ids(headers: &HeaderMap) -> Result<Self, HandshakeError> {
        Self::choosing(SUBPROTOCOLS_WITH_IDS, headers)
    }

    fn choosing(known: &'static [&'static str], headers: &HeaderMap) -> Result<Self, HandshakeError> {
        let has_token =
            |name, token: &str| elements(headers, name).any(|one| one.eq_ignore_ascii_case(token.as_bytes()));
        if !has_token(CONNECTION, "upgrade") || !has_token(UPGRADE, "websocket") {
            return Err(HandshakeError::NoUpgrade);
        }
        let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(HandshakeError::Key)?.as_bytes();
        if key.len() != 24 || !key.ends_with(b"==") {
            return Err(HandshakeError::Key);
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(HandshakeError::Version);
        }
        let mut offered = elements(headers, SEC_WEBSOCKET_PROTOCOL).peekable();
        let offers = offered.peek().is_some();
        let spoken = |offer: &[u8]| known.iter().copied().find(|known| known.as_bytes() == offer);
        // The first in the order of the client, which is that of its preference. A client that
        // offers ids wants them if the gateway has any, and names another for one that has none.
        let chosen = offered.filter_map(spoken).reduce(|first, next| if next == IDS { next } else { first });
        if offers && chosen.is_none() {
            return Err(HandshakeError::Subprotocol(known));
        }
        let accept = derive_accept_key(key);
        let mut head = Vec::with_capacity(head::CAPACITY);
        head.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nsec-websocket-accept: ",
        );
        head.extend_from_slice(accept.as_bytes());
        head.extend_from_slice(b"\r\nupgrade: websocket\r\n");
        if let Some(chosen) = chosen {
            head.extend_from_slice(format!("sec-websocket-protocol: {chosen}\r\n").as_bytes());
        }
        head::write_headers(&mut head, &HeaderMap::new());
        head.extend_from_slice(b"\r\n");
        let encoding = if chosen == Some(IDS) { Encoding::WebSocketIds } else { Encoding::WebSocket };
        Ok(Self { head: head.into(), encoding })
    }

    /// Returns the response head.
    pub fn head(&self) -> Bytes {
        self.head.clone()
    }

    /// Returns the encoding of the messages.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }
}

/// Iterates over the elements of a header that is a list, in all of its fields. Empty ones do not
/// count (RFC 9110, section 5.6.1.2).
fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    let elements = values.flat_map(|value| value.split(|byte| *byte == b','));
    elements.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Accepts a handshake and closes at once, so that the close frame tells the client why it is
/// refused (RIG).
pub async fn refuse(socket: Socket, accept: Accept, reason: &str) {
    let mut writer = Writer::new(accept.head());
    writer.drain(CloseReason::Protocol, close_frame(NORMAL, reason));
    say_farewell(&socket, |_| writer.flush(&socket, &Fence::default())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the headers of a handshake that offers these subprotocols, in fields of their own.
    fn offering(offers: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, "Upgrade".parse().unwrap());
        headers.insert(UPGRADE, "websocket".parse().unwrap());
        headers.insert(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        headers.insert(SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        for offer in offers {
            headers.append(SEC_WEBSOCKET_PROTOCOL, offer.parse().unwrap());
        }
        headers
    }

    /// Returns the subprotocol of an answer, if it names one, and its encoding.
    fn chosen(accept: Accept) -> (Option<String>, Encoding) {
        let head = String::from_utf8(accept.head().to_vec()).unwrap();
        let named = head.lines().filter_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        (named.map(str::to_owned).reduce(|all, next| all + "," + &next), accept.encoding())
    }

    #[test]
    fn r26_a_client_that_offers_ids_gets_them_if_the_gateway_has_a_history() {
        for (offers, without, with) in [
            (&[][..], None, None),
            (&["rig"], Some("rig"), Some("rig")),
            (&["rig.ids, rig"], Some("rig"), Some("rig.ids")),
            (&["rig,rig.ids"], Some("rig"), Some("rig.ids")),
            (&["rig.ids, rig, bearer.secret"], Some("rig"), Some("rig.ids")),
            (
                &["bearer.secret", "cloudevents.json", "rig", "rig.ids"],
                Some("cloudevents.json"),
                Some("rig.ids"),
            ),
            (&["rig.ids2, rig.id, RIG.IDS, rig"], Some("rig"), Some("rig")),
        ] {
            let headers = offering(offers);
            let expected = |name: Option<&str>| {
                let has_ids = name == Some("rig.ids");
                let encoding = if has_ids { Encoding::WebSocketIds } else { Encoding::WebSocket };
                (name.map(str::to_owned), encoding)
            };
            assert_eq!(chosen(Accept::new(&headers).unwrap()), expected(without), "{offers:?}");
            assert_eq!(chosen(Accept::with_ids(&headers).unwrap()), expected(with), "{offers:?}");
        }
    }

    #[test]
    fn r26_a_gateway_without_history_does_not_know_ids() {
        for offers in ["rig.ids", "rig.ids, bearer.secret"] {
            let error = Accept::new(&offering(&[offers])).unwrap_err();
            assert_eq!(error.status(), StatusCode::BAD_REQUEST);
            let text = error.to_string();
            assert!(text.ends_with("known: cloudevents.json, rig, or no header at all"), "{text}");
        }
        let error = Accept::with_ids(&offering(&["bearer.secret"])).unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with("known: cloudevents.json, rig, rig.ids, or no header at all"), "{text}");
    }

    #[test]
    fn a_handshake_names_the_header_that_is_wrong() {
        let mut headers = HeaderMap::new();
        let status =
            |headers: &HeaderMap| Accept::new(headers).map(|_| ()).map_err(|e| (e, e.status().as_u16()));
        assert_eq!(status(&headers), Err((HandshakeError::NoUpgrade, 426)));
        headers.insert(CONNECTION, "keep-alive, Upgrade".parse().unwrap());
        headers.insert(UPGRADE, "WebSocket".parse().unwrap());
        assert_eq!(status(&headers), Err((HandshakeError::Key, 400)));
        headers.insert(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        assert_eq!(status(&headers), Err((HandshakeError::Version, 426)));
        headers.insert(SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
        let head = Accept::new(&headers).unwrap().head();
        // The example of RFC 6455, section 1.3.
        assert!(
            std::str::from_utf8(&head)
                .unwrap()
                .contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n")
        );
    }
}
