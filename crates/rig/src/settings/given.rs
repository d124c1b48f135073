//! The texts of all settings, with their sources: flags take precedence over the environment, then
//! the file, then defaults.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::access::is_json;
use super::kind::ValueKind;
use super::mistake::{Mistake, Mistakes, Source, quoted};
use super::table::{self, GONE, Setting, is_foreign};

/// The environment of the process, or that of a test.
pub(crate) type Environment = BTreeMap<OsString, OsString>;

/// The environment variable that names the settings file.
pub(crate) const CONFIG_VARIABLE: &str = "RIG_CONFIG";

/// The flags of a command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    /// The settings file.
    pub(crate) config: Option<PathBuf>,
    /// Values of settings, by the name of the setting, in the order in which they were given.
    pub(crate) settings: Vec<(&'static str, OsString)>,
    /// Mistakes of the command line itself.
    pub(crate) mistakes: Vec<Mistake>,
}

/// A value as it was given, and its source.
#[derive(Clone, Debug)]
struct GivenText {
    value: String,
    source: Source,
}

/// All given values, and the mistakes found while reading them.
pub(crate) struct Given {
    values: HashMap<&'static str, GivenText>,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<String>,
    /// The variables of RIG in the environment that have no effect here.
    gone: BTreeSet<&'static str>,
}

impl Given {
    /// Returns whether a variable of RIG that has no effect here is set.
    pub(super) fn names_gone(&self, name: &str) -> bool {
        self.gone.contains(name)
    }

    /// Reads flags, environment and file. Mistakes are collected, to be reported together.
    pub(crate) fn gather(flags: Flags, environment: &Environment) -> Self {
        let mut given = Self {
            values: HashMap::new(),
            mistakes: flags.mistakes,
            warnings: Vec::new(),
            gone: BTreeSet::new(),
        };
        let named = environment.get(OsStr::new(CONFIG_VARIABLE)).filter(|path| !path.is_empty());
        // In ascending order of precedence: later sources replace earlier ones.
        if let Some(path) = flags.config.or_else(|| named.map(PathBuf::from)) {
            given.read_file(&path);
        }
        given.read_environment(environment);
        given.read_flags(&flags.settings);
        given
    }

    /// Returns the effective value: the given one, or the default.
    pub(super) fn value(&self, setting: &Setting) -> &str {
        self.values.get(setting.name).map_or(setting.default, |raw| &raw.value)
    }

    /// Returns the effective value of the setting of this name.
    pub(crate) fn value_of(&self, name: &str) -> &str {
        table::all().find(|setting| setting.name == name).map_or("", |setting| self.value(setting))
    }

    /// Returns the mistakes of the sources themselves, as opposed to those of the values.
    pub(crate) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes
    }

    /// Returns `self` if all sources could be read.
    ///
    /// # Errors
    /// Fails with the mistakes of the sources.
    pub(crate) fn read(mut self) -> Result<Self, Mistakes> {
        Mistakes(std::mem::take(&mut self.mistakes)).into_result().map(|()| self)
    }

    /// Returns whether the setting has a value, given or by default.
    pub(super) fn is_set(&self, setting: &Setting) -> bool {
        !self.value(setting).is_empty()
    }

    /// Returns whether a source sets the setting. Defaults do not count.
    pub(super) fn is_named(&self, setting: &Setting) -> bool {
        self.values.contains_key(setting.name)
    }

    /// Returns where the effective value comes from.
    pub(super) fn source(&self, setting: &Setting) -> &Source {
        self.values.get(setting.name).map_or(&Source::Default, |raw| &raw.source)
    }

    /// Notes that the value of a setting is wrong.
    pub(super) fn mistake(&mut self, setting: &Setting, reason: String) {
        let (value, source) = (self.value(setting).to_owned(), self.source(setting).clone());
        self.note(setting, source, value, reason);
    }

    fn note(&mut self, setting: &Setting, source: Source, value: String, reason: String) {
        let name = match source {
            Source::Flag => format!("--{}", setting.flag()),
            Source::File(_) => setting.key(),
            Source::Environment | Source::Argument(_) | Source::Default => setting.name.to_owned(),
        };
        // A secret may have been written into a table by mistake.
        let is_table = matches!(setting.kind, ValueKind::Tables { .. }) && is_json(&value);
        let value = (!setting.secret && !is_table).then_some(value);
        self.mistakes.push(Mistake { source, name, value, reason });
    }

    fn put(&mut self, setting: &'static Setting, source: Source, value: &OsStr) {
        match value.to_str() {
            Some(value) => {
                self.values.insert(setting.name, GivenText { value: value.to_owned(), source });
            }
            None => {
                let shown = value.to_string_lossy().into_owned();
                self.note(setting, source, shown, format!("not UTF-8; expected {}", setting.kind));
            }
        }
    }

    fn read_flags(&mut self, flags: &[(&'static str, OsString)]) {
        for setting in table::all() {
            let mut values = flags.iter().filter(|(name, _)| *name == setting.name).map(|(_, value)| value);
            let Some(first) = values.next() else { continue };
            self.put(setting, Source::Flag, first);
            for again in values {
                let shown = again.to_string_lossy().into_owned();
                self.note(setting, Source::Flag, shown, "given more than once".to_owned());
            }
        }
    }

    fn read_environment(&mut self, environment: &Environment) {
        for setting in table::all() {
            match environment.get(OsStr::new(setting.name)) {
                // Empty values are ignored for settings that are off by default, as in RIG (`docker
                // run -e API_TOKEN=`), and for all of OpenTelemetry's.
                Some(value)
                    if value.is_empty()
                        && (setting.default.is_empty() || setting.name.starts_with("OTEL_")) => {}
                Some(value) => self.put(setting, Source::Environment, value),
                None => {}
            }
        }
        for (name, instead) in GONE {
            if environment.get(OsStr::new(name)).is_some_and(|value| !value.is_empty()) {
                self.gone.insert(name);
                self.warnings.push(ignored(&Source::Environment, name, instead));
            }
        }
        let names = environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value)));
        for (name, _) in names.filter(|(name, value)| is_foreign(name, value)) {
            if table::all().all(|setting| setting.name != name) {
                self.warnings.push(ignored(&Source::Environment, name, ""));
            }
        }
    }

    fn read_file(&mut self, path: &Path) {
        let source = Source::File(path.to_owned());
        let text = match document::read_text(path) {
            Ok(text) => text,
            Err(error) => {
                let reason = format!("cannot be read: {error}");
                return self.mistakes.push(Mistake { source, name: String::new(), value: None, reason });
            }
        };
        let table = match toml_table(&text) {
            Ok(table) => table,
            Err((name, reason)) => {
                return self.mistakes.push(Mistake { source, name, value: None, reason });
            }
        };
        for (key, value) in table {
            self.read_key(&source, &key, &value);
        }
    }

    fn read_key(&mut self, source: &Source, key: &str, value: &toml::Value) {
        if let Some(setting) = table::all().find(|setting| setting.key() == key) {
            let text = match setting.kind {
                ValueKind::Tables { .. } => tables(value),
                _ => plain(value),
            };
            match text {
                Some(text) => self.put(setting, source.clone(), OsStr::new(&text)),
                None => {
                    let wrong = value.type_str();
                    let reason = format!("a TOML {wrong}; expected {}", setting.kind);
                    self.mistakes.push(Mistake {
                        source: source.clone(),
                        name: key.into(),
                        value: None,
                        reason,
                    });
                }
            }
        } else if let Some((_, instead)) = GONE.iter().find(|(name, _)| name.to_ascii_lowercase() == key) {
            self.warnings.push(ignored(source, key, instead));
        } else {
            // Does not quote the value: it may be that of a misspelt secret.
            let reason = match closest(key, table::all().map(Setting::key)) {
                Some(meant) => format!("unknown key; did you mean {meant}?"),
                None => "unknown key; rig --help names all of them".to_owned(),
            };
            self.mistakes.push(Mistake { source: source.clone(), name: key.into(), value: None, reason });
        }
    }
}

/// Lists the effective settings, each on a line, in the order of the help. Secrets are only marked
/// as set.
impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in table::all() {
            let source = self.source(setting);
            let value = match (setting.secret, self.is_set(setting)) {
                (true, true) => "set, not shown".to_owned(),
                (_, false) => "not set".to_owned(),
                (false, true) => quoted(self.value(setting)),
            };
            writeln!(f, "{} = {value} ({source})", setting.name)?;
        }
        Ok(())
    }
}

/// Parses TOML.
///
/// # Errors
/// Fails with the line, and with what is wrong there. Neither quotes the text, which may contain a
/// secret.
pub(super) fn toml_table(text: &str) -> Result<toml::Table, (String, String)> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or_else(String::new, |span| line_of(text, span.start));
        // Only the message: the error's `Display` quotes the line.
        (line, format!("not TOML: {}", error.message()))
    })
}

/// Returns the most similar name, if one is similar enough.
pub(super) fn closest(key: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let key = key.to_lowercase();
    let near = names.map(|name| (strsim::jaro_winkler(&key, &name), name)).filter(|(score, _)| *score > 0.85);
    near.max_by(|(left, _), (right, _)| left.total_cmp(right)).map(|(_, name)| name)
}

/// `instead` names the replacement; empty if there is none.
fn ignored(source: &Source, name: &str, instead: &str) -> String {
    let separator = if instead.is_empty() { "" } else { "; instead: " };
    format!("{source} {name}: not supported by this version; ignored{separator}{instead}")
}

fn line_of(text: &str, offset: usize) -> String {
    let before = &text.as_bytes()[..offset.min(text.len())];
    format!("line {}", 1 + before.iter().filter(|byte| **byte == b'\n').count())
}

/// Returns the text of a scalar, or of a list of texts (joined by commas, as in the environment).
fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(switch) => Some(switch.to_string()),
        toml::Value::Array(items) => {
            items.iter().map(|item| item.as_str()).collect::<Option<Vec<_>>>().map(|items| items.join(","))
        }
        _ => None,
    }
}

/// Returns a list of tables as JSON, or the text that stands in its place.
fn tables(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Array(items) if items.iter().all(toml::Value::is_table) => {
            serde_json::to_string(value).ok()
        }
        _ => None,
    }
}
