//! Parses the given texts, setting by setting of the table, and collects every mistake.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::given::Given;
use super::kind::{self, ValueKind};
use super::mistake::Source;
use super::table::{self, Setting};

/// Reads values by the name of their setting. A wrong value is noted and replaced by the default,
/// so that reading continues; the result is discarded in the end.
pub(super) struct Reader {
    pub(super) given: Given,
    #[cfg(test)]
    pub(super) read: std::collections::BTreeSet<&'static str>,
}

impl Reader {
    pub(super) fn new(given: Given) -> Self {
        Self {
            given,
            #[cfg(test)]
            read: Default::default(),
        }
    }

    pub(super) fn port(&mut self, name: &str) -> u16 {
        self.value(name, |text, _| kind::parse_number(text)?.try_into().ok())
    }

    pub(super) fn address(&mut self, name: &str) -> IpAddr {
        self.value(name, |text, _| text.parse().ok())
    }

    pub(super) fn time(&mut self, name: &str) -> Duration {
        self.value(name, kind::parse_time_of)
    }

    pub(super) fn bytes(&mut self, name: &str) -> usize {
        self.value(name, |text, kind| match kind {
            ValueKind::Bytes { least, most } => kind::parse_bytes(text)
                .filter(|bytes| (least..=most).contains(bytes))
                .and_then(|bytes| bytes.try_into().ok()),
            _ => None,
        })
    }

    pub(super) fn number<N: TryFrom<u64>>(&mut self, name: &str) -> N {
        self.value(name, |text, kind| match kind {
            ValueKind::Number { least, most } => kind::parse_number(text)
                .filter(|number| (least..=most).contains(number))
                .and_then(|number| number.try_into().ok()),
            _ => None,
        })
    }

    pub(super) fn switch(&mut self, name: &str) -> bool {
        self.value(name, |text, _| kind::parse_switch(text))
    }

    /// Reads one of the words of the setting, in any case, or another name that `parse` accepts.
    /// `parse` gets the word in lower case.
    pub(super) fn word<T>(&mut self, name: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        self.value(name, |text, _| parse(&text.to_ascii_lowercase()))
    }

    /// Returns `specific` if that is set, otherwise `general`: OpenTelemetry has some settings for
    /// traces alone.
    pub(super) fn either<T>(
        &mut self,
        [specific, general]: [&str; 2],
        parse: impl Fn(&str, ValueKind) -> Option<T>,
    ) -> T {
        let parse = |text: &str, kind: ValueKind| parse(text, kind).ok_or_else(|| format!("expected {kind}"));
        let in_general = self.fallible(general, parse);
        self.optional(specific, parse).unwrap_or(in_general)
    }

    /// Reads the path of a file, and checks that it can be opened and is not empty.
    pub(super) fn file(&mut self, name: &str) -> Option<PathBuf> {
        let size = |text: &str| document::open_file(Path::new(text))?.metadata().map(|found| found.len());
        self.optional(name, |text, kind| match size(text) {
            Ok(0) => Err("the file is empty".to_owned()),
            Ok(_) => Ok(PathBuf::from(text)),
            Err(error) => Err(format!("{}; expected {kind}", unreadable(text, &error))),
        })
    }

    /// Reads a text; `None` if it is not set.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.optional(name, |text, _| Ok(text.to_owned()))
    }

    /// Reads and parses a text; `None` if it is not set. `parse` fails with a message.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str, ValueKind) -> Result<T, String>,
    ) -> Option<T> {
        let setting = self.row(name);
        if !self.given.is_set(setting) {
            return None;
        }
        match parse(self.given.value(setting), setting.kind) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.given.mistake(setting, reason);
                None
            }
        }
    }

    /// Parses the effective value. If that fails, notes a mistake and returns the default.
    pub(super) fn value<T>(&mut self, name: &str, parse: impl Fn(&str, ValueKind) -> Option<T>) -> T {
        self.fallible(name, |text, kind| parse(text, kind).ok_or_else(|| format!("expected {kind}")))
    }

    /// Like [`Reader::value`], for a `parse` that fails with a message.
    pub(super) fn fallible<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str, ValueKind) -> Result<T, String>,
    ) -> T {
        let setting = self.row(name);
        parse(self.given.value(setting), setting.kind).unwrap_or_else(|reason| {
            self.given.mistake(setting, reason);
            parse(setting.default, setting.kind).expect("defaults are valid: a test reads all of them")
        })
    }

    /// Like [`Reader::fallible`]; an empty value counts as the default.
    #[cfg(any(feature = "kafka", feature = "kinesis", feature = "nats"))]
    pub(super) fn filled<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str, ValueKind) -> Result<T, String>,
    ) -> T {
        let default = self.row(name).default;
        self.fallible(name, |text, kind| parse(if text.is_empty() { default } else { text }, kind))
    }

    /// Returns whether the setting has a value, valid or not.
    pub(super) fn is_set(&mut self, name: &str) -> bool {
        let setting = self.row(name);
        self.given.is_set(setting)
    }

    /// Returns whether the setting was given, as opposed to the default.
    pub(super) fn is_named(&mut self, name: &str) -> bool {
        let setting = self.row(name);
        self.given.is_named(setting)
    }

    /// Returns where the effective value comes from.
    pub(super) fn source(&mut self, name: &str) -> Source {
        let setting = self.row(name);
        self.given.source(setting).clone()
    }

    /// Notes a mistake that involves more than the value alone.
    pub(super) fn mistake(&mut self, name: &str, reason: impl Into<String>) {
        let setting = self.row(name);
        self.given.mistake(setting, reason.into());
    }

    /// Notes that the value is not one of those expected.
    pub(super) fn refuse(&mut self, name: &str) {
        let expected = format!("expected {}", self.row(name).kind);
        self.mistake(name, expected);
    }

    /// Returns the number of mistakes so far.
    pub(super) fn mistakes(&self) -> usize {
        self.given.mistakes.len()
    }

    /// Notes a warning.
    pub(super) fn warn(&mut self, warning: String) {
        self.given.warnings.push(warning);
    }

    fn row(&mut self, name: &str) -> &'static Setting {
        let setting = table::all()
            .find(|setting| setting.name == name)
            .expect("names are those of the table: a test reads all of them");
        #[cfg(test)]
        self.read.insert(setting.name);
        setting
    }
}

/// Explains why a file cannot be read. A relative path is shown as it was resolved: RIG resolves it
/// differently.
pub(super) fn unreadable(path: &str, error: &std::io::Error) -> String {
    match std::env::current_dir() {
        Ok(folder) if Path::new(path).is_relative() => {
            let tried = folder.join(path);
            format!("{}: {error} (RIG looked in its own folder priv for relative paths)", tried.display())
        }
        _ => error.to_string(),
    }
}
