//! The body of a request on its way to a service, and how far it has come.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, HeaderName};
use hyper::body::{Body, Frame, SizeHint};
use listener::ClientBody;
use memory::{Held, Memory};
use parking_lot::Mutex;
use tokio::time::Sleep;

use crate::head;
use crate::time_limits::Awaited;
use crate::upstream::StreamPermit;

/// How long a body waits for the service's 100 before it is sent all the same (RFC 9110, section
/// 10.1.1).
const CONTINUE: Duration = Duration::from_secs(1);

/// Bytes of a body that are kept until its answer begins, so that the request can be sent again. A
/// service takes 65,535 bytes before it says anything (RFC 9113, section 6.9.2); the piece that
/// goes beyond them has been read as well.
const KEPT: usize = 192 << 10;

/// The body of a request. It is read as fast as the service takes it.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None`: there is no body.
    upload: Option<Arc<Upload>>,
    /// Which sending of the request this is: an earlier one yields nothing any more.
    turn: u32,
    /// How many frames this one has yielded.
    yielded: usize,
    /// Until when the first byte is held back.
    continue_by: Option<Pin<Box<Sleep>>>,
    /// The stream that is open until the body has been sent.
    place: Option<Arc<StreamPermit>>,
}

/// How far a body has come: what the two sides of the exchange share.
#[derive(Debug)]
pub(crate) struct Upload {
    state: Mutex<BodyProgress>,
    /// To be woken when the service wants the body.
    wanted: AtomicWaker,
    /// What the definition sets: none of it may come after the body.
    set: Arc<[HeaderName]>,
}

#[derive(Debug)]
struct BodyProgress {
    client: ClientBody,
    /// How many bytes may still come.
    left: u64,
    turn: u32,
    /// How many frames have been read.
    frames: usize,
    kept: KeptBody,
    moved: Instant,
    /// Whether it is the client that lets the service wait.
    client_silent: bool,
    ended: bool,
    fault: Option<BodyFault>,
    continued: bool,
}

/// What has been read of a body.
#[derive(Debug)]
enum KeptBody {
    /// Nothing is kept: some of it is gone.
    No,
    /// Nothing has been read.
    Untouched,
    /// All of it, within [`KEPT`].
    Yes { frames: Vec<KeptFrame>, bytes: usize, counted: Held },
}

#[derive(Clone, Debug)]
enum KeptFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// Why a body is not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    #[error("the request body is larger than allowed")]
    TooLarge,
    #[error("the request body is broken off")]
    Broken,
    /// No fault of the client: the request is being sent again, and this sending of it is
    /// abandoned.
    #[error("the request is sent again")]
    SentAgain,
    /// What was kept of it had to go while it was being sent again.
    #[error("too many bytes wait in memory")]
    NoRoom,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyFault>>>;

impl RequestBody {
    /// Without any bytes.
    pub(crate) fn empty() -> Self {
        Self { upload: None, turn: 0, yielded: 0, continue_by: None, place: None }
    }

    /// The body of a client's request of at most `max` bytes; `set` is what its trailers cannot
    /// say.
    pub(crate) fn new(client: ClientBody, max: Option<u64>, set: &Arc<[HeaderName]>) -> Self {
        if client.is_end_stream() {
            return Self::empty();
        }
        let state = BodyProgress {
            client,
            left: max.unwrap_or(u64::MAX),
            turn: 0,
            frames: 0,
            kept: KeptBody::Untouched,
            moved: Instant::now(),
            client_silent: false,
            ended: false,
            fault: None,
            continued: false,
        };
        let upload = Upload { state: Mutex::new(state), wanted: AtomicWaker::new(), set: set.clone() };
        Self { upload: Some(Arc::new(upload)), ..Self::empty() }
    }

    /// The same body from its beginning, for another sending; the one before yields nothing any
    /// more. `None` if a part of it is gone.
    pub(crate) fn again(upload: Option<&Arc<Upload>>) -> Option<Self> {
        let Some(upload) = upload else { return Some(Self::empty()) };
        let mut state = upload.state.lock();
        if matches!(state.kept, KeptBody::No) || state.fault.is_some() {
            return None;
        }
        state.turn += 1;
        state.moved = Instant::now();
        (state.ended, state.client_silent) = (false, false);
        Some(Self { upload: Some(upload.clone()), turn: state.turn, ..Self::empty() })
    }

    /// Whether the request can be sent twice: all of it is in its head.
    pub(crate) fn is_empty(&self) -> bool {
        self.upload.is_none()
    }

    /// How far it has come; `None` without a body.
    pub(crate) fn upload(&self) -> Option<Arc<Upload>> {
        self.upload.clone()
    }

    /// Keeps a stream's place until all has been sent.
    pub(crate) fn occupy(&mut self, place: Option<Arc<StreamPermit>>) {
        if self.upload.is_some() {
            self.place = place;
        }
    }

    /// Holds it back until the service asks for it: the client does so too, and may never have to
    /// send it.
    pub(crate) fn hold(&mut self) {
        if self.upload.is_some() {
            self.continue_by = Some(Box::pin(tokio::time::sleep(CONTINUE)));
        }
    }
}

impl Upload {
    /// Who keeps the exchange waiting.
    pub(crate) fn awaited(&self) -> Awaited {
        let state = self.state.lock();
        match () {
            () if state.ended => Awaited::Answer(state.moved),
            () if state.client_silent => Awaited::Client(state.moved),
            () => Awaited::Service(state.moved),
        }
    }

    /// What was wrong with the body.
    pub(crate) fn fault(&self) -> Option<BodyFault> {
        self.state.lock().fault
    }

    /// Keeps what is read from now on, as long as there is little of it, and little in `memory` all
    /// together.
    pub(crate) fn keep(self: &Arc<Self>, memory: &Arc<Memory>) {
        let mut state = self.state.lock();
        if matches!(state.kept, KeptBody::Untouched) {
            let upload = Arc::downgrade(self);
            let evict =
                move || _ = upload.upgrade().inspect(|upload| upload.state.lock().kept = KeptBody::No);
            let counted = memory.hold(0, evict);
            state.kept = KeptBody::Yes { frames: Vec::new(), bytes: 0, counted };
        }
    }

    /// An answer has begun: the request is not sent again.
    pub(crate) fn answered(&self) {
        self.state.lock().kept = KeptBody::No;
    }

    /// The service wants the body.
    pub(crate) fn is_wanted(&self) {
        self.state.lock().continued = true;
        self.wanted.wake();
    }
}

impl BodyProgress {
    /// Reads what comes next from the client. Returns the memory too where it has become too full.
    fn read(&mut self, set: &[HeaderName], cx: &mut Context<'_>) -> (Polled, Option<Arc<Memory>>) {
        let polled = Pin::new(&mut self.client).poll_frame(cx).map(|frame| {
            frame.map(|frame| {
                let mut frame = frame.map_err(|_| BodyFault::Broken)?;
                if let Some(trailers) = frame.trailers_mut() {
                    head::for_trailers(trailers, set);
                }
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.left = self.left.checked_sub(length).ok_or(BodyFault::TooLarge)?;
                Ok(frame)
            })
        });
        let full = self.note(&polled);
        (polled, full)
    }

    fn note(&mut self, polled: &Polled) -> Option<Arc<Memory>> {
        self.client_silent = polled.is_pending();
        let mut full = None;
        match polled {
            Poll::Pending => return None,
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Ok(frame))) => {
                self.ended = self.client.is_end_stream();
                self.frames += 1;
                full = self.kept.push(frame);
            }
            Poll::Ready(Some(Err(fault))) => self.fault = Some(*fault),
        }
        self.moved = Instant::now();
        full
    }
}

impl KeptBody {
    fn frames(&self) -> &[KeptFrame] {
        match self {
            Self::No | Self::Untouched => &[],
            Self::Yes { frames, .. } => frames,
        }
    }

    /// Returns the memory where it has become too full.
    fn push(&mut self, frame: &Frame<Bytes>) -> Option<Arc<Memory>> {
        let Self::Yes { frames, bytes, counted } = self else {
            *self = Self::No;
            return None;
        };
        // Each frame costs its own bytes, and some more.
        let more = frame.data_ref().map_or(0, Bytes::len) + size_of::<KeptFrame>();
        *bytes += more;
        if *bytes > KEPT {
            *self = Self::No;
            return None;
        }
        if let Some(data) = frame.data_ref() {
            frames.push(KeptFrame::Data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            frames.push(KeptFrame::Trailers(trailers.clone()));
        }
        counted.add_locked(more)
    }
}

impl KeptFrame {
    fn len(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Trailers(_) => 0,
        }
    }
}

impl From<&KeptFrame> for Frame<Bytes> {
    fn from(kept: &KeptFrame) -> Self {
        match kept {
            KeptFrame::Data(data) => Self::data(data.clone()),
            KeptFrame::Trailers(trailers) => Self::trailers(trailers.clone()),
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        let Some(upload) = &this.upload else { return Poll::Ready(None) };
        if let Some(continue_by) = &mut this.continue_by {
            upload.wanted.register(cx.waker());
            if !upload.state.lock().continued && continue_by.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.continue_by = None;
        }
        let mut state = upload.state.lock();
        if state.turn != this.turn {
            return Poll::Ready(Some(Err(BodyFault::SentAgain)));
        }
        if this.yielded < state.frames {
            let Some(kept) = state.kept.frames().get(this.yielded) else {
                state.fault = Some(BodyFault::NoRoom);
                return Poll::Ready(Some(Err(BodyFault::NoRoom)));
            };
            let frame = Frame::from(kept);
            this.yielded += 1;
            if state.frames == this.yielded {
                state.ended = state.client.is_end_stream();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        let (polled, full) = state.read(&upload.set, cx);
        this.yielded = state.frames;
        drop(state);
        if let Some(memory) = full {
            memory.make_room();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let Some(upload) = &self.upload else { return true };
        let state = upload.state.lock();
        state.frames <= self.yielded && state.client.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(upload) = &self.upload else { return SizeHint::with_exact(0) };
        let state = upload.state.lock();
        if self.yielded < state.frames && state.kept.frames().is_empty() {
            // The copy is gone: nothing will come but an error.
            return SizeHint::default();
        }
        let kept: u64 = state.kept.frames().iter().skip(self.yielded).map(KeptFrame::len).sum();
        SizeHint::with_exact(kept) + state.client.size_hint()
    }
}
