//! The request that a command line describes.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::api::ApiAnswer;
use super::line::CommandLine;
use super::trouble::Trouble;
use crate::ExitError;
use crate::settings::parse_time;

/// All characters but those that need no escape in a path or a query (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Limit of a token on standard input, in bytes: the gateway refuses longer ones.
const MAX_TOKEN: u64 = 16 << 10;

/// Limit of a user name that is sent by default, in bytes.
const MAX_BY: usize = 1000;

/// Formats an answer.
pub(super) type Show = dyn Fn(&ApiAnswer, Duration) -> String;

/// A request to the API, and how to format its answer.
pub(super) struct Call {
    /// The HTTP method.
    pub(super) method: &'static str,
    /// Path and query, relative to the API.
    pub(super) path: String,
    /// The body, if there is one.
    pub(super) body: Option<CallBody>,
    /// How long the gateway may wait for other nodes before it answers.
    pub(super) waits: Duration,
    /// Formats the answer, to a request that took the given time.
    pub(super) show: Box<Show>,
}

/// The JSON to send.
#[derive(Debug, PartialEq)]
pub(super) enum CallBody {
    /// An object with these members.
    Members(Map<String, Value>),
    /// The content of a file; `-` is standard input.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl Call {
    /// Returns a GET whose answer is formatted by `show`.
    pub(super) fn get(path: String, show: fn(&ApiAnswer) -> String) -> Self {
        let show = Box::new(move |answer: &ApiAnswer, _| show(answer));
        Self { method: "GET", path, body: None, waits: Duration::ZERO, show }
    }

    /// Returns the call with its contents: the token from standard input if the line has `--jwt -`,
    /// or the content of the named file.
    ///
    /// # Errors
    /// Fails if standard input or the file cannot be read, or standard input exceeds the limit of a
    /// token.
    pub(super) fn with_contents(mut self) -> Result<Self, ExitError> {
        match &mut self.body {
            Some(CallBody::Members(members)) => {
                if let Some(jwt) = members.get_mut("jwt").filter(|jwt| *jwt == "-") {
                    *jwt = token()?.into();
                }
            }
            Some(CallBody::File(path)) => {
                let unreadable = |error| Trouble::of_file(path, &error);
                self.body = Some(CallBody::Bytes(contents(path).map_err(unreadable)?));
            }
            Some(CallBody::Bytes(_)) | None => {}
        }
        Ok(self)
    }
}

fn token() -> Result<String, Trouble> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_TOKEN + 1).read_to_string(&mut text);
    read.map_err(|error| Trouble::of_file(Path::new("standard input"), &error))?;
    if text.len() as u64 > MAX_TOKEN {
        return Err(Trouble::usage("standard input is longer than a token".to_owned()));
    }
    Ok(text.trim().to_owned())
}

fn contents(path: &Path) -> std::io::Result<Vec<u8>> {
    if path != Path::new("-") {
        return std::fs::read(path);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns who makes the request: the value of the flag or else, if it can be sent, the user's
/// name.
pub(super) fn by(line: &mut CommandLine<'_>) -> Option<String> {
    if line.has("by") {
        return line.once("by");
    }
    let user = line.variable("USER")?;
    let fits = (1..=MAX_BY).contains(&user.len()) && !user.chars().any(char::is_control);
    fits.then(|| user.to_owned())
}

/// Returns how long the gateway is asked to wait for other nodes; `None` if the line does not say
/// it. The gateway validates the value again, more strictly.
pub(super) fn wait(line: &mut CommandLine<'_>) -> Option<Duration> {
    let text = line.once("wait")?;
    let time = parse_time(&text).filter(|time| *time <= MAX_WAIT);
    if time.is_none() {
        line.wrong("--wait", "expected a time from 0 to 5m, such as 500ms, 5s, 1m or bare seconds");
    }
    time
}

/// Limit of the time that the gateway can be asked to wait.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// The parameters of a query.
#[derive(Default)]
pub(super) struct Query(Vec<String>);

impl Query {
    /// Returns the parameters of a page.
    pub(super) fn page(line: &mut CommandLine<'_>, cursor: &'static str) -> Self {
        let mut query = Self::default();
        query.add("limit", line.once("limit"));
        query.add(cursor, line.once(cursor));
        query
    }

    /// Adds how long the gateway waits for other nodes.
    pub(super) fn wait(&mut self, time: Option<Duration>) {
        self.add("wait", time.map(|time| format!("{}ms", time.as_millis())));
    }

    pub(super) fn add(&mut self, name: &str, value: Option<String>) {
        self.0.extend(value.map(|value| format!("{name}={}", escaped(&value))));
    }

    pub(super) fn behind(self, path: String) -> String {
        if self.0.is_empty() { path } else { format!("{path}?{}", self.0.join("&")) }
    }
}

pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests;
