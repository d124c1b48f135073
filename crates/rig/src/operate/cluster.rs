//! `rig cluster`: looks after the stream in NATS over which the nodes of a cluster agree. These
//! commands speak to NATS itself, with the settings of the gateway.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgMatches, Command};
use cluster::codec::NEWEST;
use cluster::nats::{NatsConfig, NatsWire, NewStream};
use cluster::wire::{StreamInfo, StreamMessage, Wire, WireError};
use seal::Incarnation;
use serde_json::Value;

use super::line::CommandLine;
use super::operation::{flag, switch};
use super::print;
use super::show::{self, text};
use super::table::TextTable;
use super::text::safe;
use super::trouble::Trouble;
use crate::ExitError;
use crate::settings::{Environment, Given, Mistakes, nats, parse_bytes};

/// The name of an operator among the nodes, in subjects for answers.
const OPERATOR: &str = "operator";

/// How long a connection to NATS may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How long the monitoring port may take to answer.
const MONITORING: Duration = Duration::from_secs(5);

/// Default limit of the stream: three times the size of a million revocations.
const MAX_BYTES: u64 = 1 << 30;

/// The smallest limit: below, beats and the answers of a few nodes would fill the stream.
const LEAST_BYTES: u64 = 64 << 20;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 NATS cannot be reached, or refused, or (check) the stream is not as it has to be; \
2 the command line or a setting is wrong.

NATS and its credentials are read from the environment or the settings file, as by the gateway: CLUSTER_NATS, \
CLUSTER_NAME and others.";

/// One of the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Init,
    Check,
    Adopt,
    Nodes,
    Upgrade,
}

/// A command, as given on the command line.
#[derive(Debug)]
pub(crate) struct ClusterCommand {
    task: Task,
    matches: ArgMatches,
}

/// Returns the command lines.
pub(crate) fn command() -> Command {
    let about = "Looks after the stream in NATS over which the nodes of a cluster agree";
    let commands = [
        Command::new("init")
            .about("Creates the stream, once; nodes never do")
            .arg(flag("max-bytes", "BYTES", "Limit of its size on each server [default: 1GiB]"))
            .arg(switch(
                "recover",
                "An earlier stream was lost: nodes without a log wait until one with a log has come, or rig cluster adopt",
            )),
        Command::new("check")
            .about("Compares the stream with what the nodes need: 0 as it has to be, 1 not")
            .arg(flag(
                "monitoring",
                "URL",
                "The monitoring port of a NATS server, to see whether it syncs each message to its disk",
            )),
        Command::new("adopt").about("Lets nodes without a log join a stream that replaces a lost one"),
        Command::new("nodes").about("Lists the nodes by their last signs of life"),
        Command::new("upgrade").about(
            "Says whether the stream can have a newer format, and which nodes are too old for it",
        ),
    ];
    Command::new("cluster")
        .about(about)
        .subcommand_required(true)
        .subcommands(commands.map(|command| command.after_help(EXIT_CODES)))
}

impl ClusterCommand {
    /// Returns the arguments of a command; `None` if it is not one of these.
    pub(crate) fn from_matches(command: &str, matches: &ArgMatches) -> Option<Self> {
        let (name, matches) = matches.subcommand().filter(|_| command == "cluster")?;
        let task = match name {
            "init" => Task::Init,
            "check" => Task::Check,
            "adopt" => Task::Adopt,
            "nodes" => Task::Nodes,
            "upgrade" => Task::Upgrade,
            _ => return None,
        };
        Some(Self { task, matches: matches.clone() })
    }

    /// Does what was asked for, and prints what came of it.
    ///
    /// # Errors
    /// Fails if the command line or a setting is wrong, if NATS cannot be reached or refuses, or if
    /// the stream is not as it has to be.
    pub(crate) fn run(&self, given: Given, environment: &Environment) -> Result<(), ExitError> {
        let mut line = CommandLine::new(&self.matches, environment);
        let (mut max_bytes, mut recover, mut monitoring) = (MAX_BYTES, false, None);
        match self.task {
            Task::Init => {
                recover = line.switch("recover");
                if let Some(text) = line.once("max-bytes") {
                    max_bytes =
                        parse_bytes(&text).filter(|bytes| *bytes >= LEAST_BYTES).unwrap_or_else(|| {
                            line.wrong(
                                "--max-bytes",
                                "expected a number of bytes of at least 64MiB, such as 1GiB",
                            );
                            MAX_BYTES
                        });
                }
            }
            Task::Check => monitoring = line.once("monitoring"),
            Task::Adopt | Task::Nodes | Task::Upgrade => {}
        }
        let config = nats(given).map_err(|mut mistakes| {
            mistakes.0.append(&mut line.mistakes);
            mistakes
        })?;
        Mistakes(line.mistakes).into_result()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let done = runtime.block_on(async {
            let wire = connect(config).await?;
            match self.task {
                Task::Init => init(&wire, NewStream { max_bytes, adopted: !recover }).await,
                Task::Check => check(&wire, monitoring.as_deref()).await,
                Task::Adopt => adopt(&wire).await,
                Task::Nodes => nodes(&wire).await,
                Task::Upgrade => upgrade(&wire).await,
            }
        });
        print(&done?)?;
        Ok(())
    }
}

async fn connect(config: NatsConfig) -> Result<NatsWire, Trouble> {
    let config = NatsConfig { node: OPERATOR.to_owned(), ..config };
    let wire = NatsWire::open(&config, Incarnation::unnamed()).await;
    let wire = wire.map_err(|error| Trouble::failed(error.to_string()))?;
    wire.connected(CONNECT).await.map_err(Trouble::failed)?;
    Ok(wire)
}

/// A server never answers what it does not permit. It says so apart from the answer.
fn failed(wire: &NatsWire, error: &WireError) -> Trouble {
    let trouble = wire.trouble().filter(|_| *error == WireError::Timeout);
    Trouble::failed(trouble.map_or_else(|| error.to_string(), |trouble| format!("{error}: {trouble}")))
}

async fn init(wire: &NatsWire, new: NewStream) -> Result<String, Trouble> {
    let info = wire.create_stream(new).await.map_err(|error| failed(wire, &error))?;
    refuse_deviations(&deviations_of(&info))?;
    let adopted = match info.adopted {
        true => "",
        false => "nodes without a log wait for one with a log, or for rig cluster adopt\n",
    };
    Ok(format!("the stream is created, {}\n{adopted}", servers(&info)))
}

async fn adopt(wire: &NatsWire) -> Result<String, Trouble> {
    wire.adopt_stream().await.map_err(|error| failed(wire, &error))?;
    Ok("nodes without a log may join\n".to_owned())
}

async fn check(wire: &NatsWire, monitoring: Option<&str>) -> Result<String, Trouble> {
    let info = wire.info().await.map_err(|error| failed(wire, &error))?;
    let mut deviations = deviations_of(&info);
    if info.is_nearly_full() {
        deviations.push(format!(
            "it is nearly full, with {} of {} bytes: revocations are queued until max_bytes is raised",
            info.bytes, info.max_bytes
        ));
    }
    if let Some(url) = monitoring {
        let syncs = syncs_always(url).map_err(|error| Trouble::failed(format!("{url}: {error:#}")))?;
        if !syncs {
            deviations.push(
                "sync_interval is not always: a power cut at several servers can lose revocations that were \
                 answered with 201"
                    .to_owned(),
            );
        }
    }
    refuse_deviations(&deviations)?;
    let adopted = if info.adopted { "" } else { "not adopted: nodes without a log wait\n" };
    Ok(format!(
        "the stream is as it has to be, {}, with {} messages, {} of {} bytes\n{adopted}",
        servers(&info),
        info.messages,
        info.bytes,
        info.max_bytes
    ))
}

/// Returns how the stream differs from what the nodes need, the worst first.
fn deviations_of(info: &StreamInfo) -> Vec<String> {
    let dangers = info.dangers.iter().map(|danger| {
        format!("dangerous: {danger} (messages can be lost or misread, so no node follows the stream)")
    });
    dangers.chain(info.deviations.iter().cloned()).collect()
}

/// Fails if the stream is not as it has to be, after it has printed the reasons. If it was just
/// created, the server is too old.
fn refuse_deviations(deviations: &[String]) -> Result<(), Trouble> {
    if deviations.is_empty() {
        return Ok(());
    }
    let lines: String = deviations.iter().map(|deviation| safe(deviation) + "\n").collect();
    print(&lines).map_err(|error| Trouble::failed(error.to_string()))?;
    Err(Trouble::failed("the stream is not as the nodes need it".to_owned()))
}

fn servers(info: &StreamInfo) -> String {
    if info.replicas == 1 { "on 1 server".to_owned() } else { format!("on {} servers", info.replicas) }
}

/// Asks the monitoring port whether the server syncs each message before it acknowledges it.
/// Clients cannot see that.
fn syncs_always(url: &str) -> anyhow::Result<bool> {
    let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    anyhow::ensure!(!host.contains("://"), "expected http://HOST:PORT");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(MONITORING))?;
    write!(stream, "GET /jsz HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let state: Value = serde_json::from_str(body)
        .map_err(|_| anyhow::anyhow!("the answer is not that of a monitoring port with JetStream"))?;
    anyhow::ensure!(state["config"].is_object(), "JetStream is not enabled there");
    Ok(state["config"]["sync_always"] == true)
}

async fn nodes(wire: &NatsWire) -> Result<String, Trouble> {
    // It tells a stream that does not exist from one that has no leader.
    wire.info().await.map_err(|error| failed(wire, &error))?;
    let beats = wire.latest(wire.names().beats()).await.map_err(|error| failed(wire, &error))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(table_of(&beats, now))
}

async fn upgrade(wire: &NatsWire) -> Result<String, Trouble> {
    let info = wire.info().await.map_err(|error| failed(wire, &error))?;
    let beats = wire.latest(wire.names().beats()).await.map_err(|error| failed(wire, &error))?;
    Ok(upgrade_of(info.format, &beats))
}

/// Shows which nodes keep the others from a newer version. There is one format of the stream, so
/// there is nothing to do to it.
fn upgrade_of(format: u32, beats: &[StreamMessage]) -> String {
    let mut shown =
        format!("the stream has format {format}; there is no newer one, so nothing is to be upgraded\n");
    for beat in beats {
        let json = document_of(beat);
        let version = json["v"].as_u64().unwrap_or_default();
        if version < NEWEST.into() && json["leaving"] != true {
            let node = safe(beat.subject.rsplit('.').next().unwrap_or_default());
            shown +=
                &format!("node {node} reads version {version} of messages, not {NEWEST}: it is too old\n");
        }
    }
    shown
}

/// Returns what a beat says: behind the document is its code.
fn document_of(beat: &StreamMessage) -> Value {
    let document = beat.payload.split(|byte| *byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice(document).unwrap_or_default()
}

/// Shows what the beats say. They are not authenticated here, which needs the NODE_COOKIE.
fn table_of(beats: &[StreamMessage], now: Duration) -> String {
    let mut table =
        TextTable::new(&["NODE", "LIFE", "AGE", "SEQUENCE", "APPLIED", "PENDING", "POLICY", "APIS", ""]);
    for beat in beats {
        let json = document_of(beat);
        let age = now.saturating_sub(Duration::from_millis(beat.stored_at));
        let node = beat.subject.rsplit('.').next().unwrap_or_default();
        table.row(vec![
            node.to_owned(),
            text(&json["life"]),
            show::time(age.as_secs()),
            beat.sequence.to_string(),
            text(&json["applied"]),
            text(&json["pending"]),
            text(&json["policy"]),
            definitions(&json),
            if json["leaving"] == true { "left".to_owned() } else { String::new() },
        ]);
    }
    table.shown()
}

/// Formats the revision of the definitions of APIs that a node serves, and the one that it refuses.
fn definitions(beat: &Value) -> String {
    match beat["apisRefused"].as_u64() {
        Some(refused) => format!("{} (refuses {refused})", text(&beat["apis"])),
        None => text(&beat["apis"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_are_too_old_are_named() {
        let beat = |node: &str, payload: &str| StreamMessage {
            subject: format!("rig.c.s.beat.{node}"),
            sequence: 1,
            stored_at: 0,
            payload: payload.to_owned().into(),
        };
        let beats = [
            beat("old", "{\"v\":0}\ncode"),
            beat("left", "{\"v\":0,\"leaving\":true}\ncode"),
            beat("present", &format!("{{\"v\":{NEWEST}}}\ncode")),
            beat("newer", &format!("{{\"v\":{}}}\ncode", NEWEST + 1)),
        ];
        insta::assert_snapshot!(upgrade_of(1, &beats), @r"
        the stream has format 1; there is no newer one, so nothing is to be upgraded
        node old reads version 0 of messages, not 2: it is too old
        ");
    }

    #[test]
    fn nodes_are_shown_by_their_beats() {
        let beat = |node: &str, sequence, payload: &str| StreamMessage {
            subject: format!("rig.c.s.beat.{node}"),
            sequence,
            stored_at: 1_700_000_000_000,
            payload: payload.to_owned().into(),
        };
        let beats = [
            beat(
                "n1",
                7,
                "{\"life\":\"abc\",\"applied\":6,\"pending\":0,\"policy\":\"closed\",\"apis\":5}\ncode",
            ),
            beat("node-2", 9, "{\"life\":\"def\",\"apis\":4,\"apisRefused\":5,\"leaving\":true}\ncode"),
            beat("n3", 10, "\u{1b}[31m"),
        ];
        insta::assert_snapshot!(table_of(&beats, Duration::from_secs(1_700_000_002)), @r"
        NODE    LIFE  AGE  SEQUENCE  APPLIED  PENDING  POLICY  APIS
        n1      abc   2s   7         6        0        closed  5
        node-2  def   2s   9         -        -        -       4 (refuses 5)  left
        n3      -     2s   10        -        -        -       -
        ");
    }
}
