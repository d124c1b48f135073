//! Paths: what an endpoint covers, what its service sees of it, and what dots in it mean.

mod shape;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use memchr::{memchr, memmem};
use regex::{Captures, Regex, RegexBuilder};

pub(crate) use shape::{Shape, fold};

/// What a compiled pattern may take, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// The pattern of an endpoint, and what becomes of a path that it matches.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
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
pub(crate) enum PatternError {
    /// d24.
    #[error("{0}")]
    Regex(String),
    #[error("names \\{0}, but path_regex captures only {1}")]
    Capture(usize, usize),
}

impl PatternError {
    /// The member of the endpoint that is wrong.
    pub(crate) fn member(&self) -> &'static str {
        match self {
            Self::Regex(_) => "path_regex",
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
    pub(crate) fn new(path_regex: &str, replacement: Option<&str>) -> Result<Self, PatternError> {
        let regex = RegexBuilder::new(&format!("^(?:{path_regex})$"))
            .case_insensitive(true)
            .size_limit(MAX_COMPILED)
            .build()
            .map_err(|error| PatternError::Regex(error.to_string()))?;
        let captures = regex.captures_len() - 1;
        let replacement = replacement.map(parts);
        for part in replacement.iter().flatten() {
            if let Part::Capture(number) = part
                && *number > captures
            {
                return Err(PatternError::Capture(*number, captures));
            }
        }
        Ok(Self { regex, replacement, shape: Shape::of(path_regex) })
    }

    pub(crate) fn is_match(&self, path: &str) -> bool {
        self.regex.is_match(path)
    }

    /// The regular expression, with its anchors.
    pub(crate) fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// What every path that it matches looks like.
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The path that the service sees: captures go into it byte for byte (d27). It begins with a slash, and has no dot
    /// segments, whatever is put together.
    pub(crate) fn rewrite<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let Some(replacement) = &self.replacement else { return Cow::Borrowed(path) };
        let Some(captures) = self.regex.captures(path) else { return Cow::Borrowed(path) };
        let mut rewritten = String::with_capacity(path.len() + 16);
        for part in replacement {
            rewritten.push_str(part.text(&captures));
        }
        if !rewritten.starts_with('/') {
            rewritten.insert(0, '/');
        }
        match normalized(&rewritten) {
            Some(Cow::Owned(normal)) => Cow::Owned(normal),
            _ => Cow::Owned(rewritten),
        }
    }
}

impl Part {
    fn text<'a>(&'a self, captures: &'a Captures<'_>) -> &'a str {
        match self {
            Self::Text(text) => text,
            Self::Capture(number) => captures.get(*number).map_or("", |capture| capture.as_str()),
        }
    }
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
pub(crate) fn normalized(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') {
        return None;
    }
    let bytes = path.as_bytes();
    let may_have_dots = memmem::find(bytes, b"/.").is_some()
        || (memchr(b'%', bytes).is_some() && path.split('/').any(|segment| dots(segment).is_some()));
    if !may_have_dots {
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
