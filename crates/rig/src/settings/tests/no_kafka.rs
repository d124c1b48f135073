//! Settings of Kafka in a build without it.

use super::*;

#[test]
fn what_needs_kafka_is_a_mistake_that_names_the_feature() {
    let kafka = "Kafka is not built in: build with --features kafka";
    for (name, value) in
        [("KAFKA_BROKERS", "k"), ("KAFKA_SOURCE_TOPICS", "a"), ("REQUEST_LOG", "console,kafka")]
    {
        let told = parse(&[], &[(name, value)]).unwrap_err();
        assert_eq!(told, format!("environment {name} = {value:?}: {kafka}\n"));
    }
    let off = [("KAFKA_BROKERS", ""), ("KAFKA_SSL_ENABLED", "0"), ("REQUEST_LOG", "console")];
    assert!(parse(&[], &off).is_ok());
}
