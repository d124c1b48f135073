//! Settings that are lists of tables, such as `[[issuers]]`.
//!
//! In the settings file, such a list is an array of tables. Elsewhere it is a JSON list, or the
//! path of a file: TOML with the same array of tables if its name ends in `.toml`, otherwise JSON.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auth::SecretFile;
use document::JsonError;
use serde_json::{Map, Value};

use super::access::is_json;
use super::given::{closest, toml_table};
use super::kind::{ValueKind, parse_time_of};
use super::mistake::{Mistake, Source};
use super::reader::{Reader, unreadable};

/// One table of a list, or a table in one. Its members are taken one by one. Those that are left
/// when it is finished are unknown.
pub(super) struct Table {
    /// Its name in mistakes: `issuers[1]`, or `issuers[1].events`.
    place: String,
    source: Source,
    members: Map<String, Value>,
    /// The members that were asked for.
    known: Vec<&'static str>,
    mistakes: Vec<Mistake>,
}

/// Reads the tables of a setting, at most `most`. What cannot be read is a mistake.
pub(super) fn read_tables(reader: &mut Reader, name: &'static str, most: usize) -> Vec<Table> {
    let key = name.to_ascii_lowercase();
    let Some((list, source)) = read_list(reader, name, &key) else { return Vec::new() };
    let Value::Array(mut list) = list else {
        reader.refuse(name);
        return Vec::new();
    };
    if list.len() > most {
        reader.mistake(name, format!("{} tables; at most {most} are allowed", list.len()));
        list.truncate(most);
    }
    let mut tables = Vec::new();
    for (index, value) in list.into_iter().enumerate() {
        let (place, source) = (format!("{key}[{index}]"), source.clone());
        match value {
            Value::Object(members) => tables.push(Table::new(place, source, members)),
            other => reader.given.mistakes.push(wrong(source, place, &other, &"a table")),
        }
    }
    tables
}

/// Returns the list of a setting, and what contains it.
fn read_list(reader: &mut Reader, name: &'static str, key: &str) -> Option<(Value, Source)> {
    let text = reader.text(name)?;
    if is_json(&text) {
        let list = document::from_str(&text).map_err(|error| reader.mistake(name, told(&error))).ok()?;
        return Some((list, reader.source(name)));
    }
    let path = Path::new(&text);
    let content = match document::read_text(path) {
        Ok(content) => content,
        Err(error) => {
            reader.mistake(name, unreadable(&text, &error));
            return None;
        }
    };
    let source = Source::File(path.to_owned());
    let parsed = match path.extension() {
        Some(extension) if extension == "toml" => from_toml(&content, key),
        _ => document::from_str(&content).map_err(|error| (String::new(), told(&error))),
    };
    match parsed {
        Ok(list) => Some((list, source)),
        Err((name, reason)) => {
            reader.given.mistakes.push(Mistake { source, name, value: None, reason });
            None
        }
    }
}

/// Returns the list under `key`, which must be all that the file contains.
fn from_toml(text: &str, key: &str) -> Result<Value, (String, String)> {
    let mut table = toml_table(text)?;
    let list = table.remove(key).ok_or_else(|| (key.to_owned(), format!("missing: [[{key}]]")))?;
    match table.into_iter().next() {
        Some((other, _)) => Err((other, format!("unknown key; this file contains {key} only"))),
        None => serde_json::to_value(list).map_err(|error| (key.to_owned(), error.to_string())),
    }
}

fn told(error: &JsonError) -> String {
    match error {
        JsonError::Syntax(error) => format!("not JSON: {error}"),
        duplicate => duplicate.to_string(),
    }
}

/// Returns the size of a regular file.
fn size(path: &str) -> std::io::Result<u64> {
    document::open_file(Path::new(path))?.metadata().map(|found| found.len())
}

/// Returns the mistake of a value. Shows it, unless it has members of its own.
fn wrong(source: Source, name: String, value: &Value, expected: &dyn fmt::Display) -> Mistake {
    let (value, given) = match value {
        Value::String(text) => (Some(text.clone()), ""),
        Value::Null => (None, "null; "),
        Value::Array(_) => (None, "a list; "),
        Value::Object(_) => (None, "a table; "),
        scalar => (Some(scalar.to_string()), ""),
    };
    Mistake { source, name, value, reason: format!("{given}expected {expected}") }
}

impl Table {
    fn new(place: String, source: Source, members: Map<String, Value>) -> Self {
        Self { place, source, members, known: Vec::new(), mistakes: Vec::new() }
    }

    /// Takes a text; `None` if there is none. `parse` fails with a message.
    pub(super) fn text<T>(
        &mut self,
        name: &'static str,
        kind: ValueKind,
        parse: impl FnOnce(&str, ValueKind) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(name)?;
        let Value::String(text) = &value else {
            self.refuse(name, &value, &kind);
            return None;
        };
        let parsed = parse(text, kind);
        parsed.map_err(|reason| self.wrong_text(name, &value, reason)).ok()
    }

    /// Takes a text that must be there.
    pub(super) fn needed<T>(
        &mut self,
        name: &'static str,
        kind: ValueKind,
        parse: impl FnOnce(&str, ValueKind) -> Result<T, String>,
    ) -> Option<T> {
        if !self.has(name) {
            self.mistake(name, format!("missing; expected {kind}"));
        }
        self.text(name, kind, parse)
    }

    /// Takes a list of texts, of 1 to `most`; `None` if there is none. `kind` describes each text.
    pub(super) fn texts<T>(
        &mut self,
        name: &'static str,
        most: usize,
        kind: ValueKind,
        parse: impl Fn(&str, ValueKind) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.take(name)?;
        let expected = format!("a list of 1 to {most}, each {kind}");
        let list = match &value {
            Value::Array(list) if (1..=most).contains(&list.len()) => list,
            other => {
                self.refuse(name, other, &expected);
                return None;
            }
        };
        let mut texts = Vec::new();
        for (index, item) in list.iter().enumerate() {
            let name = format!("{name}[{index}]");
            match item.as_str().map(|text| parse(text, kind)) {
                Some(Ok(text)) => texts.push(text),
                Some(Err(reason)) => self.wrong_text(&name, item, reason),
                None => self.refuse(&name, item, &kind),
            }
        }
        Some(texts)
    }

    /// Takes a time between two bounds, both inclusive: a text with its unit, or seconds.
    pub(super) fn time(&mut self, name: &'static str, bounds: [Duration; 2], default: Duration) -> Duration {
        let Some(value) = self.take(name) else { return default };
        let [least, most] = bounds;
        let kind = ValueKind::Time { least, most };
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        parse_time_of(&text, kind).unwrap_or_else(|| {
            self.refuse(name, &value, &kind);
            default
        })
    }

    /// Takes yes or no; no if there is nothing.
    pub(super) fn switch(&mut self, name: &'static str) -> bool {
        match self.take(name) {
            Some(Value::Bool(switch)) => switch,
            Some(other) => {
                self.refuse(name, &other, &ValueKind::Switch);
                false
            }
            None => false,
        }
    }

    /// Takes one of these words, each with what it means; the first is the default.
    pub(super) fn word<T: Copy>(
        &mut self,
        name: &'static str,
        words: &'static [&'static str],
        meanings: &[T],
    ) -> T {
        let given = self.text(name, ValueKind::Word(words), |text, kind| {
            words.iter().position(|word| *word == text).ok_or_else(|| format!("expected {kind}"))
        });
        meanings[given.unwrap_or(0)]
    }

    /// Takes the path of a file that can be read and is not empty.
    pub(super) fn file(&mut self, name: &'static str) -> Option<PathBuf> {
        self.text(name, ValueKind::File, |text, kind| match size(text) {
            Ok(0) => Err("the file is empty".to_owned()),
            Ok(_) => Ok(PathBuf::from(text)),
            Err(error) => Err(format!("{}; expected {kind}", unreadable(text, &error))),
        })
    }

    /// Takes the path of a file with a secret. Never shows the value, which may be the secret
    /// itself.
    pub(super) fn secret_file(&mut self, name: &'static str) -> Option<PathBuf> {
        let value = self.take(name)?;
        let reason = match value.as_str().map(|path| (path, SecretFile::check(Path::new(path)))) {
            Some((path, Ok(()))) => return Some(PathBuf::from(path)),
            Some((_, Err(error))) => format!("names a file, which cannot be used: {error}"),
            None => format!("expected {}", ValueKind::File),
        };
        self.mistake(name, reason);
        None
    }

    /// Takes a table in this one.
    pub(super) fn table(&mut self, name: &'static str) -> Option<Self> {
        let (place, source) = (self.name(name), self.source.clone());
        match self.take(name)? {
            Value::Object(members) => Some(Self::new(place, source, members)),
            other => {
                self.refuse(name, &other, &"a table");
                None
            }
        }
    }

    /// Takes a member of any kind; `None` if there is none.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.members.remove(name)
    }

    /// Takes all members that are left. None of them is unknown.
    pub(super) fn take_rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.members)
    }

    /// Notes that a member is wrong, or with an empty name the table.
    pub(super) fn mistake(&mut self, name: &str, reason: impl Into<String>) {
        let (source, name) = (self.source.clone(), self.name(name));
        self.mistakes.push(Mistake { source, name, value: None, reason: reason.into() });
    }

    /// Notes that the value of a member is not what is expected.
    pub(super) fn refuse(&mut self, name: &str, value: &Value, expected: &dyn fmt::Display) {
        self.mistakes.push(wrong(self.source.clone(), self.name(name), value, expected));
    }

    fn wrong_text(&mut self, name: &str, value: &Value, reason: String) {
        let mistake = wrong(self.source.clone(), self.name(name), value, &"");
        self.mistakes.push(Mistake { reason, ..mistake });
    }

    /// Returns the name of a member in mistakes.
    pub(super) fn name(&self, member: &str) -> String {
        match member {
            "" => self.place.clone(),
            member => format!("{}.{member}", self.place),
        }
    }

    /// Returns whether there is such a member that was not taken yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Returns whether such a member is a text.
    pub(super) fn has_text(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(Value::is_string)
    }

    /// Takes over the mistakes of a table in this one.
    pub(super) fn adopt(&mut self, inner: Self) {
        self.mistakes.append(&mut inner.into_mistakes());
    }

    /// Reports all mistakes.
    pub(super) fn finish(self, reader: &mut Reader) {
        reader.given.mistakes.append(&mut self.into_mistakes());
    }

    /// Returns all mistakes. Members that were not asked for are mistakes.
    fn into_mistakes(mut self) -> Vec<Mistake> {
        for unknown in std::mem::take(&mut self.members).keys() {
            // Does not quote the value: it may be a secret.
            let known = self.known.iter().map(|name| (*name).to_owned());
            let reason = match closest(unknown, known) {
                Some(meant) => format!("unknown member; did you mean {meant}?"),
                None => "unknown member".to_owned(),
            };
            self.mistake(unknown, reason);
        }
        self.mistakes
    }
}
