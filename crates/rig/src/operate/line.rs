//! Reads the values of a command line, and collects every mistake.

use std::ffi::{OsStr, OsString};

use clap::ArgMatches;

use crate::settings::{Environment, Mistake, Source};

/// A command line, with the mistakes found so far. Mistakes never contain values: one may be a
/// token.
pub(super) struct CommandLine<'m> {
    matches: &'m ArgMatches,
    environment: &'m Environment,
    pub(super) mistakes: Vec<Mistake>,
}

impl<'m> CommandLine<'m> {
    pub(super) fn new(matches: &'m ArgMatches, environment: &'m Environment) -> Self {
        Self { matches, environment, mistakes: Vec::new() }
    }

    /// Notes a mistake of a flag or a value.
    pub(super) fn wrong(&mut self, name: &str, reason: impl Into<String>) {
        self.note(Source::Flag, name, reason);
    }

    fn note(&mut self, source: Source, name: &str, reason: impl Into<String>) {
        self.mistakes.push(Mistake { source, name: name.to_owned(), value: None, reason: reason.into() });
    }

    /// Returns the value of a flag that may be given once.
    pub(super) fn once(&mut self, id: &str) -> Option<String> {
        self.text(id, &format!("--{id}"))
    }

    /// Returns a required value.
    pub(super) fn needed(&mut self, id: &str, shown: &str) -> Option<String> {
        let mistakes = self.mistakes.len();
        let text = self.text(id, shown);
        if text.as_ref().is_none_or(String::is_empty) && self.mistakes.len() == mistakes {
            self.wrong(shown, "missing");
            return None;
        }
        text
    }

    fn text(&mut self, id: &str, shown: &str) -> Option<String> {
        let mut values = self.matches.get_many::<OsString>(id).unwrap_or_default();
        let first = values.next()?;
        if values.next().is_some() {
            self.wrong(shown, "given more than once");
        }
        let text = first.to_str().map(str::to_owned);
        if text.is_none() {
            self.wrong(shown, "not UTF-8");
        }
        text
    }

    /// Returns whether a flag is given, valid or not.
    pub(super) fn has(&self, id: &str) -> bool {
        self.matches.get_many::<OsString>(id).is_some()
    }

    /// Returns whether a switch is given.
    pub(super) fn switch(&self, id: &str) -> bool {
        self.matches.get_flag(id)
    }

    /// Parses the value of a flag or, if it is not given, of a variable that is not empty.
    pub(super) fn once_or_variable<T>(
        &mut self,
        id: &str,
        variable: &str,
        default: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (source, name, text) = if self.has(id) {
            (Source::Flag, format!("--{id}"), self.once(id)?)
        } else {
            let given = self.environment.get(OsStr::new(variable)).filter(|value| !value.is_empty());
            let text = given.map_or(default.into(), |value| value.to_string_lossy());
            (Source::Environment, variable.to_owned(), text.into_owned())
        };
        parse(&text).map_err(|reason| self.note(source, &name, reason)).ok()
    }

    /// Returns a variable of the environment.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(OsStr::new(name))?.to_str()
    }
}
