//! A list of definitions, as in a file: read as a whole, each fault with its index in the list.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::Standing;
use crate::definition::{Api, Broker, Endpoint};
use crate::fault::{Fault, Warning};
use crate::target::TargetFault;

/// Limit of the definitions of a node.
pub(super) const MAX_APIS: usize = 10_000;

/// Limit of the endpoints of all definitions together.
pub(super) const MAX_ENDPOINTS: usize = 100_000;

/// Limit of the faults that are reported for one list.
const MAX_FAULTS: usize = 1000;

/// A list of valid definitions.
#[derive(Debug, Default)]
pub struct Definitions {
    pub(super) apis: Vec<Arc<Api>>,
}

impl Definitions {
    /// Returns the warnings that apply under `CORS=*`, with the index of each definition.
    pub fn warnings_of_cookies(&self) -> impl Iterator<Item = Warning> {
        let indexed = self.apis.iter().enumerate();
        indexed.filter_map(|(index, api)| Some(Warning(format!("/{index}{}", api.warning_of_cookie()?.0))))
    }

    /// Returns the endpoints that are served.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.apis.iter().filter(|api| api.active).flat_map(|api| &api.endpoints)
    }

    /// Returns the faults of the definitions that are served, on a node with these brokers.
    pub fn without_broker(&self, has: impl Fn(Broker) -> bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (index, api) in self.apis.iter().enumerate().filter(|(_, api)| api.active) {
            for (number, endpoint) in api.endpoints.iter().enumerate() {
                if let Some(needed) = endpoint.needed_broker().filter(|(_, broker)| !has(*broker)) {
                    let TargetFault { member, reason } = TargetFault::not_configured(needed);
                    faults.push(Fault {
                        pointer: format!("/{index}/version_data/default/endpoints/{number}/{member}"),
                        group: format!("{}/{}", api.id, endpoint.id),
                        field: member.to_owned(),
                        reason,
                    });
                }
            }
        }
        faults
    }

    /// Reads a list, and warns of probable mistakes. `environment` looks up the variables that
    /// `use_env` names.
    ///
    /// # Errors
    /// Fails with all faults, up to a thousand; their pointers begin with the index.
    pub fn parse(
        list: &Value,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Vec<Warning>), Vec<Fault>> {
        let list = match list.as_array() {
            Some(list) if list.len() <= MAX_APIS => list,
            Some(_) => return Err(vec![of_node(format!("must have at most {MAX_APIS} entries"))]),
            None => return Err(vec![of_node("must be list".to_owned())]),
        };
        let (mut apis, mut faults, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
        let mut ids = HashSet::new();
        for (index, document) in list.iter().enumerate() {
            if document.get("id").and_then(Value::as_str).is_some_and(|id| !ids.insert(id)) {
                let reason = "must be unique".to_owned();
                let (group, field) = ("api".to_owned(), "id".to_owned());
                faults.push(Fault { pointer: format!("/{index}/id"), group, field, reason });
            }
            match Api::parse(document, environment) {
                Ok((api, of_it)) => {
                    let of_it = of_it.into_iter().map(|warning| Warning(format!("/{index}{}", warning.0)));
                    warnings.extend(of_it);
                    apis.push(Arc::new(api));
                }
                Err(of_it) => faults.extend(of_it.into_iter().map(|fault| at(index, fault))),
            }
            if faults.len() >= MAX_FAULTS {
                faults.truncate(MAX_FAULTS);
                break;
            }
        }
        if faults.is_empty() { Ok((Self { apis }, warnings)) } else { Err(faults) }
    }
}

fn at(index: usize, fault: Fault) -> Fault {
    Fault { pointer: format!("/{index}{}", fault.pointer), ..fault }
}

fn of_node(reason: String) -> Fault {
    Fault { pointer: String::new(), group: "api".to_owned(), field: "api".to_owned(), reason }
}

/// Adds to faults of the table the index of their API in a list.
pub(super) fn all_indexed(faults: Vec<Fault>, apis: &[Arc<Api>]) -> Vec<Fault> {
    let indexed = |fault: Fault| match apis.iter().position(|api| is_of(&fault, api)) {
        Some(index) => at(index, fault),
        None => fault,
    };
    faults.into_iter().map(indexed).collect()
}

/// Returns whether a fault belongs to this API: its group is the id of the API, or that id followed
/// by the id of an endpoint.
fn is_of(fault: &Fault, api: &Api) -> bool {
    let Some(rest) = fault.group.strip_prefix(&*api.id) else { return false };
    let is_endpoint = |id: &str| api.endpoints.iter().any(|endpoint| *endpoint.id == *id);
    rest.is_empty() || rest.strip_prefix('/').is_some_and(is_endpoint)
}

pub(super) fn check_bounds(standing: &BTreeMap<Arc<str>, Standing>) -> Result<(), Vec<Fault>> {
    let endpoints: usize = standing.values().map(|standing| standing.api.endpoints.len()).sum();
    if standing.len() > MAX_APIS {
        return Err(vec![of_node(format!("a node has at most {MAX_APIS} APIs"))]);
    }
    if endpoints > MAX_ENDPOINTS {
        return Err(vec![of_node(format!("the APIs of a node have at most {MAX_ENDPOINTS} endpoints"))]);
    }
    Ok(())
}

pub(super) fn list(standing: &BTreeMap<Arc<str>, Standing>) -> Vec<Arc<Api>> {
    standing.values().map(|standing| standing.api.clone()).collect()
}
