//! The accept loop.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::app::App;
use crate::balancer::Arrived;
use crate::client::TrustedProxies;
use crate::client_certificate::ClientAuthorities;
use crate::limits::{Limits, NoPlace, Permit, Places};
use crate::log_limiter::LogLimiter;
use crate::metrics::RefusalReason;
use crate::peer::Origin;
use crate::stream::Stream;
use crate::tls::{Acceptor, Handshake, Tls, refused_certificate};
use crate::{closing, http1, http2, refusal};

/// The address, the protocols and the limits of a listener.
#[derive(Clone)]
pub struct Config {
    /// Reserves the port, but refuses connections until the listener is served.
    pub waits: bool,
    /// The address; port 0 binds any free port.
    pub address: SocketAddr,
    /// The certificate and its key, for HTTPS.
    pub tls: Option<Tls>,
    /// The authorities of the certificates that clients may present over HTTPS; `None`: clients are
    /// not asked for any.
    pub clients: Option<ClientAuthorities>,
    /// The limits, and the connections that count towards them.
    pub places: Arc<Places>,
    /// The proxies that are trusted to name their clients.
    pub proxies: TrustedProxies,
    /// If `true`, each connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// A bound port.
pub struct Listener {
    socket: Socket,
    config: Config,
}

/// Limit of connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 4096;

/// How long sent bytes may remain unacknowledged before the kernel closes the connection
/// (`TCP_USER_TIMEOUT`).
const USER_TIMEOUT: Duration = Duration::from_secs(60);

/// Time limit for the TLS handshake, and for the first bytes in clear text.
const HANDSHAKE: Duration = Duration::from_secs(10);

static LOG: LogLimiter = LogLimiter::new();

/// Limits the lines about certificates of clients.
static CERTIFICATES: LogLimiter = LogLimiter::new();

/// How often to check if the rest of a preface has arrived.
const PREFACE_POLL: Duration = Duration::from_millis(5);

/// How HTTP/2 by prior knowledge begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

impl Listener {
    /// Binds the port; nothing is accepted yet.
    ///
    /// # Errors
    /// Fails if the address is in use or not one of this host.
    pub fn bind(config: Config) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(config.address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&config.address.into())?;
        // Accepted sockets inherit both options.
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        if !config.waits {
            socket.listen(BACKLOG)?;
        }
        Ok(Self { socket, config })
    }

    /// Returns the address in use.
    ///
    /// # Errors
    /// Fails if the socket is closed.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.socket.local_addr()?.as_socket();
        address.ok_or_else(|| io::Error::other("not an IP address"))
    }

    /// Serves until `leave` is `true`, then closes idle connections and returns when all others are
    /// closed.
    ///
    /// Does not wait for sockets that the application has taken over.
    pub async fn serve<A: App>(self, app: A, mut leave: watch::Receiver<bool>) {
        let Self { socket, config } = self;
        let listening = if config.waits { socket.listen(BACKLOG) } else { Ok(()) };
        // Registered when it listens: before that, epoll reports it as closed.
        let tcp = match listening.and_then(|()| TcpListener::from_std(socket.into())) {
            Ok(tcp) => tcp,
            Err(error) => {
                tracing::error!(%error, "the port cannot listen");
                return;
            }
        };
        let places = config.places;
        let mut acceptor = config.tls.as_ref().map(|tls: &Tls| tls.acceptor(config.clients));
        // Nothing is sent on this channel: each connection holds a sender, and the receiver
        // resolves once all are dropped.
        let (open, mut closed) = mpsc::channel::<Infallible>(1);
        let mut reserve = File::open("/dev/null").ok();
        let leaving = leave.clone();
        let mut leave = pin!(leave.wait_for(|leave| *leave));
        loop {
            let accepted = tokio::select! {
                accepted = tcp.accept() => accepted,
                _ = &mut leave => break,
            };
            let (tcp_stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    places.metrics().refused(RefusalReason::Descriptors);
                    let answer = refusal::no_place(&app, RefusalReason::Descriptors).await;
                    turn_away(&tcp, &mut reserve, &places, &error, &answer).await;
                    continue;
                }
            };
            // Fails only if the client has disconnected already; the address is not used then.
            let local = tcp_stream.local_addr().unwrap_or(config.address);
            let origin = Origin::new(address, local, &config.proxies);
            // A trusted proxy has many clients: the limit applies to their addresses, not to its
            // own.
            let permit = match place(&places, origin.trusted.is_none().then(|| address.ip())).await {
                Ok(permit) => permit,
                Err(why) => {
                    places.metrics().refused(why);
                    // Over HTTPS no answer can be sent yet.
                    if acceptor.is_none() {
                        refuse(tcp_stream, &refusal::no_place(&app, why).await, &places);
                    }
                    continue;
                }
            };
            let handshake = acceptor.as_mut().map(Acceptor::next);
            let (app, leaving) = (app.clone(), leaving.clone());
            let (open_end, limits, occupant) = (open.clone(), places.limits(), permit.occupant());
            let balancers = config.proxy_protocol.then(|| config.proxies.clone());
            // Boxed, so that the memory is freed when the task of a connection that was taken over
            // returns.
            tokio::spawn(Box::pin(async move {
                let _open = open_end;
                let arrived = Arrived { tcp: tcp_stream, origin, permit };
                // Pinned, because it is awaited in two places.
                let mut serving = pin!(serve_one(app, arrived, balancers, handshake, limits, leaving));
                match occupant {
                    None => serving.await,
                    Some(occupant) => tokio::select! {
                        () = &mut serving => {}
                        () = occupant.evicted() => {}
                    },
                }
            }));
        }
        drop((tcp, open));
        closed.recv().await;
    }
}

/// Takes a place for a new connection. Fails with the reason for a refusal.
async fn place(places: &Arc<Places>, address: Option<IpAddr>) -> Result<Permit, RefusalReason> {
    loop {
        return match places.take(address) {
            Ok(permit) => Ok(permit),
            Err(NoPlace::Later(wait)) => {
                sleep(wait).await;
                continue;
            }
            Err(NoPlace::Total) => Err(RefusalReason::Connections),
            Err(NoPlace::Descriptors) => Err(RefusalReason::Descriptors),
            Err(NoPlace::Address) => Err(RefusalReason::ConnectionsPerAddress),
        };
    }
}

/// Serves one connection until it closes or is taken over.
async fn serve_one<A: App>(
    app: A,
    mut arrived: Arrived,
    balancers: Option<TrustedProxies>,
    handshake: Option<Handshake>,
    limits: Limits,
    leaving: watch::Receiver<bool>,
) {
    if let Some(balancers) = balancers
        && let Err(error) = arrived.read_balancer_header(&app, &balancers, &limits).await
    {
        error.note(&arrived);
        return;
    }
    let Arrived { tcp, mut origin, permit } = arrived;
    if handshake.is_some() && timeout(HANDSHAKE, speaks_clear(&tcp)).await.is_ok_and(|clear| clear) {
        refusal::note(
            &permit.places(),
            origin.hop,
            StatusCode::BAD_REQUEST,
            "HTTP in clear text on an HTTPS port",
        );
        closing::send_last(&tcp, &refusal::in_clear(&app).await);
        return closing::discard(&tcp, closing::REFUSED).await;
    }
    if let Some((stream, h2)) = prepare(tcp, handshake, &limits, &mut origin, &permit).await {
        dispatch(app, stream, h2, origin, limits, permit, leaving).await;
    }
}

async fn dispatch<A: App>(
    app: A,
    stream: Stream,
    h2: bool,
    origin: Origin,
    limits: Limits,
    permit: Permit,
    leaving: watch::Receiver<bool>,
) {
    if h2 {
        http2::serve(app, stream, origin, limits, permit, leaving).await;
    } else {
        http1::serve(app, stream, origin, limits, permit, leaving).await;
    }
}

/// Prepares a socket and detects its protocol; `None` if the client sends nothing valid in time.
/// Notes in its origin the certificate that the client has presented.
async fn prepare(
    tcp: TcpStream,
    handshake: Option<Handshake>,
    limits: &Limits,
    origin: &mut Origin,
    permit: &Permit,
) -> Option<(Stream, bool)> {
    let Some(handshake) = handshake else {
        let h2 = timeout(limits.keep_alive, speaks_http2(&tcp, limits.head_timeout)).await.ok()?.ok()?;
        return Some((Stream::Clear(tcp), h2));
    };
    match timeout(HANDSHAKE, handshake.accept(tcp)).await.ok()? {
        Ok((tls, certificate)) => {
            origin.certificate = certificate;
            let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            Some((Stream::Tls(Box::new(tls)), h2))
        }
        Err(error) => {
            if let Some(reason) = refused_certificate(&error) {
                permit.places().metrics().refused(RefusalReason::ClientCertificate);
                if CERTIFICATES.allows() {
                    tracing::warn!(client = %origin.hop, ?reason, "client certificate refused");
                }
            }
            None
        }
    }
}

/// Returns `true` if the first bytes are a method instead of TLS. Only peeks at them.
async fn speaks_clear(tcp: &TcpStream) -> bool {
    let mut first = [0];
    tcp.peek(&mut first).await.is_ok_and(|n| n > 0 && first[0].is_ascii_alphabetic())
}

/// Returns `true` if the first bytes are the preface of HTTP/2. Only peeks at them. A preface that
/// is not complete `within` this time is ignored.
async fn speaks_http2(tcp: &TcpStream, within: Duration) -> io::Result<bool> {
    let mut first = [0; 24];
    let mut until = None;
    loop {
        let n = tcp.peek(&mut first).await?;
        if n == 0 || first[..n] != PREFACE[..n] {
            return Ok(false);
        }
        if n == PREFACE.len() {
            return Ok(true);
        }
        if Instant::now() >= *until.get_or_insert_with(|| Instant::now() + within) {
            return Ok(false);
        }
        // `peek` is ready while bytes are unread.
        sleep(PREFACE_POLL).await;
    }
}

/// Sends an answer without waiting for room in the socket's buffer. The connection does not count
/// towards the limits.
fn refuse(tcp: TcpStream, answer: &[u8], places: &Arc<Places>) {
    closing::send_last(&tcp, answer);
    if let Some(refused) = places.refused() {
        tokio::spawn(async move {
            closing::discard(&tcp, closing::REFUSED).await;
            drop((tcp, refused));
        });
    }
}

/// Handles a lack of descriptors, so that the loop continues. A port that evicts makes room; any
/// other port closes its reserve for a moment, so that it can accept the connection and answer with
/// the reason of the refusal.
async fn turn_away(
    tcp: &TcpListener,
    reserve: &mut Option<File>,
    places: &Arc<Places>,
    error: &io::Error,
    answer: &[u8],
) {
    if LOG.allows() {
        tracing::warn!(%error, "connection not accepted");
    }
    if places.make_room().is_err()
        && reserve.take().is_some()
        && let Ok(Ok((stream, _))) = timeout(Duration::from_millis(10), tcp.accept()).await
    {
        let _ = SockRef::from(&stream).send(answer);
        drop(stream);
    }
    if reserve.is_none() {
        *reserve = File::open("/dev/null").ok();
    }
    sleep(Duration::from_millis(10)).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::WhenFull;

    #[tokio::test]
    async fn accepted_sockets_inherit_their_options() {
        let config = Config {
            address: ([127, 0, 0, 1], 0).into(),
            tls: None,
            clients: None,
            places: Places::new(Limits::default(), WhenFull::Refuse, Arc::default()),
            proxies: TrustedProxies::default(),
            proxy_protocol: false,
            waits: false,
        };
        let listener = Listener::bind(config).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, address) =
            TcpListener::from_std(listener.socket.into()).unwrap().accept().await.unwrap();
        assert_eq!(address, client.local_addr().unwrap());
        assert!(accepted.nodelay().unwrap());
        assert_eq!(SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
    }
}
