//! The top level: turns a document into an API. All faults are collected before it is refused.

use std::collections::HashSet;
use std::sync::Arc;

use ::auth::TokenSources;
use serde_json::{Map, Value, json};

use super::members::{Findings, MemberReader};
use super::{Api, Endpoint, auth, endpoint, proxy};
use crate::fault::{Fault, Warning};

/// Limit of the endpoints of one API.
pub(super) const MAX_ENDPOINTS: usize = 20_000;

/// Limit of an id, in bytes: it is used in URLs, metrics and log lines.
pub(super) const MAX_ID: usize = 255;

/// Limit of the name of an API, in bytes.
const MAX_NAME: usize = 1000;

/// Members that RIG adds when it shows a definition; they are not part of it.
const SHOWN_ONLY: [&str; 5] = ["phx_ref", "phx_ref_prev", "node_name", "ref_number", "timestamp"];

const MEMBERS: &[&str] = &["active", "auth", "auth_type", "id", "name", "proxy", "version_data", "versioned"];

/// Removes the members that a gateway adds when it shows a definition.
pub(crate) fn without_ours(mut document: Map<String, Value>) -> Map<String, Value> {
    for name in SHOWN_ONLY {
        document.remove(name);
    }
    document
}

impl Api {
    /// Parses a definition. `environment` looks up the variables that `use_env` names.
    ///
    /// # Errors
    /// Fails with all faults, up to a thousand.
    pub fn parse(
        document: &Value,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Warning>), Vec<Fault>> {
        let Some(document) = document.as_object() else {
            let (group, field) = ("api".to_owned(), "api".to_owned());
            return Err(vec![Fault {
                pointer: String::new(),
                group,
                field,
                reason: "must be object".to_owned(),
            }]);
        };
        let document = with_defaults(without_ours(document.clone()));
        let findings = Findings::default();
        let api = read(&document, &findings, environment);
        match (api, findings.into_parts()) {
            (Some(api), (faults, warnings)) if faults.is_empty() => Ok((Self { document, ..api }, warnings)),
            (_, (faults, _)) => Err(faults),
        }
    }
}

/// Fills in RIG's defaults.
fn with_defaults(mut document: Map<String, Value>) -> Map<String, Value> {
    for (name, value) in [("active", json!(true)), ("auth_type", json!("none")), ("versioned", json!(false))]
    {
        fill(&mut document, name, value);
    }
    fill(&mut document, "auth", json!({}));
    if let Some(Value::Object(auth)) = document.get_mut("auth") {
        for (name, value) in [
            ("use_header", json!(false)),
            ("header_name", json!("")),
            ("use_query", json!(false)),
            ("query_name", json!("")),
        ] {
            fill(auth, name, value);
        }
    }
    document
}

fn fill(map: &mut Map<String, Value>, name: &str, value: Value) {
    let member = map.entry(name).or_insert(Value::Null);
    if member.is_null() {
        *member = value;
    }
}

/// Returns the API if all its parts could be read. There may be faults nevertheless.
fn read(
    document: &Map<String, Value>,
    findings: &Findings,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<Api> {
    let top = MemberReader::new(document, "", "api", findings);
    top.only(MEMBERS);
    let id = top.needed_text("id", MAX_ID);
    if id.is_some_and(|id| id.chars().any(char::is_control)) {
        top.fault("id", "must not have control characters");
    }
    top.needed_text("name", MAX_NAME);
    let active = top.flag("active", true);
    if top.flag("versioned", false) {
        top.warn("versioned", "has no effect: only the version default is served, as in RIG");
    }
    let proxy = match top.value("proxy") {
        None => absent(&top, "proxy"),
        Some(Value::Object(map)) if map.is_empty() => absent(&top, "proxy"),
        Some(_) => top.object("proxy"),
    };
    let proxy = proxy.map(|map| MemberReader::new(map, "/proxy", "api", findings));
    let upstream = proxy.as_ref().and_then(|proxy| proxy::read(proxy, environment));
    // Faults of an API without an id are reported as faults of the document.
    let owner = id.unwrap_or("api");
    let auth_type = auth::auth_type(&MemberReader::new(document, "", owner, findings));
    let sources =
        top.object("auth").map(|map| auth::sources(&MemberReader::new(map, "/auth", owner, findings)));
    let endpoints = version(&top)
        .map(|map| {
            endpoints(&MemberReader::new(map, "/version_data/default", "api", findings), owner, auth_type)
        })
        .unwrap_or_default();
    let secured = endpoints.iter().any(|endpoint| endpoint.secured);
    let nowhere = TokenSources::default();
    if secured && sources.as_ref().is_some_and(|sources| *sources == nowhere) {
        top.warn("auth", "names no place of tokens: nobody gets through its secured endpoints");
    }
    Some(Api {
        id: Arc::from(id?),
        active,
        token_sources: sources.filter(|_| secured),
        upstream: upstream?,
        path_rules: proxy.as_ref().map(proxy::path_rules).unwrap_or_default(),
        endpoints,
        document: Map::new(),
    })
}

fn absent<'a>(top: &MemberReader<'a>, name: &str) -> Option<&'a Map<String, Value>> {
    top.fault(name, "must be present");
    None
}

/// Returns the version `default`, the only one that is served.
fn version<'a>(top: &MemberReader<'a>) -> Option<&'a Map<String, Value>> {
    if top.value("version_data").is_none() {
        return absent(top, "version_data");
    }
    let versions = top.object("version_data")?;
    if versions.is_empty() {
        top.fault("version_data", "must be present");
        top.fault("version_data", "must have at least one version, e.g. default");
        return None;
    }
    let versions = MemberReader::new(versions, "/version_data", "api", top.findings());
    for other in versions.map().keys().filter(|name| *name != "default") {
        versions.warn(other, "is not served: only the version default is, as in RIG");
    }
    if versions.value("default").is_none() {
        return absent(&versions, "default");
    }
    versions.object("default")
}

fn endpoints(version: &MemberReader<'_>, owner: &str, auth_type: auth::AuthType) -> Vec<Endpoint> {
    version.only(&["endpoints", "transform_request_headers"]);
    let added = endpoint::added_headers(version);
    let Some(list) = version.value("endpoints").and_then(Value::as_array) else {
        version.fault("endpoints", "must be list");
        return Vec::new();
    };
    if list.len() > MAX_ENDPOINTS {
        version.fault("endpoints", format!("must have at most {MAX_ENDPOINTS} entries"));
        return Vec::new();
    }
    let mut ids = HashSet::new();
    let mut endpoints = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let pointer = format!("/version_data/default/endpoints/{index}");
        let Some(map) = value.as_object() else {
            version.fault_at(pointer, "endpoints", "must be object");
            continue;
        };
        let id = map.get("id").and_then(Value::as_str).unwrap_or_default();
        let group = format!("{owner}/{}", id.chars().take(MAX_ID).collect::<String>());
        let members = MemberReader::new(map, &pointer, &group, version.findings());
        if !id.is_empty() && !ids.insert(id) {
            members.fault("id", "must be unique");
        }
        endpoints.extend(endpoint::read(&members, &added, auth_type));
    }
    endpoints
}
