//! The request that a command line stands for.

use std::io::Read;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use super::apis;
use super::line::CommandLine;
use super::trouble::Trouble;
use crate::ExitError;
use crate::settings::parse_time;

/// Letters that need no escape in a path or a query (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The longest token that is read from standard input, in bytes: the gateway looks at none that is
/// longer.
const MAX_TOKEN: u64 = 16 << 10;

/// The longest name that is sent along unasked, in bytes.
const MAX_BY: usize = 1000;

/// A request to the API.
#[derive(Debug, PartialEq)]
pub(super) struct Call {
    /// What it is about.
    pub(super) what: What,
    /// The method of HTTP.
    pub(super) method: &'static str,
    /// Path and query, below the API.
    pub(super) path: String,
    /// The body, if there is one.
    pub(super) body: Option<CallBody>,
}

/// What is sent as JSON.
#[derive(Debug, PartialEq)]
pub(super) enum CallBody {
    /// These members.
    Members(Map<String, Value>),
    /// What a file holds; `-` is standard input.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// What a call is about, and with it how its answer is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Sessions,
    Session,
    Revoke { dry_run: bool },
    Lift { id: String, dry_run: bool },
    Revocations,
    Export,
    Import,
    Diff,
}

impl Call {
    /// The call of a command; `None`: the mistakes say why.
    pub(super) fn new(command: &str, line: &mut CommandLine<'_>) -> Option<Self> {
        let get =
            |what, path, query: Query| Self { what, method: "GET", path: query.behind(path), body: None };
        match command {
            "sessions" => {
                let query = Query::page(line, "after");
                Some(get(What::Sessions, "/v4/sessions".to_owned(), query))
            }
            "session" => {
                let name = line.needed("name", "NAME");
                let query = Query::page(line, "after");
                Some(get(What::Session, format!("/v4/sessions/{}", escaped(&name?)), query))
            }
            "revocations" => {
                let query = Query::page(line, "before");
                Some(get(What::Revocations, "/v4/revocations".to_owned(), query))
            }
            "export" | "import" | "diff" => apis::call(command, line),
            "lift" => {
                let id = line.needed("id", "ID");
                let (mut query, dry_run) = (Query::default(), line.switch("dry-run"));
                query.add("by", by(line));
                query.add("dry_run", dry_run.then(|| "true".to_owned()));
                let id = id?;
                let path = query.behind(format!("/v4/revocations/{}", escaped(&id)));
                Some(Self { what: What::Lift { id, dry_run }, method: "DELETE", path, body: None })
            }
            _ => {
                let (mut query, dry_run) = (Query::default(), line.switch("dry-run"));
                query.add("dry_run", dry_run.then(|| "true".to_owned()));
                let (path, body) =
                    (query.behind("/v4/revocations".to_owned()), Some(CallBody::Members(revocation(line))));
                Some(Self { what: What::Revoke { dry_run }, method: "POST", path, body })
            }
        }
    }

    /// The same call, with the token that stands on standard input where the line says `--jwt -`,
    /// or with what the file holds that the line names.
    ///
    /// # Errors
    /// Standard input or the file cannot be read, or standard input is longer than a token.
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

fn token() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().take(MAX_TOKEN + 1).read_to_string(&mut text)?;
    anyhow::ensure!(text.len() as u64 <= MAX_TOKEN, "standard input is longer than a token");
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

/// The body of a revocation. The gateway looks at its values again, and knows more of them.
fn revocation(line: &mut CommandLine<'_>) -> Map<String, Value> {
    let mut body = Map::new();
    selector(line, &mut body);
    let (disconnect, by_token) = (line.switch("disconnect"), line.has("jwt"));
    let times: Vec<_> = ["for", "until"].into_iter().filter(|id| line.has(id)).collect();
    match times[..] {
        [] if !disconnect && !by_token => {
            line.wrong("--for", "missing: how long it lasts, here or as --until")
        }
        [one, ..] if disconnect => {
            line.wrong(&format!("--{one}"), "--disconnect is given as well: nothing lasts");
        }
        [_, _] => line.wrong("--until", "--for is given as well: one or the other"),
        _ => {}
    }
    if let Some(text) = line.once("for") {
        match parse_time(&text).map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)) {
            Some(seconds) if seconds > 0 => drop(body.insert("validityInSeconds".to_owned(), seconds.into())),
            _ => {
                line.wrong("--for", "expected a time of 1s or more, such as 30s, 10m, 2h, 7d or bare seconds")
            }
        }
    }
    let issued = line.once("issued-up-to").map(|text| match text.parse::<u64>() {
        Ok(seconds) => Value::from(seconds),
        Err(_) => Value::from(text),
    });
    let more = [
        ("until", line.once("until").map(Value::from)),
        ("issuedUpTo", issued),
        ("mode", disconnect.then(|| "disconnect".into())),
        ("reason", line.once("reason").map(Value::from)),
        ("by", by(line).map(Value::from)),
        ("id", line.once("id").map(Value::from)),
        ("force", line.switch("force").then(|| true.into())),
    ];
    body.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    body
}

/// Whose tokens: one of three flags.
fn selector(line: &mut CommandLine<'_>, body: &mut Map<String, Value>) {
    let given: Vec<_> = ["session", "claim", "jwt"].into_iter().filter(|id| line.has(id)).collect();
    match given[..] {
        [] => line.wrong("--session", "missing: whose tokens, here or as --claim or --jwt"),
        [_] => {}
        [one, ref others @ ..] => {
            for other in others {
                line.wrong(&format!("--{other}"), format!("--{one} is given as well: one or the other"));
            }
        }
    }
    for id in ["session", "jwt"] {
        body.extend(line.once(id).map(|text| (id.to_owned(), text.into())));
    }
    if let Some(text) = line.once("claim") {
        match text.split_once('=') {
            Some((claim, value)) if claim.starts_with('/') => {
                body.insert("claim".to_owned(), claim.into());
                body.insert("value".to_owned(), value.into());
            }
            _ => line.wrong("--claim", "expected a JSON Pointer, = and a value, such as /sub=alice"),
        }
    }
}

/// Who asks: the flag or, where it can be sent, the user's name.
fn by(line: &mut CommandLine<'_>) -> Option<String> {
    if line.has("by") {
        return line.once("by");
    }
    let user = line.variable("USER")?;
    let fits = (1..=MAX_BY).contains(&user.len()) && !user.chars().any(char::is_control);
    fits.then(|| user.to_owned())
}

/// The parameters of a query.
#[derive(Default)]
struct Query(Vec<String>);

impl Query {
    /// Those of a page.
    fn page(line: &mut CommandLine<'_>, cursor: &'static str) -> Self {
        let mut query = Self::default();
        query.add("limit", line.once("limit"));
        query.add(cursor, line.once(cursor));
        query
    }

    fn add(&mut self, name: &str, value: Option<String>) {
        self.0.extend(value.map(|value| format!("{name}={}", escaped(&value))));
    }

    fn behind(self, path: String) -> String {
        if self.0.is_empty() { path } else { format!("{path}?{}", self.0.join("&")) }
    }
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests;
