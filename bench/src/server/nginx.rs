//! nginx with nchan: one master, one worker, one channel.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;

use super::{Child, Launch, Population, Product, RunningServer, TempFolder, free_address};
use crate::client;

pub(super) const SSE: &str = "/sse";
pub(super) const WS: &str = "/ws";
pub(super) const EVENTS: &str = "/events";
const STATUS: &str = "/status";

/// Debian builds nginx to look for its modules here.
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

pub(super) fn start(launch: &Launch) -> anyhow::Result<RunningServer> {
    let (folder, address) = (TempFolder::new("nginx")?, free_address()?);
    let text = configuration(&folder, address);
    let child = spawn(&launch.nginx, folder, &text, address)?;
    Ok(RunningServer { product: Product::Nginx, child, address, status: address, signer: None })
}

/// What nginx is given to keep messages as the gateway keeps events: if nothing is said, nchan
/// keeps ten for each channel, in 128 MiB of shared memory. A subscriber without an id gets none of
/// them.
pub(crate) const BUFFERED: [&str; 2] = [
    "nchan_shared_memory_size 256m;",
    "nchan_message_buffer_length 200000; nchan_message_timeout 10m; nchan_subscriber_first_message newest;",
];

/// nginx with nchan that keeps messages.
///
/// # Errors
/// It cannot be started.
pub(crate) fn start_buffered(launch: &Launch) -> anyhow::Result<RunningServer> {
    let (folder, address) = (TempFolder::new("nginx")?, free_address()?);
    let [http, server] = BUFFERED;
    let text = configuration(&folder, address);
    let text = text.replacen("server {", &format!("{http}\n    server {{\n        {server}"), 1);
    let child = spawn(&launch.nginx, folder, &text, address)?;
    Ok(RunningServer { product: Product::Nginx, child, address, status: address, signer: None })
}

/// nginx with these locations and without nchan.
pub(super) fn plain(
    launch: &Launch,
    name: &str,
    upstream: &str,
    locations: &str,
) -> anyhow::Result<RunningServer> {
    let (folder, address) = (TempFolder::new(name)?, free_address()?);
    let path = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {path}/{kind};\n"))
        .concat();
    let text = format!(
        "daemon off;\nworker_processes 1;\npid {path}/nginx.pid;\nerror_log {path}/error.log warn;\n\
         events {{ worker_connections 4096; }}\nhttp {{\n  access_log off;\n  keepalive_requests 100000000;\n\
         {temporary}  {upstream}\n  server {{\n    listen {address};\n    {locations}\n  }}\n}}\n"
    );
    let child = spawn(&launch.nginx, folder, &text, address)?;
    Ok(RunningServer { product: Product::Nginx, child, address, status: address, signer: None })
}

/// nginx with this configuration, listening there.
fn spawn(
    nginx: &Path,
    folder: TempFolder,
    configuration: &str,
    address: SocketAddr,
) -> anyhow::Result<Child> {
    let file = folder.write("nginx.conf", configuration)?;
    let mut command = Command::new(nginx);
    command.arg("-p").arg(&*folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
    // Standard error is the error log until that is open: what stands there keeps nginx from its
    // start.
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = Child::spawn(&mut command, Some(folder))?;
    child.wait_for(address)?;
    Ok(child)
}

/// nginx closes connections that wait for a request as soon as less than a sixteenth of
/// `worker_connections` is free: a few more than descriptors let all descriptors be used.
///
/// Everything else is left at its default, except for the heartbeats, which are the gateway's.
/// (nchan then keeps ten messages for subscribers that come late. Its deliveries cost the same with
/// its storage off.)
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
    // Without dpkg, the version of nchan is left out.
    let package = Command::new("dpkg-query").args(["-W", "-f", "${Version}", "libnginx-mod-nchan"]).output();
    let nchan = package.ok().filter(|output| output.status.success());
    let nchan = nchan.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).into_owned());
    Ok(format!("{nginx} with nchan {nchan}"))
}
