//! One request to one endpoint: what is done before the service is called, the call, and how its
//! answer is handled.

use std::future::{Future, ready};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use auth::{Sender, TokenPlace, TokenSources};
use http::header::{ACCESS_CONTROL_ALLOW_CREDENTIALS, EXPECT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Body;
use listener::{Answer, ClientBody, Peer, RawQuery};
use serde_json::{Map, Value};
use telemetry::TraceContext;
use tokio::time::timeout_at;

use crate::access::AdmittedTokens;
use crate::account::Account;
use crate::answer;
use crate::body::RequestBody;
use crate::head;
use crate::in_flight::{InFlight, InSession, Over};
use crate::informational::Recipient;
use crate::proxy::Proxy;
use crate::rejection::Rejection;
use crate::relay::{Relay, Whole};
use crate::table::{Destination, Route};
use crate::target::{Target, TargetError, TargetRequest};
use crate::time_limits::{Awaited, TimeLimits};
use crate::tunnel;
use crate::upstream::{Answered, Failed, RawTarget, Upstream};
use crate::waiting::Expected;

/// Stands for no limit of the wait for an answer.
const FOREVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// One request to one endpoint.
pub(crate) struct Exchange<'a> {
    pub(crate) proxy: &'a Proxy,
    pub(crate) route: &'a Arc<Route>,
    pub(crate) peer: &'a Peer,
    /// The `Origin` of the request. The gateway's own answers depend on it.
    pub(crate) origin: Option<&'a HeaderValue>,
}

/// A request that is ready for a service.
pub(crate) struct Prepared {
    request: Request<RequestBody>,
    /// Receives informational answers.
    client: Option<Recipient>,
    /// The protocol that the client asks to upgrade to.
    wanted: Option<HeaderValue>,
    /// Set if the endpoint answers asynchronously.
    expected: Option<Expected>,
    /// The claims that a target gets which is not an HTTP service.
    claims: Map<String, Value>,
    session: Option<InSession>,
    /// Whether the answer must not allow a page to send cookies.
    withholds_credentials: bool,
}

/// A request that may use its endpoint.
pub(crate) struct Admission {
    /// `None` if the endpoint requires no token.
    admitted: Option<(AdmittedTokens, InSession)>,
    /// Whether the answer must not allow a page to send cookies.
    withholds_credentials: bool,
}

impl Exchange<'_> {
    pub(crate) fn prepare(
        &self,
        mut head: Parts,
        path: &str,
        body: ClientBody,
        trace: TraceContext,
        admission: Admission,
        account: &mut Account,
    ) -> Result<Prepared, Rejection> {
        let Self { proxy, route, peer, .. } = *self;
        let Admission { admitted, withholds_credentials } = admission;
        let (tokens, session) = admitted.unzip();
        if let Some(name) = tokens.as_ref().and_then(AdmittedTokens::session) {
            account.in_session(name);
        }
        self.check(tokens.as_ref(), &body)?;
        let from = route.endpoint.response_from;
        if !proxy.apis.receives(from) {
            return Err(Rejection::BrokerUnavailable);
        }
        let expected = match from.is_correlated() {
            false => None,
            true => Some(proxy.waiting.expect().map_err(|_| Rejection::Full)?),
        };
        let (wanted, in_query) = match route.destination {
            Destination::Http(_) => {
                (head::for_service(&mut head, peer, !body.is_end_stream()), expected.as_ref())
            }
            Destination::Other(_) => {
                head::for_target(&mut head, peer);
                (None, None)
            }
        };
        let has_begun_here = trace.parent_id.is_none();
        head::trace(&mut head.headers, &account.asks(&trace), has_begun_here);
        if let Some(to) = &route.endpoint.broker {
            account.asks_broker(to.broker.as_str(), &to.topic);
        }
        self.complete(&mut head, tokens.as_ref());
        if let Some(raw) = head.extensions.remove::<RawQuery>() {
            let target = target(path, Some(raw.as_bytes()), in_query);
            head.extensions.insert(RawTarget::new(&target).ok_or(Rejection::NotFound)?);
        }
        if in_query.is_some() || path != head.uri.path() {
            let target = target(path, head.uri.query().map(str::as_bytes), in_query);
            head.uri = PathAndQuery::try_from(target).map_err(|_| Rejection::NotFound)?.into();
        }
        // HTTP/1.0 has no informational answers (RFC 9110, section 15.2).
        let gate = peer.gate.clone().filter(|_| head.version == Version::HTTP_11);
        let mut request =
            Request::from_parts(head, RequestBody::new(body, route.endpoint.max_body, &route.set));
        if !request.body().is_empty() && request.headers().contains_key(EXPECT) {
            request.body_mut().hold();
        }
        let client = gate.map(|gate| Recipient {
            gate,
            in_flight: session.as_ref().map(|session| session.in_flight.clone()),
            endpoint: route.endpoint.clone(),
        });
        let claims = match (&route.destination, &tokens) {
            (Destination::Other(_), Some(tokens)) => tokens.claims(&route.endpoint.forward_claims),
            _ => Map::new(),
        };
        Ok(Prepared { request, client, wanted, expected, claims, session, withholds_credentials })
    }

    /// Registers a request with its sessions, if the endpoint requires a token. Leaves the head
    /// unchanged if the key of a token is unknown.
    pub(crate) fn admit(&self, head: &mut Parts) -> Result<Admission, Rejection> {
        let withholds_credentials = self.is_for_stranger(head);
        let Some(sources) = &self.route.token_sources else {
            return Ok(Admission { admitted: None, withholds_credentials });
        };
        if sources.cookie.is_some() && self.is_lured(sources, head) {
            return Err(Rejection::ForeignPage);
        }
        let fencing = &self.proxy.config.fencing;
        let in_flight = Arc::new(InFlight::new(self.peer.gate.clone(), fencing.clone()));
        let admitted = self.proxy.access.admit(sources, head, in_flight)?;
        // Asked after the request is registered: from now on, a revocation finds it.
        if !fencing.admission.is_open() {
            return Err(Rejection::NoLease);
        }
        Ok(Admission { admitted: Some(admitted), withholds_credentials })
    }

    /// Returns whether the request may be forged by a foreign page: its first credential is a
    /// cookie, which browsers send whichever page makes the request, and the page is not trusted.
    /// Safe requests are exempt, except those for WebSockets: the page cannot read their answers.
    fn is_lured(&self, sources: &TokenSources, head: &Parts) -> bool {
        let opens_socket = head::opens_websocket(head);
        if head.method.is_safe() && !opens_socket {
            return false;
        }
        let first = sources.credentials(&head.headers, head.uri.query()).next();
        let cors = &self.proxy.config.cors;
        let sender = Sender::of(&head.uri, &head.headers, self.peer.secure);
        let trusted = if opens_socket { cors.trusts_socket(sender) } else { cors.trusts(sender) };
        first.is_some_and(|first| first.place == TokenPlace::Cookie) && !trusted
    }

    /// Returns whether the endpoint takes cookies, and the page may not use them, whatever the
    /// service allows.
    fn is_for_stranger(&self, head: &Parts) -> bool {
        let cors = &self.proxy.config.cors;
        let takes_cookies = self.route.token_sources.as_ref().is_some_and(|sources| sources.cookie.is_some());
        let is_stranger = || !cors.trusts(Sender::of(&head.uri, &head.headers, self.peer.secure));
        takes_cookies && (cors.is_any() || is_stranger())
    }

    /// Checks everything that does not depend on the service.
    fn check(&self, tokens: Option<&AdmittedTokens>, body: &ClientBody) -> Result<(), Rejection> {
        let endpoint = &self.route.endpoint;
        if tokens.is_some_and(|tokens| !tokens.satisfy(&endpoint.claims)) {
            return Err(Rejection::Forbidden);
        }
        if let Some(limiter) = &self.route.limiter {
            let session = tokens.and_then(AdmittedTokens::session);
            let checked = limiter.check(self.peer.address.ip(), session);
            checked.map_err(|retry_after| Rejection::TooMany(retry_after.0))?;
        }
        let announced = hyper::body::Body::size_hint(body).lower();
        if endpoint.max_body.is_some_and(|max| announced > max) {
            return Err(Rejection::TooLarge);
        }
        Ok(())
    }

    /// Adds to the head what the definition sets.
    fn complete(&self, head: &mut Parts, tokens: Option<&AdmittedTokens>) {
        let endpoint = &self.route.endpoint;
        for (name, _) in &endpoint.forward_claims {
            head.headers.remove(name);
        }
        if let Some(tokens) = tokens {
            tokens.forward(&endpoint.forward_claims, &mut head.headers);
        }
        for (name, value) in &endpoint.add_headers {
            head.headers.insert(name, value.clone());
        }
        head::drop_twins(&mut head.headers, self.route.set.iter());
    }

    /// Notes that the answer begins: from now on, a revocation can only cut it off.
    fn begins(
        &self,
        session: Option<&InSession>,
        begin: impl FnOnce(&InFlight) -> Result<(), Over>,
    ) -> Result<(), Rejection> {
        session.map_or(Ok(()), |session| begin(&session.in_flight)).map_err(|_| Rejection::Killed)
    }

    pub(crate) async fn run(&self, prepared: Prepared, account: &mut Account) -> Result<Answer, Rejection> {
        let Prepared { request, client, wanted, expected, claims, session, withholds_credentials } = prepared;
        let (config, endpoint) = (&self.proxy.config, &self.route.endpoint);
        let answer = match endpoint.timeout {
            Some(Duration::ZERO) => FOREVER,
            Some(timeout) => timeout,
            None => self.route.destination.timeout().unwrap_or(config.answer_timeout),
        };
        let limits = TimeLimits { answer, idle: config.services.idle };
        let in_flight = session.as_ref().map(|session| session.in_flight.clone());
        let work = pin!(async {
            let mut answer = match &self.route.destination {
                Destination::Http(upstream) => {
                    let sent = upstream
                        .send(request, client.as_ref(), limits, &config.services, &config.memory)
                        .await;
                    let answered = sent.map_err(|failed| told(account, failed))?;
                    self.answer(upstream, answered, wanted, expected, session, account).await?
                }
                // Boxed, since few requests take this path.
                Destination::Other(target) => {
                    Box::pin(self.ask(&**target, (request, claims), limits, expected, session, account))
                        .await?
                }
            };
            if let Answer::Response(response) = &mut answer
                && withholds_credentials
            {
                response.headers_mut().remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
            }
            Ok(answer)
        });
        match in_flight {
            Some(in_flight) => in_flight.or_over(work).await.unwrap_or(Err(Rejection::Killed)),
            None => work.await,
        }
    }

    /// Sends a request to a target that is not an HTTP service, and turns its response into the
    /// answer.
    async fn ask(
        &self,
        target: &dyn Target,
        (request, claims): (Request<RequestBody>, Map<String, Value>),
        limits: TimeLimits,
        expected: Option<Expected>,
        session: Option<InSession>,
        account: &mut Account,
    ) -> Result<Answer, Rejection> {
        let upload = request.body().upload();
        // Such a target never sends a 100, so nothing is held back.
        upload.as_ref().inspect(|upload| upload.is_wanted());
        let request = TargetRequest {
            http: request.map(|body| body.map_err(Into::into).boxed_unsync()),
            client: self.peer.address,
            is_secure: self.peer.secure,
            correlation: expected.as_ref().map(|expected| expected.token().to_owned()),
            claims,
        };
        let (sent, step) = (Instant::now(), limits.step(upload.is_some()));
        let mut sending = target.send(request, limits);
        let result = loop {
            let awaited = upload.as_ref().map_or(Awaited::Answer(sent), |upload| upload.awaited());
            let (until, now) = (limits.until(awaited), Instant::now());
            if until <= now {
                let failed = match awaited {
                    Awaited::Answer(_) => {
                        Failed::of_target(&TargetError::TimedOut("no answer".to_owned()), None)
                    }
                    awaited => Failed::silent(awaited),
                };
                return Err(told(account, failed));
            }
            if let Ok(result) = timeout_at(until.min(now + step).into(), &mut sending).await {
                break result;
            }
        };
        let fault = upload.as_ref().and_then(|upload| upload.fault());
        let mut response = result.map_err(|error| told(account, Failed::of_target(&error, fault)))?;
        account.acknowledged();
        match (response.status(), expected) {
            (StatusCode::ACCEPTED, Some(expected)) => {
                // The answer is due since the target has the whole request.
                let whole = match upload.map(|upload| upload.awaited()) {
                    Some(Awaited::Answer(since)) => since,
                    _ => sent,
                };
                let within = limits.answer.saturating_sub(whole.elapsed());
                return self.answer_later(ready(()), (expected, within), session, account).await;
            }
            (status, _) if status.is_informational() => {
                let error = TargetError::Unreachable(format!("its answer has the status {status}"));
                return Err(told(account, Failed::of_target(&error, None)));
            }
            _ => {}
        }
        answer::allow(response.headers_mut(), (&self.proxy.config.cors, self.origin), answer::OF_BROKERS);
        head::for_client(&mut response, &self.route.endpoint.response_headers);
        self.begins(session.as_ref(), InFlight::answers)?;
        account.answered(response.status());
        if let Some(gate) = &self.peer.gate {
            gate.count(response.body().len(), &self.proxy.config.memory);
        }
        let account = account.take();
        Ok(Answer::Response(response.map(|body| Whole::new(body, session, account).boxed_unsync())))
    }

    /// Waits for an answer that comes another way. Meanwhile `reading` reads the rest of the
    /// service's answer.
    async fn answer_later(
        &self,
        reading: impl Future<Output = ()>,
        (expected, within): (Expected, Duration),
        session: Option<InSession>,
        account: &mut Account,
    ) -> Result<Answer, Rejection> {
        let mut answering = pin!(expected.answer(within));
        let answer = tokio::select! {
            answer = &mut answering => answer,
            () = reading => answering.await,
        };
        let answer = answer.map_err(|_| Rejection::NoAnswer)?;
        self.begins(session.as_ref(), InFlight::answers)?;
        account.answered(answer.status);
        if let Some(gate) = &self.peer.gate {
            gate.count(answer.body.len(), &self.proxy.config.memory);
        }
        let mut response = answer::asynchronous(answer, session, account.take());
        let allowed = match self.route.destination {
            Destination::Http(_) => answer::OF_SERVICES,
            Destination::Other(_) => answer::OF_BROKERS,
        };
        answer::allow(response.headers_mut(), (&self.proxy.config.cors, self.origin), allowed);
        Ok(Answer::Response(response))
    }

    async fn answer(
        &self,
        upstream: &Arc<Upstream>,
        answered: Answered,
        wanted: Option<HeaderValue>,
        expected: Option<Expected>,
        session: Option<InSession>,
        account: &mut Account,
    ) -> Result<Answer, Rejection> {
        let Answered { mut response, link, server } = answered;
        let idle = self.proxy.config.services.idle;
        account.heard(response.status(), upstream.server(server));
        match (response.status(), wanted, expected) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(_), _) => {
                let (service, early) = link.into_tunnel().ok_or(Rejection::Unreachable)?;
                self.begins(session.as_ref(), InFlight::becomes_tunnel)?;
                account.answered(StatusCode::SWITCHING_PROTOCOLS);
                return Ok(tunnel::open(&response, service, early, session, account.take()));
            }
            // The client has not asked for an upgrade.
            (StatusCode::SWITCHING_PROTOCOLS, None, _) => {
                let failed = upstream.is_invalid(server, "a 101 that nobody has asked for");
                return Err(told(account, failed));
            }
            (StatusCode::ACCEPTED, _, Some(expected)) => {
                let from = (upstream.clone(), server);
                let accepted = Relay::new(response.into_body(), link, from, idle, None, Account::default());
                // Boxed, since most answers do not take this path.
                let within = self.proxy.waiting.timeout(self.route.endpoint.response_from);
                let later = self.answer_later(accepted.discard(), (expected, within), session, account);
                return Box::pin(later).await;
            }
            _ => {}
        }
        if let Err(fault) = head::one_body_end(&mut response) {
            return Err(told(account, upstream.is_invalid(server, fault)));
        }
        head::for_client(&mut response, &self.route.endpoint.response_headers);
        self.begins(session.as_ref(), InFlight::answers)?;
        account.answered(response.status());
        let (upstream, account) = (upstream.clone(), account.take());
        Ok(Answer::Response(
            response.map(|body| {
                Relay::new(body, link, (upstream, server), idle, session, account).boxed_unsync()
            }),
        ))
    }
}

/// Notes why a service has failed. Returns the rejection.
fn told(account: &mut Account, failed: Failed) -> Rejection {
    account.failed(failed.reason.as_ref());
    failed.rejection
}

/// Returns the target of the request to a service: the query unchanged (d27), after a query that
/// the path may have by now, and the token for an asynchronous answer.
fn target(path: &str, query: Option<&[u8]>, expected: Option<&Expected>) -> Vec<u8> {
    let mut target = Vec::with_capacity(path.len() + query.map_or(0, |query| query.len() + 1));
    target.extend_from_slice(path.as_bytes());
    let begins = if path.contains('?') { b'&' } else { b'?' };
    if query.is_some() || expected.is_some() {
        target.push(begins);
    }
    let Some(expected) = expected else {
        target.extend_from_slice(query.unwrap_or_default());
        return target;
    };
    // Removed: a client must not choose who gets the answer.
    let pairs = query.into_iter().flat_map(|query| query.split(|byte| *byte == b'&'));
    for pair in pairs.filter(|pair| !is_correlation(pair) && !pair.is_empty()) {
        target.extend_from_slice(pair);
        target.push(b'&');
    }
    target.extend_from_slice(b"correlation=");
    target.extend_from_slice(expected.token().as_bytes());
    target
}

fn is_correlation(pair: &[u8]) -> bool {
    form_urlencoded::parse(pair).next().is_some_and(|(key, _)| key == "correlation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d27_the_query_stays_as_it_is() {
        let of = |path, query| String::from_utf8(target(path, query, None)).unwrap();
        assert_eq!(of("/a", None), "/a");
        assert_eq!(of("/a", Some(b"")), "/a?");
        assert_eq!(of("/a", Some(b"b=%20+&b&&=")), "/a?b=%20+&b&&=");
        assert_eq!(of("/a?x=1", Some(b"x=2")), "/a?x=1&x=2");
    }
}
