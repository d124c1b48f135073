//! What the gateway says of itself: metric families and log lines.
//!
//! The room knows names, labels and formats. It does not know what it counts: the other rooms hold an
//! [`Metrics`] and count what they do. Labels taken from outside are bounded ([`EventTypeLabel`]).

mod logging;
mod metrics;

pub use logging::{LogFormat, LogFormatError, start_logging};
pub use metrics::{
    CanaryResult, CloseReason, EndpointLabels, EventTypeLabel, Metrics, ProxyEndpoint, ProxyMetrics,
    ProxyStatus, RefusalReason, TokenCacheResult, Transport,
};
