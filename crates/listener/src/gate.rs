//! Controls the bytes of an answer: the application can hold them back until they are written to
//! the socket.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem::take;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use memory::Memory;
use parking_lot::Mutex;
use session::{Fence, Fencing};
use tokio::time::{Sleep, timeout};

/// Decides whether an answer with payload may still be written. Clones share one gate. Over HTTP/1,
/// which answers one request at a time, each socket has one; over HTTP/2, each stream.
///
/// Over HTTP/2, closing the gate drops the task of the stream, which resets it, even if the client
/// reads nothing and hyper does not ask for the rest of the answer. The last two pieces that hyper
/// has taken cannot be held back.
///
/// An answer with payload of a session also passes the fence of the node: while that is closed, no
/// further byte of it is written, and after [`Fencing::hold`] it is cut off.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<Mutex<GateState>>);

#[derive(Debug, Default)]
struct GateState {
    payload: Payload,
    /// The fence that the answer has to pass, if it belongs to a session.
    fenced: Option<Box<Fenced>>,
    driver: Option<Waker>,
    held: Vec<Box<dyn Any + Send>>,
    /// Informational answers, which are written before anything else.
    interim: Option<Box<Interim>>,
    /// The last write was blocked, so the next bytes on the socket belong to an earlier answer.
    stuck: bool,
    linger: Option<Box<Linger>>,
}

/// An answer at the fence.
struct Fenced {
    fencing: Fencing,
    /// Set while the answer waits: resolves when the fence opens (`true`), or has been closed for
    /// too long.
    wait: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
}

/// Limits how long a stream may last once it is about to finish.
struct Linger {
    within: Duration,
    has_begun: Box<dyn Fn(&Context<'_>) -> bool + Send>,
    end: Option<Pin<Box<Sleep>>>,
}

/// Releases the values that a gate holds when it is dropped.
struct Flushed<'a>(&'a Gate);

/// Bytes that are queued for the socket, or for the TLS session over it.
#[derive(Debug, Default)]
pub(crate) struct Interim {
    bytes: Vec<u8>,
    written: usize,
    /// They are not written while it is closed.
    fence: Fence,
}

/// An answer up to this size mostly fits into the socket's buffer, and is not counted as queued.
const SMALL: usize = 16 << 10;

/// Limit of queued informational answers, in bytes. Further ones are dropped, which RFC 8297,
/// section 2, permits.
const INTERIM: usize = 64 << 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Payload {
    /// No answer with payload is being written.
    #[default]
    None,
    /// An answer with payload is being written, or is about to be.
    OnItsWay,
    /// An answer with payload was cut off: neither the rest of it nor anything after it is written.
    Withheld,
}

impl Gate {
    /// Records that the answer to the current request has payload.
    pub fn begin(&self) {
        let mut state = self.0.lock();
        if state.payload == Payload::None {
            state.payload = Payload::OnItsWay;
        }
    }

    /// Records that the answer to the current request has payload of a session, which passes these
    /// fences.
    pub fn begin_fenced(&self, fencing: &Fencing) {
        self.begin();
        if !fencing.payload.is_always_open() {
            let fenced = || Box::new(Fenced { fencing: fencing.clone(), wait: None });
            self.0.lock().fenced.get_or_insert_with(fenced);
        }
    }

    /// Holds `what` until every answer is written to the socket, or the socket is closed.
    pub fn hold(&self, what: impl Any + Send) {
        self.0.lock().held.push(Box::new(what));
    }

    /// Begins an answer and counts its bytes in `memory` until it is written. If the answer is
    /// evicted, its socket is closed or its stream is reset. Small answers are not counted.
    pub fn count(&self, bytes: usize, memory: &Arc<Memory>) {
        if bytes > SMALL {
            self.begin();
            let gate = self.clone();
            self.hold(memory.hold(bytes, move || _ = gate.withhold()));
        }
    }

    /// Closes the socket or resets the stream, unless all payload has been written: when this
    /// returns, no more payload is written. Returns `true` if an answer was cut off.
    pub fn withhold(&self) -> bool {
        let mut state = self.0.lock();
        let withheld = state.payload == Payload::OnItsWay;
        if withheld {
            state.cut_off();
        }
        withheld
    }

    /// Writes an informational answer before the answer to the current request. It is dropped if an
    /// earlier answer has not been written yet, or the fence is closed.
    pub fn interim(&self, head: Vec<u8>, fence: &Fence) {
        let mut state = self.0.lock();
        if state.payload == Payload::Withheld || state.stuck || !fence.is_open() {
            return;
        }
        let interim = state.interim.get_or_insert_default();
        interim.fence = fence.clone();
        if interim.bytes.len() + head.len() <= INTERIM {
            interim.bytes.extend_from_slice(&head);
        }
    }

    /// Discards queued informational answers: when this returns, no more of them is written. If a
    /// part of one has been written, the socket is closed.
    pub fn retract(&self) {
        self.0.lock().retract();
    }

    /// Limits, over HTTP/2, how long the stream of an answer may last once it is about to finish,
    /// because a client that reads nothing would keep it open. `has_begun` returns `true` once it
    /// is about to finish, and wakes its task at that moment.
    pub fn end_within(&self, within: Duration, has_begun: impl Fn(&Context<'_>) -> bool + Send + 'static) {
        self.0.lock().linger = Some(Box::new(Linger { within, has_begun: Box::new(has_begun), end: None }));
    }

    /// Runs the task of an HTTP/2 stream until it finishes, the gate closes, or its time runs out.
    /// Then the task is dropped, and h2 resets the stream.
    pub(crate) async fn drive(self, stream: impl Future<Output = ()>) {
        // Dropped after the stream, even if that panics: the held values may hold this gate.
        let _flushed = Flushed(&self);
        let (mut stream, mut linger) = (pin!(stream), None);
        poll_fn(|cx| {
            // The stream may close the gate while it is polled.
            if self.watch(cx) || stream.as_mut().poll(cx).is_ready() || self.watch(cx) {
                return Poll::Ready(());
            }
            linger = linger.take().or_else(|| self.0.lock().linger.take());
            let Some(linger) = &mut linger else { return Poll::Pending };
            ready!(linger.poll(cx));
            // Set before the stream is dropped, so that the rest of its request is not read.
            self.0.lock().payload = Payload::Withheld;
            Poll::Ready(())
        })
        .await;
    }

    /// Returns `true` if the answer was cut off.
    pub(crate) fn is_withheld(&self) -> bool {
        self.0.lock().payload == Payload::Withheld
    }

    /// Returns `true` if no payload is being written.
    pub fn is_idle(&self) -> bool {
        self.0.lock().payload != Payload::OnItsWay
    }

    /// Records that every answer of the application is written.
    pub(crate) fn flushed(&self) {
        let mut state = self.0.lock();
        if state.payload == Payload::OnItsWay {
            state.payload = Payload::None;
            state.driver = None;
        }
        let left = (take(&mut state.held), state.fenced.take());
        // The dropped value may lock the gate.
        drop(state);
        drop(left);
    }

    /// Records that the socket is closed or has been taken over.
    pub(crate) fn closed(&self) {
        let left = take(&mut self.0.lock().held);
        drop(left);
    }

    /// Registers the task to wake when the gate closes. Returns `true` if it is closed.
    pub(crate) fn watch(&self, cx: &Context<'_>) -> bool {
        let mut state = self.0.lock();
        if state.payload == Payload::OnItsWay {
            state.driver = Some(cx.waker().clone());
        }
        state.payload == Payload::Withheld
    }

    /// Returns ready when a part of the answer may be handed on. Over HTTP/2, which does not write
    /// through [`Gate::pass`]; the task of the stream is dropped if the answer is cut off.
    pub(crate) fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.0.lock();
        ready!(state.poll_fence(cx));
        if state.payload == Payload::Withheld { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Returns `true` if the answer waits until the fence opens.
    pub(crate) fn is_held(&self) -> bool {
        self.0.lock().fenced.as_ref().is_some_and(|fenced| fenced.wait.is_some())
    }

    /// Writes, unless the gate is closed. The gate cannot be closed while `write` runs. Waits for
    /// the fence if `sends`: there are bytes of the answer to send.
    ///
    /// `write` must first send the bytes that it is given.
    pub(crate) fn pass<T>(
        &self,
        cx: &mut Context<'_>,
        sends: bool,
        write: impl FnOnce(&mut Context<'_>, &mut Option<Box<Interim>>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut state = self.0.lock();
        if sends && state.poll_fence(cx).is_pending() {
            state.stuck = true;
            return Poll::Pending;
        }
        if state
            .interim
            .as_ref()
            .is_some_and(|interim| !interim.rest().is_empty() && !interim.fence.is_open())
        {
            state.retract();
        }
        if state.payload == Payload::Withheld {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = write(cx, &mut state.interim);
        state.stuck = written.is_pending();
        written
    }
}

impl GateState {
    /// Discards informational answers; closes the gate if a part of one has been written.
    fn retract(&mut self) {
        if self.interim.take().is_some_and(|interim| interim.written > 0) {
            self.cut_off();
        }
    }

    fn cut_off(&mut self) {
        self.payload = Payload::Withheld;
        self.driver.take().inspect(Waker::wake_by_ref);
    }

    /// Returns ready if the fence is open, or the answer is not fenced. Cuts the answer off if the
    /// fence has been closed for too long.
    fn poll_fence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(fenced) = self.fenced.as_mut().filter(|_| self.payload == Payload::OnItsWay) else {
            return Poll::Ready(());
        };
        // Asked again after each wait: this is the last question before the system call.
        while !fenced.fencing.payload.is_open() {
            if !ready!(fenced.poll_wait(cx)) {
                self.cut_off();
                return Poll::Ready(());
            }
        }
        fenced.wait = None;
        Poll::Ready(())
    }
}

impl Fenced {
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let wait = self.wait.get_or_insert_with(|| {
            let Fencing { payload: fence, hold, .. } = self.fencing.clone();
            fence.note_held();
            Box::pin(async move {
                let left = hold.saturating_sub(fence.closed_for());
                timeout(left, fence.opened()).await.is_ok()
            })
        });
        let opened = ready!(wait.as_mut().poll(cx));
        self.wait = None;
        Poll::Ready(opened)
    }
}

impl fmt::Debug for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fenced").field("waits", &self.wait.is_some()).finish_non_exhaustive()
    }
}

impl Interim {
    /// Returns the bytes that are not written yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Records that more bytes have been written.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.written += bytes;
    }
}

impl Linger {
    /// Returns ready when the time of the stream has run out.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.end.is_none() && !(self.has_begun)(cx) {
            return Poll::Pending;
        }
        let within = self.within;
        self.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(within))).as_mut().poll(cx)
    }
}

impl fmt::Debug for Linger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Linger").field("within", &self.within).finish_non_exhaustive()
    }
}

impl Drop for Flushed<'_> {
    fn drop(&mut self) {
        self.0.flushed();
    }
}

#[cfg(test)]
mod tests;
