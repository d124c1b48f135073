//! Where Kafka is, and how the gateway shows who it is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::oauth::OAuth;

/// The port of a broker that is named without one.
const PORT: u16 = 9092;

/// How often what topics and partitions there are is asked for. Some services close connections
/// that are idle for four minutes.
const REFRESH: Duration = Duration::from_secs(30);

/// How often the library reports its connections and how far it has got.
const STATISTICS: Duration = Duration::from_secs(1);

/// The first pause before a connection is tried again. Each further one is longer, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How long one attempt to connect may take, with TLS and SASL.
const CONNECT: Duration = Duration::from_secs(10);

/// Where Kafka is, and how the gateway shows who it is.
#[derive(Clone)]
pub struct KafkaAccess {
    /// Some of the brokers, as [`address`] returns them. The others are discovered.
    pub brokers: Vec<String>,
    /// TLS; `None` if it is not used.
    pub tls: Option<KafkaTls>,
    /// How the gateway shows who it is, other than by its certificate.
    pub sasl: Option<Sasl>,
    /// Limit of the pause between two attempts to connect.
    pub restart_delay: Duration,
    /// Further properties of librdkafka, as [`properties`] returns them.
    pub properties: Vec<(String, String)>,
}

/// How connections are encrypted. The certificate of a broker and its name are always verified.
#[derive(Clone, Default)]
pub struct KafkaTls {
    /// A file with the certificates of the authorities that are trusted instead of those of the
    /// system.
    pub ca: Option<PathBuf>,
    /// A file with the certificate of this gateway, and the ones that it is signed by.
    pub certificate: Option<PathBuf>,
    /// A file with its private key.
    pub key: Option<PathBuf>,
    /// The password of the private key.
    pub key_password: Option<String>,
}

/// How the gateway shows who it is.
#[derive(Clone)]
pub enum Sasl {
    /// The password is sent as it is.
    Plain(UserPassword),
    /// The password is not sent (RFC 5802, RFC 7677).
    ScramSha256(UserPassword),
    /// The password is not sent (RFC 5802).
    ScramSha512(UserPassword),
    /// A token of an identity provider (RFC 7628).
    OAuthBearer(Arc<OAuth>),
}

/// A user and a password.
#[derive(Clone)]
pub struct UserPassword {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Why Kafka cannot be used as configured. Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The list of brokers is empty.
    #[error("no broker is named")]
    NoBroker,
    /// A file cannot be read.
    #[error("{path}: {error}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: String,
    },
    /// The library does not accept the configuration.
    #[error("{0}")]
    Refused(String),
}

impl KafkaAccess {
    /// Returns the configuration that all clients have in common.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", "rig")
            .set("security.protocol", self.protocol())
            .set("socket.keepalive.enable", "true")
            .set("socket.connection.setup.timeout.ms", millis(CONNECT))
            .set("topic.metadata.refresh.interval.ms", millis(REFRESH))
            .set("reconnect.backoff.ms", millis(FIRST_PAUSE.min(self.restart_delay)))
            .set("reconnect.backoff.max.ms", millis(self.restart_delay))
            .set("statistics.interval.ms", millis(STATISTICS))
            .set_log_level(self.log_level());
        if let Some(tls) = &self.tls {
            tls.set(&mut client);
        }
        if let Some(sasl) = &self.sasl {
            sasl.set(&mut client);
        }
        for (name, value) in &self.properties {
            client.set(name, value);
        }
        client
    }

    /// Returns the source of tokens, if the gateway shows who it is by them.
    pub(crate) fn oauth(&self) -> Option<Arc<OAuth>> {
        match &self.sasl {
            Some(Sasl::OAuthBearer(oauth)) => Some(oauth.clone()),
            _ => None,
        }
    }

    /// Checks what can be checked without a connection. Blocks on disk I/O.
    ///
    /// # Errors
    /// Fails if a file cannot be read, or the library does not know a property or its value.
    pub fn check(&self) -> Result<(), AccessError> {
        if self.brokers.is_empty() {
            return Err(AccessError::NoBroker);
        }
        let tls = self.tls.iter();
        for path in tls.flat_map(|tls| [&tls.ca, &tls.certificate, &tls.key]).flatten() {
            // A folder can be opened, but not read.
            let read = std::fs::read(path);
            read.map_err(|error| AccessError::File { path: path.clone(), error: error.to_string() })?;
        }
        self.client().create_native_config().map_err(|error| explain(&error))?;
        Ok(())
    }

    /// Returns what the library logs: only troubles, unless KAFKA_PROPERTIES asks for more.
    fn log_level(&self) -> RDKafkaLogLevel {
        match self.properties.iter().any(|(name, _)| name == "debug") {
            true => RDKafkaLogLevel::Debug,
            false => RDKafkaLogLevel::Warning,
        }
    }

    fn protocol(&self) -> &'static str {
        match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), None) => "ssl",
            (Some(_), Some(_)) => "sasl_ssl",
        }
    }
}

impl KafkaTls {
    fn set(&self, client: &mut ClientConfig) {
        client
            .set("enable.ssl.certificate.verification", "true")
            .set("ssl.endpoint.identification.algorithm", "https");
        match &self.ca {
            Some(ca) => client.set("ssl.ca.location", ca.to_string_lossy()),
            None => client.set("ssl.ca.location", "probe"),
        };
        if let Some(certificate) = &self.certificate {
            client.set("ssl.certificate.location", certificate.to_string_lossy());
        }
        if let Some(key) = &self.key {
            client.set("ssl.key.location", key.to_string_lossy());
        }
        if let Some(password) = &self.key_password {
            client.set("ssl.key.password", password);
        }
    }
}

impl Sasl {
    fn set(&self, client: &mut ClientConfig) {
        let (mechanism, user) = match self {
            Self::Plain(user) => ("PLAIN", Some(user)),
            Self::ScramSha256(user) => ("SCRAM-SHA-256", Some(user)),
            Self::ScramSha512(user) => ("SCRAM-SHA-512", Some(user)),
            Self::OAuthBearer(_) => ("OAUTHBEARER", None),
        };
        client.set("sasl.mechanism", mechanism);
        if let Some(UserPassword { user, password }) = user {
            client.set("sasl.username", user).set("sasl.password", password);
        }
    }
}

impl fmt::Debug for KafkaAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<_> = self.properties.iter().map(|(name, _)| name).collect();
        f.debug_struct("KafkaAccess")
            .field("brokers", &self.brokers)
            .field("tls", &self.tls)
            .field("sasl", &self.sasl)
            .field("restart_delay", &self.restart_delay)
            .field("properties", &properties)
            .finish()
    }
}

impl fmt::Debug for KafkaTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ca, certificate, key, .. } = self;
        f.debug_struct("KafkaTls")
            .field("ca", ca)
            .field("certificate", certificate)
            .field("key", key)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(user) => f.debug_tuple("Plain").field(user).finish(),
            Self::ScramSha256(user) => f.debug_tuple("ScramSha256").field(user).finish(),
            Self::ScramSha512(user) => f.debug_tuple("ScramSha512").field(user).finish(),
            Self::OAuthBearer(oauth) => f.debug_tuple("OAuthBearer").field(oauth).finish(),
        }
    }
}

impl fmt::Debug for UserPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserPassword").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Returns the reason for which the library does not accept a configuration, without the values of
/// properties that may be secret.
pub(crate) fn explain(error: &KafkaError) -> AccessError {
    AccessError::Refused(match error {
        KafkaError::ClientConfig(_, reason, name, _) if !is_secret(name) => format!("{name}: {reason}"),
        KafkaError::ClientConfig(_, _, name, _) => format!("{name}: not a value that the library accepts"),
        KafkaError::ClientCreation(reason) => reason.clone(),
        error => error.to_string(),
    })
}

fn is_secret(name: &str) -> bool {
    name.contains("password") || name.contains("secret") || name.ends_with(".pem")
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

/// Returns the address of a broker as `host:port`, with an IPv6 address in brackets; `None` if the
/// text is none. The port may be missing.
pub fn address(text: &str) -> Option<String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let _: std::net::Ipv6Addr = address.parse().ok()?;
            (&text[..address.len() + 2], if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        // An address of IPv6 without brackets has no port, since it would be ambiguous.
        None if text.parse::<std::net::Ipv6Addr>().is_ok() => return Some(format!("[{text}]:{PORT}")),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host = |char: char| char.is_ascii_alphanumeric() || ".-_[]:".contains(char);
    let port = match port {
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port.parse().ok()?,
        Some(_) => return None,
        None => PORT,
    };
    (!host.is_empty() && host.chars().all(is_host) && port != 0).then(|| format!("{host}:{port}"))
}

/// Reads further properties of librdkafka: `name=value;…`.
///
/// # Errors
/// Fails if one is malformed, or is one that the gateway relies on, with the reason.
pub fn properties(text: &str) -> Result<Vec<(String, String)>, String> {
    let items = text.split(';').map(str::trim).filter(|item| !item.is_empty());
    let property = |item: &str| {
        let Some((name, value)) = item.split_once('=') else {
            return Err(format!("{item:?} is no property; expected name=value"));
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.contains('\0') || name.contains('\0') {
            return Err("expected name=value".to_owned());
        }
        match is_ours(name) {
            true => Err(format!("{name}: the gateway sets this property")),
            false => Ok((name.to_owned(), value.to_owned())),
        }
    };
    items.map(property).collect()
}

/// Returns whether the gateway relies on its own value of a property, or has a setting for it.
fn is_ours(name: &str) -> bool {
    const FREE: [&str; 4] = ["ssl.cipher.suites", "ssl.crl.location", "ssl.curves.list", "ssl.sigalgs.list"];
    const OURS: [&str; 34] = [
        "acks",
        "allow.auto.create.topics",
        "auto.commit.enable",
        "auto.commit.interval.ms",
        "auto.offset.reset",
        "bootstrap.servers",
        "delivery.report.only.error",
        "delivery.timeout.ms",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.idempotence",
        "enable.partition.eof",
        "enable.sasl.oauthbearer.unsecure.jwt",
        "enable.ssl.certificate.verification",
        "enabled_events",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "group.remote.assignor",
        "internal.termination.signal",
        "log.queue",
        "log_level",
        "message.timeout.ms",
        "metadata.broker.list",
        "partition.assignment.strategy",
        "partitioner",
        "plugin.library.paths",
        "reconnect.backoff.max.ms",
        "reconnect.backoff.ms",
        "request.required.acks",
        "security.protocol",
        "statistics.interval.ms",
        "topic.metadata.refresh.interval.ms",
        "transactional.id",
    ];
    let is_secured = ["sasl.", "ssl.", "ssl_"].iter().any(|start| name.starts_with(start));
    (is_secured && !FREE.contains(&name))
        || OURS.contains(&name)
        || name.starts_with("test.mock.")
        || name.ends_with("_cb")
        || name.ends_with("opaque")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> KafkaAccess {
        KafkaAccess {
            brokers: vec!["a:1".to_owned(), "[::1]:2".to_owned()],
            tls: None,
            sasl: None,
            restart_delay: Duration::from_secs(10),
            properties: Vec::new(),
        }
    }

    fn user() -> UserPassword {
        UserPassword { user: "ann".to_owned(), password: "s3cret;=x".to_owned() }
    }

    #[test]
    fn b31_addresses_have_a_default_port_and_may_be_of_ipv6() {
        for (text, expected) in [
            ("kafka", "kafka:9092"),
            ("kafka:9093", "kafka:9093"),
            ("k-1.example_x.com:1", "k-1.example_x.com:1"),
            ("192.0.2.1", "192.0.2.1:9092"),
            ("[::1]", "[::1]:9092"),
            ("[2001:db8::1]:9093", "[2001:db8::1]:9093"),
            ("::1", "[::1]:9092"),
        ] {
            assert_eq!(address(text).as_deref(), Some(expected), "{text}");
        }
        for text in
            ["", ":9092", "a:", "a:0", "a:65536", "a:+1", "a b", "a,b", "[::1", "[::1]9", "[a]:1", "a/b"]
        {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn properties_are_read_unless_the_gateway_relies_on_them() {
        let read = properties(" fetch.min.bytes = 10;;debug=a=b; ").unwrap();
        let expected = [("fetch.min.bytes", "10"), ("debug", "a=b")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(properties("x"), Err("\"x\" is no property; expected name=value".to_owned()));
        for name in [
            "group.id",
            "sasl.password",
            "ssl.ca.location",
            "test.mock.num.brokers",
            "error_cb",
            "delivery.report.only.error",
            "internal.termination.signal",
        ] {
            let refused = Err(format!("{name}: the gateway sets this property"));
            assert_eq!(properties(&format!("fetch.min.bytes=1;{name}=x")), refused);
        }
        assert!(properties("ssl.cipher.suites=X").is_ok());
    }

    #[test]
    fn an_unknown_property_is_named() {
        let mut access = access();
        assert_eq!(access.check(), Ok(()));
        access.properties = properties("fetch.min.bites=1").unwrap();
        let error = access.check().unwrap_err().to_string();
        assert!(error.contains("fetch.min.bites"), "{error}");
        access.properties = properties("fetch.min.bytes=many").unwrap();
        let error = access.check().unwrap_err().to_string();
        assert!(error.contains("fetch.min.bytes"), "{error}");
        access.brokers.clear();
        assert_eq!(access.check(), Err(AccessError::NoBroker));
    }

    #[test]
    fn b26_brokers_are_verified() {
        let tls = KafkaTls { ca: Some("ca.pem".into()), ..KafkaTls::default() };
        for (tls, ca) in [(tls, "ca.pem"), (KafkaTls::default(), "probe")] {
            let client = KafkaAccess { tls: Some(tls), ..access() }.client();
            assert_eq!(client.get("enable.ssl.certificate.verification"), Some("true"));
            assert_eq!(client.get("ssl.endpoint.identification.algorithm"), Some("https"));
            assert_eq!(client.get("ssl.ca.location"), Some(ca));
            assert_eq!(client.get("security.protocol"), Some("ssl"));
        }
    }

    #[test]
    fn b27_there_is_more_than_plain() {
        for (sasl, mechanism) in [
            (Sasl::Plain(user()), "PLAIN"),
            (Sasl::ScramSha256(user()), "SCRAM-SHA-256"),
            (Sasl::ScramSha512(user()), "SCRAM-SHA-512"),
        ] {
            let access = KafkaAccess { sasl: Some(sasl), ..access() };
            let client = access.client();
            assert_eq!(client.get("sasl.mechanism"), Some(mechanism));
            assert_eq!(client.get("sasl.password"), Some("s3cret;=x"));
            assert_eq!(client.get("security.protocol"), Some("sasl_plaintext"));
            assert_eq!(access.check(), Ok(()));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let tls = KafkaTls { key_password: Some("s3cret".to_owned()), ..KafkaTls::default() };
        let properties = vec![("x".to_owned(), "s3cret".to_owned())];
        let access = KafkaAccess { tls: Some(tls), sasl: Some(Sasl::Plain(user())), properties, ..access() };
        let shown = format!("{access:?}");
        assert!(shown.contains("ann") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let tls = KafkaTls { key: Some("/nowhere/key.pem".into()), ..KafkaTls::default() };
        let error = KafkaAccess { tls: Some(tls), ..access() }.check().unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/key.pem: "), "{error}");
    }
}
