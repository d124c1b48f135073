//! Looks at the schema registry.

use std::collections::BTreeSet;
use std::time::Duration;

use avro::EncodeError;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::check::Finding;
use crate::kafka::{Registry, RegistryConfig};

/// What the registry is called.
const REGISTRY: &str = "schema registry";

/// Asks the registry for these subjects. Takes `within` at most.
pub async fn check(config: RegistryConfig, subjects: BTreeSet<String>, within: Duration) -> Vec<Finding> {
    let until = Instant::now() + within;
    let registry = match Registry::new(config) {
        Ok(registry) => registry,
        Err(error) => return vec![Finding::bad(REGISTRY, error)],
    };
    let late = "no answer in time";
    let reached = timeout_at(until, registry.check()).await;
    if let Err(reason) = reached.unwrap_or_else(|_| Err(late.to_owned())) {
        return vec![Finding::bad(REGISTRY, reason)];
    }
    let mut findings = vec![Finding::good(REGISTRY, "connected")];
    for subject in subjects {
        // Whether this value fits the schema does not matter, only that there is one.
        let encoded = timeout_at(until, Box::pin(registry.encode(&subject, &Value::Null))).await;
        let result = match encoded {
            Ok(Ok(_) | Err(EncodeError::Invalid(_))) => Ok("has a schema"),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(late.to_owned()),
        };
        findings.push(Finding::new(format!("{REGISTRY}: subject {subject}"), result));
    }
    findings
}
