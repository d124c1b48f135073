//! The body of a request on its way to a service, and its progress.

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

/// How long to hold a body back for the service's 100 before it is sent anyway (RFC 9110, section
/// 10.1.1).
const CONTINUE: Duration = Duration::from_secs(1);

/// Limit of the bytes of a body that are kept until its answer begins, so that the request can be
/// sent again. The initial flow-control window lets 65,535 bytes be sent before the service has
/// responded at all (RFC 9113, section 6.9.2), and the piece that exceeds the window has been read
/// as well.
const KEPT: usize = 192 << 10;

/// The body of a request, read as fast as the service takes it.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None` if there is no body.
    upload: Option<Arc<Upload>>,
    /// The number of the attempt that this body belongs to: only the last attempt yields frames.
    turn: u32,
    /// How many frames this attempt has yielded.
    yielded: usize,
    /// When to stop holding the first byte back.
    continue_by: Option<Pin<Box<Sleep>>>,
    /// The HTTP/2 stream, which stays open until the body has been sent.
    place: Option<Arc<StreamPermit>>,
}

/// The progress of a body, shared by both sides of the exchange.
#[derive(Debug)]
pub(crate) struct Upload {
    state: Mutex<BodyProgress>,
    /// Woken when the service asks for the body.
    wanted: AtomicWaker,
    /// Headers that the definition sets: trailers must not contain them.
    set: Arc<[HeaderName]>,
}

#[derive(Debug)]
struct BodyProgress {
    client: ClientBody,
    /// How many bytes may still follow.
    left: u64,
    turn: u32,
    /// How many frames have been read.
    frames: usize,
    kept: KeptBody,
    moved: Instant,
    /// Whether the client keeps the service waiting.
    client_silent: bool,
    ended: bool,
    fault: Option<BodyFault>,
    continued: bool,
}

/// The part of a body that is kept for another attempt.
#[derive(Debug)]
enum KeptBody {
    /// The beginning is lost: the body cannot be sent again.
    No,
    /// Nothing has been read yet.
    Untouched,
    /// The whole body so far, within [`KEPT`].
    Yes { frames: Vec<KeptFrame>, bytes: usize, counted: Held },
}

#[derive(Clone, Debug)]
enum KeptFrame {
    Data(Bytes),
    Trailers(HeaderMap),
}

/// Why a body is incomplete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    #[error("the request body is larger than allowed")]
    TooLarge,
    #[error("the request body is broken off")]
    Broken,
    /// Not the client's fault: the request is being sent again, and this attempt is abandoned.
    #[error("the request is sent again")]
    SentAgain,
    /// The copy was evicted from memory while the body was being sent again.
    #[error("too many bytes wait in memory")]
    NoRoom,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyFault>>>;

impl RequestBody {
    /// Creates a body without any bytes.
    pub(crate) fn empty() -> Self {
        Self { upload: None, turn: 0, yielded: 0, continue_by: None, place: None }
    }

    /// Creates the body of a client's request, of at most `max` bytes. Headers in `set` are removed
    /// from its trailers.
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

    /// Returns the same body from its beginning, for another attempt; earlier ones yield nothing
    /// any more. `None` if a part of it is lost.
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

    /// Returns whether there is no body: the request can be sent again from its head alone.
    pub(crate) fn is_empty(&self) -> bool {
        self.upload.is_none()
    }

    /// Returns the progress of the body; `None` without a body.
    pub(crate) fn upload(&self) -> Option<Arc<Upload>> {
        self.upload.clone()
    }

    /// Keeps the place of an HTTP/2 stream until the whole body has been sent.
    pub(crate) fn occupy(&mut self, place: Option<Arc<StreamPermit>>) {
        if self.upload.is_some() {
            self.place = place;
        }
    }

    /// Holds the body back until the service asks for it: the client holds it back as well, and may
    /// never have to send it.
    pub(crate) fn hold(&mut self) {
        if self.upload.is_some() {
            self.continue_by = Some(Box::pin(tokio::time::sleep(CONTINUE)));
        }
    }
}

impl Upload {
    /// Returns which side keeps the exchange waiting.
    pub(crate) fn awaited(&self) -> Awaited {
        let state = self.state.lock();
        match () {
            () if state.ended => Awaited::Answer(state.moved),
            () if state.client_silent => Awaited::Client(state.moved),
            () => Awaited::Service(state.moved),
        }
    }

    /// Returns why the body is incomplete, if it is.
    pub(crate) fn fault(&self) -> Option<BodyFault> {
        self.state.lock().fault
    }

    /// Keeps what is read from now on, while it stays within [`KEPT`] and `memory` has room.
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

    /// Drops the copy: an answer has begun, so the request is not sent again.
    pub(crate) fn answered(&self) {
        self.state.lock().kept = KeptBody::No;
    }

    /// Notes that the service asks for the body.
    pub(crate) fn is_wanted(&self) {
        self.state.lock().continued = true;
        self.wanted.wake();
    }
}

impl BodyProgress {
    /// Reads the next frame from the client. Also returns the memory if it is above its limit.
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

    /// Keeps a frame. Returns the memory if it is above its limit.
    fn push(&mut self, frame: &Frame<Bytes>) -> Option<Arc<Memory>> {
        let Self::Yes { frames, bytes, counted } = self else {
            *self = Self::No;
            return None;
        };
        // Each frame costs its own bytes, and a fixed overhead.
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
            // The copy was dropped: only an error follows.
            return SizeHint::default();
        }
        let kept: u64 = state.kept.frames().iter().skip(self.yielded).map(KeptFrame::len).sum();
        SizeHint::with_exact(kept) + state.client.size_hint()
    }
}
