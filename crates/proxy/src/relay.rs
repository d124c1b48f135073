//! The body of an answer on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, SizeHint};
use listener::BoxError;

use crate::account::Account;
use crate::head;
use crate::in_flight::{Cancelled, InSession, UntilSent};
use crate::upstream::{AnswerBody, Link, Upstream};

/// Limit of the bytes of a body that are read and discarded.
const DISCARDED: usize = 64 << 10;

/// The body of an answer, read as fast as the client takes it. When it has been read to its end,
/// the connection to the service is returned for the next exchange; dropped before that, the
/// connection is closed.
pub(crate) struct Relay {
    body: AnswerBody,
    /// Taken when the body has ended.
    link: Option<Box<Link>>,
    upstream: Arc<Upstream>,
    server: usize,
    idle: Duration,
    /// The whole body was received.
    ended: bool,
    session: UntilSent,
    account: Account,
}

impl Relay {
    pub(crate) fn new(
        body: AnswerBody,
        mut link: Box<Link>,
        (upstream, server): (Arc<Upstream>, usize),
        idle: Duration,
        session: Option<InSession>,
        account: Account,
    ) -> Self {
        link.moved(idle);
        let session = UntilSent(session);
        Self { body, link: Some(link), upstream, server, idle, ended: false, session, account }
    }

    /// Reads a body and discards it, so that the connection can be used again. Gives up on a long
    /// body.
    pub(crate) async fn discard(mut self) {
        let mut left = DISCARDED;
        while let Some(Ok(frame)) = self.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else { return };
            left = rest;
        }
    }

    /// A reader that knows the length of the body does not poll for its end.
    fn has_ended(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn give_back(&mut self) {
        if let Some(link) = self.link.take()
            && self.has_ended()
        {
            self.upstream.keep(link, self.server);
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Err(over) = this.session.check(cx) {
            this.account.killed();
            return Poll::Ready(Some(Err(Cancelled::from(over).into())));
        }
        let Some(link) = &mut this.link else { return Poll::Ready(None) };
        let mut polled = link.poll_body(&mut this.body, this.idle, cx);
        match &mut polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    head::for_trailers(trailers, &[]);
                    this.ended = true;
                }
                if let Some(session) = &this.session.0
                    && let Err(over) = session.in_flight.payload()
                {
                    this.account.killed();
                    return Poll::Ready(Some(Err(Cancelled::from(over).into())));
                }
            }
            Poll::Ready(Some(Err(_))) => {
                this.account.failed(Some(&this.upstream.broke_off(this.server)));
                this.account.broken();
                this.link = None;
            }
            Poll::Ready(None) => {
                this.ended = true;
                this.account.whole();
                this.give_back();
            }
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.has_ended() {
            self.account.whole();
        } else if self.session.0.as_ref().is_some_and(|session| session.in_flight.has_ended()) {
            self.account.killed();
        }
        self.give_back();
    }
}

/// The body of an answer that is complete.
pub(crate) struct Whole {
    body: Full<Bytes>,
    session: UntilSent,
    account: Account,
}

impl Whole {
    pub(crate) fn new(body: Bytes, session: Option<InSession>, account: Account) -> Self {
        Self { body: Full::new(body), session: UntilSent(session), account }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Err(over) = self.session.check(cx) {
            self.account.killed();
            return Poll::Ready(Some(Err(Cancelled::from(over).into())));
        }
        Pin::new(&mut self.body).poll_frame(cx).map_err(|never| match never {})
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.account.whole();
        }
    }
}
