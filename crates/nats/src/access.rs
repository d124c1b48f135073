//! Where NATS is, and how the gateway shows who it is.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Auth, AuthError, ConnectOptions, ServerAddr};
use nkeys::KeyPair;

/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(2);

/// Where NATS is, and how the gateway shows who it is.
#[derive(Clone)]
pub struct NatsAccess {
    /// The servers, as `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// How the gateway shows who it is.
    pub credentials: Credentials,
    /// A file with the certificates of the authorities that are trusted instead of those of the
    /// system. Requires TLS.
    pub ca: Option<PathBuf>,
    /// Files with the certificate of this node, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Whether servers on other hosts may be used without TLS.
    pub insecure: bool,
}

/// How the gateway shows who it is.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Only by its certificate, if at all.
    #[default]
    None,
    /// A file with a JWT and its key.
    File(PathBuf),
    /// A file with the seed of an NKey.
    NKey(PathBuf),
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
}

/// Why NATS cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// No server is named.
    #[error("no server is named")]
    NoServer,
    /// An item of the list is empty.
    #[error("an item of the list of servers is empty")]
    EmptyItem,
    /// The text is not the address of a server.
    #[error("{0}: not the address of a NATS server, such as nats://host:4222")]
    Address(String),
    /// The address contains a user, which would be shown with it.
    #[error("a user does not belong into the address of a server")]
    UserInAddress,
    /// The server is on another host, and TLS is not required.
    #[error("{0} is not on this host and is used without TLS: name it as tls://…, or allow it")]
    Insecure(String),
    /// A file cannot be used.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The library does not accept the configuration.
    #[error("{0}")]
    Refused(String),
}

impl NatsAccess {
    /// Parses the addresses of the servers.
    ///
    /// # Errors
    /// Fails if one is malformed, or must not be used.
    pub fn addresses(&self) -> Result<Vec<ServerAddr>, AccessError> {
        if self.servers.is_empty() {
            return Err(AccessError::NoServer);
        }
        self.servers.iter().map(|server| self.address(server)).collect()
    }

    fn address(&self, server: &str) -> Result<ServerAddr, AccessError> {
        if server.is_empty() {
            return Err(AccessError::EmptyItem);
        }
        if server.contains('@') {
            return Err(AccessError::UserInAddress);
        }
        let wrong = || AccessError::Address(server.to_owned());
        let address: ServerAddr = server.parse().map_err(|_| wrong())?;
        if !matches!(address.scheme(), "nats" | "tls") || address.host().is_empty() {
            return Err(wrong());
        }
        if !self.insecure && self.is_exposed(&address) {
            return Err(AccessError::Insecure(server.to_owned()));
        }
        Ok(address)
    }

    /// Returns the servers on other hosts that are reached without TLS.
    pub fn exposed(&self) -> impl Iterator<Item = &str> {
        let servers = self.servers.iter().map(String::as_str);
        servers.filter(|server| server.parse().is_ok_and(|address| self.is_exposed(&address)))
    }

    fn is_exposed(&self, address: &ServerAddr) -> bool {
        self.ca.is_none() && !address.tls_required() && !is_loopback(address.host())
    }

    /// Returns the options of a connection that is made in the background, again and again: how the
    /// gateway shows who it is, and TLS.
    ///
    /// # Errors
    /// Fails if a file of credentials cannot be used.
    pub async fn options(&self) -> Result<ConnectOptions, AccessError> {
        let options = match &self.credentials {
            Credentials::None => ConnectOptions::new(),
            Credentials::File(path) => signing(path, SigningKey::of_credentials).await?,
            Credentials::NKey(path) => signing(path, SigningKey::of_seed).await?,
            Credentials::Password { user, password } => {
                ConnectOptions::with_user_and_password(user.clone(), password.clone())
            }
            Credentials::Token(token) => ConnectOptions::with_token(token.clone()),
        };
        let mut options = options
            .connection_timeout(CONNECT)
            .retry_on_initial_connect()
            // The list is the operator's: names that servers tell of each other may not be those
            // under which this host reaches them, and do not say that TLS is required.
            .ignore_discovered_servers();
        if let Some(ca) = &self.ca {
            options = options.require_tls(true).add_root_certificates(ca.clone());
        }
        if let Some((certificate, key)) = &self.certificate {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }
}

/// A key that signs what the server asks, and the JWT that says whose it is.
struct SigningKey {
    key: KeyPair,
    jwt: Option<String>,
}

impl SigningKey {
    /// Reads an NKey: a file with its seed.
    fn of_seed(seed: &str) -> Result<Self, String> {
        let key = KeyPair::from_seed(seed.trim()).map_err(|error| error.to_string())?;
        Ok(Self { key, jwt: None })
    }

    /// Reads a file of credentials, as `nsc` writes it.
    fn of_credentials(text: &str) -> Result<Self, String> {
        let section = |name: &str| {
            let begin = format!("BEGIN {name}");
            let lines = text.lines().skip_while(|line| !line.contains(&begin)).skip(1);
            let section: String = lines.take_while(|line| !line.starts_with("--")).map(str::trim).collect();
            if section.is_empty() { Err(format!("it has no {name}")) } else { Ok(section) }
        };
        let jwt = section("NATS USER JWT")?;
        Ok(Self { jwt: Some(jwt), ..Self::of_seed(&section("USER NKEY SEED")?)? })
    }

    fn answer(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        auth.signature = Some(self.key.sign(nonce).map_err(|error| error.to_string())?);
        match &self.jwt {
            Some(jwt) => auth.jwt = Some(jwt.clone()),
            None => auth.nkey = Some(self.key.public_key()),
        }
        Ok(auth)
    }
}

/// Returns options that read the key anew for each connection: JWTs of users expire, and the file
/// is replaced.
async fn signing(
    path: &Path,
    parse: fn(&str) -> Result<SigningKey, String>,
) -> Result<ConnectOptions, AccessError> {
    let read = async move |path: &Path| {
        let text = tokio::fs::read_to_string(path).await?;
        parse(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    };
    read(path).await.map_err(|error| AccessError::File { path: path.to_owned(), error })?;
    let path = path.to_owned();
    Ok(ConnectOptions::with_auth_callback(move |nonce| {
        let path = path.clone();
        async move {
            let key = read(&path).await.map_err(|error| format!("{}: {error}", path.display()));
            key.and_then(|key| key.answer(&nonce)).map_err(AuthError::new)
        }
    }))
}

/// Returns the pause before an attempt to connect: the first comes at once, the later ones ever
/// slower, up to `most`.
pub fn pause(attempts: usize, most: Duration) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    match doublings {
        0 => Duration::ZERO,
        _ => Duration::from_millis(10).saturating_mul(2u32.saturating_pow(doublings)).min(most),
    }
}

/// A name other than `localhost` may stand for any host.
fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(server: &str) -> NatsAccess {
        NatsAccess {
            servers: vec![server.to_owned()],
            credentials: Credentials::None,
            ca: None,
            certificate: None,
            insecure: false,
        }
    }

    #[test]
    fn servers_on_other_hosts_need_tls_or_leave() {
        let allowed = ["nats://127.0.0.1:4222", "localhost", "nats://[::1]:1", "tls://nats.example:4222"];
        for server in allowed.into_iter().chain(["nats://LOCALHOST", "nats://[::ffff:127.0.0.1]:4222"]) {
            assert!(config(server).addresses().is_ok(), "{server}");
            assert_eq!(config(server).exposed().count(), 0, "{server}");
        }
        for server in ["nats://[::ffff:10.0.0.1]", "nats.example", "nats://localhost.example"] {
            let refused = config(server).addresses();
            assert!(matches!(refused, Err(AccessError::Insecure(_))), "{server}");
            assert_eq!(config(server).exposed().collect::<Vec<_>>(), [server]);
            assert!(NatsAccess { insecure: true, ..config(server) }.addresses().is_ok());
            assert!(NatsAccess { ca: Some("ca.pem".into()), ..config(server) }.addresses().is_ok());
        }
    }

    #[test]
    fn addresses_are_checked() {
        for server in ["http://localhost", " ", "nats://", "ws://localhost:80"] {
            assert!(matches!(config(server).addresses(), Err(AccessError::Address(_))), "{server}");
        }
        let told = config("nats://me:secret@localhost").addresses().err().map(|error| error.to_string());
        assert!(told.is_some_and(|told| !told.contains("secret")));
        assert!(matches!(config("").addresses(), Err(AccessError::EmptyItem)));
        let none = NatsAccess { servers: Vec::new(), ..config("") };
        assert!(matches!(none.addresses(), Err(AccessError::NoServer)));
    }

    #[test]
    fn attempts_to_connect_come_slower_up_to_a_limit() {
        let pause = |attempts| pause(attempts, Duration::from_millis(500)).as_millis();
        assert_eq!([0, 1, 2, 3].map(pause), [0, 0, 20, 40]);
        assert_eq!([7, 100, usize::MAX].map(pause), [500; 3]);
    }
}
