//! Settings of Kinesis.

use ::broker::kinesis::{InitialPosition, KinesisConfig, KinesisMode};

use super::*;

const ENABLED: (&str, &str) = ("KINESIS_ENABLED", "yes");

fn source(variables: &[(&str, &str)]) -> KinesisConfig {
    let settings = parse(&[], &[&[ENABLED], variables].concat()).unwrap();
    assert_eq!(settings.warnings, [""; 0]);
    settings.brokers.kinesis.source.unwrap()
}

#[test]
fn events_come_from_kinesis_if_it_is_enabled() {
    for off in [&[][..], &[("KINESIS_ENABLED", "false")], &[("KINESIS_STREAM", "s")]] {
        let kinesis = parse(&[], off).unwrap().brokers.kinesis;
        assert!(kinesis.source.is_none(), "{off:?}");
        assert_eq!(kinesis.target.region, "eu-west-1", "events can be sent");
    }
    let config = source(&[]);
    assert_eq!((&*config.stream, &*config.application), ("RIG-outbound", "Reactive-Interaction-Gateway"));
    assert_eq!((&*config.access.region, &config.access.endpoint), ("eu-west-1", &None));
    assert!(config.dynamodb_endpoint.is_none() && config.access.key.is_none());
    assert_eq!((config.mode, config.initial_position), (KinesisMode::Group, InitialPosition::Latest));
    let config =
        source(&[("KINESIS_SOURCE_MODE", "broadcast"), ("KINESIS_INITIAL_POSITION", "TRIM_HORIZON")]);
    assert_eq!(
        (config.mode, config.initial_position),
        (KinesisMode::Broadcast, InitialPosition::TrimHorizon)
    );
}

/// One endpoint for both, but a region for each; the credentials are the same (b25).
#[test]
fn b25_the_target_has_a_region_of_its_own() {
    let variables = [
        ENABLED,
        ("KINESIS_AWS_REGION", "us-east-2"),
        ("PROXY_KINESIS_REQUEST_REGION", "us-gov-west-1"),
        ("KINESIS_ENDPOINT", "http://localhost:4566"),
        ("KINESIS_DYNAMODB_ENDPOINT", "https://dynamodb.example"),
    ];
    let kinesis = parse(&[], &variables).unwrap().brokers.kinesis;
    let from = kinesis.source.unwrap();
    assert_eq!((&*from.access.region, &*kinesis.target.region), ("us-east-2", "us-gov-west-1"));
    assert_eq!(from.access.endpoint.as_deref(), Some("http://localhost:4566/"));
    assert_eq!(kinesis.target.endpoint, from.access.endpoint);
    assert_eq!(from.dynamodb_endpoint.as_deref(), Some("https://dynamodb.example/"));
}

#[test]
fn b31_what_is_empty_counts_as_not_set_for_kinesis_too() {
    let names = ["KINESIS_STREAM", "KINESIS_APP_NAME", "KINESIS_AWS_REGION", "KINESIS_ENDPOINT"];
    let config = source(&names.map(|name| (name, "")));
    assert_eq!((&*config.stream, &*config.access.region), ("RIG-outbound", "eu-west-1"));
    assert!(config.access.endpoint.is_none());
}

#[test]
fn mistakes_of_kinesis_name_their_setting() {
    let long = "x".repeat(129);
    for (name, value, reason) in [
        ("KINESIS_ENABLED", "maybe", "true or false"),
        ("KINESIS_STREAM", "a b", "the name of a stream"),
        ("KINESIS_STREAM", &*long, "the name of a stream"),
        ("KINESIS_APP_NAME", "ab", "3 to 255"),
        ("KINESIS_AWS_REGION", "eu.example", "a region of AWS"),
        ("PROXY_KINESIS_REQUEST_REGION", "eu/", "a region of AWS"),
        ("KINESIS_SOURCE_MODE", "each", "group or broadcast"),
        ("KINESIS_INITIAL_POSITION", "earliest", "latest or trim_horizon"),
        ("KINESIS_ENDPOINT", "localhost:4566", "a URL"),
        ("KINESIS_ENDPOINT", "http://a/b", "a URL"),
        ("KINESIS_DYNAMODB_ENDPOINT", "http://me:hidden@a", "a URL"),
    ] {
        let told = parse(&[], &[(name, value)]).err().unwrap_or_default();
        assert!(told.contains(name) && told.contains(reason), "{name}={value}: {told}");
    }
}

#[test]
fn an_endpoint_elsewhere_without_tls_is_a_warning() {
    let warnings = |url| parse(&[], &[ENABLED, ("KINESIS_ENDPOINT", url)]).unwrap().warnings;
    let told = warnings("http://kinesis.example");
    assert!(matches!(&told[..], [one] if one.contains("KINESIS_ENDPOINT: kinesis.example")), "{told:?}");
    for harmless in ["https://kinesis.example", "http://127.0.0.2:1", "http://[::1]:1", "http://localhost"] {
        assert_eq!(warnings(harmless), [""; 0], "{harmless}");
    }
}

#[test]
fn variables_of_the_java_program_and_of_rig_2_are_ignored_with_a_warning() {
    for (name, instead) in [
        ("KINESIS_CLIENT_JAR", "without Java"),
        ("KINESIS_OTP_JAR", "without Java"),
        ("KINESIS_LOG_LEVEL", "LOG_LEVEL"),
        ("PROXY_KINESIS_REQUEST_STREAM", "topic of the endpoints"),
        ("PROXY_KINESIS_RESPONSE_TIMEOUT", "answers do not come from Kinesis"),
    ] {
        let warnings = parse(&[], &[(name, "x")]).unwrap().warnings;
        assert!(
            matches!(&warnings[..], [one] if one.contains(name) && one.contains(instead)),
            "{warnings:?}"
        );
    }
}
