//! nginx with nchan: one master, one worker, one channel.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{Child, Launch, Population, Product, Server, free_folder};
use crate::client;

pub(super) const SSE: &str = "/sse";
pub(super) const WS: &str = "/ws";
pub(super) const EVENTS: &str = "/events";
const STATUS: &str = "/status";

/// How long a start may take.
const START: Duration = Duration::from_secs(10);

/// Between two tries to connect.
const TRY: Duration = Duration::from_millis(10);

/// Debian builds nginx to look for its modules here.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

pub(super) fn start(launch: &Launch) -> anyhow::Result<Server> {
    let folder = make_folder()?;
    // Another process can take the port before nginx does; then nginx ends, and the start fails.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration(&folder, address))?;
    let mut command = Command::new(&launch.nginx);
    command.arg("-p").arg(&folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = Child::spawn(&mut command, Some(folder))?;
    wait_until_listening(&mut child, address)?;
    Ok(Server { product: Product::Nginx, child, address, status: address })
}

pub(super) fn wait_until_listening(child: &mut Child, address: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    while TcpStream::connect(address).is_err() {
        child.ensure_running().context("nginx")?;
        anyhow::ensure!(Instant::now() < deadline, "nginx does not listen on {address}");
        std::thread::sleep(TRY);
    }
    Ok(())
}

fn make_folder() -> anyhow::Result<PathBuf> {
    let folder = free_folder("nginx")?;
    // Fails where the folder exists: nothing that somebody else put there is used.
    fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// nginx closes connections that wait for a request as soon as less than a sixteenth of `worker_connections` is free: a
/// few more than descriptors let all descriptors be used.
///
/// What is not needed to run at all is left at its default, but for the heartbeats, which are those of the gateway.
/// (nchan then keeps ten messages for those who come late. Its deliveries cost the same with its storage off.)
pub(crate) fn configuration(folder: &Path, address: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        r"load_module {MODULE};
daemon off;
worker_processes 1;
worker_rlimit_nofile 19000;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{
    worker_connections 20500;
}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    server {{
        listen {address} backlog=4096;
        location = {SSE} {{
            nchan_subscriber eventsource;
            nchan_channel_id greeting;
            nchan_eventsource_ping_interval 15;
        }}
        location = {WS} {{
            nchan_subscriber websocket;
            nchan_channel_id greeting;
            nchan_websocket_ping_interval 15;
        }}
        location = {EVENTS} {{
            nchan_publisher;
            nchan_channel_id greeting;
        }}
        location = {STATUS} {{
            nchan_stub_status;
        }}
    }}
}}
"
    )
}

pub(super) async fn population(address: SocketAddr) -> anyhow::Result<Population> {
    let status = client::get(address, STATUS).await?;
    let connections = status
        .lines()
        .find_map(|line| line.strip_prefix("subscribers:")?.trim().parse().ok())
        .with_context(|| format!("nchan says {status:?}"))?;
    Ok(Population { connections, sessions: None, subscriptions: None })
}

pub(super) fn version(nginx: &Path) -> anyhow::Result<String> {
    let output = Command::new(nginx)
        .arg("-v")
        .output()
        .with_context(|| format!("{} cannot be run", nginx.display()))?;
    let nginx = String::from_utf8_lossy(&output.stderr);
    let nginx = nginx.trim().trim_start_matches("nginx version: ");
    // Where there is no dpkg, the version of nchan stays unsaid.
    let package = Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libnginx-mod-nchan"]).output();
    let nchan = package.ok().filter(|output| output.status.success());
    let nchan = nchan.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).into_owned());
    Ok(format!("{nginx} with nchan {nchan}"))
}
