//! Paths: what an endpoint covers, and what its service gets.

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

/// What a compiled pattern may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// The pattern of an endpoint, and what becomes of a path that it matches.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// `None`: it is one text, which [`Shape::prefix`] is.
    regex: Option<Regex>,
    replacement: Option<Replacement>,
    shape: Shape,
    names_parameters: bool,
}

/// What a service gets instead of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Replacement {
    path: Vec<ReplacementPart>,
    /// With its `?`; captures stay single values there.
    query: Vec<ReplacementPart>,
}

/// A piece of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ReplacementPart {
    Text(String),
    Capture(usize),
}

/// A pattern or its replacement is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is no regular expression (d24).
    #[error("is no regular expression: {reason} (character {at})")]
    Syntax {
        /// Why.
        reason: String,
        /// Which character of it, counted from 1, is the first that is wrong.
        at: usize,
    },
    /// It is a regular expression that cannot be used.
    #[error("cannot be used: {0}")]
    Unusable(String),
    /// The replacement names what is not captured: the number, and how many captures there are.
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

    /// The member of the endpoint that is wrong.
    pub(crate) fn member(&self) -> &'static str {
        match self {
            Self::Syntax { .. } | Self::Unusable(_) => "path_regex",
            Self::Capture(..) => "path_replacement",
        }
    }
}

impl Pattern {
    /// Compiles a regular expression for whole paths, caseless and Unicode (RIG), as [`PathView`]
    /// shows them. In the replacement, `\0` is the whole path, `\1` to `\9` are captures (one that
    /// took no part is empty), and `\\` is a backslash.
    ///
    /// # Errors
    /// Fails if it is no regular expression, or larger than 1 MiB when compiled; the replacement
    /// names what is not captured.
    pub fn new(path_regex: &str, replacement: Option<&str>) -> Result<Self, PatternError> {
        // By itself: what closes the group around it and opens another would be taken together with
        // that. As it was written: its faults have their places there.
        Parser::new().parse(path_regex).map_err(PatternError::syntax)?;
        let path_regex = spelling::respelled(path_regex).unwrap_or_else(|| path_regex.to_owned());
        let hir = Parser::new().parse(&path_regex).map_err(PatternError::syntax)?;
        let shape = Shape::of(&hir);
        let captures = hir.properties().explicit_captures_len();
        // A flag may turn case back on, and an assertion may forbid what is written.
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
        // An assertion may forbid what all else allows.
        pattern.shape.example = pattern.shape.example.take().filter(|example| pattern.is_match(example));
        Ok(pattern)
    }

    /// Whether it covers a path, by one of the texts of a [`PathView`].
    pub fn is_match(&self, path: &str) -> bool {
        match &self.regex {
            Some(regex) => regex.is_match(path),
            None => fold(path) == self.shape.prefix,
        }
    }

    /// What every path that it matches looks like.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether somebody has thought of path parameters here: it has a `;`, or nothing variable.
    pub(crate) fn names_parameters(&self) -> bool {
        self.names_parameters
    }

    /// The path that the service gets, in its normal form: captures go into it as the path has them
    /// (d27).
    ///
    /// # Errors
    /// Fails if some service may read dot segments in the result, or it is no path.
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
                // It must not begin another parameter.
                ReplacementPart::Capture(_) => {
                    rewritten.push_str(&value(part).replace('&', "%26").replace(';', "%3B"))
                }
            }
        }
        Ok(Cow::Owned(rewritten))
    }
}

/// What was captured of a path.
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
