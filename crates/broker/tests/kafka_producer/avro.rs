//! Events with data in Avro.

use std::sync::Arc;
use std::time::Duration;

use rig_broker::kafka::{KafkaProducer, KafkaProducerConfig, Registry, RegistryConfig};
use rig_broker::{Destination, ProduceError, Producer};
use rig_tests::{RegistryOptions, RegistryState, SchemaRegistry};
use serde_json::json;
use tokio::time::timeout;

use crate::{Cluster, DEADLINE, LIMIT, cluster, config, event, read, to};

#[tokio::test]
async fn avro_is_the_data_only() {
    let cluster = cluster("events", 1);
    let registry = SchemaRegistry::start(RegistryOptions::default());
    let fields = json!([{"name": "n", "type": "int", "default": 0}]);
    registry.register("orders", &json!({"type": "record", "name": "Order", "fields": fields}));
    let producer = with_registry(&cluster, &registry);
    let orders = to_schema("orders");
    let with_data = |data| {
        let mut event = event("1");
        event.members.insert("data".to_owned(), data);
        event
    };
    producer.produce(&orders, with_data(json!({"n": 5})), DEADLINE).await.unwrap();
    producer.produce(&orders, event("2"), DEADLINE).await.unwrap();
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let got = read(&cluster, "events", 1, 2);
    let expected = [
        header("ce_id", "1"),
        header("ce_source", "/test"),
        header("ce_specversion", "0.2"),
        header("ce_type", "com.example"),
        header("content-type", "avro/binary"),
    ];
    assert_eq!((&*got[0].value, &*got[0].headers), ("\0\0\0\0\x01\x0a", &expected[..]));
    assert_eq!(got[1].value, "\0\0\0\0\x01\0", "no data is an empty object");

    let wrong = producer.produce(&orders, with_data(json!({"n": "text"})), DEADLINE).await;
    assert!(matches!(&wrong, Err(ProduceError::Invalid(text)) if text.contains("/n")), "{wrong:?}");
    let unknown = producer.produce(&to_schema("bills"), event("1"), DEADLINE).await;
    assert!(matches!(&unknown, Err(ProduceError::Refused(text)) if text.contains("bills")), "{unknown:?}");
    let none = producer.produce(&to("events"), event("1"), DEADLINE).await;
    assert!(matches!(none, Err(ProduceError::Refused(_))), "{none:?}");
}

#[tokio::test]
async fn b06_a_registry_that_is_away_costs_the_events_of_its_time_only() {
    let cluster = cluster("events", 1);
    let registry = SchemaRegistry::start(RegistryOptions::default());
    registry.register("orders", &json!({"type": "record", "name": "Order", "fields": []}));
    let producer = with_registry(&cluster, &registry);
    registry.set(RegistryState::Closes);
    let failure = producer.produce(&to_schema("orders"), event("1"), DEADLINE).await;
    assert!(matches!(failure, Err(ProduceError::Unavailable(_))), "{failure:?}");
    registry.set(RegistryState::Hangs);
    let deadline = Duration::from_millis(200);
    let failure = producer.produce(&to_schema("orders"), event("2"), deadline).await;
    assert!(matches!(failure, Err(ProduceError::Unavailable(_))), "{failure:?}");
    registry.set(RegistryState::Up);
    let written = timeout(LIMIT, async {
        while producer.produce(&to_schema("orders"), event("3"), DEADLINE).await.is_err() {
            // A registry that was away is not asked for each event.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    written.await.expect("written");
    assert!(read(&cluster, "events", 1, 1)[0].headers.contains(&("ce_id".to_owned(), "3".to_owned())));
}

fn with_registry(cluster: &Cluster, registry: &SchemaRegistry) -> KafkaProducer {
    let registry = Registry::new(RegistryConfig { url: registry.url(), ..RegistryConfig::default() });
    let registry = Some(Arc::new(registry.unwrap()));
    KafkaProducer::new(KafkaProducerConfig { registry, ..config(cluster, DEADLINE) }).unwrap()
}

fn to_schema(schema: &str) -> Destination {
    Destination { schema: Some(schema.into()), ..to("events") }
}
