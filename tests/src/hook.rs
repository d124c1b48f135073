//! A receiver of web hooks, which answers as the test says.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::Value;

use crate::upstream::{Received, unused_address};
use crate::wire::{Wire, eventually};

/// A receiver of web hooks; its port is closed when it is dropped.
pub struct HookReceiver {
    address: SocketAddr,
    heard: Arc<Heard>,
}

struct Heard {
    /// The answer to each request; `None`: it gets none.
    answer: Mutex<Option<Vec<u8>>>,
    posts: Mutex<Vec<HookPost>>,
    closed: AtomicBool,
}

/// A request to a receiver.
#[derive(Clone, Debug)]
pub struct HookPost {
    /// When it came.
    pub at: Instant,
    /// It, as it was sent.
    pub request: Received,
}

impl HookReceiver {
    /// Listens on a free port, and takes everything.
    pub fn start() -> Self {
        // Another program may take a port between its choice and its use.
        (0..5).find_map(|_| Self::listen(unused_address())).expect("a free port")
    }

    /// Listens at this address, as soon as it is free, and takes everything.
    pub fn start_at(address: SocketAddr) -> Self {
        eventually("the port of the receiver", || Self::listen(address))
    }

    fn listen(address: SocketAddr) -> Option<Self> {
        let listener = TcpListener::bind(address).ok()?;
        let heard = Arc::new(Heard {
            answer: Mutex::new(None),
            posts: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let receiver = Self { address, heard: heard.clone() };
        receiver.answer("204 No Content", "");
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if heard.closed.load(Ordering::SeqCst) {
                    return;
                }
                let heard = heard.clone();
                std::thread::spawn(move || serve(&mut Wire::patient(stream), &heard));
            }
        });
        Some(receiver)
    }

    /// Answers with this status and these header fields, each with its line end, from now on.
    pub fn answer(&self, status: &str, fields: &str) {
        let answer = format!("HTTP/1.1 {status}\r\n{fields}content-length: 0\r\n\r\n");
        *self.heard.answer.lock() = Some(answer.into_bytes());
    }

    /// Answers nothing from now on.
    pub fn hang(&self) {
        *self.heard.answer.lock() = None;
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("http://{}/hooks/rig", self.address)
    }

    /// Returns its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns what has come so far.
    pub fn posts(&self) -> Vec<HookPost> {
        self.heard.posts.lock().clone()
    }

    /// Waits until this number of requests has come.
    pub fn await_posts(&self, count: usize) -> Vec<HookPost> {
        eventually("requests to the web hook", || Some(self.posts()).filter(|posts| posts.len() >= count))
    }
}

impl Drop for HookReceiver {
    fn drop(&mut self) {
        self.heard.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(std::net::TcpStream::connect(self.address));
    }
}

fn serve(wire: &mut Wire, heard: &Heard) {
    while let Some(request) = Received::read(wire) {
        if heard.closed.load(Ordering::SeqCst) {
            return;
        }
        let answer = heard.answer.lock().clone();
        heard.posts.lock().push(HookPost { at: Instant::now(), request });
        match answer {
            Some(answer) => wire.send(answer),
            None => drop(wire.rest()),
        }
    }
}

impl HookPost {
    /// Returns the event.
    ///
    /// # Panics
    /// Panics if the body is not JSON.
    pub fn event(&self) -> Value {
        serde_json::from_slice(&self.request.body).expect("an event")
    }

    /// Returns the type of the event without what all have in common, as `accepted`.
    ///
    /// # Panics
    /// Panics if it has another one.
    pub fn kind(&self) -> String {
        let event = self.event();
        let kind = event["type"].as_str().and_then(|kind| kind.strip_prefix("rig.revocation."));
        kind.expect("the type of a report").to_owned()
    }

    /// Returns the `sequence` of the event.
    pub fn sequence(&self) -> String {
        self.event()["sequence"].as_str().expect("a text").to_owned()
    }

    /// Returns whether one of its signatures is that of this secret (Standard Webhooks 1.0.0).
    ///
    /// # Panics
    /// Panics if a header is missing.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let header = |name| self.request.header(name).expect("a header of Standard Webhooks");
        let secret = secret.strip_prefix("whsec_").expect("a secret");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(secret).expect("Base64"));
        let mut signed = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
        signed.extend(&self.request.body);
        let signature = format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed)));
        header("webhook-signature").split(' ').any(|one| one == signature)
    }

    /// Returns how many signatures it has.
    pub fn signatures(&self) -> usize {
        self.request.header("webhook-signature").map_or(0, |all| all.split(' ').count())
    }
}
