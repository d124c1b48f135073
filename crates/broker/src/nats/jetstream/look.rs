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
    let mut findings = match api.stream().await {
        Ok(info) => vec![Finding::good(what, format!("created {}", info.created))],
        Err(ApiError::NoStream { .. }) => return vec![Finding::bad(what, "not there")],
        Err(error) => return vec![Finding::bad(what, error)],
    };
    let result = match api.consumer().await {
        Ok(bound) => Ok(format!("{} messages are not delivered yet", bound.pending)),
        Err(ApiError::NoConsumer { .. }) => Ok("not there, will be created".to_owned()),
        Err(error) => Err(error),
    };
    findings.push(Finding::new(format!("nats: consumer {consumer}"), result));
    // They are read to find those that the client cannot read.
    if let Err(error) = api.message(1, ">").await {
        let remark = format!("one whose headers are not valid would come again and again: {error}");
        findings.push(Finding::good(format!("nats: messages of {stream} cannot be looked at"), remark));
    }
    findings
}
