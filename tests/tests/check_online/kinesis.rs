//! Kinesis, with its table in DynamoDB.

use rig_tests::*;
use serde_json::{Value, json};

use crate::told::{PASSWORD, apis, check};

/// Sends a request to Kinesis. The stand-in takes any signature.
fn kinesis(services: &Kinesis, action: &str, request: &Value) -> Response {
    let address = services.url().trim_start_matches("http://").parse().expect("an address");
    let credential = "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/kinesis/aws4_request";
    Request::new("POST", "/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("Kinesis_20131202.{action}"))
        .header("x-amz-date", "20260101T000000Z")
        .header("authorization", format!("{credential}, SignedHeaders=host, Signature=0"))
        .body(request.to_string())
        .send(address)
}

#[test]
fn streams_and_tables_of_kinesis_are_looked_for() {
    let services = Kinesis::start();
    let apis = apis(&[json!({"target": "kinesis", "topic": "orders"})]);
    let (url, table) = (services.url(), services.dynamodb_url());
    let endpoints = [("KINESIS_ENDPOINT", &*url), ("KINESIS_DYNAMODB_ENDPOINT", &*table)];
    let key = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", PASSWORD)];
    let on = [("KINESIS_ENABLED", "true"), ("KINESIS_STREAM", "events")];
    let all = [&endpoints[..], &on, &key].concat();
    check(&all).is_bad("kinesis: stream events", &["not there"]);
    let sends = [&endpoints[..], &key, &[("PROXY_CONFIG_FILE", &*apis)]].concat();
    check(&sends).is_bad("kinesis: stream orders", &["not there"]);
    for stream in ["events", "orders"] {
        let created = kinesis(&services, "CreateStream", &json!({"StreamName": stream, "ShardCount": 2}));
        assert_eq!(created.status, 200, "{}", created.shown());
        eventually("the stream is active", || {
            let seen = kinesis(&services, "DescribeStreamSummary", &json!({"StreamName": stream}));
            seen.text().contains("\"ACTIVE\"").then_some(())
        });
    }
    let told = check(&[&all[..], &[("PROXY_CONFIG_FILE", &*apis)]].concat());
    told.is_good(&[
        "kinesis: stream events: open shards: 2",
        "kinesis: stream orders: open shards: 2",
        "kinesis: table Reactive-Interaction-Gateway: not there, will be created",
    ]);
    let none = [("AWS_EC2_METADATA_DISABLED", "true")];
    check(&[&endpoints[..], &none, &[("PROXY_CONFIG_FILE", &*apis)]].concat())
        .is_bad("kinesis: stream orders", &["credential"]);
    let away = format!("http://{}", unused_address());
    let away =
        [&key[..], &on, &[("KINESIS_ENDPOINT", &*url), ("KINESIS_DYNAMODB_ENDPOINT", &*away)]].concat();
    check(&away).is_bad("kinesis: table Reactive-Interaction-Gateway", &["refused"]);
}
