//! The targets of endpoints that send to a broker: a request becomes an event, and the answer is
//! that the broker has it, or a reply.

mod request;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use listener::Body;
use proxy::{AsyncAnswer, Target, TargetError, TargetFuture, TargetRequest, TimeLimits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::answer::{InvalidAnswer, answer_of};
use crate::metrics::{Metrics, ResponseOutcome};
use crate::producer::{Destination, ProduceError, Producer, Reply, Requester};
pub(crate) use request::Credentials;
use request::{BodyFault, event};

/// What a client needs to know whose request is no event.
const USAGE: &str = "\n\nThe request body must be a CloudEvent in JSON format: an object with specversion, type, \
                     source, id, and optionally data. Events with the same partition key, the string \
                     rig.target_partition, or partitionkey, stay in order.\n";

/// Sends the requests of one endpoint to a broker.
pub(crate) struct BrokerTarget {
    pub(crate) way: Way,
    pub(crate) to: Destination,
    pub(crate) credentials: Credentials,
    /// How long the answer may take, where the endpoint does not say so.
    pub(crate) timeout: Option<Duration>,
    /// Room for the bodies of all requests.
    pub(crate) room: Arc<Semaphore>,
    pub(crate) metrics: Metrics,
}

/// What happens with the event of a request.
#[derive(Clone)]
pub(crate) enum Way {
    /// The answer is that the broker has it.
    Send(Arc<dyn Producer>),
    /// The answer is the reply to it.
    Ask(Arc<dyn Requester>),
}

impl Way {
    fn producer(&self) -> &dyn Producer {
        match self {
            Self::Send(producer) => &**producer,
            Self::Ask(requester) => &**requester,
        }
    }
}

impl BrokerTarget {
    async fn answer(
        &self,
        mut request: TargetRequest,
        limits: TimeLimits,
    ) -> Result<Response<Bytes>, TargetError> {
        let (body, _room) = self.body(request.http.body_mut()).await?;
        // From now on, the answer is due.
        let began = Instant::now();
        let event = event(&body, &request, &self.credentials).map_err(|fault| self.refused(&fault))?;
        let within = limits.answer.saturating_sub(began.elapsed());
        match &self.way {
            Way::Send(producer) => {
                self.count(producer.produce(&self.to, event, within)).await?;
                let mut response = Response::new(Bytes::from_static(b"Accepted."));
                *response.status_mut() = StatusCode::ACCEPTED;
                Ok(response)
            }
            Way::Ask(requester) => {
                let reply = self.count(requester.request(&self.to, event, within)).await?;
                let read = response(reply);
                let outcome = if read.is_ok() { ResponseOutcome::Matched } else { ResponseOutcome::Invalid };
                self.metrics.responded(self.label(), outcome);
                // The text goes to the request log.
                read.map_err(|invalid| {
                    TargetError::Unreachable(format!("a reply that is invalid: {invalid}"))
                })
            }
        }
    }

    /// Reads the whole body, and returns the room that it takes.
    async fn body(&self, body: &mut Body) -> Result<(Bytes, Option<OwnedSemaphorePermit>), TargetError> {
        let most = self.way.producer().max_bytes();
        let mut room: Option<OwnedSemaphorePermit> = None;
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await {
            // The caller knows what was wrong with it.
            let frame = frame.map_err(|error| TargetError::Unreachable(error.to_string()))?;
            let Ok(data) = frame.into_data() else { continue };
            if read.len() + data.len() > most {
                return Err(TargetError::TooLarge(format!("the body has more than {most} bytes")));
            }
            let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let more = self.room.clone().try_acquire_many_owned(bytes);
            let more = more
                .map_err(|_| TargetError::Busy("too many bytes of requests wait for brokers".to_owned()))?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            read.extend_from_slice(&data);
        }
        Ok((read.freeze(), room))
    }

    /// Returns RIG's texts for a body that is no event, and what would be one.
    fn refused(&self, fault: &BodyFault) -> TargetError {
        let is_nats = self.way.producer().name() == "nats";
        let text = match fault {
            BodyFault::NotAnEvent if is_nats => {
                "Bad request: The body is a valid JSON object but does not look like a CloudEvent.".to_owned()
            }
            BodyFault::NotAnEvent => "Bad request: the body does not look like a CloudEvent.".to_owned(),
            BodyFault::NotJson(why) if is_nats => {
                format!("Bad request: The body is not JSON encoded ({why}).")
            }
            BodyFault::NotJson(_) => "Bad request: expected a JSON encoded request body.".to_owned(),
            BodyFault::NoText(_) => format!("Bad request: {fault}."),
        };
        TargetError::Invalid(text + USAGE)
    }

    /// Counts the outcome of what is sent, also if the caller has gone.
    async fn count<T>(
        &self,
        sending: impl Future<Output = Result<T, ProduceError>>,
    ) -> Result<T, TargetError> {
        let mut pending = Pending { of: self, began: Instant::now(), outcome: Some("cancelled") };
        let sent = sending.await;
        pending.outcome = sent.as_ref().err().map(ProduceError::as_str);
        sent.map_err(TargetError::from)
    }
}

/// An event on its way to the broker; counted when this is dropped.
struct Pending<'t> {
    of: &'t BrokerTarget,
    began: Instant,
    /// Why it has failed.
    outcome: Option<&'static str>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let (target, topic) = (self.of.label(), &self.of.to.topic);
        self.of.metrics.produced(target, topic, self.began.elapsed(), self.outcome);
    }
}

impl From<ProduceError> for TargetError {
    fn from(error: ProduceError) -> Self {
        match error {
            ProduceError::Invalid(text) => Self::Invalid(format!("Bad request: {text}")),
            ProduceError::TooLarge(text) => Self::TooLarge(text),
            ProduceError::Refused(text) => Self::Unreachable(text),
            ProduceError::Unavailable(text) => Self::Unavailable(text),
            ProduceError::TimedOut(text) => Self::TimedOut(text),
        }
    }
}

/// Returns the reply as the answer: 200 and JSON, unless its headers say otherwise (RIG).
fn response(Reply { headers, body }: Reply) -> Result<Response<Bytes>, InvalidAnswer> {
    let given = headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
    let AsyncAnswer { status, mut headers, body } = answer_of(given, body, Some(StatusCode::OK))?;
    if !body.is_empty() {
        let json = http::HeaderValue::from_static("application/json");
        headers.entry(http::header::CONTENT_TYPE).or_insert(json);
    }
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

impl Target for BrokerTarget {
    fn label(&self) -> &'static str {
        self.way.producer().name()
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn send(&self, request: TargetRequest, limits: TimeLimits) -> TargetFuture<'_> {
        Box::pin(self.answer(request, limits))
    }
}

impl fmt::Debug for BrokerTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerTarget").field("to", &self.to).finish_non_exhaustive()
    }
}
