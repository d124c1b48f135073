//! A stand-in for a schema registry.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::authority::Authority;
use crate::wire::eventually;

/// What a registry demands of clients.
#[derive(Clone, Copy, Default)]
pub struct RegistryOptions<'a> {
    /// The authority of its certificate; without it, it speaks HTTP.
    pub tls: Option<&'a Authority>,
    /// Who has to sign the certificates of clients; if it is `None`, they need none.
    pub clients: Option<&'a Authority>,
    /// The user and the password of all requests.
    pub credentials: Option<(&'a str, &'a str)>,
}

/// How a registry answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryState {
    /// It works.
    Up,
    /// It answers with this status.
    Fails(u16),
    /// It closes each connection.
    Closes,
    /// It reads requests, and answers when the state changes.
    Hangs,
}

/// A registry of schemas on a free port, until the test ends.
///
/// It answers `GET /schemas/ids/ID`, `/subjects`, `/subjects/S/versions/latest` and
/// `/subjects/S/versions/N`.
pub struct SchemaRegistry {
    address: SocketAddr,
    is_tls: bool,
    shared: Arc<Shared>,
}

struct Shared {
    authorization: Option<String>,
    state: Mutex<RegistryState>,
    /// The schema with id 1 is first.
    schemas: Mutex<Vec<Value>>,
    /// The ids of the versions of each subject, the oldest first.
    subjects: Mutex<BTreeMap<String, Vec<usize>>>,
    requests: Mutex<Vec<String>>,
}

impl SchemaRegistry {
    /// Starts it.
    ///
    /// # Panics
    /// Panics if there is no free port.
    pub fn start(options: RegistryOptions<'_>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let tls = options.tls.map(|tls| tls.server(&["127.0.0.1", "localhost"], options.clients));
        let authorization = options.credentials.map(|(user, password)| {
            format!("authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))
        });
        let shared = Arc::new(Shared {
            authorization,
            state: Mutex::new(RegistryState::Up),
            schemas: Mutex::default(),
            subjects: Mutex::default(),
            requests: Mutex::default(),
        });
        let (is_tls, accepted) = (tls.is_some(), shared.clone());
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (shared, tls) = (accepted.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => shared.serve(stream),
                    Some(tls) => {
                        let connection = rustls::ServerConnection::new(tls).expect("a good configuration");
                        shared.serve(rustls::StreamOwned::new(connection, stream))
                    }
                });
            }
        });
        Self { address, is_tls, shared }
    }

    /// Returns where it listens, as RIG's settings name it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.address)
    }

    /// Adds a version to a subject, and returns the id of its schema. The same schema has the same
    /// id in all subjects.
    pub fn register(&self, subject: &str, schema: &Value) -> u32 {
        self.register_as(subject, json!({"schema": schema.to_string()}))
    }

    /// Adds a version to a subject, and returns the id of its schema. `entry` is what the registry
    /// returns for the id: `schema` as text, and maybe `schemaType` and `references`.
    ///
    /// # Panics
    /// Panics if there are too many schemas.
    pub fn register_as(&self, subject: &str, entry: Value) -> u32 {
        let mut schemas = self.shared.schemas.lock();
        let known = schemas.iter().position(|schema| *schema == entry);
        let id = 1 + known.unwrap_or_else(|| {
            schemas.push(entry);
            schemas.len() - 1
        });
        self.shared.subjects.lock().entry(subject.to_owned()).or_default().push(id);
        u32::try_from(id).expect("a few schemas")
    }

    /// Sets how it answers, on open connections too.
    pub fn set(&self, state: RegistryState) {
        *self.shared.state.lock() = state;
    }

    /// Returns the paths of all requests so far, as they were written, whatever the answers were.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().clone()
    }

    /// Waits until there have been this number of requests.
    ///
    /// # Panics
    /// Panics if there are not as many.
    pub fn await_requests(&self, count: usize) {
        eventually("requests to the registry", || (self.shared.requests.lock().len() >= count).then_some(()));
    }
}

impl Shared {
    fn serve(&self, stream: impl Read + Write) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).ok()?;
            let path = line.strip_prefix("GET ")?.split(' ').next()?.to_owned();
            let mut authorized = self.authorization.is_none();
            loop {
                let mut header = String::new();
                stream.read_line(&mut header).ok().filter(|length| *length > 0)?;
                let Some((name, value)) = header.trim_end().split_once(": ") else { break };
                authorized |= self.authorization == Some(format!("{}: {value}", name.to_lowercase()));
            }
            self.requests.lock().push(path.clone());
            let state = self.state_that_answers();
            let (status, body) = match state {
                RegistryState::Closes => return None,
                RegistryState::Fails(status) => (status, error(50001, "Error in the backend data store")),
                _ if !authorized => (401, error(40101, "Unauthorized")),
                _ => self.answer(&path),
            };
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status} Whatever\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\n\
                 content-length: {}\r\n\r\n",
                body.len()
            );
            stream.get_mut().write_all((head + &body).as_bytes()).ok()?;
            stream.get_mut().flush().ok()?;
        }
    }

    /// Returns the state, as soon as it is another one than `Hangs`.
    fn state_that_answers(&self) -> RegistryState {
        loop {
            let state = *self.state.lock();
            if state != RegistryState::Hangs {
                return state;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn answer(&self, path: &str) -> (u16, Value) {
        let path = path.split('?').next().unwrap_or_default();
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match parts[..] {
            ["schemas", "ids", id] => {
                let found = id.parse().ok().and_then(|id| self.schema(id));
                found.map_or_else(|| (404, error(40403, "Schema not found")), |schema| (200, schema))
            }
            ["subjects"] => (200, self.subjects.lock().keys().cloned().collect::<Vec<_>>().into()),
            ["subjects", subject, "versions", version] => self.version(&decoded(subject), version),
            _ => (404, error(404, "HTTP 404 Not Found")),
        }
    }

    fn schema(&self, id: usize) -> Option<Value> {
        self.schemas.lock().get(id.checked_sub(1)?).cloned()
    }

    fn version(&self, subject: &str, version: &str) -> (u16, Value) {
        let subjects = self.subjects.lock();
        let Some(ids) = subjects.get(subject) else {
            return (404, error(40401, &format!("Subject '{subject}' not found.")));
        };
        let number = if version == "latest" { Some(ids.len()) } else { version.parse().ok() };
        let id = number.and_then(|number: usize| ids.get(number.checked_sub(1)?));
        let Some((id, mut entry)) = id.and_then(|id| Some((id, self.schema(*id)?))) else {
            return (404, error(40402, &format!("Version {version} not found.")));
        };
        entry["subject"] = subject.into();
        entry["version"] = number.into();
        entry["id"] = (*id).into();
        (200, entry)
    }
}

fn error(code: u32, message: &str) -> Value {
    json!({"error_code": code, "message": message})
}

/// Decodes a part of a path.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let pair =
            tail.get(..2).and_then(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        match (first, pair) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Request, Response};

    fn get(registry: &SchemaRegistry, path: &str) -> (u16, Value) {
        let response = Request::get(path).send(registry.address());
        (response.status, serde_json::from_slice(&response.body).unwrap())
    }

    #[test]
    fn schemas_are_found_by_their_id_and_by_their_subject() {
        let registry = SchemaRegistry::start(RegistryOptions::default());
        let (one, other) = (json!("string"), json!({"type": "record", "name": "a", "fields": []}));
        assert_eq!(registry.register("s/1", &one), 1);
        assert_eq!(registry.register("s/1", &other), 2);
        assert_eq!(registry.register("t", &one), 1);
        assert_eq!(get(&registry, "/schemas/ids/2"), (200, json!({"schema": other.to_string()})));
        let latest = json!({"schema": other.to_string(), "subject": "s/1", "version": 2, "id": 2});
        assert_eq!(get(&registry, "/subjects/s%2F1/versions/latest"), (200, latest));
        let first = json!({"schema": "\"string\"", "subject": "s/1", "version": 1, "id": 1});
        assert_eq!(get(&registry, "/subjects/s%2F1/versions/1"), (200, first));
        assert_eq!(get(&registry, "/subjects"), (200, json!(["s/1", "t"])));
        for (path, code) in [
            ("/schemas/ids/0", 40403),
            ("/schemas/ids/3", 40403),
            ("/subjects/s/versions/latest", 40401),
            ("/subjects/t/versions/2", 40402),
        ] {
            let (status, body) = get(&registry, path);
            assert_eq!((status, body["error_code"].as_u64()), (404, Some(code)), "{path}");
        }
        assert_eq!(registry.requests().len(), 8);
    }

    #[test]
    fn it_refuses_and_fails_as_it_is_told() {
        let credentials = Some(("user", "a test password"));
        let registry = SchemaRegistry::start(RegistryOptions { credentials, ..RegistryOptions::default() });
        assert_eq!(get(&registry, "/subjects").0, 401);
        let authorized = Request::get("/subjects")
            .header("Authorization", format!("Basic {}", STANDARD.encode("user:a test password")));
        assert_eq!(authorized.status(registry.address()), Some(200));
        registry.set(RegistryState::Fails(503));
        assert_eq!(authorized.status(registry.address()), Some(503));
        registry.set(RegistryState::Closes);
        assert_eq!(authorized.status(registry.address()), None);
        registry.set(RegistryState::Hangs);
        let mut waiting = authorized.start(registry.address());
        registry.await_requests(5);
        registry.set(RegistryState::Up);
        assert_eq!(Response::read_head(&mut waiting).map(|response| response.status), Some(200));
    }
}
