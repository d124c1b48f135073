//! Where NATS is: for a node of a cluster, for the broker, and for commands of the operator.

use ::cluster::nats::NatsConfig;
use ::nats::{AccessError, Credentials, NatsAccess};

use super::cluster::read_nats;
use super::given::Given;
use super::mistake::Mistakes;
use super::reader::Reader;

/// The names of the settings of a connection to NATS.
pub(super) struct AccessRows {
    servers: &'static str,
    user: &'static str,
    password: &'static str,
    token: &'static str,
    creds: &'static str,
    nkey: &'static str,
    ca: &'static str,
    cert: &'static str,
    key: &'static str,
    /// Whether other hosts may be reached without TLS; `None`: they may, as with RIG.
    insecure: Option<&'static str>,
}

pub(super) const OF_CLUSTER: AccessRows = AccessRows {
    servers: "CLUSTER_NATS",
    user: "CLUSTER_NATS_USER",
    password: "CLUSTER_NATS_PASSWORD",
    token: "CLUSTER_NATS_TOKEN",
    creds: "CLUSTER_NATS_CREDS",
    nkey: "CLUSTER_NATS_NKEY",
    ca: "CLUSTER_NATS_CA",
    cert: "CLUSTER_NATS_CERT",
    key: "CLUSTER_NATS_KEY",
    insecure: Some("CLUSTER_INSECURE"),
};

#[cfg(feature = "nats")]
pub(super) const OF_BROKER: AccessRows = AccessRows {
    servers: "NATS_SERVERS",
    user: "NATS_USER",
    password: "NATS_PASSWORD",
    token: "NATS_TOKEN",
    creds: "NATS_CREDS",
    nkey: "NATS_NKEY",
    ca: "NATS_CA",
    cert: "NATS_CERT",
    key: "NATS_KEY",
    insecure: None,
};

/// Reads where NATS is.
///
/// # Errors
/// Fails with the mistakes of these settings, or if no server is named.
pub(crate) fn nats(given: Given) -> Result<NatsConfig, Mistakes> {
    let mut reader = Reader::new(given);
    let nats = read_nats(&mut reader);
    if nats.is_none() && reader.mistakes() == 0 {
        reader.mistake("CLUSTER_NATS", "not set: it names the NATS servers of the cluster");
    }
    match nats {
        Some(nats) if reader.mistakes() == 0 => Ok(nats),
        _ => Err(Mistakes(reader.given.mistakes)),
    }
}

/// Reads the servers, and how to show who this is; `None` if no server is named.
pub(super) fn read_access(reader: &mut Reader, rows: &AccessRows) -> Option<NatsAccess> {
    let servers = reader.text(rows.servers);
    let credentials = read_credentials(reader, rows);
    let ca = reader.file(rows.ca);
    let certificate = both(reader, [rows.cert, rows.key], Reader::file);
    let insecure = rows.insecure.is_none_or(|row| reader.switch(row));
    let servers: Vec<String> = servers?.split(',').map(|server| server.trim().to_owned()).collect();
    let access = NatsAccess { servers, credentials, ca, certificate, insecure };
    if let Err(error) = access.addresses() {
        let hint = match (&error, rows.insecure) {
            (AccessError::Insecure(_), Some(row)) => format!(" ({row}=true)"),
            (AccessError::UserInAddress, _) => format!(" ({})", rows.user),
            _ => String::new(),
        };
        reader.mistake(rows.servers, format!("{error}{hint}"));
    }
    Some(access)
}

fn read_credentials(reader: &mut Reader, rows: &AccessRows) -> Credentials {
    let mut ways = Vec::new();
    let password = both(reader, [rows.user, rows.password], Reader::text);
    ways.extend(password.map(|(user, password)| (rows.user, Credentials::Password { user, password })));
    ways.extend(reader.text(rows.token).map(|token| (rows.token, Credentials::Token(token))));
    ways.extend(reader.file(rows.creds).map(|path| (rows.creds, Credentials::File(path))));
    ways.extend(reader.file(rows.nkey).map(|path| (rows.nkey, Credentials::NKey(path))));
    if let [(first, _), (second, _), ..] = &ways[..] {
        let (first, second) = (*first, *second);
        reader.mistake(second, format!("only one way to authenticate may be set, and {first} is set too"));
    }
    ways.into_iter().next().map_or(Credentials::None, |(_, credentials)| credentials)
}

/// Reads two settings of which neither may be set alone.
fn both<T>(
    reader: &mut Reader,
    [one, other]: [&'static str; 2],
    read: impl Fn(&mut Reader, &str) -> Option<T>,
) -> Option<(T, T)> {
    let both = (read(reader, one), read(reader, other));
    match (reader.is_set(one), reader.is_set(other)) {
        (true, false) => reader.mistake(other, format!("missing, although {one} is set")),
        (false, true) => reader.mistake(one, format!("missing, although {other} is set")),
        _ => {}
    }
    match both {
        (Some(one), Some(other)) => Some((one, other)),
        _ => None,
    }
}
