//! Log lines on standard error: plain text, JSON, or the JSON of Google Cloud Logging.
//!
//! No request waits for a log line, and no error of the log fails a request ([`queue`]).

mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use queue::LineQueue;

/// Sets the level of the started log.
static LEVEL: OnceLock<Box<dyn Fn(Level) + Send + Sync>> = OnceLock::new();

/// The log of this process, once it is started. There is only one, since there is one standard
/// error.
static LOG: OnceLock<Arc<LineQueue>> = OnceLock::new();

/// How long the process waits for the reader of the log before it exits.
const FLUSH: Duration = Duration::from_millis(500);

/// Keeps the log running. Dropping it waits until the lines are written; for a reader that hangs,
/// at most half a second.
#[derive(Debug)]
#[must_use]
pub struct Logging(());

impl Drop for Logging {
    fn drop(&mut self) {
        if let Some(log) = LOG.get() {
            log.flush(FLUSH);
        }
    }
}

/// The form of a log line (RIG: `LOG_FMT`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text.
    #[default]
    Text,
    /// One JSON object a line: `time`, `level`, `target`, `message` and the fields.
    Json,
    /// JSON for Google Cloud Logging: `severity` instead of `level`.
    Gcl,
}

/// The value of `LOG_FMT` is not one of the formats.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected text, json or gcl")]
pub struct LogFormatError;

impl FromStr for LogFormat {
    type Err = LogFormatError;

    fn from_str(value: &str) -> Result<Self, LogFormatError> {
        match value.to_ascii_lowercase().as_str() {
            // RIG calls its own plain text "erlang".
            "" | "text" | "erlang" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "gcl" => Ok(Self::Gcl),
            _ => Err(LogFormatError),
        }
    }
}

/// Starts logging to standard error, panics included. Does nothing if logging has been started
/// before.
///
/// # Errors
/// Fails if the system grants no thread or no descriptor.
pub fn start_logging(format: LogFormat, level: Level) -> io::Result<Logging> {
    if LOG.get().is_some() {
        return Ok(Logging(()));
    }
    // A separate descriptor, since a write that hangs would hold the lock of `std::io::stderr`.
    let queue = LineQueue::start(File::from(io::stderr().as_fd().try_clone_to_owned()?))?;
    let queue = LOG.get_or_init(|| queue).clone();
    let writer = QueueWriter { queue, json: format != LogFormat::Text };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        // Internal errors would be written to standard error directly.
        .log_internal_errors(false)
        .with_writer(writer);
    macro_rules! start {
        ($builder:expr) => {{
            let builder = $builder.with_filter_reloading();
            let handle = builder.reload_handle();
            if builder.try_init().is_ok() {
                LEVEL.get_or_init(|| Box::new(move |level| drop(handle.reload(filter(level)))));
            }
        }};
    }
    match format {
        LogFormat::Text => start!(builder.with_ansi(false)),
        LogFormat::Json => start!(builder.event_format(JsonLines { level_key: "level" })),
        LogFormat::Gcl => start!(builder.event_format(JsonLines { level_key: "severity" })),
    }
    std::panic::set_hook(Box::new(log_panic));
    Ok(Logging(()))
}

/// Changes the level of log lines. Does nothing before logging has been started.
pub fn set_log_level(level: Level) {
    if let Some(set) = LEVEL.get() {
        set(level);
    }
}

/// Writes plain text to standard error. If the log is started, the text follows its lines, and this
/// waits at most half a second. Errors are ignored, since there is no other place to report them.
pub fn print_error(text: &str) {
    match LOG.get() {
        Some(log) => {
            log.push(text.as_bytes());
            log.flush(FLUSH);
        }
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// Returns how many log lines were dropped because they could not be written.
pub(crate) fn lines_dropped() -> u64 {
    LOG.get().map_or(0, |log| log.dropped())
}

/// Logs a panic. The default hook would write to standard error directly, and block.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        target: "rig::panic",
        thread = std::thread::current().name(),
        location = panic.location().map(ToString::to_string),
        backtrace,
        "panicked: {}",
        panic.payload_as_str().unwrap_or("no text")
    );
}

/// Passes each line to the queue.
#[derive(Clone)]
struct QueueWriter {
    queue: Arc<LineQueue>,
    json: bool,
}

impl<'a> MakeWriter<'a> for QueueWriter {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &QueueWriter {
    /// `line` is a whole line: the subscriber writes each in one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(line));
        let escaped = if self.json { json::escape_json(&text) } else { json::escape_text(&text) };
        match escaped {
            Cow::Borrowed(_) => self.queue.push(line),
            Cow::Owned(escaped) => self.queue.push(format!("{escaped}\n").as_bytes()),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the filter of a level. Some lines are logged at every level: the addresses that the node
/// listens on, the request log if it is enabled, and reports of dropped lines. What the client of
/// NATS has to say, its user logs, not for each message.
fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(format!(
        "{level},rig::startup=info,rig::request=info,rig::log=warn,async_nats=off,hyper=warn,h2=warn,rustls=warn"
    ))
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
        let mut line = JsonFields(Map::new());
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

struct JsonFields(Map<String, Value>);

impl Visit for JsonFields {
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
