//! A gateway with endpoints that send to the topic `requests`, and a client of the same Kafka.

use rig_tests::*;
use serde_json::{Value, json};

pub(crate) const EVENT: &str =
    r#"{"specversion":"0.2","type":"com.example","source":"/cli","id":"1","data":{"foo":"bar"}}"#;

/// Returns an API with a few endpoints that send to the topic `requests`.
pub(crate) fn api(more: &Value) -> String {
    let endpoint = |id: &str, more: Value| {
        let mut endpoint = json!({
            "id": id, "path_regex": format!("/{id}"), "method": "POST", "target": "kafka", "topic": "requests",
        });
        let members = more.as_object().expect("an object").clone();
        endpoint.as_object_mut().expect("an object").extend(members);
        endpoint
    };
    let endpoints = json!([
        endpoint("publish", json!({})),
        endpoint("ask", json!({"response_from": "kafka"})),
        endpoint("hurry", json!({"response_from": "kafka", "timeout_ms": 300})),
        endpoint("small", json!({"max_body_bytes": 100})),
        endpoint(
            "secret",
            json!({"secured": true, "response_from": "kafka", "forward_claims": {"x-user": "/username"}})
        ),
        endpoint("extra", more.clone()),
    ]);
    let mut api = api_of("svc", ([127, 0, 0, 1], 1).into(), endpoints);
    api["auth_type"] = json!("jwt");
    api["auth"] =
        json!({"use_header": true, "header_name": "Authorization", "use_query": true, "query_name": "key"});
    json!([api]).to_string()
}

pub(crate) struct World {
    pub(crate) kafka: KafkaServer,
    pub(crate) client: KafkaClient,
    pub(crate) gateway: Gateway,
}

impl World {
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        Self::with(json!({}), settings)
    }

    pub(crate) fn with(extra: Value, settings: &[(&str, &str)]) -> Self {
        let kafka = KafkaServer::start();
        let client = kafka.client();
        client.create_topic("rig", 1);
        client.create_topic("requests", 4);
        client.create_topic("rig-proxy-response", 1);
        let gateway = gateway(&kafka.address().to_string(), &extra, settings);
        Self { kafka, client, gateway }
    }

    /// Waits until answers by Kafka are received.
    pub(crate) fn await_answers(&self) {
        eventually("answers are received", || {
            let early = self.gateway.ask(&Request::post_json("/hurry", EVENT));
            (early.status == 504).then_some(())
        });
    }

    /// Answers a request that is in the topic.
    pub(crate) fn answer(&self, token: &str, code: &str, body: &str) {
        let answer = KafkaMessage::of(body)
            .header("rig-correlation", token)
            .header("rig-response-code", code)
            .header("content-type", "text/x-test")
            .header("x-mine", "1")
            .header("content-length", "1000")
            .header("transfer-encoding", "chunked");
        self.client.produce("rig-proxy-response", &[answer]);
    }

    /// Returns the events in the topic with this id.
    pub(crate) fn await_event(&self, id: &str) -> Value {
        eventually("the event is in the topic", || {
            let mut events = self.client.read("requests").into_iter().map(|message| json_of(&message));
            events.find(|event| event["id"] == id)
        })
    }

    pub(crate) fn responses(&self, outcome: &str) -> f64 {
        self.gateway.metric_sum("rig_responses_total", &[("via", "kafka"), ("outcome", outcome)])
    }
}

pub(crate) fn gateway(brokers: &str, extra: &Value, settings: &[(&str, &str)]) -> Gateway {
    let apis = api(extra);
    let ours = [("KAFKA_BROKERS", brokers), ("PROXY_CONFIG_FILE", &*apis)];
    Gateway::start(&[&ours, settings].concat())
}

pub(crate) fn json_of(message: &KafkaMessage) -> Value {
    serde_json::from_str(&message.text()).expect("an event in JSON")
}

pub(crate) fn with_id(id: &str) -> String {
    json!({"specversion": "1.0", "type": "t", "source": "/s", "id": id}).to_string()
}
