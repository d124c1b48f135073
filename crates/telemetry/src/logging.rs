//! Log lines on standard error: plain text, JSON, or the JSON of Google Cloud Logging.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The form of a log line (RIG: `LOG_FMT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line: `time`, `level`, `target`, `message` and the fields.
    Json,
    /// As Google Cloud Logging reads it: `severity` instead of `level`.
    Gcl,
}

/// The value of `LOG_FMT` is none of those allowed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed: text, json, gcl")]
pub struct LogFormatError;

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(value: &str) -> Result<Self, LogFormatError> {
        match value {
            "" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "gcl" => Ok(Self::Gcl),
            _ => Err(LogFormatError),
        }
    }
}

/// Starts logging to standard error. Does nothing where logging has been started before.
pub fn start_logging(format: LogFormat, level: Level) {
    let filter = filter(level);
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.event_format(JsonLines { level_key: "level" }).try_init(),
        LogFormat::Gcl => builder.event_format(JsonLines { level_key: "severity" }).try_init(),
    };
    drop(started);
}

/// Said at every level: where the node listens, since whoever starts it wants to know, and what became of requests, since
/// whoever turns that on does.
fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(format!("{level},rig::startup=info,rig::request=info,hyper=warn,h2=warn,rustls=warn"))
}

struct JsonLines {
    level_key: &'static str,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Fields(Map::new());
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let level = match (self.level_key, *event.metadata().level()) {
            ("severity", Level::WARN) => "WARNING",
            ("severity", Level::TRACE) => "DEBUG",
            (_, level) => level.as_str(),
        };
        line.0.insert("time".into(), time.into());
        line.0.insert(self.level_key.into(), level.into());
        line.0.insert("target".into(), event.metadata().target().into());
        event.record(&mut line);
        writeln!(out, "{}", Value::Object(line.0))
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests;
