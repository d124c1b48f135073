//! Paths: which ones an endpoint covers, and how they are rewritten for its service.

mod rules;
mod shape;
mod spelling;
#[cfg(test)]
mod tests;
mod view;

use std::borrow::Cow;

use listener::{normal_encoding, without_dots};
use regex::{Captures, Regex, RegexBuilder};
use regex_syntax::{Error as SyntaxError, Parser};

pub use rules::{PathRefusal, PathRules, Rule};
pub(crate) use shape::{Shape, fold};
pub use view::PathView;

/// Limit of the size of a compiled pattern, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// The pattern of an endpoint, and how paths that match it are rewritten.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// `None` if the pattern is one fixed text, which is [`Shape::prefix`].
    regex: Option<Regex>,
    replacement: Option<Replacement>,
    shape: Shape,
    names_parameters: bool,
}

/// A template for the path that the service gets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Replacement {
    path: Vec<ReplacementPart>,
    /// Begins with `?`. Captures are escaped there, so that each stays a single value.
    query: Vec<ReplacementPart>,
}

/// A part of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ReplacementPart {
    Text(String),
    Capture(usize),
}

/// Why a pattern or its replacement is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The pattern is not a regular expression (d24).
    #[error("is no regular expression: {reason} (character {at})")]
    Syntax {
        /// The reason.
        reason: String,
        /// Position of the first invalid character, counted from 1.
        at: usize,
    },
    /// The regular expression cannot be compiled.
    #[error("cannot be used: {0}")]
    Unusable(String),
    /// The replacement refers to a missing capture: its number, and the number of captures.
    #[error("names \\{0}, but path_regex captures only {1}")]
    Capture(usize, usize),
}

impl PatternError {
    fn syntax(error: SyntaxError) -> Self {
        let (reason, span) = match &error {
            SyntaxError::Parse(error) => (error.kind().to_string(), *error.span()),
            SyntaxError::Translate(error) => (error.kind().to_string(), *error.span()),
            other => return Self::Unusable(one_line(&other.to_string())),
        };
        Self::Syntax { reason, at: span.start.column }
    }

    /// Returns the invalid member of the endpoint.
    pub(crate) fn member(&self) -> &'static str {
        match self {
            Self::Syntax { .. } | Self::Unusable(_) => "path_regex",
            Self::Capture(..) => "path_replacement",
        }
    }
}

impl Pattern {
    /// Compiles a regular expression for whole paths as [`PathView`] shows them, case-insensitive
    /// and Unicode-aware (RIG). In the replacement, `\0` is the whole path, `\1` to `\9` are
    /// captures (empty if a capture did not participate), and `\\` is a backslash.
    ///
    /// # Errors
    /// Fails if it is not a regular expression, or is larger than 1 MiB when compiled, or the
    /// replacement refers to a missing capture.
    pub fn new(path_regex: &str, replacement: Option<&str>) -> Result<Self, PatternError> {
        // Parsed on its own first: a pattern that closes the group around it and opens another one
        // would otherwise be accepted. Parsed as it was written, so that the positions of faults
        // are right.
        Parser::new().parse(path_regex).map_err(PatternError::syntax)?;
        let path_regex = spelling::respelled(path_regex).unwrap_or_else(|| path_regex.to_owned());
        let hir = Parser::new().parse(&path_regex).map_err(PatternError::syntax)?;
        let shape = Shape::of(&hir);
        let captures = hir.properties().explicit_captures_len();
        // A flag may restore case-sensitivity, and an assertion may exclude the literal text.
        let is_text = shape.is_exact && captures == 0 && hir.properties().look_set().is_empty();
        let regex = match is_text && !path_regex.contains("(?") {
            true => None,
            false => Some(compile(&path_regex)?),
        };
        let replacement = replacement.map(Replacement::new);
        for part in
            replacement.iter().flat_map(|replacement| replacement.path.iter().chain(&replacement.query))
        {
            if let ReplacementPart::Capture(number) = part
                && *number > captures
            {
                return Err(PatternError::Capture(*number, captures));
            }
        }
        let names_parameters = path_regex.contains(';') || regex.is_none();
        let mut pattern = Self { regex, replacement, shape, names_parameters };
        // An assertion may exclude the example.
        pattern.shape.example = pattern.shape.example.take().filter(|example| pattern.is_match(example));
        Ok(pattern)
    }

    /// Returns whether the pattern matches a path, given as one of the texts of a [`PathView`].
    pub fn is_match(&self, path: &str) -> bool {
        match &self.regex {
            Some(regex) => regex.is_match(path),
            None => fold(path) == self.shape.prefix,
        }
    }

    /// Returns what all matching paths have in common.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Returns whether the author of the pattern considered path parameters: it has a `;`, or is
    /// fixed.
    pub(crate) fn names_parameters(&self) -> bool {
        self.names_parameters
    }

    /// Returns the path that the service gets, in its normal form. Captures are inserted as they
    /// are spelled in the path (d27).
    ///
    /// # Errors
    /// Fails if the result is not a path, or some services would find dot segments in it.
    pub fn rewrite<'a>(&self, view: &PathView<'a>) -> Result<Cow<'a, str>, PathRefusal> {
        let Some(Replacement { path, query }) = &self.replacement else {
            return Ok(Cow::Borrowed(view.served()));
        };
        let captured = self.regex.as_ref().and_then(|regex| {
            view.texts().find_map(|text| Some(Captured { view, text, captures: regex.captures(text)? }))
        });
        let value = |part| match part {
            &ReplacementPart::Capture(0) => view.served(),
            ReplacementPart::Capture(number) => {
                captured.as_ref().map_or("", |captured| captured.part(*number))
            }
            ReplacementPart::Text(text) => text,
        };
        let mut rewritten = String::with_capacity(view.served().len() + 16);
        path.iter().for_each(|part| rewritten.push_str(value(part)));
        if !rewritten.starts_with('/') {
            rewritten.insert(0, '/');
        }
        let mut rewritten = normal_encoding(&rewritten).map_err(|_| PathRefusal::Replacement)?.into_owned();
        let outcome = PathView::new(&rewritten);
        if outcome.has_dots() || outcome.has_control() {
            return Err(PathRefusal::Replacement);
        }
        for part in query {
            match part {
                ReplacementPart::Text(text) => rewritten.push_str(text),
                // Escaped, so that it cannot begin another parameter.
                ReplacementPart::Capture(_) => {
                    rewritten.push_str(&value(part).replace('&', "%26").replace(';', "%3B"))
                }
            }
        }
        Ok(Cow::Owned(rewritten))
    }
}

/// The captures of a path.
struct Captured<'v, 'a> {
    view: &'v PathView<'a>,
    text: &'v str,
    captures: Captures<'v>,
}

impl<'a> Captured<'_, 'a> {
    fn part(&self, number: usize) -> &'a str {
        let part = self.captures.get(number).map(|part| [part.start(), part.end()]);
        part.map_or("", |part| self.view.served_part(self.text, part))
    }
}

impl Replacement {
    fn new(text: &str) -> Self {
        let (path, query) = text.split_at(text.find('?').unwrap_or(text.len()));
        Self { path: parts(&without_dots(path)), query: parts(query) }
    }
}

fn compile(path_regex: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(&format!("^(?:{path_regex})$"))
        .case_insensitive(true)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|error| PatternError::Unusable(one_line(&error.to_string())))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn parts(replacement: &str) -> Vec<ReplacementPart> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut chars = replacement.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        match chars.next() {
            Some(digit) if digit.is_ascii_digit() => {
                if !text.is_empty() {
                    parts.push(ReplacementPart::Text(std::mem::take(&mut text)));
                }
                parts.push(ReplacementPart::Capture(digit as usize - '0' as usize));
            }
            Some('\\') | None => text.push('\\'),
            Some(other) => text.extend(['\\', other]),
        }
    }
    if !text.is_empty() {
        parts.push(ReplacementPart::Text(text));
    }
    parts
}
