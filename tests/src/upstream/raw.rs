//! A service that writes exactly the bytes that it is given, and records everything that it reads.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use parking_lot::Mutex;
use serde_json::Value;

use super::{Received, api};
use crate::wire::{DEADLINE, Record, Wire};

/// How a service treats each request.
#[derive(Clone, Debug)]
pub enum Script {
    /// Answers with these bytes and keeps the connection open.
    Answers(Vec<u8>),
    /// Answers with these bytes and closes the connection. A part of an answer stands for a service
    /// that dies, no bytes for one that closes early, garbage for one that does not speak HTTP.
    AnswersAndCloses(Vec<u8>),
    /// Answers with these bytes and resets the connection.
    AnswersAndResets(Vec<u8>),
    /// Reads the request and does not answer.
    NeverAnswers,
    /// Does not read the request.
    NeverReads,
    /// Answers byte by byte, each after a pause in milliseconds.
    Trickles(Vec<u8>, u64),
}

/// A service that treats every request in the same way.
pub struct RawUpstream {
    address: SocketAddr,
    /// The bytes received on each connection so far.
    heard: Arc<Mutex<Vec<Record>>>,
    /// How many of its connections are closed.
    ended: Arc<AtomicUsize>,
    connections: Receiver<Wire>,
}

impl RawUpstream {
    /// Listens on a free port until the test ends, and follows the script.
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub fn start(script: &Script) -> Self {
        let (script, ended) = (script.clone(), Arc::<AtomicUsize>::default());
        let counted = ended.clone();
        let upstream = Self::listen(move |mut wire| {
            let (script, counted) = (script.clone(), counted.clone());
            std::thread::spawn(move || {
                run(&mut wire, &script);
                drop(wire);
                counted.fetch_add(1, Ordering::SeqCst);
            });
        });
        Self { ended, ..upstream }
    }

    /// Listens on a free port until the test ends, and leaves the connections to the test:
    /// [`RawUpstream::accept`].
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub fn by_hand() -> Self {
        let (sender, connections) = channel();
        let upstream = Self::listen(move |wire| drop(sender.send(wire)));
        Self { connections, ..upstream }
    }

    fn listen(serve: impl Fn(Wire) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let heard = Arc::<Mutex<Vec<_>>>::default();
        std::thread::spawn({
            let heard = heard.clone();
            move || {
                while let Ok((stream, _)) = listener.accept() {
                    let record = Record::default();
                    heard.lock().push(record.clone());
                    serve(Wire::patient(stream).heard_by(record));
                }
            }
        });
        Self { address, heard, ended: Arc::default(), connections: channel().1 }
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns an API with these endpoints of the service.
    pub fn api(&self, id: &str, endpoints: &Value) -> Value {
        api(id, self.address.port(), endpoints)
    }

    /// Returns the next connection of the gateway to a service that was started with
    /// [`RawUpstream::by_hand`].
    ///
    /// # Panics
    /// Panics if none arrives.
    pub fn accept(&self) -> Wire {
        self.connections.recv_timeout(DEADLINE).expect("the gateway connects").impatient()
    }

    /// Returns how many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.heard.lock().len()
    }

    /// Returns how many of its connections are closed. Only for a service with a script.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// Returns the bytes received since the last call, for each connection that received any.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        let heard = self.heard.lock();
        heard
            .iter()
            .map(|bytes| std::mem::take(&mut *bytes.lock()))
            .filter(|bytes| !bytes.is_empty())
            .collect()
    }
}

fn run(wire: &mut Wire, script: &Script) -> Option<()> {
    loop {
        if matches!(script, Script::NeverReads) {
            std::thread::park();
        }
        Received::read(wire)?;
        match script {
            Script::Answers(bytes) => wire.try_send(bytes)?,
            Script::AnswersAndCloses(bytes) => {
                wire.send(bytes);
                return None;
            }
            Script::AnswersAndResets(bytes) => {
                wire.send(bytes);
                wire.reset();
                return None;
            }
            Script::NeverAnswers => drop(wire.rest()),
            Script::NeverReads => {}
            Script::Trickles(bytes, pause) => {
                for byte in bytes {
                    std::thread::sleep(std::time::Duration::from_millis(*pause));
                    wire.try_send([*byte])?;
                }
            }
        }
    }
}
