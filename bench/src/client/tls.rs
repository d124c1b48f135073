//! Sockets of clients, in clear or with TLS over them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

/// Clients for each address: each has some 28,000 ports.
const PER_ADDRESS: u32 = 5000;

/// Addresses in use; the client after the last one gets the first address again.
const ADDRESSES: u32 = 250;

/// The name in the certificate.
const NAME: &str = "localhost";

/// A socket, or TLS over one.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A socket of a client, with or without TLS.
pub(super) type BoxedDuplex = Box<dyn Duplex>;

/// Connects client `number` without TLS; the number spreads the clients over local addresses. Each
/// port of a server has addresses of its own: the kernel keeps the ports of an earlier run for a
/// minute, and its search for a free one would get slower and slower. `receive_buffer`: bytes;
/// `None` leaves the size to the kernel.
///
/// # Errors
/// Fails if the server cannot be reached.
pub(super) async fn dial(
    address: SocketAddr,
    number: u32,
    receive_buffer: Option<u32>,
) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let [high, low] = address.port().to_be_bytes();
    let host = u8::try_from(2 + number / PER_ADDRESS % ADDRESSES)?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, high, low, host), 0)))?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    Ok(socket.connect(address).await?)
}

/// Writes all bytes and flushes: TLS keeps what could not be written at once, for example because
/// the task has used up its budget.
///
/// # Errors
/// Fails if the connection is lost.
pub(super) async fn send(socket: &mut impl Duplex, bytes: &[u8]) -> std::io::Result<()> {
    socket.write_all(bytes).await?;
    socket.flush().await
}

/// What a client must know to speak TLS with a server.
#[derive(Clone)]
pub(crate) struct Trust(TlsConnector);

impl Trust {
    /// Trusts this certificate alone. Every handshake is a full one.
    ///
    /// # Errors
    /// Fails if the certificate is not valid.
    pub(crate) fn of(certificate: &CertificateDer<'static>, http2: bool) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone())?;
        let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
        let builder = builder.with_safe_default_protocol_versions()?.with_root_certificates(roots);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config).into()))
    }

    /// # Errors
    /// Fails if the handshake does.
    pub(super) async fn shake_hands(&self, stream: TcpStream) -> anyhow::Result<BoxedDuplex> {
        Ok(Box::new(self.0.connect(ServerName::try_from(NAME)?, stream).await?))
    }
}
