//! The nats-servers of a cluster, with a [`Link`] in each direction between two of them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Link, LinkState};
use crate::nats::{Addresses, NatsOptions, NatsServer};
use crate::wire::eventually;

/// How long a server may take to answer. Without a leader of the cluster, it does not.
const ANSWER: Duration = Duration::from_secs(3);

/// One nats-server, or three.
pub struct Nats {
    servers: Vec<NatsServer>,
    /// The links between two servers, from the one that connects.
    routes: Vec<(usize, usize, Link)>,
}

impl Nats {
    /// Starts that many servers, named `n0` and so on.
    ///
    /// # Panics
    /// Panics if they do not start.
    pub(super) fn start(count: usize) -> Self {
        // Another program may take a port between its choice and its use.
        let nats = (0..5).find_map(|_| Self::try_start(count)).expect("the nats-servers start");
        nats.wait();
        nats
    }

    fn try_start(count: usize) -> Option<Self> {
        let addresses: Vec<_> = (0..count).map(|_| Addresses::unused()).collect();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        let routes: Vec<_> = pairs
            .filter(|(from, to)| from != to)
            .map(|(from, to)| (from, to, Link::to(addresses[to].routes)))
            .collect();
        let servers = (0..count).map(|server| {
            let own = routes.iter().filter(|(from, ..)| *from == server);
            let urls: Vec<_> = own.map(|(.., link)| format!("\"nats://{}\"", link.address())).collect();
            // What a server tells the others and its clients of the addresses of servers would lead
            // past the links: port 1 leads nowhere.
            let cluster = format!(
                "cluster {{ name: test, listen: \"{}\", advertise: \"127.0.0.1:1\", no_advertise: true, \
                 pool_size: -1, routes: [{}] }}",
                addresses[server].routes,
                urls.join(", ")
            );
            let cluster = if count == 1 { "" } else { &cluster };
            let options = NatsOptions { sync_always: true, ..NatsOptions::default() };
            NatsServer::try_start(&format!("n{server}"), addresses[server], cluster, options)
        });
        let servers = servers.collect::<Option<_>>()?;
        Some(Self { servers, routes })
    }

    /// Waits until all servers work.
    pub fn wait(&self) {
        self.servers.iter().for_each(NatsServer::wait);
    }

    /// Returns the number of servers.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Returns `true` if there are no servers.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Returns a server.
    pub fn server(&mut self, index: usize) -> &mut NatsServer {
        &mut self.servers[index]
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(NatsServer::address)
    }

    /// Returns where the servers listen, not through any link.
    pub fn urls(&self) -> String {
        self.servers.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// Sets the state of the links between this server and the others.
    pub fn set_routes(&self, server: usize, state: LinkState) {
        for (from, to, link) in &self.routes {
            if [from, to].contains(&&server) {
                link.set(state);
            }
        }
    }

    /// Sets the state of the link between two servers.
    pub fn set_route(&self, one: usize, other: usize, state: LinkState) {
        for (from, to, link) in &self.routes {
            if [(one, other), (other, one)].contains(&(*from, *to)) {
                link.set(state);
            }
        }
    }

    /// Returns the server that leads the stream, according to most of the others.
    pub fn leader(&self, stream: &str) -> Option<usize> {
        let votes: Vec<_> = self.servers.iter().filter_map(|server| leader_of(server, stream)).collect();
        (0..self.servers.len()).find(|server| {
            votes.iter().filter(|vote| **vote == format!("n{server}")).count() * 2 > self.servers.len()
        })
    }

    /// Returns `true` if the stream has a leader, and every copy of it is complete.
    pub fn is_settled(&self, stream: &str) -> bool {
        // Only the leader knows of all of them.
        let Some(leader) = self.leader(stream) else { return false };
        let Some(detail) = detail(&self.servers[leader], stream) else { return false };
        let copies = detail["cluster"]["replicas"].as_array().map_or(0, |replicas| {
            replicas.iter().filter(|replica| replica["current"] == json!(true)).count()
        });
        copies + 1 == self.servers.len()
    }

    /// Describes what each server says of the stream.
    pub fn describe(&self, stream: &str) -> String {
        let of = |server: &NatsServer| {
            let Some(detail) = detail(server, stream) else { return "no stream".to_owned() };
            format!("{} {}", detail["state"]["last_seq"], detail["cluster"])
        };
        self.servers.iter().map(of).collect::<Vec<_>>().join("; ")
    }

    /// Stops a server in order and waits until it has exited.
    pub fn stop(&mut self, server: usize) {
        let address = self.servers[server].address();
        self.servers[server].signal("TERM");
        eventually("the end of a nats-server", || TcpStream::connect(address).is_err().then_some(()));
        self.servers[server].kill();
    }

    /// Sends a JetStream request to the first server that answers; `None` if none does.
    pub fn request(&self, subject: &str, body: &str) -> Option<Value> {
        self.addresses().find_map(|address| request(address, subject, body).ok())
    }

    /// Deletes the stream.
    ///
    /// # Panics
    /// Panics if the servers have not in time.
    pub fn delete(&self, stream: &str) {
        eventually("the stream is deleted", || {
            let answer = self.request(&format!("$JS.API.STREAM.DELETE.{stream}"), "")?;
            // The answer to an earlier request may have been lost.
            let is_gone = answer["success"] == json!(true) || answer["error"]["code"] == json!(404);
            is_gone.then_some(())
        });
    }

    /// Changes the configuration of the stream, as an operator does with other tools.
    ///
    /// # Panics
    /// Panics if the servers refuse it, or have not changed it in time.
    pub fn edit(&self, stream: &str, changes: &Value) {
        eventually("the stream is edited", || {
            let mut config = self.request(&format!("$JS.API.STREAM.INFO.{stream}"), "")?["config"].take();
            for (name, value) in changes.as_object().expect("an object") {
                config[name] = value.clone();
            }
            let answer = self.request(&format!("$JS.API.STREAM.UPDATE.{stream}"), &config.to_string())?;
            assert_ne!(answer["error"]["code"], json!(400), "{answer}");
            answer["config"].is_object().then_some(())
        });
    }

    /// Removes the files of a server, which must not run.
    ///
    /// # Panics
    /// Panics if there are none.
    pub fn empty(&self, server: usize) {
        std::fs::remove_dir_all(self.servers[server].folder().join("store")).expect("files of ours");
    }

    /// Copies the files of all servers into a folder. The servers must not run.
    ///
    /// # Panics
    /// Panics if there is no `cp`.
    pub fn save(&self, folder: &Path) {
        for (number, server) in self.servers.iter().enumerate() {
            copy(&server.folder().join("store"), &folder.join(number.to_string()));
        }
    }

    /// Replaces the files of all servers by earlier copies. The servers must not run.
    ///
    /// # Panics
    /// Panics if there is no copy.
    pub fn restore(&self, folder: &Path) {
        for (number, server) in self.servers.iter().enumerate() {
            self.empty(number);
            copy(&folder.join(number.to_string()), &server.folder().join("store"));
        }
    }
}

/// Sends a JetStream request to a server.
fn request(address: SocketAddr, subject: &str, body: &str) -> io::Result<Value> {
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    stream.get_ref().set_read_timeout(Some(ANSWER))?;
    let length = body.len();
    write!(
        stream.get_mut(),
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB {subject} answer {length}\r\n{body}\r\n"
    )?;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 0 {
        if let Some(head) = line.strip_prefix("MSG ") {
            let length = head.trim().rsplit(' ').next().and_then(|length| length.parse().ok());
            let mut answer = vec![0; length.unwrap_or_default()];
            stream.read_exact(&mut answer)?;
            return Ok(serde_json::from_slice(&answer)?);
        }
        line.clear();
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn copy(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).expect("a folder of ours");
    }
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.expect("cp is installed").success());
}

fn leader_of(server: &NatsServer, stream: &str) -> Option<String> {
    // A single server has no cluster.
    let detail = detail(server, stream)?;
    Some(detail["cluster"]["leader"].as_str().unwrap_or("n0").to_owned())
}

fn detail(server: &NatsServer, stream: &str) -> Option<Value> {
    let answer = server.get("/jsz?streams=true");
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let body: Value = serde_json::from_str(body).ok()?;
    let accounts = body["account_details"].as_array()?;
    let streams = accounts.iter().filter_map(|account| account["stream_detail"].as_array());
    streams.flatten().find(|detail| detail["name"] == stream).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_server_reaches_another_past_the_links() {
        let nats = Nats::start(3);
        let make =
            json!({ "name": "S", "subjects": ["s.>"], "num_replicas": 3, "storage": "file" }).to_string();
        eventually("a stream", || {
            let answer = nats.request("$JS.API.STREAM.CREATE.S", &make)?;
            answer["config"].is_object().then_some(())
        });
        let leader = eventually("a leader", || nats.is_settled("S").then(|| nats.leader("S"))?);
        nats.set_routes(leader, LinkState::Cut);
        eventually("another leader", || nats.leader("S").filter(|other| *other != leader));
        assert!(!nats.is_settled("S"));
        nats.set_routes(leader, LinkState::Open);
        eventually("all copies are complete", || nats.is_settled("S").then_some(()));
        nats.delete("S");
        eventually("no stream", || nats.leader("S").is_none().then_some(()));
    }
}
