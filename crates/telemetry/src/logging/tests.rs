use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::{Report, Reporter, TraceContext, TraceId};

#[test]
fn formats_are_known_by_rigs_names() {
    assert_eq!("".parse(), Ok(LogFormat::Text));
    assert_eq!("json".parse(), Ok(LogFormat::Json));
    assert_eq!("gcl".parse(), Ok(LogFormat::Gcl));
    assert_eq!("GCL".parse(), Ok(LogFormat::Gcl));
    assert_eq!("erlang".parse(), Ok(LogFormat::Text));
    assert_eq!("elixir".parse::<LogFormat>(), Err(LogFormatError));
}

/// Collects log lines for a test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn pair() -> (Self, impl Fn() -> Self) {
        let lines = Self::default();
        let writer = lines.clone();
        (lines, move || writer.clone())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the lines as JSON, without their time.
fn logged(level_key: &'static str, log: impl FnOnce()) -> Vec<Value> {
    let (lines, writer) = Lines::pair();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .event_format(JsonLines { level_key })
        .with_writer(writer)
        .finish();
    tracing::subscriber::with_default(subscriber, log);
    let text = lines.text();
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

fn report(path: &str, session: &str) -> Report {
    Report {
        method: http::Method::GET,
        path: path.into(),
        endpoint: None,
        address: "[::1]:4000".parse().unwrap(),
        session: Some(session.into()),
        trace: TraceContext { trace_id: TraceId(255), span_id: 1, parent_id: None, sampled: true },
        status: Some(http::StatusCode::NOT_FOUND),
        outcome: "not_found",
        failed: false,
        reason: None,
        began: std::time::UNIX_EPOCH,
        took: Duration::from_micros(1234),
        secure: false,
        call: None,
        definition: None,
        request_id: None,
    }
}

#[test]
fn a_request_is_a_line() {
    let lines = logged("level", || Reporter::new(true, None).report(&report("/a", "s")));
    let expected = json!({
        "level": "INFO", "target": "rig::request", "message": "request",
        "method": "GET", "path": "/a", "api": "N/A", "endpoint": "N/A",
        "status": 404, "outcome": "not_found", "duration_ms": 1.234, "remote": "[::1]:4000",
        "session": "s", "trace_id": "000000000000000000000000000000ff"
    });
    assert_eq!(lines, [expected]);
    assert_eq!(logged("level", || Reporter::default().report(&report("/a", "s"))), [json!(null); 0]);
}

#[test]
fn no_client_can_write_log_lines() {
    let forged = report("/a\r\nINFO forged\u{1b}[31m", "s\n{\"level\":\"ERROR\"}");
    let lines = logged("level", || Reporter::new(true, None).report(&forged));
    assert_eq!((lines.len(), &lines[0]["path"]), (1, &json!("/a\r\nINFO forged\u{1b}[31m")));
    let (lines, writer) = Lines::pair();
    let text = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    tracing::subscriber::with_default(text, || Reporter::new(true, None).report(&forged));
    let text = lines.text();
    assert_eq!(text.matches(|c: char| c.is_control()).collect::<Vec<_>>(), ["\n"], "{text}");
    assert!(text.contains(r#"path="/a\r\nINFO forged\u{1b}[31m""#), "{text}");
}

#[test]
fn requests_are_logged_at_every_level() {
    let (lines, writer) = Lines::pair();
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter(Level::ERROR)).with_writer(writer).finish();
    tracing::subscriber::with_default(subscriber, || {
        Reporter::new(true, None).report(&report("/a", "s"));
        tracing::warn!("not this");
    });
    assert_eq!(lines.text().lines().count(), 1);
}

/// A panic is reported in the log, as one line, and not on standard error directly.
#[test]
fn f02_a_panic_is_a_log_line() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(log_panic));
    let lines = logged("level", || {
        std::panic::catch_unwind(|| panic!("two\nlines of {}", 1)).unwrap_err();
        std::panic::catch_unwind(|| std::panic::panic_any(1)).unwrap_err();
    });
    std::panic::set_hook(before);
    let shown: Vec<_> =
        lines.iter().map(|line| (&line["target"], &line["level"], &line["message"])).collect();
    let (target, level) = (json!("rig::panic"), json!("ERROR"));
    let texts = [json!("panicked: two\nlines of 1"), json!("panicked: no text")];
    assert_eq!(shown, [(&target, &level, &texts[0]), (&target, &level, &texts[1])]);
    assert!(lines[0]["location"].as_str().is_some_and(|place| place.contains("tests.rs:")), "{lines:?}");
}
