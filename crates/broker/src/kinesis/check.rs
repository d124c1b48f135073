//! Looks at Kinesis and DynamoDB as they are configured (`rig check --online`).
//!
//! Nothing is read from streams, and no table is created.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::TableStatus;
use aws_sdk_kinesis::types::StreamStatus;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::aws::{Failed, Trouble, configure};
use super::{KinesisAccess, KinesisConfig, KinesisMode};
use crate::check::Finding;

/// How often a request is tried.
const ATTEMPTS: u32 = 2;

/// Limit of the requests at the same time: an account may have 20 in a second.
const REQUESTS: usize = 8;

/// Looks for the stream that events come from and its table of leases, and for the streams that
/// events are sent to. Takes `within` at most.
pub async fn check(
    source: Option<KinesisConfig>,
    (target, streams): (KinesisAccess, BTreeSet<String>),
    within: Duration,
) -> Vec<Finding> {
    let (attempt, until) = (within / ATTEMPTS, Instant::now() + within);
    let streams: Vec<_> = streams.into_iter().collect();
    let targets = async {
        let mut findings = Vec::new();
        if streams.is_empty() {
            return findings;
        }
        let client = kinesis(&target, attempt).await;
        for some in streams.chunks(REQUESTS) {
            findings.extend(join_all(some.iter().map(|stream| at_stream(&client, stream, until))).await);
        }
        findings
    };
    let source = async {
        let Some(source) = &source else { return Vec::new() };
        let client = kinesis(&source.access, attempt).await;
        let stream = at_stream(&client, &source.stream, until);
        match source.mode {
            KinesisMode::Group => {
                let (stream, table) = tokio::join!(stream, at_table(source, attempt, until));
                vec![stream, table]
            }
            KinesisMode::Broadcast => vec![stream.await],
        }
    };
    let (mut findings, others) = tokio::join!(Box::pin(source), Box::pin(targets));
    for finding in others {
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

async fn kinesis(access: &KinesisAccess, attempt: Duration) -> aws_sdk_kinesis::Client {
    let config = configure(access, access.endpoint.as_deref(), attempt, ATTEMPTS).await;
    aws_sdk_kinesis::Client::new(&config)
}

async fn at_stream(client: &aws_sdk_kinesis::Client, stream: &str, until: Instant) -> Finding {
    let result =
        timeout_at(until, Box::pin(client.describe_stream_summary().stream_name(stream).send())).await;
    let result = match result.map(|answer| answer.map_err(Failed::from)) {
        Err(_) => Err("no answer in time".to_owned()),
        Ok(Err(failed)) => Err(in_words(&failed)),
        Ok(Ok(answer)) => match answer.stream_description_summary() {
            Some(seen) if matches!(seen.stream_status(), StreamStatus::Active | StreamStatus::Updating) => {
                Ok(format!("open shards: {}", seen.open_shard_count()))
            }
            Some(seen) => Err(format!("its status is {}", seen.stream_status())),
            None => Err("the answer says nothing".to_owned()),
        },
    };
    Finding::new(format!("kinesis: stream {stream}"), result)
}

async fn at_table(source: &KinesisConfig, attempt: Duration, until: Instant) -> Finding {
    let endpoint = source.dynamodb_endpoint.as_deref();
    let config = configure(&source.access, endpoint, attempt, ATTEMPTS).await;
    let client = aws_sdk_dynamodb::Client::new(&config);
    let table = &source.application;
    let result = timeout_at(until, Box::pin(client.describe_table().table_name(table).send())).await;
    let result = match result.map(|answer| answer.map_err(Failed::from)) {
        Err(_) => Err("no answer in time".to_owned()),
        Ok(Err(failed)) if failed.trouble == Trouble::Missing => Ok("not there, will be created".to_owned()),
        Ok(Err(failed)) => Err(in_words(&failed)),
        Ok(Ok(answer)) => match answer.table().and_then(|table| table.table_status()) {
            Some(TableStatus::Active | TableStatus::Updating) => Ok("there".to_owned()),
            Some(status) => Err(format!("its status is {status}")),
            None => Err("the answer says nothing".to_owned()),
        },
    };
    Finding::new(format!("kinesis: table {table}"), result)
}

fn in_words(failed: &Failed) -> String {
    match failed.trouble {
        Trouble::Missing => "not there".to_owned(),
        _ => failed.to_string(),
    }
}
