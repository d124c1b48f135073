//! Which traces are recorded (OpenTelemetry: `OTEL_TRACES_SAMPLER`).

use crate::trace_context::{TraceContext, TraceId};

/// Decides whether a trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// `true` if the caller's decision, if there is one, is followed.
    pub parent_based: bool,
    /// Share of the remaining traces that are recorded, from 0 to 1.
    pub ratio: f64,
}

impl Sampler {
    /// The names of OpenTelemetry's samplers.
    pub const NAMES: &'static [&'static str] = &[
        "always_on",
        "always_off",
        "traceidratio",
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
    ];

    /// Returns the sampler of this name; `ratio` is used by those that have one. `None` if the name
    /// is unknown.
    pub fn named(name: &str, ratio: f64) -> Option<Self> {
        let (parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio,
            _ => return None,
        };
        Some(Self { parent_based, ratio })
    }

    /// Returns `true` if this trace is recorded. All samplers with a ratio agree, since they use
    /// the same digits of the trace's id.
    pub(crate) fn samples(&self, caller: Option<&TraceContext>, trace_id: TraceId) -> bool {
        match caller {
            Some(caller) if self.parent_based => caller.sampled,
            _ => ((trace_id.0 as u64 >> 1) as f64) < self.ratio * (1u64 << 63) as f64,
        }
    }
}
