//! Where a web hook is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

/// The URL of a web hook: https, or http to this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl(Uri);

/// The text is no URL that events are sent to. Does not show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookUrlError {
    /// It is no URL.
    #[error("expected an https URL, or an http URL of this machine")]
    Malformed,
    /// It has no TLS, and its host is not this machine.
    #[error("http to another machine, which could read and hold back what is sent; expected https")]
    Insecure,
    /// It contains a user name or a password, which would not be sent.
    #[error("contains credentials; receivers verify the signature instead")]
    Credentials,
}

impl HookUrl {
    pub(super) fn uri(&self) -> &Uri {
        &self.0
    }

    /// Returns the host and the port: what may be shown of it.
    pub fn authority(&self) -> &str {
        self.0.authority().map_or("", |authority| authority.as_str())
    }
}

impl FromStr for HookUrl {
    type Err = HookUrlError;

    fn from_str(text: &str) -> Result<Self, HookUrlError> {
        let uri: Uri = text.parse().map_err(|_| HookUrlError::Malformed)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(HookUrlError::Malformed);
        };
        if authority.as_str().contains('@') {
            return Err(HookUrlError::Credentials);
        }
        let host = authority.host();
        // A port that is no number leaves the library without one.
        let rest = &authority.as_str()[host.len()..];
        let is_port =
            rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        match scheme {
            _ if host.is_empty() || !is_port => Err(HookUrlError::Malformed),
            "https" => Ok(Self(uri)),
            "http" if is_here(host) => Ok(Self(uri)),
            "http" => Err(HookUrlError::Insecure),
            _ => Err(HookUrlError::Malformed),
        }
    }
}

/// Returns whether a host is this machine, by its name or its address.
fn is_here(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HookUrl").field(&self.authority()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_go_to_https_or_stay_on_this_machine() {
        for text in [
            "https://hooks.example/rig?key=1",
            "https://hooks.example:8443",
            "HTTPS://hooks.example/",
            "https://10.0.0.1/",
            "http://localhost:8080/",
            "http://LocalHost/",
            "http://127.0.0.1:1",
            "http://127.8.9.10/",
            "http://[::1]:80/x",
        ] {
            assert!(text.parse::<HookUrl>().is_ok(), "{text}");
        }
        for (text, expected) in [
            ("", HookUrlError::Malformed),
            ("/path", HookUrlError::Malformed),
            ("hooks.example", HookUrlError::Malformed),
            ("hooks.example:443", HookUrlError::Malformed),
            ("ftp://hooks.example/", HookUrlError::Malformed),
            ("https://", HookUrlError::Malformed),
            ("https://:443/", HookUrlError::Malformed),
            ("https://hooks.example:port/", HookUrlError::Malformed),
            ("https://hooks.example:65536/", HookUrlError::Malformed),
            ("https://hooks example/", HookUrlError::Malformed),
            ("http://hooks.example/", HookUrlError::Insecure),
            ("http://localhost.example/", HookUrlError::Insecure),
            ("http://127.0.0.1.example/", HookUrlError::Insecure),
            ("http://[::ffff:127.0.0.1]/", HookUrlError::Insecure),
            ("http://0.0.0.0/", HookUrlError::Insecure),
            ("https://user:password@hooks.example/", HookUrlError::Credentials),
            ("http://localhost@hooks.example/", HookUrlError::Credentials),
        ] {
            assert_eq!(text.parse::<HookUrl>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn only_the_host_is_shown() {
        let url: HookUrl = "https://hooks.example:8443/services/T0/secret?key=1".parse().unwrap();
        assert_eq!(format!("{url:?}"), r#"HookUrl("hooks.example:8443")"#);
    }
}
