//! What is done with a message of a topic of answers, independent of Kafka.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use proxy::Waiting;
use telemetry::Told;
use tokio::time::Instant;

use crate::answer::{CORRELATION, answer_of};
use crate::kafka::NAME;
use crate::metrics::{Metrics, ResponseOutcome};

/// Hands answers to the requests that wait for them, and counts what has become of each.
pub(super) struct Answers {
    waiting: Arc<Waiting>,
    metrics: Metrics,
    /// Topics in which messages without a token are events (RIG's users asked for it: #206).
    with_events: HashSet<Arc<str>>,
    told: Told,
}

/// A message of a topic of answers.
#[derive(Clone, Copy)]
pub(super) struct Message<'m> {
    pub(super) topic: &'m Arc<str>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) value: &'m [u8],
}

impl Answers {
    pub(super) fn new(
        waiting: Arc<Waiting>,
        metrics: Metrics,
        with_events: impl IntoIterator<Item = Arc<str>>,
    ) -> Self {
        Self { waiting, metrics, with_events: with_events.into_iter().collect(), told: Told::default() }
    }

    /// Takes a message. Messages to other nodes, which read them as well, and events are none of
    /// its business.
    pub(super) fn take<'m>(
        &self,
        message: Message<'m>,
        headers: impl Iterator<Item = (&'m str, &'m [u8])> + Clone,
    ) {
        let began = Instant::now();
        let token = headers.clone().filter(|(name, _)| *name == CORRELATION).last();
        let Some((_, token)) = token else {
            if !self.with_events.contains(message.topic) {
                self.count(message, ResponseOutcome::Unknown, &"the header rig-correlation is missing");
            }
            return;
        };
        let token = String::from_utf8_lossy(token);
        match self.waiting.elsewhere(&token) {
            Ok(Some(_)) => return,
            Ok(None) => {}
            Err(_) => return self.count(message, ResponseOutcome::Unknown, &"not a token of this gateway"),
        }
        let (answer, invalid) = match answer_of(headers, Bytes::copy_from_slice(message.value), None) {
            Ok(answer) => (answer, None),
            Err(reason) => (reason.answer(), Some(reason)),
        };
        match (self.waiting.deliver(&token, answer), invalid) {
            (Ok(()), None) => self.metrics.responded(NAME, ResponseOutcome::Matched),
            (Ok(()), Some(reason)) => self.count(message, ResponseOutcome::Invalid, &reason),
            // Answers that are late are not rare, and no fault of this gateway.
            (Err(_), _) => self.metrics.responded(NAME, ResponseOutcome::Late),
        }
        self.metrics.of(NAME, message.topic).published(began.elapsed());
    }

    /// Counts a message that answers nothing, and logs the reason, without its content.
    fn count(&self, message: Message<'_>, outcome: ResponseOutcome, reason: &dyn std::fmt::Display) {
        self.metrics.responded(NAME, outcome);
        let Message { topic, partition, offset, .. } = message;
        if self.told.is_due(format!("{topic} {reason}")) {
            tracing::warn!(%topic, partition, offset, %reason, "a message is not the answer to a request");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use metric::Registry;
    use prometheus_client::encoding::text::encode;
    use proxy::{AsyncAnswer, Expected, WaitingConfig};
    use seal::{Incarnation, Purpose, Seal};

    use super::*;

    const TOPIC: &str = "rig-proxy-response";

    /// No answer takes as long.
    const LIMIT: Duration = Duration::from_secs(20);

    struct World {
        answers: Answers,
        waiting: Arc<Waiting>,
        registry: Registry,
    }

    impl World {
        fn new() -> Self {
            let mut registry = Registry::default();
            let metrics = Metrics::register(&mut registry);
            let waiting = waiting();
            let answers = Answers::new(waiting.clone(), metrics, ["rig".into()]);
            Self { answers, waiting, registry }
        }

        fn expect(&self) -> Expected {
            self.waiting.expect().unwrap()
        }

        fn take(&self, topic: &str, headers: &[(&str, &str)]) {
            let topic = topic.into();
            let message = Message { topic: &topic, partition: 0, offset: 0, value: b"body" };
            self.answers.take(message, headers.iter().map(|(name, value)| (*name, value.as_bytes())));
        }

        /// Returns how many messages have had an outcome.
        fn counted(&self, outcome: &str) -> u64 {
            let sample = format!(r#"rig_responses_total{{via="kafka",outcome="{outcome}"}} "#);
            self.sample(&sample)
        }

        fn sample(&self, sample: &str) -> u64 {
            let mut text = String::new();
            encode(&mut text, &self.registry).unwrap();
            text.lines().find_map(|line| line.strip_prefix(sample)).map_or(0, |count| count.parse().unwrap())
        }
    }

    /// The requests of a node; all nodes have one cookie.
    fn waiting() -> Arc<Waiting> {
        let seal = Seal::new(Some("cookie"), Purpose::Correlation, Incarnation::unnamed());
        Arc::new(Waiting::new(WaitingConfig::default(), seal))
    }

    #[tokio::test]
    async fn an_answer_goes_to_its_request() {
        let world = World::new();
        let (first, second) = (world.expect(), world.expect());
        let answer = |token, code| {
            world.take(TOPIC, &[("rig-correlation", token), ("rig-response-code", code), ("x-a", "1")]);
        };
        answer(second.token(), "202");
        answer(first.token(), "404");
        let AsyncAnswer { status, headers, body } = second.answer(LIMIT).await.unwrap();
        assert_eq!((status, body), (StatusCode::ACCEPTED, "body".into()));
        assert_eq!(headers.get("x-a").unwrap(), "1");
        assert_eq!(first.answer(LIMIT).await.unwrap().status, StatusCode::NOT_FOUND);
        assert_eq!(world.counted("matched"), 2);
        let consumed = r#"rig_consumed_events_total{source="kafka",topic="rig-proxy-response"} "#;
        assert_eq!(world.sample(consumed), 2);
    }

    #[tokio::test]
    async fn b14_a_wrong_answer_is_a_502_at_once() {
        let world = World::new();
        for headers in [&[][..], &[("rig-response-code", "abc")], &[("rig-response-code", "1000")]] {
            let request = world.expect();
            let token = request.token().to_owned();
            world.take(TOPIC, &[&[("rig-correlation", &*token)], headers].concat());
            let answer = request.answer(LIMIT).await.unwrap();
            assert_eq!((answer.status, answer.body), (StatusCode::BAD_GATEWAY, Bytes::new()));
        }
        assert_eq!((world.counted("invalid"), world.counted("matched")), (3, 0));
    }

    #[tokio::test]
    async fn b19_late_double_and_unknown_answers_are_counted() {
        let world = World::new();
        let (answered, left) = (world.expect(), world.expect());
        let tokens = [answered.token().to_owned(), answered.token().to_owned(), left.token().to_owned()];
        drop(left);
        for token in &tokens {
            world.take(TOPIC, &[("rig-correlation", token), ("rig-response-code", "200")]);
        }
        drop(answered);
        assert_eq!((world.counted("matched"), world.counted("late")), (1, 2));
        world.take(TOPIC, &[("rig-correlation", &tokens[0])]);
        assert_eq!((world.counted("invalid"), world.counted("late")), (0, 3), "wrong, and late");
        for headers in [&[][..], &[("rig-correlation", "forged")], &[("Rig-Correlation", &tokens[0])]] {
            world.take(TOPIC, headers);
        }
        assert_eq!(world.counted("unknown"), 3);
    }

    #[tokio::test]
    async fn the_last_token_counts() {
        let world = World::new();
        let request = world.expect();
        let token = request.token().to_owned();
        let code = ("rig-response-code", "200");
        world.take(TOPIC, &[("rig-correlation", "forged"), code, ("rig-correlation", &token)]);
        assert!(request.answer(LIMIT).await.is_ok());
    }

    #[tokio::test]
    async fn answers_to_other_nodes_are_left_to_them() {
        let world = World::new();
        let other = waiting();
        let request = other.expect().unwrap();
        world.take(TOPIC, &[("rig-correlation", request.token()), ("rig-response-code", "200")]);
        for outcome in ["matched", "late", "unknown", "invalid"] {
            assert_eq!(world.counted(outcome), 0, "{outcome}");
        }
    }

    #[tokio::test]
    async fn a_topic_may_have_events_and_answers() {
        let world = World::new();
        world.take("rig", &[("ce_id", "1")]);
        world.take("rig", &[]);
        assert_eq!(world.counted("unknown"), 0);
        let request = world.expect();
        let token = request.token().to_owned();
        world.take("rig", &[("rig-correlation", &token), ("rig-response-code", "200")]);
        assert!(request.answer(LIMIT).await.is_ok());
    }
}
