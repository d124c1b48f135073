//! Where the registry is, and how the gateway shows who it is.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Uri};
use rustls::ClientConfig;

/// Where the registry is, and how the gateway shows who it is.
#[derive(Clone, Default)]
pub struct RegistryConfig {
    /// The URL, `http` or `https`, with a path if the interface has one. `host:port` alone means
    /// `http`, as in RIG.
    pub url: String,
    /// The user and the password (RFC 7617).
    pub credentials: Option<(String, String)>,
    /// A file with the certificates of the authorities that are trusted instead of those of the
    /// system.
    pub ca: Option<PathBuf>,
    /// Files with the certificate of the gateway, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
}

impl fmt::Debug for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| (user, "[password]"));
        f.debug_struct("RegistryConfig")
            // A URL with a user and a password is refused, but only after it may have been logged.
            .field("url", &self.url.rsplit('@').next())
            .field("credentials", &user)
            .field("ca", &self.ca)
            .field("certificate", &self.certificate)
            .finish()
    }
}

/// Why the registry cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is not such a URL.
    #[error("not the http or https URL of a schema registry")]
    Url,
    /// The URL contains a user, which would be shown with it.
    #[error("a user does not belong into the URL of a schema registry")]
    UserInUrl,
    /// The user contains a colon, which separates it from the password.
    #[error("the user of a schema registry contains a colon or a control character")]
    User,
    /// Files for TLS are named, but the URL is not https.
    #[error("certificates need an https URL of the schema registry")]
    Plain,
    /// A file cannot be used.
    #[error("{path}: {reason}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl RegistryConfig {
    /// Parses the URL; its path does not end with a slash.
    pub(crate) fn base(&self) -> Result<Uri, ConfigError> {
        if self.url.contains('@') {
            return Err(ConfigError::UserInUrl);
        }
        let url = if self.url.contains("://") { self.url.clone() } else { format!("http://{}", self.url) };
        let url: Uri = url.parse().map_err(|_| ConfigError::Url)?;
        let is_http = matches!(url.scheme_str(), Some("http" | "https"));
        if !is_http || url.host().is_none_or(str::is_empty) || url.query().is_some() {
            return Err(ConfigError::Url);
        }
        let names_files = self.ca.is_some() || self.certificate.is_some();
        if names_files && url.scheme() != Some(&Scheme::HTTPS) {
            return Err(ConfigError::Plain);
        }
        let mut parts = url.into_parts();
        let path = parts.path_and_query.as_ref().map_or("", PathAndQuery::path).trim_end_matches('/');
        parts.path_and_query = Some(if path.is_empty() {
            PathAndQuery::from_static("/")
        } else {
            path.parse().map_err(|_| ConfigError::Url)?
        });
        Uri::from_parts(parts).map_err(|_| ConfigError::Url)
    }

    /// Returns the value of the header `authorization`.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>, ConfigError> {
        let Some((user, password)) = &self.credentials else { return Ok(None) };
        if user.contains(|char: char| char == ':' || char.is_control()) {
            return Err(ConfigError::User);
        }
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        let mut value: HeaderValue = format!("Basic {encoded}").parse().expect("Base64 is a header value");
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Reads the files for TLS. Blocks on disk I/O.
    pub(crate) fn tls(&self) -> Result<ClientConfig, ConfigError> {
        let roots = match &self.ca {
            Some(path) => {
                let authorities = pem::authorities(&read(path)?).map_err(|error| refused(path, error))?;
                warn(path, &authorities.warnings);
                authorities.roots
            }
            None => trust::system_roots(),
        };
        let builder = trust::client(roots);
        let Some((certificate, key)) = &self.certificate else { return Ok(builder.with_no_client_auth()) };
        let chain = pem::chain(&read(certificate)?).map_err(|error| refused(certificate, error))?;
        warn(certificate, &chain.warnings);
        let private = pem::private_key(&read(key)?, None).map_err(|error| refused(key, error))?;
        builder.with_client_auth_cert(chain.certificates, private).map_err(|error| refused(key, error))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path).map_err(|error| refused(path, error))
}

fn refused(path: &Path, error: impl fmt::Display) -> ConfigError {
    ConfigError::File { path: path.to_owned(), reason: error.to_string() }
}

fn warn(path: &Path, warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(path = %path.display(), %warning, "a certificate for the schema registry");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(url: &str) -> Result<String, ConfigError> {
        let config = RegistryConfig { url: url.to_owned(), ..RegistryConfig::default() };
        config.base().map(|url| url.to_string())
    }

    #[test]
    fn a_url_needs_no_scheme_and_keeps_its_path() {
        for (url, expected) in [
            ("registry:8081", "http://registry:8081/"),
            ("127.0.0.1:8081", "http://127.0.0.1:8081/"),
            ("https://registry/", "https://registry/"),
            ("http://registry/api/ccompat/v7/", "http://registry/api/ccompat/v7"),
            ("[::1]:8081", "http://[::1]:8081/"),
        ] {
            assert_eq!(base(url).unwrap(), expected);
        }
        for url in ["", "ftp://registry", "http://", "/path", "http://a b", "http://registry/?x=y"] {
            assert!(matches!(base(url), Err(ConfigError::Url)), "{url}");
        }
        assert!(matches!(base("http://user:secret@registry"), Err(ConfigError::UserInUrl)));
    }

    #[test]
    fn b29_certificates_need_https() {
        let ca = Some(PathBuf::from("ca.pem"));
        for (url, is_allowed) in
            [("registry:8081", false), ("http://registry", false), ("https://registry", true)]
        {
            let config = RegistryConfig { url: url.to_owned(), ca: ca.clone(), ..RegistryConfig::default() };
            assert_eq!(config.base().is_ok(), is_allowed, "{url}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let credentials = Some(("someone".to_owned(), "sesame".to_owned()));
        let url = "http://other:sesame@registry".to_owned();
        let config = RegistryConfig { url, credentials, ..RegistryConfig::default() };
        let shown = format!("{config:?}");
        assert!(
            shown.contains("someone") && shown.contains("registry") && !shown.contains("sesame"),
            "{shown}"
        );
        let header = format!("{:?}", config.authorization().unwrap());
        assert!(!header.contains("Basic"), "{header}");
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let config = RegistryConfig { ca: Some("/nowhere/ca.pem".into()), ..RegistryConfig::default() };
        let error = config.tls().unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/ca.pem: "), "{error}");
        let credentials = Some(("a:b".to_owned(), String::new()));
        let config = RegistryConfig { credentials, ..RegistryConfig::default() };
        assert!(matches!(config.authorization(), Err(ConfigError::User)));
    }
}
