//! A request in flight, as its session sees it: a connection that is terminated with the session.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use listener::Gate;
use parking_lot::Mutex;
use session::{Cause, Connection, Ending, Fencing, Notified, Registration};

/// A request that belongs to a session, and that a service or another node answers: from the
/// verification of its token to the last byte of its answer.
#[derive(Debug)]
pub struct InFlight {
    /// Holds back the rest of the answer; over HTTP/2, that of its stream. `None` in tests.
    gate: Option<Gate>,
    /// What the answer has to pass.
    fencing: Fencing,
    state: Mutex<Flight>,
}

#[derive(Debug)]
struct Flight {
    stage: Progress,
    waker: Option<Waker>,
    last_payload: Option<Instant>,
    /// Held until the client is disconnected.
    ending: Option<Arc<Ending>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// No part of an answer has been handed to the client.
    Waiting,
    /// The answer is being sent.
    Answering,
    /// The connection was upgraded and is a tunnel.
    Tunnel,
    /// The session was terminated.
    Over,
}

/// The session was terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session has ended")]
pub struct Over;

/// The error of a body whose session was terminated. Over HTTP/2 it resets the stream with CANCEL,
/// which gRPC clients report as CANCELLED.
#[derive(Debug, thiserror::Error)]
#[error("the session has ended")]
pub(crate) struct Cancelled(#[source] h2::Error);

impl From<Over> for Cancelled {
    fn from(_: Over) -> Self {
        Self(h2::Reason::CANCEL.into())
    }
}

impl InFlight {
    /// Returns a request whose answer passes this gate (`None` in tests) while the fence is open.
    pub fn new(gate: Option<Gate>, fencing: Fencing) -> Self {
        let state = Flight { stage: Progress::Waiting, waker: None, last_payload: None, ending: None };
        Self { gate, fencing, state: Mutex::new(state) }
    }

    /// Runs `work` until it is done or the session is terminated, whichever comes first.
    ///
    /// # Errors
    /// Fails if the session was terminated first.
    pub async fn or_over<T>(&self, work: impl Future<Output = T>) -> Result<T, Over> {
        let mut work = pin!(work);
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if self.is_over(cx) => Poll::Ready(Err(Over)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Notes that the answer begins.
    ///
    /// # Errors
    /// Fails if the session was terminated.
    pub fn answers(&self) -> Result<(), Over> {
        self.begin(Progress::Answering)
    }

    /// Notes that a tunnel begins. Fails if the session was terminated.
    pub(crate) fn becomes_tunnel(&self) -> Result<(), Over> {
        self.begin(Progress::Tunnel)
    }

    fn begin(&self, stage: Progress) -> Result<(), Over> {
        let mut state = self.state.lock();
        if state.stage == Progress::Over {
            return Err(Over);
        }
        state.stage = stage;
        state.last_payload = Some(Instant::now());
        if let Some(gate) = &self.gate {
            gate.begin_fenced(&self.fencing);
        }
        Ok(())
    }

    /// Notes that payload is about to be sent. Fails if the session was terminated.
    pub(crate) fn payload(&self) -> Result<(), Over> {
        let mut state = self.state.lock();
        if state.stage == Progress::Over {
            return Err(Over);
        }
        state.last_payload = Some(Instant::now());
        Ok(())
    }

    /// Sends an informational answer, unless the session was terminated. Bytes that have not left
    /// when it is terminated are held back.
    pub(crate) fn interim(&self, head: Vec<u8>) {
        let mut state = self.state.lock();
        if state.stage == Progress::Waiting
            && let Some(gate) = &self.gate
        {
            state.last_payload = Some(Instant::now());
            gate.interim(head, &self.fencing.payload);
        }
    }

    /// Keeps a value alive until the answer has been sent.
    pub fn hold(&self, what: impl Any + Send) {
        if let Some(gate) = &self.gate {
            gate.hold(what);
        }
    }

    /// Returns whether the session was terminated.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.lock().stage == Progress::Over
    }

    /// Returns why the session was terminated; `None` if it was not.
    pub fn cause(&self) -> Option<Cause> {
        self.state.lock().ending.as_ref().map(|ending| ending.cause())
    }

    /// Returns whether the session was terminated; if not, wakes the task when it is.
    pub(crate) fn is_over(&self, cx: &Context<'_>) -> bool {
        let mut state = self.state.lock();
        if state.stage == Progress::Over {
            return true;
        }
        if state.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        false
    }
}

/// A request's registrations with its sessions.
pub(crate) struct InSession {
    pub(crate) in_flight: Arc<InFlight>,
    /// The registration of its first token.
    pub(crate) _registration: Registration,
    pub(crate) _others: Vec<Registration>,
}

/// Keeps a request registered after the body of its answer is dropped: bytes that were handed to
/// the listener may not have left.
pub(crate) struct UntilSent(pub(crate) Option<InSession>);

impl UntilSent {
    /// Fails if the session is terminated; wakes the task when it is.
    pub(crate) fn check(&self, cx: &Context<'_>) -> Result<(), Over> {
        match &self.0 {
            Some(session) if session.in_flight.is_over(cx) => Err(Over),
            _ => Ok(()),
        }
    }
}

impl Drop for UntilSent {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            let in_flight = session.in_flight.clone();
            in_flight.hold(session);
        }
    }
}

impl Connection for InFlight {
    fn session_killed(&self, ending: &Arc<Ending>) -> Notified {
        let mut state = self.state.lock();
        // If the whole answer has left already, nothing is terminated.
        let withheld = || self.gate.as_ref().is_none_or(Gate::withhold);
        let mut notified = Notified { last_payload: state.last_payload, ..Notified::default() };
        match state.stage {
            Progress::Waiting => {
                notified.requests = 1;
                self.gate.as_ref().inspect(|gate| gate.retract());
            }
            Progress::Answering => notified.requests = u64::from(withheld()),
            Progress::Tunnel => notified.ended = withheld(),
            Progress::Over => return Notified::default(),
        }
        state.stage = Progress::Over;
        state.ending = Some(ending.clone());
        state.waker.take().inspect(Waker::wake_by_ref);
        notified
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Weak;
    use std::time::Duration;

    use session::{Config, Sessions};

    use super::*;

    /// Returns a request with this gate, registered with a session, and a function that terminates
    /// the session.
    fn in_session(gate: Option<Gate>) -> (Arc<InFlight>, session::Registration, impl Fn() -> u64) {
        let sessions = Sessions::in_memory(Config::default());
        let claims = serde_json::json!({ "jti": "a-test-session" });
        let name = sessions.session_of(claims.as_object().unwrap()).unwrap();
        let in_flight = Arc::new(InFlight::new(gate, Fencing::default()));
        let weak: Weak<InFlight> = Arc::downgrade(&in_flight);
        let registration = sessions.register_connection(&name, weak).unwrap();
        let kill = move || sessions.blacklist(&name, Duration::from_secs(60)).unwrap();
        (in_flight, registration, kill)
    }

    #[tokio::test]
    async fn a_request_that_waits_is_given_up() {
        let (in_flight, _registration, kill) = in_session(None);
        let waiting = tokio::spawn({
            let in_flight = in_flight.clone();
            async move { in_flight.or_over(pending::<()>()).await }
        });
        tokio::task::yield_now().await;
        kill();
        assert_eq!(waiting.await.unwrap(), Err(Over));
        assert_eq!(in_flight.answers(), Err(Over), "no answer may begin");
    }

    #[test]
    fn an_answer_on_its_way_is_kept_back_and_gets_no_more_payload() {
        let gate = Gate::default();
        let (in_flight, _registration, kill) = in_session(Some(gate.clone()));
        in_flight.answers().unwrap();
        in_flight.payload().unwrap();
        assert!(!gate.is_idle());
        kill();
        assert!(gate.is_idle(), "withheld");
        assert_eq!(in_flight.payload(), Err(Over));
    }

    #[test]
    fn a_tunnel_counts_as_a_connection() {
        let (in_flight, _registration, kill) = in_session(Some(Gate::default()));
        in_flight.becomes_tunnel().unwrap();
        assert_eq!(kill(), 1);
    }
}
