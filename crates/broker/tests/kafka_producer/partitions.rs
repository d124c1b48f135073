//! Which partition an event goes to.

use std::collections::HashMap;

use rig_broker::Producer;
use rig_broker::kafka::{KafkaProducer, KafkaProducerConfig, Partitioner};

use crate::{DEADLINE, Got, cluster, config, event, producer, read, to, with_key};

#[tokio::test]
async fn b34_keys_go_to_the_partitions_of_other_clients() {
    let cluster = cluster("events", 7);
    let producer = producer(&cluster, DEADLINE);
    // Hashes of Java's client, as librdkafka's own tests have them; the sign is left out.
    let known = [("kafka", 0xd067_cf64_u32), ("giberish123456789", 0x8f55_2b0c), ("", 0x106e_08d9)];
    for (key, _) in known {
        producer.produce(&to("events"), with_key("1", key), DEADLINE).await.unwrap();
    }
    let got = partitions(&read(&cluster, "events", 7, 3));
    for (key, hash) in known {
        assert_eq!(got[key], ((hash & 0x7fff_ffff) % 7) as i32, "{key:?}");
    }
}

#[tokio::test]
async fn b34_keys_go_to_the_partitions_of_rig_if_it_is_set() {
    let cluster = cluster("events", 7);
    let config = KafkaProducerConfig { partitioner: Partitioner::Rig, ..config(&cluster, DEADLINE) };
    let producer = KafkaProducer::new(config).unwrap();
    let known = [("Hello, world!", 0xc036_3e43_u32), ("", 0)];
    for (key, _) in known {
        producer.produce(&to("events"), with_key("1", key), DEADLINE).await.unwrap();
    }
    // Without a key, any will do.
    for _ in 0..20 {
        producer.produce(&to("events"), event("1"), DEADLINE).await.unwrap();
    }
    let all = read(&cluster, "events", 7, 22);
    let got = partitions(&all);
    for (key, hash) in known {
        assert_eq!(got[key], (hash % 7) as i32, "{key:?}");
    }
    let mut of_none: Vec<_> = all.iter().filter(|got| got.key.is_none()).map(|got| got.partition).collect();
    of_none.dedup();
    assert!(of_none.len() > 1, "{of_none:?}");
}

fn partitions(got: &[Got]) -> HashMap<String, i32> {
    got.iter().filter_map(|got| Some((got.key.clone()?, got.partition))).collect()
}
