//! Settings of the network: addresses, certificates, and trusted proxies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use auth::Cors;
use ipnet::IpNet;
use listener::{ClientAuthorities, Limits, Tls, TlsError, TrustedProxies};

use super::kind::ValueKind;
use super::mistake::quoted;
use super::reader::Reader;

/// The addresses of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// For HTTP; port 0 for any free one.
    pub(crate) http: SocketAddr,
    /// For HTTPS, if a certificate is set; port 0 for any free one.
    pub(crate) https: SocketAddr,
}

/// What the ports are bound with.
pub(crate) struct PortSettings {
    /// The addresses for frontends.
    pub(crate) inbound: Ports,
    /// The addresses of the internal port.
    pub(crate) internal: Ports,
    /// The certificate and key of both; `None` for no HTTPS.
    pub(crate) tls: Option<Tls>,
    /// The authorities of the certificates that callers may present to the internal port.
    pub(crate) clients: Option<ClientAuthorities>,
    /// Proxies whose headers about clients are trusted.
    pub(crate) proxies: TrustedProxies,
    /// Whether connections of frontends begin with a PROXY protocol header.
    pub(crate) proxy_protocol: bool,
    /// Limits of sockets and heads, for the inbound port.
    pub(crate) inbound_limits: Limits,
    /// The same, for the internal port.
    pub(crate) internal_limits: Limits,
}

impl PortSettings {
    /// Reads everything but the `limits` of both ports. `guarded` if callers of the internal port
    /// have to prove who they are.
    pub(super) fn read(reader: &mut Reader, limits: Limits, guarded: bool) -> Self {
        let tls = read_tls(reader);
        let clients = read_clients(reader);
        let has_tls = ["HTTPS_CERTFILE", "HTTPS_KEYFILE"].into_iter().all(|name| reader.is_set(name));
        let (inbound, internal) = read_addresses(reader, guarded, has_tls);
        let (proxies, proxy_protocol) = read_proxies(reader);
        Self {
            inbound,
            internal,
            tls,
            clients,
            proxies,
            proxy_protocol,
            inbound_limits: limits,
            internal_limits: read_internal_limits(reader, limits),
        }
    }
}

/// Loads certificate and key; `None` for no HTTPS.
fn read_tls(reader: &mut Reader) -> Option<Tls> {
    match ["HTTPS_CERTFILE", "HTTPS_KEYFILE"].map(|name| reader.is_set(name)) {
        [true, false] => reader.mistake("HTTPS_KEYFILE", "HTTPS_CERTFILE is set: both or neither"),
        [false, true] => reader.mistake("HTTPS_CERTFILE", "HTTPS_KEYFILE is set: both or neither"),
        _ => {}
    }
    let certificates = reader.file("HTTPS_CERTFILE");
    let key = reader.file("HTTPS_KEYFILE");
    let passphrase = reader.text("HTTPS_KEYFILE_PASS");
    let loaded = Tls::load(&certificates?, &key?, passphrase.as_deref());
    let loaded = loaded.map_err(|error| reader.mistake(tls_setting(&error), error.to_string()));
    let (tls, warnings) = loaded.ok()?;
    for warning in warnings {
        reader.warn(format!("HTTPS_CERTFILE: {warning}"));
    }
    Some(tls)
}

/// Loads the authorities of the certificates of callers.
fn read_clients(reader: &mut Reader) -> Option<ClientAuthorities> {
    let file = reader.file("API_CLIENT_CA")?;
    if !reader.is_set("HTTPS_CERTFILE") {
        reader.mistake("API_CLIENT_CA", "needs HTTPS_CERTFILE: certificates are presented over HTTPS");
        return None;
    }
    let loaded = ClientAuthorities::load(&file);
    let loaded = loaded.map_err(|error| reader.mistake("API_CLIENT_CA", error.to_string()));
    let (clients, warnings) = loaded.ok()?;
    for warning in warnings {
        reader.warn(format!("API_CLIENT_CA: {warning}"));
    }
    Some(clients)
}

/// Returns the setting that an unusable certificate is reported for. `Read` means that the file has
/// vanished since it was checked.
fn tls_setting(error: &TlsError) -> &'static str {
    match error {
        TlsError::Certificate { .. } | TlsError::NoAuthority(_) | TlsError::Read { .. } => "HTTPS_CERTFILE",
        TlsError::Key { .. } | TlsError::Mismatch { .. } => "HTTPS_KEYFILE",
        TlsError::Passphrase(_) => "HTTPS_KEYFILE_PASS",
    }
}

/// Reads the addresses of the inbound and the internal port. `guarded` if callers of the internal
/// port have to prove who they are (d18).
fn read_addresses(reader: &mut Reader, guarded: bool, tls: bool) -> (Ports, Ports) {
    let chosen = reader
        .optional("API_BIND", |text, kind| text.parse::<IpAddr>().map_err(|_| format!("expected {kind}")));
    let default = if guarded { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    let api = chosen.unwrap_or(default.into());
    if !guarded && !api.is_loopback() {
        let danger = "whoever reaches the internal port controls the gateway; callers must address it by a loopback \
                      name, its address or the name in HOST";
        reader.warn(format!("API_BIND = {api} without API_TOKEN and API_ACCESS: {danger}"));
    }
    let inbound = reader.address("INBOUND_BIND");
    let rows = [
        ("INBOUND_PORT", inbound),
        ("INBOUND_HTTPS_PORT", inbound),
        ("API_HTTP_PORT", api),
        ("API_HTTPS_PORT", api),
    ];
    let addresses = rows.map(|(name, address)| SocketAddr::new(address, reader.port(name)));
    let opened = |index: &usize| tls || index.is_multiple_of(2);
    for index in (0..rows.len()).filter(opened) {
        let taken = (0..index).filter(opened).find(|other| overlap(addresses[index], addresses[*other]));
        if let Some(other) = taken {
            let reason = format!("{} is the same port: two ports cannot share one", rows[other].0);
            reader.mistake(rows[index].0, reason);
        }
    }
    let [http, https, api_http, api_https] = addresses;
    (Ports { http, https }, Ports { http: api_http, https: api_https })
}

/// Returns whether the two cannot be bound at once.
fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let addresses = left.ip() == right.ip() || left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0 && left.port() == right.port() && addresses
}

/// Reads `TRUSTED_PROXIES` and `PROXY_PROTOCOL`.
fn read_proxies(reader: &mut Reader) -> (TrustedProxies, bool) {
    let networks = reader.optional("TRUSTED_PROXIES", |text, kind| {
        text.split(',').map(|one| network(one.trim(), &kind)).collect::<Result<Vec<_>, _>>()
    });
    let networks = networks.unwrap_or_default();
    if let Some(all) = networks.iter().find(|network| network.prefix_len() == 0) {
        reader.warn(format!("TRUSTED_PROXIES contains {all}: every client is believed about its address"));
    }
    let proxy_protocol = reader.word("PROXY_PROTOCOL", |text| match text {
        "off" => Some(false),
        "on" => Some(true),
        _ => None,
    });
    if proxy_protocol && networks.is_empty() && !reader.is_set("TRUSTED_PROXIES") {
        reader
            .mistake("PROXY_PROTOCOL", "needs TRUSTED_PROXIES: the addresses of the balancers that send it");
    }
    (TrustedProxies::new(networks), proxy_protocol)
}

/// Parses an address, or a network. Refuses bits beyond the prefix length, which usually are a
/// mistake.
fn network(text: &str, kind: &ValueKind) -> Result<IpNet, String> {
    let network: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().into(),
        Err(_) => text.parse().map_err(|_| format!("{text:?} is no network; expected {kind}"))?,
    };
    match network.trunc() {
        normal if normal == network => Ok(network),
        normal => Err(format!("{network} has bits beyond its length; did you mean {normal}?")),
    }
}

/// Reads the limits of sockets and heads.
pub(super) fn read_limits(reader: &mut Reader) -> Limits {
    Limits {
        request_line: reader.bytes("MAX_REQUEST_LINE"),
        headers: reader.bytes("MAX_HEADER_BYTES"),
        header_fields: reader.number("MAX_HEADER_FIELDS"),
        head_timeout: reader.time("HEAD_TIMEOUT"),
        keep_alive: reader.time("KEEP_ALIVE_TIMEOUT"),
        connections: reader.number("MAX_CONNECTIONS"),
        connections_per_address: reader.number("MAX_CONNECTIONS_PER_ADDRESS"),
        ..Limits::default()
    }
}

/// Returns the limits of the internal port: other clients at the same address must not lock an
/// operator out.
fn read_internal_limits(reader: &mut Reader, limits: Limits) -> Limits {
    Limits { connections: reader.number("MAX_API_CONNECTIONS"), connections_per_address: 0, ..limits }
}

/// Reads the pages that may read answers. With a token cookie they must be listed, since browsers
/// send it whichever page makes the request.
pub(super) fn read_cors(reader: &mut Reader, cookie: bool) -> Cors {
    let before = reader.mistakes();
    let (cors, with_slash) = reader.fallible("CORS", |text, kind| {
        Cors::parse(text).map_err(|error| format!("{error}; expected {kind}"))
    });
    for entry in with_slash {
        reader.warn(format!("CORS: the slash at the end of {} is taken off", quoted(&entry)));
    }
    if cookie && cors.is_any() && reader.mistakes() == before {
        let reason = "JWT_COOKIE is set, and browsers send that cookie whichever page asks; expected the origins of your \
                      pages, such as https://example.com";
        reader.mistake("CORS", reason);
    }
    cors
}
