//! Paths: what an endpoint covers, what its service sees of it, and what dots in it mean.

mod shape;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use memchr::{memchr, memmem};
use regex::{Captures, Regex, RegexBuilder};
use regex_syntax::{Error as SyntaxError, Parser};

pub(crate) use shape::{Shape, fold};

/// What a compiled pattern may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// The pattern of an endpoint, and what becomes of a path that it matches.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// `None`: it is one text, which [`Shape::prefix`] is.
    regex: Option<Regex>,
    replacement: Option<Vec<Part>>,
    shape: Shape,
}

/// A piece of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
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
    /// Compiles a regular expression for whole paths, caseless and Unicode (RIG), as they come: percent-encoded. In the
    /// replacement, `\0` is the whole path, `\1` to `\9` are captures (one that took no part is empty), and `\\` is a
    /// backslash.
    ///
    /// # Errors
    /// It is no regular expression, or larger than 1 MiB when compiled; the replacement names what is not captured.
    pub fn new(path_regex: &str, replacement: Option<&str>) -> Result<Self, PatternError> {
        // By itself: what closes the group around it and opens another would be taken together with that.
        let hir = Parser::new().parse(path_regex).map_err(PatternError::syntax)?;
        let shape = Shape::of(&hir);
        let captures = hir.properties().explicit_captures_len();
        // A flag may turn case back on, and an assertion may forbid what is written.
        let is_text = shape.is_exact && captures == 0 && hir.properties().look_set().is_empty();
        let regex = match is_text && !path_regex.contains("(?") {
            true => None,
            false => Some(compile(path_regex)?),
        };
        let replacement = replacement.map(parts);
        for part in replacement.iter().flatten() {
            if let Part::Capture(number) = part
                && *number > captures
            {
                return Err(PatternError::Capture(*number, captures));
            }
        }
        let mut pattern = Self { regex, replacement, shape };
        // An assertion may forbid what all else allows.
        pattern.shape.example = pattern.shape.example.take().filter(|example| pattern.is_match(example));
        Ok(pattern)
    }

    /// Whether it covers a path.
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

    /// The path that the service sees: captures go into it byte for byte (d27). It begins with a slash, and has no dot
    /// segments, whatever is put together.
    pub fn rewrite<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let Some(replacement) = &self.replacement else { return Cow::Borrowed(path) };
        let captures = self.regex.as_ref().and_then(|regex| regex.captures(path));
        let mut rewritten = String::with_capacity(path.len() + 16);
        for part in replacement {
            rewritten.push_str(part.text(path, captures.as_ref()));
        }
        if !rewritten.starts_with('/') {
            rewritten.insert(0, '/');
        }
        // A replacement may bring a query: dots before it end a path, those in it mean nothing.
        let (path, query) = rewritten.split_at(rewritten.find('?').unwrap_or(rewritten.len()));
        match normalized(path) {
            Some(Cow::Owned(normal)) => Cow::Owned(normal + query),
            _ => Cow::Owned(rewritten),
        }
    }
}

impl Part {
    fn text<'a>(&'a self, path: &'a str, captures: Option<&Captures<'a>>) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Capture(0) => path,
            Self::Capture(number) => {
                captures.and_then(|captures| captures.get(*number)).map_or("", |capture| capture.as_str())
            }
        }
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

fn parts(replacement: &str) -> Vec<Part> {
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
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Capture(digit as usize - '0' as usize));
            }
            Some('\\') | None => text.push('\\'),
            Some(other) => text.extend(['\\', other]),
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    parts
}

/// A path without dot segments (RFC 3986, section 5.2.4), also those that are percent-encoded; no other byte is touched.
/// `None`: it is no path, as in `OPTIONS *`.
pub fn normalized(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') {
        return None;
    }
    let bytes = path.as_bytes();
    let may_have_dots = memmem::find(bytes, b"/.").is_some() || memchr(b'%', bytes).is_some();
    if !may_have_dots || path.split('/').all(|segment| dots(segment).is_none()) {
        return Some(Cow::Borrowed(path));
    }
    let mut segments = Vec::new();
    let mut rest = path[1..].split('/').peekable();
    while let Some(segment) = rest.next() {
        let is_last = rest.peek().is_none();
        match dots(segment) {
            Some(count) => {
                if count == 2 {
                    segments.pop();
                }
                if is_last {
                    segments.push("");
                }
            }
            None => segments.push(segment),
        }
    }
    Some(Cow::Owned(format!("/{}", segments.join("/"))))
}

/// Whether a segment is one or two dots, of which each may be percent-encoded.
fn dots(segment: &str) -> Option<usize> {
    let (mut rest, mut count) = (segment.as_bytes(), 0);
    while !rest.is_empty() {
        rest = match rest {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => rest,
            _ => return None,
        };
        count += 1;
    }
    (1..=2).contains(&count).then_some(count)
}
