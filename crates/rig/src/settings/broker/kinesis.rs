//! The settings of Kinesis.

use std::net::IpAddr;

use ::broker::kinesis::{InitialPosition, KinesisAccess, KinesisConfig, KinesisMode, LeaseTiming};
use http::Uri;

use crate::settings::kind::ValueKind;
use crate::settings::reader::Reader;

/// What Kinesis is used for.
#[derive(Clone, Debug)]
pub(crate) struct KinesisSettings {
    /// Where events come from; `None` if they do not come from Kinesis.
    pub(crate) source: Option<KinesisConfig>,
    /// Where events are sent to. It is used when an API asks for it, as in RIG.
    pub(crate) target: KinesisAccess,
}

/// Reads what Kinesis is used for.
pub(super) fn read(reader: &mut Reader) -> KinesisSettings {
    let is_enabled = reader.switch("KINESIS_ENABLED");
    let endpoint = read_endpoint(reader, "KINESIS_ENDPOINT");
    let mut access = |setting| KinesisAccess {
        region: reader.filled(setting, |text, kind| named(text, kind, 1..=63, "-")),
        endpoint: endpoint.clone(),
        key: None,
    };
    let (from, target) = (access("KINESIS_AWS_REGION"), access("PROXY_KINESIS_REQUEST_REGION"));
    let config = KinesisConfig {
        access: from,
        dynamodb_endpoint: read_endpoint(reader, "KINESIS_DYNAMODB_ENDPOINT"),
        stream: reader.filled("KINESIS_STREAM", |text, kind| named(text, kind, 1..=128, ".-_")),
        application: reader.filled("KINESIS_APP_NAME", |text, kind| named(text, kind, 3..=255, ".-_")),
        mode: reader.word("KINESIS_SOURCE_MODE", |word| match word {
            "group" => Some(KinesisMode::Group),
            "broadcast" => Some(KinesisMode::Broadcast),
            _ => None,
        }),
        initial_position: reader.word("KINESIS_INITIAL_POSITION", |word| match word {
            "latest" => Some(InitialPosition::Latest),
            "trim_horizon" => Some(InitialPosition::TrimHorizon),
            _ => None,
        }),
        timing: LeaseTiming::default(),
    };
    KinesisSettings { source: is_enabled.then_some(config), target }
}

/// Reads the URL of a service; `None` for that of AWS.
fn read_endpoint(reader: &mut Reader, name: &str) -> Option<String> {
    let uri = reader.optional(name, |text, kind| endpoint(text).ok_or_else(|| format!("expected {kind}")))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    if uri.scheme_str() == Some("http") && !is_here {
        reader.warn(format!(
            "{name}: {host} is on another host and is used without TLS: whoever is between can read and change events"
        ));
    }
    Some(uri.to_string())
}

fn endpoint(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    (is_http && has_host && !has_user && uri.path() == "/" && uri.query().is_none()).then_some(uri)
}

/// Returns a name that consists of letters, digits, and these other characters.
fn named(
    text: &str,
    kind: ValueKind,
    length: std::ops::RangeInclusive<usize>,
    others: &str,
) -> Result<String, String> {
    let is_allowed = |char: char| char.is_ascii_alphanumeric() || others.contains(char);
    match length.contains(&text.len()) && text.chars().all(is_allowed) {
        true => Ok(text.to_owned()),
        false => Err(format!("expected {kind}")),
    }
}
