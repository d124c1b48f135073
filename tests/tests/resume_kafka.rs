//! Events of Kafka have places as all others. One that Kafka delivers twice has two of them.

use rig_tests::*;

#[test]
fn r33_a_message_that_comes_twice_keeps_both_places() {
    let kafka = KafkaServer::start();
    let client = kafka.client();
    client.create_topic("rig", 1);
    let settings =
        [("KAFKA_BROKERS", kafka.address().to_string()), ("KAFKA_AUTO_OFFSET_RESET", "earliest".into())];
    let gateway = Gateway::start(&settings.each_ref().map(|(name, value)| (*name, value.as_str())));
    client.await_members("rig-kafka-to-filter", 1);
    let mut reader = EventSource::connect(gateway.inbound(), &subscribed_to(&["greeting"]));
    let event = event_of("greeting", 1);
    client.produce("rig", &[KafkaMessage::of(&event), KafkaMessage::of(&event)]);
    reader.until_received(2);
    let ids: Vec<_> = reader.events.iter().filter(|event| !event.is_of_rig()).map(|e| e.id.clone()).collect();
    assert_ne!(ids[0], ids[1]);
    let query = format!("{}&last_event_id={}", subscribed_to(&["greeting"]), ids[0]);
    let mut back = EventSource::new(gateway.inbound(), &query);
    assert_eq!(back.come_back(), Ok(1), "the second one was not seen yet");
    assert_eq!(back.received(), [event]);
    assert_eq!(back.cursor(), ids[1]);
}
