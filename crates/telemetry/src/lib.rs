//! What the gateway says of itself: metric families, log lines and traces.
//!
//! The room knows names, labels and formats. It does not know what it counts: the other rooms hold an
//! [`Metrics`] and count what they do. Labels taken from outside are bounded ([`EventTypeLabel`]).

mod logging;
mod metrics;
mod report;
mod spans;
mod trace_context;

pub use logging::{LogFormat, LogFormatError, Logging, print_error, set_log_level, start_logging};
pub use metrics::{
    CanaryResult, CloseReason, EndpointLabels, EventTypeLabel, Exposition, InternalRefusal, Metrics,
    ProxyEndpoint, ProxyMetrics, ProxyStatus, RefusalReason, TokenCacheResult, Transport,
};
pub use report::{Call, Report, Reporter, address_text};
pub use spans::{Sampler, Spans, SpansConfig, SpansError};
pub use trace_context::{TRACEPARENT, TRACESTATE, TraceContext, TraceId};
