//! Looks at a stream and its consumer, and changes neither.

use async_nats::Client;

use super::StreamConfig;
use super::api::{Api, ApiError};
use crate::check::Finding;

/// Looks for the stream and the consumer.
pub(in crate::nats) async fn at(client: Client, config: &StreamConfig) -> Vec<Finding> {
    let StreamConfig { stream, consumer, .. } = config;
    let api = Api::new(client, stream, consumer);
    let what = format!("nats: stream {stream}");
    let mut findings = match api.stream_created().await {
        Ok(created) => vec![Finding::good(what, format!("created {created}"))],
        Err(ApiError::NoStream { .. }) => return vec![Finding::bad(what, "not there")],
        Err(error) => return vec![Finding::bad(what, error)],
    };
    let result = match api.consumer().await {
        Ok(bound) => Ok(format!("{} messages are not delivered yet", bound.pending)),
        Err(ApiError::NoConsumer { .. }) => Ok("not there, will be created".to_owned()),
        Err(error) => Err(error),
    };
    findings.push(Finding::new(format!("nats: consumer {consumer}"), result));
    findings
}
