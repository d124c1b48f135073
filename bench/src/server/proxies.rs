//! The proxies under test, and the service behind all of them: nginx that answers 64 bytes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::{Value, json};

use super::place::free_folder;
use super::{Child, Launch, Product, RunningServer, TempFolder, free_address, nginx};

/// What the service answers.
pub(crate) const ANSWER: &str = "0123456789012345678901234567890123456789012345678901234567890123";

/// A service that answers every request.
///
/// # Errors
/// nginx cannot be started.
pub(crate) fn service(launch: &Launch) -> anyhow::Result<RunningServer> {
    let answer = format!("default_type text/plain; return 200 \"{ANSWER}\";");
    nginx::plain(launch, "service", "", &format!("location / {{ {answer} }}"))
}

/// nginx as a proxy before it, with kept connections and the headers that the gateway sets too.
///
/// # Errors
/// nginx cannot be started.
pub(crate) fn nginx_proxy(launch: &Launch, service: SocketAddr) -> anyhow::Result<RunningServer> {
    let upstream =
        format!("upstream service {{ server {service}; keepalive 64; keepalive_requests 100000000; }}");
    let location = "proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
                    proxy_set_header Host $proxy_host; \
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; \
                    proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Forwarded-Proto $scheme;";
    nginx::plain(launch, "proxy", &upstream, &format!("location / {{ {location} }}"))
}

/// The gateway before it, with one API of these endpoints.
///
/// # Errors
/// It cannot be started.
pub(crate) fn gateway(
    launch: &Launch,
    service: SocketAddr,
    endpoints: Vec<Value>,
    settings: &[(&str, &str)],
) -> anyhow::Result<RunningServer> {
    let apis = json!([{
        "id": "bench",
        "name": "bench",
        "auth_type": "jwt",
        "auth": { "use_header": true, "header_name": "Authorization" },
        "version_data": { "default": { "endpoints": endpoints } },
        "proxy": { "target_url": format!("http://{}", service.ip()), "port": service.port() },
    }]);
    let file = free_folder("apis")?.with_extension("json");
    fs::write(&file, apis.to_string())?;
    let started =
        launch.with(settings).with(&[("PROXY_CONFIG_FILE", &file.to_string_lossy())]).start(Product::Rig);
    fs::remove_file(&file)?;
    started
}

/// haproxy before it, with one thread and kept connections.
///
/// # Errors
/// haproxy cannot be started.
pub(crate) fn haproxy(launch: &Launch, service: SocketAddr) -> anyhow::Result<RunningServer> {
    let (folder, address) = (TempFolder::new("haproxy")?, free_address()?);
    let text = format!(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  option http-keep-alive\n  option forwardfor\nfrontend clients\n  bind {address}\n  \
         default_backend service\nbackend service\n  http-reuse always\n  server service {service}\n"
    );
    let file = folder.write("haproxy.cfg", &text)?;
    let mut command = Command::new(&launch.haproxy);
    command.arg("-db").arg("-f").arg(&file);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Child::spawn(&mut command, Some(folder))?;
    child.wait_for(address)?;
    Ok(RunningServer { product: Product::Haproxy, child, address, status: address, signer: None })
}

/// What haproxy calls itself.
pub(super) fn haproxy_version(haproxy: &Path) -> anyhow::Result<String> {
    let output = Command::new(haproxy).arg("-v").output();
    let output = output.with_context(|| format!("{} cannot be run", haproxy.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(2).unwrap_or("unknown");
    Ok(format!("HAProxy {version}"))
}
