//! Pushpin: its runner with condure, the proxy and the handler, zurl, and an application that lets
//! all subscribe.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;

use super::{Child, Launch, Product, RunningServer, TempFolder, free_address, nginx};

pub(super) const SSE: &str = "/sse";
pub(super) const WS: &str = "/ws";
pub(super) const EVENTS: &str = "/publish/";

/// What a WebSocket client gets when its subscription is in place.
pub(super) const GREETING: &[u8] = b"subscribed";

/// As Debian installs them.
const PUSHPIN: &str = "/usr/bin/pushpin";
const ZURL: &str = "/usr/bin/zurl";
const INTERNAL: &str = "/usr/lib/pushpin/internal.conf";

/// Clients that must be taken before the start counts as one.
const FIRST: usize = 32;

pub(super) fn start(launch: &Launch) -> anyhow::Result<RunningServer> {
    let (address, control) = (free_address()?, free_address()?);
    let application = application(launch)?;
    let folder = TempFolder::new("pushpin")?;
    let path = folder.display().to_string();
    // Debian's looks for zurl where its own service would be.
    let internal = std::fs::read_to_string(INTERNAL).with_context(|| INTERNAL)?;
    folder.write("internal.conf", &internal.replace("ipc:///var/run/zurl/", &format!("ipc://{path}/")))?;
    folder.write("routes", &format!("* {},over_http\n", application.address))?;
    let zurl = folder.write("zurl.conf", &zurl_configuration(&path))?;
    let pushpin = folder.write("pushpin.conf", &configuration(&path, address, control))?;

    let mut zurl = Child::spawn(&mut quiet(ZURL, &zurl), None)?;
    zurl.wait_until(|| folder.join("zurl-in").exists()).context("zurl")?;
    let child = Child::spawn(&mut quiet(PUSHPIN, &pushpin), Some(folder))?;
    let mut child = child.with(zurl).before(application.child);
    child.wait_for(control)?;
    child.wait_until(|| takes_subscribers(address)).context("the first subscribers of Pushpin")?;
    Ok(RunningServer { product: Product::Pushpin, child, address, status: control, signer: None })
}

/// Its front listens before the processes behind it know the routes, and before each of its threads
/// is connected to them: several clients in turn meet all threads.
fn takes_subscribers(address: SocketAddr) -> bool {
    let subscribe = |_| -> std::io::Result<Option<TcpStream>> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET {SSE} HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok((&answer == b"HTTP/1.1 200").then_some(stream))
    };
    // All stay until the last is in.
    (0..FIRST)
        .map(subscribe)
        .collect::<std::io::Result<Vec<_>>>()
        .is_ok_and(|all| all.iter().all(Option::is_some))
}

fn quiet(program: &str, configuration: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(format!("--config={}", configuration.display()));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The defaults, but for the limit of 2,500 deliveries a second, the number of clients, and a log
/// of each publication.
fn configuration(folder: &str, address: SocketAddr, control: SocketAddr) -> String {
    let (host, port) = (control.ip(), control.port());
    format!(
        "[global]\ninclude={folder}/internal.conf\nrundir={folder}\nipc_prefix=pushpin-\n\
         [runner]\nservices=condure,pushpin-proxy,pushpin-handler\nhttp_port={address}\nlogdir={folder}\n\
         log_level=1\nclient_buffer_size=8192\nclient_maxconn=19000\ncondure_bin=/usr/bin/condure\n\
         [proxy]\nroutesfile=routes\nupdates_check=off\n\
         [handler]\npush_in_spec=ipc://{folder}/push-in\npush_in_sub_specs=ipc://{folder}/push-in-sub\n\
         push_in_http_addr={host}\npush_in_http_port={port}\ncommand_spec=ipc://{folder}/command\n\
         stats_spec=ipc://{folder}/stats\nmessage_rate=1000000000\nmessage_hwm=1000000000\n"
    )
}

/// Its own, but for the hosts that it may not ask, among which is this one.
fn zurl_configuration(folder: &str) -> String {
    format!(
        "[General]\nin_spec=ipc://{folder}/zurl-in\nin_stream_spec=ipc://{folder}/zurl-in-stream\n\
         out_spec=ipc://{folder}/zurl-out\nin_req_spec=\ndefpolicy=allow\nallow=\ndeny=\n\
         max_open_requests=2000\nbuffer_size=200000\ntimeout=600\nin_hwm=1000\nout_hwm=1000\n"
    )
}

/// Answers with GRIP: hold the response as a stream, subscribe the socket.
fn application(launch: &Launch) -> anyhow::Result<RunningServer> {
    let greeting = String::from_utf8_lossy(GREETING);
    let messages = [
        json!({ "type": "subscribe", "channel": "greeting" }),
        json!({ "type": "send-delayed", "message-type": "text", "content": greeting, "timeout": 0 }),
        json!({ "type": "flush-delayed" }),
    ];
    // WebSocket-over-HTTP: each message with the length of its text in hexadecimal.
    let text = |message: &serde_json::Value| {
        let message = format!("c:{message}");
        format!("TEXT {:X}\\r\\n{}\\r\\n", message.len(), message.replace('"', "\\\""))
    };
    let messages: String = messages.iter().map(text).collect();
    let locations = format!(
        "location = {SSE} {{ default_type text/event-stream; add_header Grip-Hold stream; \
         add_header Grip-Channel greeting; return 200 \"\"; }}\n    \
         location = {WS} {{ default_type application/websocket-events; \
         add_header Sec-WebSocket-Extensions 'grip; message-prefix=\"\"'; \
         return 200 \"OPEN\\r\\n{messages}\"; }}"
    );
    nginx::plain(launch, "application", "", &locations)
}

/// The event as the control port takes it, for both transports.
pub(super) fn publication(event: &[u8]) -> Vec<u8> {
    let event = String::from_utf8_lossy(event);
    let stream = format!("event: greeting\ndata: {event}\n\n");
    let formats = json!({ "http-stream": { "content": stream }, "ws-message": { "content": event } });
    json!({ "items": [{ "channel": "greeting", "formats": formats }] }).to_string().into_bytes()
}

pub(super) fn version() -> anyhow::Result<String> {
    let output = Command::new(PUSHPIN).arg("--version").output().context("pushpin cannot be run")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().replacen('p', "P", 1))
}
