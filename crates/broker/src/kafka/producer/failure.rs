//! What becomes of an event that was not acknowledged.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::producer::ProduceError;

/// Returns the error of a message that the library has not taken.
pub(super) fn of_queue(topic: &str, error: &KafkaError) -> ProduceError {
    match error.rdkafka_error_code() {
        Some(code) => of_code(topic, code, Sent::No),
        // The name has a byte that is zero.
        None => ProduceError::Refused(format!("{topic:?}: {error}")),
    }
}

/// Returns the error of a message that the library has given up.
pub(super) fn of_delivery(topic: &str, error: &KafkaError, sent: Sent) -> ProduceError {
    match error.rdkafka_error_code() {
        Some(code) => of_code(topic, code, sent),
        None => ProduceError::Unavailable(format!("{topic}: {error}")),
    }
}

/// Returns whether a broker does not want a message, and will not want it later unless somebody
/// changes its settings.
pub(in crate::kafka) fn is_refusal(error: &KafkaError) -> bool {
    let error = of_delivery("", error, Sent::Maybe);
    matches!(error, ProduceError::Refused(_) | ProduceError::TooLarge(_))
}

/// Whether a message has been sent to a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    No,
    /// It may have been, even if nothing has come back.
    Maybe,
}

fn of_code(topic: &str, code: Code, sent: Sent) -> ProduceError {
    let kind = match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            ProduceError::TooLarge
        }
        // The broker has what it was sent, or may have it.
        Code::NotEnoughReplicasAfterAppend
        | Code::RequestTimedOut
        | Code::NetworkException
        | Code::PurgeInflight => ProduceError::TimedOut,
        Code::MessageTimedOut | Code::BrokerTransportFailure if sent == Sent::Maybe => ProduceError::TimedOut,
        // It has not: it could not be reached, or cannot write at present.
        Code::MessageTimedOut
        | Code::TimedOutQueue
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::Resolve
        | Code::SSL
        | Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::BrokerDestroy
        | Code::DestroyBroker
        | Code::QueueFull
        | Code::PurgeQueue
        | Code::InvalidDifferentRecord
        | Code::LeaderNotAvailable
        | Code::NotLeaderForPartition
        | Code::BrokerNotAvailable
        | Code::ReplicaNotAvailable
        | Code::NotEnoughReplicas
        | Code::KafkaStorageError
        | Code::FencedLeaderEpoch
        | Code::UnknownLeaderEpoch
        | Code::ThrottlingQuotaExceeded => ProduceError::Unavailable,
        // It does not want it: no such topic, no permission, not by its rules.
        _ => ProduceError::Refused,
    };
    kind(format!("{topic}: {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: Code, sent: Sent) -> ProduceError {
        of_delivery("topic", &KafkaError::MessageProduction(code), sent)
    }

    #[test]
    fn only_what_may_be_written_has_timed_out() {
        let timed_out = |error| matches!(error, ProduceError::TimedOut(_));
        assert!(timed_out(failed(Code::MessageTimedOut, Sent::Maybe)));
        assert!(timed_out(failed(Code::NotEnoughReplicasAfterAppend, Sent::Maybe)));
        for code in
            [Code::MessageTimedOut, Code::BrokerTransportFailure, Code::QueueFull, Code::NotEnoughReplicas]
        {
            assert!(matches!(failed(code, Sent::No), ProduceError::Unavailable(_)), "{code}");
        }
    }

    #[test]
    fn what_the_broker_does_not_want_is_refused() {
        for code in [
            Code::UnknownTopic,
            Code::UnknownTopicOrPartition,
            Code::UnknownPartition,
            Code::InvalidTopic,
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::PolicyViolation,
            Code::InvalidRecord,
        ] {
            assert!(matches!(failed(code, Sent::Maybe), ProduceError::Refused(_)), "{code}");
        }
        for code in [Code::MessageSizeTooLarge, Code::MessageBatchTooLarge] {
            assert!(matches!(failed(code, Sent::Maybe), ProduceError::TooLarge(_)), "{code}");
        }
    }

    #[test]
    fn the_topic_is_named() {
        let error = failed(Code::UnknownTopicOrPartition, Sent::Maybe).to_string();
        assert_eq!(error, "topic: UnknownTopicOrPartition (Broker: Unknown topic or partition)");
    }
}
