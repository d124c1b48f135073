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
    // Where the node listens is said at every level: whoever starts it wants to know.
    let filter = EnvFilter::new(format!("{level},rig::startup=info,hyper=warn,h2=warn,rustls=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.event_format(JsonLines { level_key: "level" }).try_init(),
        LogFormat::Gcl => builder.event_format(JsonLines { level_key: "severity" }).try_init(),
    };
    drop(started);
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
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    #[test]
    fn formats_are_known_by_rigs_names() {
        assert_eq!("".parse(), Ok(LogFormat::Text));
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!("gcl".parse(), Ok(LogFormat::Gcl));
        assert_eq!("erlang".parse::<LogFormat>(), Err(LogFormatError));
    }

    /// Where lines go that a test wants to see.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines as JSON, without their time.
    fn logged(level_key: &'static str, log: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .event_format(JsonLines { level_key })
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        let line = |line| {
            let mut line: Value = serde_json::from_str(line).expect("each line is JSON");
            let time = line["time"].take();
            assert!(time.as_str().is_some_and(|time| time.ends_with('Z')), "{time}");
            line.as_object_mut().unwrap().remove("time");
            line
        };
        text.lines().map(line).collect()
    }

    #[test]
    fn a_line_is_an_object_whatever_is_in_it() {
        let lines = logged("level", || {
            tracing::warn!(target: "t", port = 4000_u64, name = "a \"b\"\nc", tls = false, "two\nlines");
        });
        let expected = json!({
            "level": "WARN", "target": "t", "message": "two\nlines",
            "port": 4000, "name": "a \"b\"\nc", "tls": false
        });
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn google_cloud_logging_has_its_own_names_of_severities() {
        let lines = logged("severity", || {
            tracing::error!(target: "t", "1");
            tracing::warn!(target: "t", "2");
            tracing::info!(target: "t", "3");
            tracing::debug!(target: "t", "4");
            tracing::trace!(target: "t", "5");
        });
        let severities: Vec<_> = lines.iter().map(|line| line["severity"].as_str().unwrap()).collect();
        assert_eq!(severities, ["ERROR", "WARNING", "INFO", "DEBUG", "DEBUG"]);
        assert_eq!(lines[0], json!({ "severity": "ERROR", "target": "t", "message": "1" }));
    }
}
