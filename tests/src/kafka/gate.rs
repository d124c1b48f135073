//! A gate in front of a broker that has neither TLS nor SASL: it adds both, and fails as networks
//! do.

use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::KafkaServer;
use super::sasl::{Accounts, Exchange, GateSasl, Step};
use crate::authority::Authority;
use crate::cluster::{Link, LinkState};

/// What a gate demands of clients.
#[derive(Clone, Copy, Default)]
pub struct GateOptions<'a> {
    /// TLS; without it, clients connect in clear text.
    pub tls: Option<GateTls<'a>>,
    /// SASL; without it, all clients are let in.
    pub sasl: Option<GateSasl<'a>>,
}

/// The certificates of a gate.
#[derive(Clone, Copy)]
pub struct GateTls<'a> {
    /// Who has signed the gate's certificate.
    pub authority: &'a Authority,
    /// The names in this certificate.
    pub names: &'a [&'a str],
    /// Who has to sign the certificates of clients; if it is `None`, they need none.
    pub clients: Option<&'a Authority>,
}

impl<'a> GateTls<'a> {
    /// Returns a certificate of this authority for 127.0.0.1 and `localhost`; clients need none.
    pub fn of(authority: &'a Authority) -> Self {
        Self { authority, names: &["127.0.0.1", "localhost"], clients: None }
    }
}

/// A broker behind a gate; both are stopped when it is dropped.
///
/// The broker listens on 127.0.0.2 and tells its clients to connect there. The gate listens on the
/// same port of 127.0.0.1, and replaces the one address by the other in all answers. It does so in
/// the bytes of messages too, which would break their checksums: the text `127.0.0.2` must not be
/// in messages.
pub struct Gate {
    server: KafkaServer,
    link: Link,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    /// Closes the listener and all connections when it is dropped.
    _stop: oneshot::Sender<()>,
}

/// The gates of a process share one thread.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});

/// A longer frame closes the connection.
const FRAME_BYTES: usize = 64 << 20;

const OUTSIDE: &[u8] = b"127.0.0.1";
const INSIDE: &[u8] = b"127.0.0.2";

impl Gate {
    /// Starts a broker and a gate on free ports.
    ///
    /// # Panics
    /// Panics if they do not start.
    pub fn start(options: GateOptions<'_>) -> Self {
        // Another program may have taken the port at the other address.
        let (listener, address, server) = (0..5).find_map(|_| listen()).expect("a broker starts");
        let link = Link::to(server.address());
        let log = Arc::new(Mutex::new(Vec::new()));
        let keeper = Keeper {
            link: link.address(),
            tls: options.tls.map(|tls| tls.authority.server(tls.names, tls.clients).into()),
            accounts: options.sasl.map(|sasl| sasl.into()),
            log: log.clone(),
        };
        let (stop, stopped) = oneshot::channel();
        RUNTIME.spawn(async move {
            tokio::select! {
                () = Arc::new(keeper).accept(listener) => {}
                _ = stopped => {}
            }
        });
        Self { server, link, address, log, _stop: stop }
    }

    /// Returns where it listens for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the broker behind it. Its address and its client bypass the gate.
    pub fn server(&mut self) -> &mut KafkaServer {
        &mut self.server
    }

    /// Starts a client that passes the gate, with these properties of librdkafka.
    ///
    /// # Panics
    /// Panics if the client is not installed.
    pub fn client(&self, properties: &[(&str, &str)]) -> super::KafkaClient {
        super::KafkaClient::start(self.address, properties)
    }

    /// Sets the state of the network between the gate and the broker. A cut closes the connections
    /// of clients too. In a black hole, the gate still completes TLS handshakes.
    pub fn set(&self, state: LinkState) {
        self.link.set(state);
    }

    /// Returns the authentications so far: `accepted PLAIN`, `refused SCRAM-SHA-256`, `no SASL` for
    /// a client that asks before it is authenticated.
    pub fn authentications(&self) -> Vec<String> {
        self.log.lock().clone()
    }
}

fn listen() -> Option<(std::net::TcpListener, SocketAddr, KafkaServer)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket option");
    let address = listener.local_addr().expect("a bound socket has an address");
    let server = KafkaServer::try_start_at(Ipv4Addr::new(127, 0, 0, 2), address)?;
    Some((listener, address, server))
}

struct Keeper {
    link: SocketAddr,
    tls: Option<TlsAcceptor>,
    accounts: Option<Accounts>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Keeper {
    async fn accept(self: Arc<Self>, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).expect("the runtime takes it");
        // Dropped with this future, and with it all connections.
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            let keeper = self.clone();
            connections.spawn(async move { drop(keeper.serve(client).await) });
        }
    }

    async fn serve(&self, client: TcpStream) -> Result<()> {
        let server = TcpStream::connect(self.link).await?;
        for socket in [&client, &server] {
            socket.set_nodelay(true)?;
        }
        let Some(tls) = &self.tls else { return self.carry(client, server).await };
        let client = tokio::select! {
            client = tls.accept(client) => client?,
            () = closed(&server) => return Ok(()),
        };
        self.carry(client, server).await
    }

    /// Carries one connection until one side closes it.
    async fn carry(
        &self,
        mut client: impl AsyncRead + AsyncWrite + Unpin,
        mut server: TcpStream,
    ) -> Result<()> {
        if let Some(accounts) = &self.accounts {
            self.authenticate(&mut client, &mut server, accounts).await?;
        }
        let (mut from_client, mut to_client) = split(client);
        let (mut from_server, mut to_server) = server.split();
        let requests = async {
            loop {
                let frame = read(&mut from_client).await?;
                write(&mut to_server, &frame).await?;
            }
        };
        let answers = async {
            loop {
                let mut frame = read(&mut from_server).await?;
                replace(&mut frame);
                write(&mut to_client, &frame).await?;
            }
        };
        tokio::select! {
            end = requests => end,
            end = answers => end,
        }
    }

    /// Passes nothing but questions for versions on until the client is authenticated.
    async fn authenticate(
        &self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        server: &mut TcpStream,
        accounts: &Accounts,
    ) -> Result<()> {
        let mut exchange: Option<(String, Exchange)> = None;
        loop {
            let frame = tokio::select! {
                frame = read(client) => frame?,
                () = closed(server) => return Err(ErrorKind::ConnectionAborted.into()),
            };
            let request = Request::of(&frame).ok_or(ErrorKind::InvalidData)?;
            match (request.key, &mut exchange) {
                (API_VERSIONS, _) => {
                    write(server, &frame).await?;
                    write(client, &read(server).await?).await?;
                }
                (SASL_HANDSHAKE, None) => {
                    let mechanism = short_string(request.body).ok_or(ErrorKind::InvalidData)?;
                    exchange = Exchange::start(&mechanism, accounts).map(|begun| (mechanism, begun));
                    let error = if exchange.is_some() { 0 } else { UNSUPPORTED_SASL_MECHANISM };
                    write(client, &request.handshake(error, &accounts.mechanisms)).await?;
                }
                (SASL_AUTHENTICATE, Some((mechanism, exchange))) => {
                    let step = exchange.step(bytes(request.body).ok_or(ErrorKind::InvalidData)?, accounts);
                    match step {
                        Step::Challenge(text) => write(client, &request.authenticate(0, &text)).await?,
                        Step::Accepted(text) => {
                            self.log.lock().push(format!("accepted {mechanism}"));
                            return write(client, &request.authenticate(0, &text)).await;
                        }
                        Step::Refused => {
                            self.log.lock().push(format!("refused {mechanism}"));
                            write(client, &request.authenticate(SASL_AUTHENTICATION_FAILED, &[])).await?;
                            return Err(ErrorKind::PermissionDenied.into());
                        }
                    }
                }
                _ => {
                    self.log.lock().push("no SASL".to_owned());
                    return Err(ErrorKind::PermissionDenied.into());
                }
            }
        }
    }
}

const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// A request of a version without tagged fields, or another request, whose body is not read.
struct Request<'a> {
    key: i16,
    version: i16,
    correlation: &'a [u8],
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn of(frame: &'a [u8]) -> Option<Self> {
        let key = i16::from_be_bytes(frame.get(..2)?.try_into().ok()?);
        let version = i16::from_be_bytes(frame.get(2..4)?.try_into().ok()?);
        // The client's id follows, which may be null.
        let id = i16::from_be_bytes(frame.get(8..10)?.try_into().ok()?);
        let body = frame.get(10 + usize::try_from(id).unwrap_or(0)..)?;
        let is_read = match key {
            SASL_HANDSHAKE => version <= 1,
            SASL_AUTHENTICATE => version <= 1,
            _ => true,
        };
        is_read.then_some(Self { key, version, correlation: &frame[4..8], body })
    }

    fn handshake(&self, error: i16, mechanisms: &[String]) -> Vec<u8> {
        let mut answer = [self.correlation, &error.to_be_bytes()].concat();
        answer.extend(u32::try_from(mechanisms.len()).expect("a few").to_be_bytes());
        for name in mechanisms {
            answer.extend(u16::try_from(name.len()).expect("a short name").to_be_bytes());
            answer.extend(name.bytes());
        }
        answer
    }

    fn authenticate(&self, error: i16, text: &[u8]) -> Vec<u8> {
        // Its message, which is null.
        let mut answer = [self.correlation, &error.to_be_bytes(), &(-1_i16).to_be_bytes()].concat();
        answer.extend(u32::try_from(text.len()).expect("a short text").to_be_bytes());
        answer.extend(text);
        if self.version >= 1 {
            // The session has no end.
            answer.extend(0_i64.to_be_bytes());
        }
        answer
    }
}

fn short_string(body: &[u8]) -> Option<String> {
    let length = u16::from_be_bytes(body.get(..2)?.try_into().ok()?);
    Some(String::from_utf8_lossy(body.get(2..2 + usize::from(length))?).into_owned())
}

fn bytes(body: &[u8]) -> Option<&[u8]> {
    let length = u32::from_be_bytes(body.get(..4)?.try_into().ok()?);
    body.get(4..)?.get(..usize::try_from(length).ok()?)
}

async fn closed(server: &TcpStream) {
    drop(server.peek(&mut [0]).await);
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let length = usize::try_from(from.read_u32().await?).map_err(Error::other)?;
    if length > FRAME_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<()> {
    let length = u32::try_from(frame.len()).map_err(Error::other)?;
    to.write_all(&[&length.to_be_bytes(), frame].concat()).await?;
    to.flush().await
}

fn replace(frame: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = frame[at..].windows(INSIDE.len()).position(|window| window == INSIDE) {
        frame[at + found..][..OUTSIDE.len()].copy_from_slice(OUTSIDE);
        at += found + OUTSIDE.len();
    }
}
