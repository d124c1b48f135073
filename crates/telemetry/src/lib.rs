//! Log lines, traces, and the text of the gateway's metrics.
//!
//! This crate knows formats. It does not know what is counted: each crate registers its own
//! metrics; those of the process and of the log are registered here.

mod exposition;
mod logging;
mod metrics;
mod process;
mod report;
mod reporter;
mod spans;
mod told;
mod trace_context;

pub use exposition::Exposition;
pub use logging::{LogFormat, LogFormatError, Logging, print_error, set_log_level, start_logging};
pub use metrics::register;
pub use report::{Consumption, EndpointNames, Report, ReportSink, ServiceCall, address_text};
pub use reporter::Reporter;
pub use spans::{Sampler, Spans, SpansConfig, SpansError};
pub use told::Told;
pub use trace_context::{TRACEPARENT, TRACESTATE, TraceContext, TraceId};
