//! Several nodes that agree on revocations, over NATS JetStream.
