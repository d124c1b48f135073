//! What was received and is not read yet, bounded in bytes.
//!
//! A subscription cannot wait: what its reader does not take, the client library drops. It bounds
//! the number of messages, and each may be as large as NATS takes.

use std::pin::pin;
use std::sync::Arc;

use async_nats::Message;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// What a message needs beside its bytes on the wire, and each of its headers.
const OVERHEAD: usize = 256;
const HEADER: usize = 192;

/// Takes what subscriptions receive, in the order of each.
#[derive(Clone)]
pub struct Unread {
    sender: mpsc::UnboundedSender<(Message, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    limit: usize,
}

/// Reads what an [`Unread`] has taken.
pub struct UnreadMessages(mpsc::UnboundedReceiver<(Message, OwnedSemaphorePermit)>);

impl Unread {
    /// Returns an empty queue. `limit` bounds its bytes, up to 4 GiB; one message always finds
    /// room.
    pub fn new(limit: usize) -> (Self, UnreadMessages) {
        let limit = limit.min(u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        let (sender, messages) = mpsc::unbounded_channel();
        (Self { sender, room: Arc::new(Semaphore::new(limit)), limit }, UnreadMessages(messages))
    }

    /// Returns another queue, which shares the limit of this one.
    pub fn beside(&self) -> (Self, UnreadMessages) {
        let (sender, messages) = mpsc::unbounded_channel();
        (Self { sender, room: self.room.clone(), limit: self.limit }, UnreadMessages(messages))
    }

    /// Takes what a subscription receives, until nothing can follow or nothing reads any more.
    /// Calls `dropped` for each message that finds no room.
    pub async fn take_all(&self, messages: impl Stream<Item = Message>, dropped: impl Fn()) {
        let mut messages = pin!(messages);
        while let Some(mut message) = messages.next().await {
            let headers = message.headers.iter().flat_map(|headers| headers.iter());
            let headers: usize = headers.map(|(_, values)| values.len()).sum();
            let size = message.length.max(message.payload.len()) + OVERHEAD + HEADER * headers;
            let size = size.min(self.limit) as u32;
            match self.room.clone().try_acquire_many_owned(size) {
                Ok(room) => {
                    // As it came, it keeps everything that was read with it.
                    message.payload = Bytes::copy_from_slice(&message.payload);
                    if self.sender.send((message, room)).is_err() {
                        return;
                    }
                }
                Err(_) => dropped(),
            }
        }
    }
}

impl UnreadMessages {
    /// Returns the next message; `None` once nothing can follow.
    pub async fn next(&mut self) -> Option<Message> {
        self.0.recv().await.map(|(message, _)| message)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::{FutureExt, stream};

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn message(size: usize) -> Message {
        Message {
            subject: "s".into(),
            reply: None,
            payload: vec![0; size].into(),
            headers: None,
            status: None,
            description: None,
            length: size,
        }
    }

    #[tokio::test]
    async fn what_is_not_read_is_bounded_in_bytes() {
        let (unread, mut messages) = Unread::new(LIMIT);
        let large = LIMIT / 8 - OVERHEAD;
        let dropped = Cell::new(0);
        let take = async |sizes: &[usize]| {
            let messages = stream::iter(sizes.iter().map(|size| message(*size)).collect::<Vec<_>>());
            unread.take_all(messages, || dropped.set(dropped.get() + 1)).await;
        };
        take(&[large; 100]).await;
        assert_eq!(dropped.take(), 92);
        assert_eq!(messages.next().await.map(|message| message.length), Some(large));
        take(&[large, 1]).await;
        assert_eq!(dropped.take(), 1, "what is read makes room");
        while messages.next().now_or_never().is_some() {}
        let (beside, mut others) = unread.beside();
        beside.take_all(stream::iter([message(LIMIT)]), || {}).await;
        take(&[1]).await;
        assert_eq!(dropped.take(), 1, "two queues share the limit");
        drop(others.next().await);
        take(&[2 * LIMIT, 1]).await;
        assert_eq!(dropped.take(), 1, "one message always finds room");
        assert_eq!(messages.next().await.map(|message| message.length), Some(2 * LIMIT));
    }

    #[tokio::test]
    async fn headers_need_room_too() {
        let (unread, mut messages) = Unread::new(LIMIT);
        let mut headers = async_nats::HeaderMap::new();
        (0..LIMIT / HEADER).for_each(|number| headers.insert(format!("h{number}"), ""));
        let full = Message { headers: Some(headers), ..message(1) };
        let dropped = Cell::new(0);
        unread.take_all(stream::iter([full, message(1)]), || dropped.set(dropped.get() + 1)).await;
        assert_eq!(dropped.get(), 1);
        assert!(messages.next().await.is_some());
    }

    #[tokio::test]
    async fn a_queue_that_is_not_read_ends_the_task_of_its_subscription() {
        let (unread, messages) = Unread::new(LIMIT);
        drop(messages);
        let endless = stream::repeat_with(|| message(1));
        unread.take_all(endless, || {}).await;
    }
}
