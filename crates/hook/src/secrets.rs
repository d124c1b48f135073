//! The secrets that sign events (Standard Webhooks 1.0.0, "Signature scheme"), in a file that is
//! read again when it changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use document::WatchedFiles;
use parking_lot::Mutex;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// How many bytes a secret may have.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// How many secrets may be in use: the present one, and the next or the last one.
const MOST: usize = 2;

/// Base64 with or without padding, as the libraries of receivers take it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// One or two secrets, read from a file. Events are signed with each of them.
pub struct Secrets {
    path: PathBuf,
    keys: Mutex<Arc<[hmac::Key]>>,
    watched: Mutex<WatchedFiles>,
}

/// The file of the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Its content is wrong.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// The content of the file is wrong. Never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is none.
    #[error("missing: a line with a secret, such as whsec_…")]
    Missing,
    /// There are too many.
    #[error("{0} secrets; expected one, or two while they are exchanged")]
    TooMany(usize),
    /// A line does not begin as a secret does.
    #[error("line {0}: expected whsec_ and Base64")]
    Prefix(usize),
    /// What follows is not Base64.
    #[error("line {0}: not Base64 after whsec_")]
    Base64(usize),
    /// A secret is too short or too long.
    #[error("line {line}: {bytes} bytes; expected 24 to 64, such as those of: openssl rand -base64 32")]
    Length {
        /// The line, from 1.
        line: usize,
        /// The length of the secret in bytes.
        bytes: usize,
    },
    /// The same secret is there twice.
    #[error("line {0}: the same secret again")]
    Repeated(usize),
}

impl Secrets {
    /// Reads the secrets of a file: one or two lines of `whsec_` and Base64. Empty lines, and
    /// blanks around a secret, do not count.
    ///
    /// # Errors
    /// See [`SecretsError`].
    pub fn load(path: PathBuf) -> Result<Self, SecretsError> {
        let watched = Mutex::new(WatchedFiles::new([path.clone()]));
        let keys = Mutex::new(read(&path)?);
        Ok(Self { path, keys, watched })
    }

    /// Reads the file again if it has changed, or if `forced`. If it cannot be used, the secrets
    /// stay as they are. Blocks on disk I/O.
    pub fn refresh(&self, forced: bool) {
        let read = self.watched.lock().refresh(forced, || read(&self.path));
        let file = self.path.display();
        match read {
            Some(Ok(keys)) => {
                tracing::info!(%file, secrets = keys.len(), "secrets of the web hook reloaded");
                *self.keys.lock() = keys;
            }
            Some(Err(error)) => {
                tracing::error!(%file, %error, "secrets of the web hook not reloaded, the old ones stay");
            }
            None => {}
        }
    }

    /// Returns the signatures of a body that is sent at `timestamp`, in seconds since 1970, one for
    /// each secret: the value of `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let keys = self.keys.lock().clone();
        let head = format!("{id}.{timestamp}.");
        let signature = |key: &hmac::Key| {
            let mut signing = hmac::Context::with_key(key);
            signing.update(head.as_bytes());
            signing.update(body);
            format!("v1,{}", STANDARD.encode(signing.sign()))
        };
        keys.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

fn read(path: &Path) -> Result<Arc<[hmac::Key]>, SecretsError> {
    let text = document::read_text(path)?;
    Ok(parse(&text)?)
}

fn parse(text: &str) -> Result<Arc<[hmac::Key]>, SecretError> {
    let lines = text.lines().map(str::trim).enumerate().map(|(index, line)| (index + 1, line));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    match lines.len() {
        0 => return Err(SecretError::Missing),
        1..=MOST => {}
        count => return Err(SecretError::TooMany(count)),
    }
    let mut secrets: Vec<Vec<u8>> = Vec::with_capacity(MOST);
    for (line, text) in lines {
        let secret = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix(line))?;
        let secret = BASE64.decode(secret).map_err(|_| SecretError::Base64(line))?;
        if !BYTES.contains(&secret.len()) {
            return Err(SecretError::Length { line, bytes: secret.len() });
        }
        if secrets.contains(&secret) {
            return Err(SecretError::Repeated(line));
        }
        secrets.push(secret);
    }
    Ok(secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret)).collect())
}

/// Shows where the secrets are, and none of them.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The values are those that the libraries of Standard Webhooks are tested with.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secrets(text: &str) -> (tempfile::TempDir, Secrets) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        std::fs::write(&path, text).unwrap();
        let secrets = Secrets::load(path).unwrap();
        (folder, secrets)
    }

    fn sign(text: &str) -> String {
        secrets(text).1.sign(ID, TIMESTAMP, BODY)
    }

    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        assert_eq!(sign(SECRET), SIGNATURE);
    }

    #[test]
    fn blanks_and_line_ends_are_no_part_of_a_secret() {
        assert_eq!(sign(&format!("\u{feff}\r\n  {SECRET}\t\r\n\r\n")), SIGNATURE);
    }

    #[test]
    fn padding_may_be_missing() {
        let (padded, bare) =
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBg==", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBg");
        assert_eq!(sign(padded), sign(bare));
    }

    #[test]
    fn two_secrets_make_two_signatures_and_the_order_is_that_of_the_file() {
        let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let both = sign(&format!("{other}\n{SECRET}\n"));
        assert_eq!(both, format!("{} {SIGNATURE}", sign(other)));
    }

    #[test]
    fn what_is_no_secret_is_named_by_its_line_and_not_shown() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        for (text, expected) in [
            ("", SecretError::Missing),
            ("\n \r\n", SecretError::Missing),
            (&*format!("{SECRET}\n{SECRET}1\n{SECRET}2"), SecretError::TooMany(3)),
            ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", SecretError::Prefix(1)),
            (&*format!("v1,{SECRET}"), SecretError::Prefix(1)),
            (&*format!("\n{SECRET}\nWHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), SecretError::Prefix(3)),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!", SecretError::Base64(1)),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_", SecretError::Base64(1)),
            ("whsec_", SecretError::Length { line: 1, bytes: 0 }),
            (&*short, SecretError::Length { line: 1, bytes: 23 }),
            (&*long, SecretError::Length { line: 1, bytes: 65 }),
            (&*format!("{SECRET}\n{SECRET}"), SecretError::Repeated(2)),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error, expected, "{text:?}");
            assert!(!error.to_string().contains("MfKQ"), "{error}");
        }
    }

    #[test]
    fn a_file_that_changes_is_read_again_and_one_that_is_wrong_changes_nothing() {
        let (folder, secrets) = secrets("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        let path = folder.path().join("secrets");
        let before = secrets.sign(ID, TIMESTAMP, BODY);
        assert!(!format!("{secrets:?}").contains("AAAA"));
        for wrong in ["whsec_", "half"] {
            std::fs::write(&path, wrong).unwrap();
            secrets.refresh(false);
            assert_eq!(secrets.sign(ID, TIMESTAMP, BODY), before);
        }
        std::fs::write(&path, SECRET).unwrap();
        secrets.refresh(false);
        assert_eq!(secrets.sign(ID, TIMESTAMP, BODY), SIGNATURE);
        std::fs::remove_file(&path).unwrap();
        secrets.refresh(true);
        assert_eq!(secrets.sign(ID, TIMESTAMP, BODY), SIGNATURE);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
