//! The checks before a client connects, the same for all three transports.

use std::borrow::Cow;

use auth::{CheckRequest, Credential, TokenPlace};
use bytes::Bytes;
use connection::{Client, OpenError, Opening, Resume, Socket, Transport};
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use hyper::body::Body as _;
use listener::{Permit, Watched, read_body};
use subscription::Subscription;

use crate::answer::JSON;
use crate::error::{ConnectError, ForeignPage, ListError};
use crate::identity::VerifiedTokens;
use crate::port::{InboundRequest, Shared};
use crate::resume::resume;

/// Returns the list of subscriptions in the query of a request that connects.
fn subscriptions(query: &str) -> Option<Cow<'_, str>> {
    auth::parameters(query, "subscriptions").last()
}

impl Shared {
    /// Performs all checks before a connection is opened, including the slow ones. `position` is
    /// where an earlier mailbox of the client stood.
    pub(crate) async fn prepare(
        &self,
        asked: &InboundRequest,
        transport: Transport,
        position: Option<Box<str>>,
        body: Result<(), ConnectError>,
    ) -> Result<Opening, ConnectError> {
        let prepared = self.try_prepare(asked, transport, position, body).await;
        if let Err(error) = &prepared {
            self.metrics.refused(error.reason());
        }
        prepared
    }

    /// Checks that a request has no body. An empty body counts as none, however it is framed.
    pub(crate) async fn without_body(&self, asked: &mut InboundRequest) -> Result<(), ConnectError> {
        let body = asked.request.body_mut();
        if !body.is_end_stream() {
            read_body(body, 0, self.config.body_timeout).await?;
        }
        Ok(())
    }

    async fn try_prepare(
        &self,
        asked: &InboundRequest,
        transport: Transport,
        position: Option<Box<str>>,
        body: Result<(), ConnectError>,
    ) -> Result<Opening, ConnectError> {
        let InboundRequest { request, peer } = asked;
        if !self.node.admission_without_session().lets_in() {
            return Err(ConnectError::ShuttingDown);
        }
        let (headers, query) = (request.headers(), request.uri().query());
        let list = query.and_then(subscriptions);
        let mut resume = if self.keeps_history() {
            resume(headers, query.unwrap_or_default(), position, list.is_some())
        } else {
            Resume::default()
        };
        // Before the token is verified, which costs more than anything else here.
        self.connects.check(self.is_returning(&resume)).map_err(ConnectError::Rate)?;
        body?;
        let credentials: Vec<_> = self.token_sources.credentials(headers, query).collect();
        if !self.trusts(&credentials, Some(transport), || asked.sender()) {
            return Err(ForeignPage.into());
        }
        let wanted = match &list {
            Some(json) => parse_query(json, &self.extractors)?,
            None => Vec::new(),
        };
        let check = &self.config.subscription_check;
        let identity = VerifiedTokens::verify(&credentials, &self.verifier, &self.sessions, check).await?;
        // As in RIG, the check is made only if the client names subscriptions: those of the token
        // itself need no permission. A token that the gateway cannot read needs it in any case.
        let named = list.as_deref().or_else(|| identity.has_opaque.then_some("[]"));
        if let Some(json) = named.filter(|_| check.is_asked()) {
            let body = Bytes::from(format!(r#"{{"subscriptions":{json}}}"#));
            let authorization = authorization(headers, &credentials);
            let content_type = HeaderValue::from_static(JSON);
            check
                .allows(&CheckRequest {
                    authorization: authorization.as_ref(),
                    content_type: Some(&content_type),
                    body,
                    token_valid: identity.is_known(),
                })
                .await
                .map_err(|_| ConnectError::Denied)?;
        }
        let mut subscriptions = identity.subscriptions(&self.extractors);
        for subscription in wanted {
            if !subscriptions.contains(&subscription) {
                subscriptions.push(subscription);
            }
        }
        // Before the client hears that it is subscribed.
        self.node.want(subscriptions.iter().map(Subscription::event_type)).await;
        if let Some(cursor) = &resume.cursor {
            resume.elsewhere = self.node.missed_elsewhere(cursor, &subscriptions, resume.is_complete).await;
        }
        let client = Client { address: peer.address, user_agent: user_agent(headers) };
        Ok(Opening { subjects: identity.subjects, subscriptions, client, resume })
    }

    /// Counts a connection that was not opened although the checks passed. Returns the reason.
    pub(crate) fn refused(&self, error: OpenError) -> ConnectError {
        let error = match error {
            OpenError::ShuttingDown => ConnectError::ShuttingDown,
            OpenError::Bind(error) => error.into(),
        };
        self.metrics.refused(error.reason());
        error
    }
}

/// Returns the socket of a streaming connection that was taken over from HTTP.
pub(crate) fn socket(stream: Watched, permit: Permit) -> Socket {
    let (tcp, tls) = stream.into_parts();
    Socket::new(tcp, tls, permit)
}

/// Parses the list in the query; RIG's long polling also accepts the object of the PUT body.
fn parse_query(json: &str, extractors: &subscription::Extractors) -> Result<Vec<Subscription>, ListError> {
    let mut value = document::from_str(json)?;
    if let Some(list) = value.get_mut("subscriptions") {
        value = list.take();
    }
    if !value.is_array() {
        return Err(ListError::NotAList);
    }
    Ok(Subscription::parse_list(&value, extractors)?)
}

/// Returns the `Authorization` for the external check: the tokens that were verified. Tokens from
/// the query or a cookie replace the header, since browsers cannot set headers on an EventSource or
/// a WebSocket. Without a token, the header is passed on unchanged.
pub(crate) fn authorization(headers: &HeaderMap, credentials: &[Credential<'_>]) -> Option<HeaderValue> {
    let is_as_it_is = match credentials {
        [] => true,
        [only] => only.place == TokenPlace::Header && headers.get_all(AUTHORIZATION).iter().count() == 1,
        _ => false,
    };
    if is_as_it_is {
        return headers.get(AUTHORIZATION).cloned();
    }
    let tokens: Vec<_> =
        credentials.iter().map(|credential| format!("Bearer {}", credential.token)).collect();
    HeaderValue::from_str(&tokens.join(", ")).ok()
}

/// Returns the `User-Agent` of the client, cut off after a limit. Bytes that are not UTF-8 are
/// replaced.
fn user_agent(headers: &HeaderMap) -> Option<Box<str>> {
    let text = String::from_utf8_lossy(headers.get(USER_AGENT)?.as_bytes());
    Some(text[..text.floor_char_boundary(Client::USER_AGENT)].into())
}
