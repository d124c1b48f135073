//! The mistakes in settings.

use std::fmt;
use std::path::PathBuf;

/// Limit of the characters of a value that a report shows.
const SHOWN: usize = 80;

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A flag of the command line.
    Flag,
    /// The argument at this position of the command line; the program is 0.
    Argument(usize),
    /// A variable of the environment.
    Environment,
    /// A key of the settings file.
    File(PathBuf),
    /// It was not given.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Argument(place) => write!(f, "argument {place}"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "file {}", one_line(&path.to_string_lossy())),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One mistake. Displayed on one line, whatever the value contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The source that contains it.
    pub(crate) source: Source,
    /// The name, spelled as in that source; empty if the whole source is wrong.
    pub(crate) name: String,
    /// The value, if it may be shown.
    pub(crate) value: Option<String>,
    /// The fault, or the expected value.
    pub(crate) reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if !self.name.is_empty() {
            write!(f, " {}", one_line(&self.name))?;
        }
        if let Some(value) = &self.value {
            write!(f, " = {}", quoted(value))?;
        }
        write!(f, ": {}", one_line(&self.reason))
    }
}

/// All mistakes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

impl Mistakes {
    /// Returns `Ok` if there are no mistakes.
    ///
    /// # Errors
    /// Fails with `self` if there are any.
    pub(crate) fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}")?;
        }
        Ok(())
    }
}

/// Returns a value in quotes on one line, truncated if it is long, without the user information of
/// URLs.
pub(crate) fn quoted(value: &str) -> String {
    let value = value.split(',').map(without_user_information).collect::<Vec<_>>().join(",");
    let shown: String = value.chars().take(SHOWN).collect();
    let more = if shown.len() < value.len() { "…" } else { "" };
    format!("{shown:?}{more}")
}

fn without_user_information(value: &str) -> String {
    let Some((scheme, rest)) = value.split_once("://") else { return value.to_owned() };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://…{}", &rest[at..]),
        None => value.to_owned(),
    }
}

/// Returns the text on one line, with unsafe characters escaped: a name may come from a file that
/// somebody else wrote.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    json::escape_text(&words).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_one_line_whatever_the_value_holds() {
        let mistake = Mistake {
            source: Source::Environment,
            name: "EXTRACTORS\n\u{7}".into(),
            value: Some(format!("{{\n\u{1b}[31m{}", "x".repeat(100))),
            reason: "line one\nline two".into(),
        };
        let line = mistake.to_string();
        assert!(line.starts_with(r#"environment EXTRACTORS \u{7} = "{\n\u{1b}[31mxxx"#), "{line}");
        assert!(line.ends_with("xxx\"…: line one line two"), "{line}");
        assert!(line.len() < 160, "{line}");
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        assert_eq!(quoted("http://me:secret@host/path@x"), "\"http://…@host/path@x\"");
        assert_eq!(quoted("http://host/a@b"), "\"http://host/a@b\"");
        assert_eq!(quoted("nats://a:1,nats://me:secret@b"), "\"nats://a:1,nats://…@b\"");
    }
}
