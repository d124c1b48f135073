//! `proxy`: where the requests of an API are sent.

use std::net::Ipv6Addr;
use std::time::Duration;

use document::child;
use http::Uri;
use http::uri::{PathAndQuery, Scheme};
use serde_json::Value;

use super::members::MemberReader;
use super::{Ejection, HealthCheck, TargetConfig, TlsFiles, UpstreamConfig, tls};
use crate::path::{PathRules, Rule};

/// Limit of the servers of one service: a set of them fits a 64-bit word.
const MAX_TARGETS: usize = 64;

/// Limit of the URL of a server, in bytes.
const MAX_URL: usize = 1024;

/// Limit of the path of a health check, in bytes.
const MAX_PATH: usize = 4096;

/// The target if the variable that names it is not set (RIG).
const UNSET: &str = "localhost";

const DAY: u64 = 86_400_000;

const MEMBERS: &[&str] = &[
    "use_env",
    "target_url",
    "port",
    "targets",
    "http2",
    "tls",
    "health_check",
    "eject",
    "encoded_slashes",
    "empty_segments",
    "path_parameters",
];

pub(super) fn read(
    proxy: &MemberReader<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<UpstreamConfig> {
    proxy.only(MEMBERS);
    let within = |name: &str| proxy.object(name).map(|map| (map, proxy.pointer(name)));
    let targets = match proxy.value("targets") {
        Some(list) => targets(proxy, list),
        None => rig_target(proxy, environment).map(|target| vec![target]),
    };
    let tls = within("tls").map_or_else(TlsFiles::default, |(map, pointer)| {
        tls::read(&MemberReader::new(map, &pointer, proxy.group(), proxy.findings()))
    });
    let health_check = within("health_check").and_then(|(map, pointer)| {
        health_check(&MemberReader::new(map, &pointer, proxy.group(), proxy.findings()))
    });
    let ejection = within("eject")
        .map(|(map, pointer)| eject(&MemberReader::new(map, &pointer, proxy.group(), proxy.findings())));
    let http2 = proxy.flag("http2", false);
    let targets = targets?;
    if tls != TlsFiles::default() && targets.iter().all(|target| target.scheme == Scheme::HTTP) {
        proxy.warn("tls", "has no effect: no target is https");
    }
    Some(UpstreamConfig { targets, http2, tls, health_check, ejection })
}

/// Reads how the service interprets paths.
pub(super) fn path_rules(proxy: &MemberReader<'_>) -> PathRules {
    let rule = |name: &str, default| {
        let Some(value) = proxy.value(name) else { return default };
        let known = Rule::WORDS.into_iter().find(|(word, _)| value == word);
        known.map_or_else(
            || {
                proxy.fault(name, r#"must be one of ["refuse", "same_endpoint", "allow"]"#);
                default
            },
            |(_, rule)| rule,
        )
    };
    let PathRules { encoded_slashes, empty_segments, path_parameters } = PathRules::default();
    PathRules {
        encoded_slashes: rule("encoded_slashes", encoded_slashes),
        empty_segments: rule("empty_segments", empty_segments),
        path_parameters: rule("path_parameters", path_parameters),
    }
}

/// Reads RIG's single target: `target_url`, or the variable that it names, and `port`.
fn rig_target(
    proxy: &MemberReader<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<TargetConfig> {
    let url = proxy.needed_text("target_url", MAX_URL);
    let port = match proxy.value("port") {
        None => {
            proxy.fault("port", "must be integer");
            None
        }
        Some(_) => proxy.number("port", 1..=65_535),
    };
    let variable = proxy.flag("use_env", false);
    let url = match url? {
        name if variable => environment(name).filter(|value| !value.is_empty()).unwrap_or_else(|| {
            let text =
                format!("the environment variable {name} is not set: {UNSET} is the target, as in RIG");
            proxy.warn("target_url", &text);
            UNSET.to_owned()
        }),
        url => url.to_owned(),
    };
    // The variable may contain a secret by mistake: reasons do not repeat its value.
    let target = parse_target(&url).and_then(|target| match target.port {
        None => Ok(target),
        Some(_) => Err("must not have a port: port names it"),
    });
    match target {
        Ok(ServiceUrl { scheme, host, .. }) => {
            let port = u16::try_from(port?).ok()?;
            Some(TargetConfig { scheme, host, port, weight: 1 })
        }
        Err(reason) => {
            proxy.fault("target_url", reason);
            None
        }
    }
}

fn targets(proxy: &MemberReader<'_>, list: &Value) -> Option<Vec<TargetConfig>> {
    for name in ["target_url", "port", "use_env"] {
        if proxy.value(name).is_some() {
            proxy.fault(name, "must not stand beside targets");
        }
    }
    let Some(list) = list.as_array() else {
        proxy.fault("targets", "must be list");
        return None;
    };
    if !(1..=MAX_TARGETS).contains(&list.len()) {
        proxy.fault("targets", format!("must have 1 to {MAX_TARGETS} entries"));
        return None;
    }
    let pointer = proxy.pointer("targets");
    let targets: Vec<_> = list
        .iter()
        .enumerate()
        .filter_map(|(index, target)| {
            let pointer = child(&pointer, &index.to_string());
            let Some(map) = target.as_object() else {
                proxy.fault_at(pointer, "targets", "must be object");
                return None;
            };
            one_of(&MemberReader::new(map, &pointer, proxy.group(), proxy.findings()))
        })
        .collect();
    if !targets.is_empty() && targets.iter().all(|target| target.weight == 0) {
        proxy.fault("targets", "must have a target with a weight above 0");
    }
    Some(targets)
}

fn one_of(target: &MemberReader<'_>) -> Option<TargetConfig> {
    target.only(&["url", "weight"]);
    let weight = target.small("weight", 1, 0..=65_535);
    let url = target.needed_text("url", MAX_URL)?;
    let parsed =
        if url.contains("://") { parse_target(url) } else { Err("must begin with http:// or https://") };
    match parsed {
        Ok(ServiceUrl { scheme, host, port }) => {
            let standard = if scheme == Scheme::HTTPS { 443 } else { 80 };
            Some(TargetConfig { scheme, host, port: port.unwrap_or(standard), weight })
        }
        Err(reason) => {
            target.fault("url", reason);
            None
        }
    }
}

struct ServiceUrl {
    scheme: Scheme,
    host: String,
    port: Option<u16>,
}

/// Parses `host`, `http://host` and `https://host:port`.
fn parse_target(url: &str) -> Result<ServiceUrl, &'static str> {
    let scheme = match url.split_once("://") {
        None => Scheme::HTTP,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("http") => Scheme::HTTP,
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("https") => Scheme::HTTPS,
        Some(_) => return Err("must begin with http:// or https://, or with the name of a host"),
    };
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    if rest.contains('#') {
        return Err("must not have a fragment");
    }
    let uri: Uri = format!("http://{rest}").parse().map_err(|_| "must be a URL")?;
    let authority = uri.authority().ok_or("must have a host")?;
    if authority.as_str().contains('@') {
        return Err("must not have user information");
    }
    if uri.path() != "/" {
        return Err("must not have a path");
    }
    if uri.query().is_some() {
        return Err("must not have a query");
    }
    let host = match authority.host().strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) if address.parse::<Ipv6Addr>().is_ok() => address,
        None if is_name(authority.host()) => authority.host(),
        _ => return Err("must have the name or the address of a host"),
    };
    let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
        None => None,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err("must have a port from 1 to 65535, or none"),
            Ok(port) => Some(port),
        },
    };
    Ok(ServiceUrl { scheme, host: host.to_owned(), port })
}

fn is_name(host: &str) -> bool {
    let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=253).contains(&host.len()) && host.bytes().all(name)
}

fn health_check(check: &MemberReader<'_>) -> Option<HealthCheck> {
    check.only(&["path", "interval_ms", "timeout_ms", "healthy_after", "unhealthy_after"]);
    let milliseconds =
        |name: &str, default, range| Duration::from_millis(check.number(name, range).unwrap_or(default));
    let interval = milliseconds("interval_ms", 5000, 100..=DAY);
    let timeout = milliseconds("timeout_ms", 1000, 1..=DAY);
    let healthy_after = check.small("healthy_after", 2, 1..=1000);
    let unhealthy_after = check.small("unhealthy_after", 3, 1..=1000);
    let path = check.needed_text("path", MAX_PATH)?;
    if !path.starts_with('/') || path.contains('#') || path.parse::<PathAndQuery>().is_err() {
        check.fault("path", "must be a path that begins with /");
        return None;
    }
    Some(HealthCheck { path: path.to_owned(), interval, timeout, healthy_after, unhealthy_after })
}

fn eject(eject: &MemberReader<'_>) -> Ejection {
    eject.only(&["after_failures", "for_ms"]);
    let time = Duration::from_millis(eject.number("for_ms", 1..=DAY).unwrap_or(10_000));
    Ejection { after: eject.small("after_failures", 5, 1..=1_000_000), time }
}
