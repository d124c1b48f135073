//! A service that writes exactly the bytes it is given, and keeps all that it reads.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use parking_lot::Mutex;
use serde_json::Value;

use super::{Received, api};
use crate::wire::{DEADLINE, Record, Wire};

/// What is done with each request.
#[derive(Clone, Debug)]
pub enum Script {
    /// It is answered with these bytes, and the connection is kept.
    Answers(Vec<u8>),
    /// It is answered with these bytes, and the connection is closed: after a whole answer, one
    /// that was kept; after a part of a body, a service that dies; after nothing, one that closes
    /// early; after garbage, one that is none.
    AnswersAndCloses(Vec<u8>),
    /// It is answered with these bytes, and the connection is reset.
    AnswersAndResets(Vec<u8>),
    /// It is read, and that is all.
    NeverAnswers,
    /// It is not even read.
    NeverReads,
    /// It is answered byte by byte, each after the pause in milliseconds.
    Trickles(Vec<u8>, u64),
}

/// A service that does one and the same.
pub struct RawUpstream {
    address: SocketAddr,
    /// What every connection so far has brought.
    heard: Arc<Mutex<Vec<Record>>>,
    /// How many of its connections have ended.
    ended: Arc<AtomicUsize>,
    connections: Receiver<Wire>,
}

impl RawUpstream {
    /// Listens on a free port until the test ends, and does what the script says.
    ///
    /// # Panics
    /// If there is no free port.
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

    /// Listens on a free port until the test ends, and leaves all else to the test:
    /// [`RawUpstream::accept`].
    ///
    /// # Panics
    /// If there is no free port.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An API that consists of these endpoints of it.
    pub fn api(&self, id: &str, endpoints: &Value) -> Value {
        api(id, self.address.port(), endpoints)
    }

    /// The next connection of the gateway, of a service by hand.
    ///
    /// # Panics
    /// Where none comes.
    pub fn accept(&self) -> Wire {
        self.connections.recv_timeout(DEADLINE).expect("the gateway connects").impatient()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.heard.lock().len()
    }

    /// How many of its connections have ended; of a service with a script only.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }

    /// The bytes that came since the last call, of each connection that brought some.
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
