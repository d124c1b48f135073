//! Compares many small exchanges in one test, and reports all mismatches together.

use std::sync::LazyLock;

use regex::Regex;

use crate::client::Response;

/// Compares answers with expectations.
#[derive(Default)]
pub struct Scenarios {
    mismatches: Vec<String>,
    count: usize,
}

impl Scenarios {
    /// Compares an answer, with ids, times and connection tokens redacted. `…` in the expectation
    /// matches any text.
    pub fn check(&mut self, name: &str, response: &Response, expected: impl AsRef<str>) {
        self.check_text(name, &response.shown(), expected);
    }

    /// Compares a text, redacted in the same way.
    pub fn check_text(&mut self, name: &str, text: &str, expected: impl AsRef<str>) {
        let text = redacted(text);
        let expected = expected.as_ref();
        self.count += 1;
        if !matches(&text, expected) {
            self.mismatches.push(format!("--- {name}\nexpected: {expected}\n     got: {text}\n"));
        }
    }
}

impl Drop for Scenarios {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        assert!(self.count > 0, "no scenario was checked");
        let all = self.mismatches.concat();
        assert!(all.is_empty(), "{} of {} scenarios differ\n{all}", self.mismatches.len(), self.count);
    }
}

/// Returns `true` if the text matches the pattern, in which `…` matches any text.
fn matches(text: &str, pattern: &str) -> bool {
    let parts: Vec<_> = pattern.split('…').map(regex::escape).collect();
    Regex::new(&format!("(?s)^{}$", parts.join(".*"))).expect("an escaped pattern").is_match(text)
}

static REDACTIONS: LazyLock<[(Regex, &str); 5]> = LazyLock::new(|| {
    let regex = |text| Regex::new(text).expect("a valid pattern");
    [
        (regex(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), "UUID"),
        (regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"), "TIME"),
        (regex(r#""connection_token":"[A-Za-z0-9_=-]{20,}""#), r#""connection_token":"TOKEN""#),
        (regex("connection_token=[A-Za-z0-9_=-]{20,};"), "connection_token=TOKEN;"),
        (regex(r#"last_event_id="\d+";"#), r#"last_event_id="CURSOR";"#),
    ]
});

/// Replaces everything that differs from run to run: UUIDs, RIG's times, connection tokens,
/// cursors.
pub fn redacted(text: &str) -> String {
    REDACTIONS
        .iter()
        .fold(text.to_owned(), |text, (regex, word)| regex.replace_all(&text, *word).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redaction_keeps_what_is_fixed() {
        let event = r#"{"data":{"connection_token":"KVvAT59cgPYkbxKFUpmTYzGOAO5k="},"id":"a20080e0-f384-41fe-a859-46ef51fd70cc","source":"rig","specversion":"0.2","time":"2026-11-23T15:14:02.915266+00:00"}"#;
        let expected = r#"{"data":{"connection_token":"TOKEN"},"id":"UUID","source":"rig","specversion":"0.2","time":"TIME"}"#;
        assert_eq!(redacted(event), expected);
    }

    #[test]
    fn an_ellipsis_is_any_text() {
        assert!(matches("400 | no (x)", "400 | …(x)…"));
        assert!(!matches("400 | no (x)", "400 | …(y)…"));
        assert!(!matches("400 | no (x)", "400"));
    }
}
