//! The ports: bound before the gateway is built, and served afterwards.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use listener::{App, ClientAuthorities, Listener, Metrics, Places, WhenFull};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::membership::Joining;
use crate::settings::{PortSettings, Ports};

/// The ports of frontends and the internal ports.
pub(super) struct BoundPorts {
    inbound: BoundPair,
    internal: BoundPair,
    /// Whether connections to the inbound ports begin with a PROXY protocol header.
    pub(super) proxy_protocol: bool,
}

/// HTTP, and HTTPS if there is a certificate.
struct BoundPair {
    http: Listener,
    https: Option<Listener>,
}

impl BoundPorts {
    /// Binds all ports. From then on clients can connect, but are not served yet. With
    /// `inbound_waits`, those of the inbound ports are refused until they are served.
    ///
    /// # Errors
    /// Fails if one of them cannot be bound.
    pub(super) fn bind(
        settings: &PortSettings,
        metrics: &Arc<Metrics>,
        inbound_waits: bool,
    ) -> anyhow::Result<Self> {
        let clients = Places::new(settings.inbound_limits, WhenFull::Refuse, metrics.clone());
        let callers = Places::new(settings.internal_limits, WhenFull::Evict, metrics.clone());
        let bind_pair = |[http, https]: [&'static str; 2],
                         ports: Ports,
                         places: Arc<Places>,
                         clients: Option<ClientAuthorities>,
                         [proxy_protocol, waits]: [bool; 2]| {
            let bind = |name, address, tls| {
                let (places, clients) = (places.clone(), clients.clone());
                let proxies = settings.proxies.clone();
                let config =
                    listener::Config { address, tls, clients, places, proxies, proxy_protocol, waits };
                bind(name, config)
            };
            let http = bind(http, ports.http, None)?;
            let https = settings.tls.clone().map(|tls| bind(https, ports.https, Some(tls))).transpose()?;
            anyhow::Ok(BoundPair { http, https })
        };
        let proxy_protocol = settings.proxy_protocol;
        Ok(Self {
            inbound: bind_pair(
                ["inbound", "inbound_tls"],
                settings.inbound,
                clients,
                None,
                [proxy_protocol, inbound_waits],
            )?,
            internal: bind_pair(
                ["internal", "internal_tls"],
                settings.internal,
                callers,
                settings.clients.clone(),
                [false; 2],
            )?,
            proxy_protocol,
        })
    }

    /// Returns the address of the inbound HTTP port.
    ///
    /// # Errors
    /// Fails if the system does not report it.
    pub(super) fn inbound_address(&self) -> io::Result<SocketAddr> {
        self.inbound.http.local_addr()
    }

    /// Serves `inbound` and `internal`, each port in a task of its own; `inbound` when the node has
    /// joined its cluster, if it is `joining` one. Once `leaving` is set, each task returns as soon
    /// as its connections are closed.
    pub(super) fn serve(
        self,
        inbound: &impl App,
        internal: &impl App,
        joining: Option<&Joining>,
        leaving: &watch::Receiver<bool>,
    ) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        self.inbound.serve(&mut serving, inbound, joining, leaving);
        self.internal.serve(&mut serving, internal, None, leaving);
        serving
    }
}

impl BoundPair {
    fn serve(
        self,
        serving: &mut JoinSet<()>,
        app: &impl App,
        joining: Option<&Joining>,
        leaving: &watch::Receiver<bool>,
    ) {
        for listener in std::iter::once(self.http).chain(self.https) {
            let (app, joining, mut leaving) = (app.clone(), joining.cloned(), leaving.clone());
            serving.spawn(async move {
                if let Some(joining) = joining {
                    tokio::select! {
                        () = joining.wait() => {}
                        // The sender lives as long as the ports.
                        _ = leaving.wait_for(|leaving| *leaving) => return,
                    }
                    tracing::info!(target: "rig::startup", "clients are let in");
                }
                listener.serve(app, leaving).await;
            });
        }
    }
}

fn bind(name: &'static str, config: listener::Config) -> anyhow::Result<Listener> {
    let address = config.address;
    let listener =
        Listener::bind(config).with_context(|| format!("the {name} port cannot listen on {address}"))?;
    let address = listener.local_addr()?.to_string();
    tracing::info!(target: "rig::startup", port_name = name, address, "listening");
    Ok(listener)
}
