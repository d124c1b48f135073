//! The texts that patterns match for a path, and the other ways in which services may interpret it.

use std::borrow::Cow;

use listener::{is_unreserved, push_triplet, triplet};

use super::rules::{PathRefusal, PathRules, Rule};

/// A path in its normal form, as a service gets it, and as patterns see it.
///
/// Patterns see the same text for all paths that decode to the same one: characters that RFC 3986
/// allows in a path (`pchar`, section 3.3) are plain, all others are percent-encoded. If it has
/// encoded characters beyond ASCII, patterns see a second text as well, with its UTF-8 decoded:
/// `/stra%C3%9Fe` is also `/straße`.
#[derive(Clone, Debug)]
pub struct PathView<'a> {
    served: &'a str,
    plain: Cow<'a, str>,
    decoded: Option<String>,
    oddities: u8,
}

/// An encoded slash, or a backslash.
const SLASH: u8 = 1;
/// An empty segment.
const EMPTY: u8 = 2;
/// Path parameters, or a segment with a dot or a blank at its end.
const ENDS: u8 = 4;
/// A `%`.
const ENCODED: u8 = 8;
/// A character that is encoded in the plain text.
const FOREIGN: u8 = 16;

/// A control character.
const CONTROL: u8 = 32;
/// An encoded `?` or `#`.
const QUERY: u8 = 64;

/// The oddities that a byte indicates.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'%' => ENCODED,
            b';' => ENDS,
            b'\\' => SLASH | FOREIGN,
            b'/' => 0,
            byte if is_pchar(byte) => 0,
            _ => FOREIGN,
        };
        byte += 1;
    }
    kinds
};

impl<'a> PathView<'a> {
    /// Analyzes a path in its normal form ([`listener::normal_path`]).
    pub fn new(served: &'a str) -> Self {
        let oddities = oddities(served);
        if oddities & (ENCODED | FOREIGN) == 0 {
            return Self { served, plain: Cow::Borrowed(served), decoded: None, oddities };
        }
        let plain = plain(served);
        let oddities = oddities | self::oddities(&plain) | encoded_oddities(&plain);
        Self { served, decoded: decoded(&plain), plain: Cow::Owned(plain), oddities }
    }

    /// Returns the texts that patterns match: a path matches if one of them does.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.plain).chain(self.decoded.as_deref())
    }

    #[cfg(test)]
    pub(crate) fn plain_text(&self) -> &Cow<'a, str> {
        &self.plain
    }

    /// Returns the path that the service gets.
    pub(crate) fn served(&self) -> &'a str {
        self.served
    }

    /// Maps a range of one of the matched texts to the same part of the served path.
    pub(crate) fn served_part(&self, text: &str, [start, end]: [usize; 2]) -> &'a str {
        let (served, text) = (self.served, text.as_bytes());
        let (mut at, mut seen) = (0, 0);
        let mut advance = |to: usize, is_end: bool| {
            while seen < to {
                let steps = [unit(served.as_bytes(), at), unit(text, seen)];
                if seen + steps[1] > to {
                    // Within a character: exact if both spell it the same way, otherwise the whole
                    // character is captured.
                    return match steps[0] == steps[1] {
                        true => at + (to - seen),
                        false => at + if is_end { steps[0] } else { 0 },
                    };
                }
                (at, seen) = (at + steps[0], seen + steps[1]);
            }
            at
        };
        let [start, end] = [advance(start, false), advance(end, true)];
        served.get(start..end).unwrap_or_default()
    }

    /// Returns whether a service may find dot segments in it (RFC 3986, section 5.2.4), in any
    /// encoding.
    pub(crate) fn has_dots(&self) -> bool {
        pieces(&self.plain).any(|piece| {
            let mut name = without_query(piece).split(';').next().unwrap_or_default();
            while let Some(rest) = name.strip_suffix("%20") {
                name = rest;
            }
            matches!(name, "." | "..")
        })
    }

    /// Returns whether it has a control character.
    pub(crate) fn has_control(&self) -> bool {
        self.oddities & CONTROL != 0
    }

    /// Checks every interpretation of the path that the rules do not exclude. `is_same` returns
    /// whether another text leads to the same endpoint.
    ///
    /// # Errors
    /// Fails if the rules refuse the path, or interpretations lead to different endpoints.
    /// Fails if the rules refuse it, or it can be read in two ways.
    pub(crate) fn check(
        &self,
        rules: PathRules,
        is_same: impl Fn(&PathView<'_>) -> bool,
    ) -> Result<(), PathRefusal> {
        if self.oddities & (SLASH | EMPTY | ENDS | QUERY | CONTROL) == 0 {
            return Ok(());
        }
        if self.has_control() {
            return Err(PathRefusal::Control);
        }
        if self.has_dots() {
            return Err(PathRefusal::Dots);
        }
        let mut changes = 0;
        for (oddity, rule, refusal) in [
            (SLASH, rules.encoded_slashes, PathRefusal::Slash),
            (EMPTY, rules.empty_segments, PathRefusal::Empty),
            (QUERY, rules.path_parameters, PathRefusal::Ends),
            (ENDS, rules.path_parameters, PathRefusal::Ends),
        ] {
            match rule {
                Rule::Refuse if self.oddities & oddity != 0 => return Err(refusal),
                Rule::SameEndpoint if self.oddities & oddity != 0 => changes |= oddity,
                // Other changes may leave a segment that is empty, or has a dot or a blank at its
                // end.
                Rule::Refuse | Rule::SameEndpoint
                    if oddity == EMPTY || oddity == ENDS && changes & (SLASH | QUERY) != 0 =>
                {
                    changes |= oddity;
                }
                _ => {}
            }
        }
        let subsets = (1..=changes).filter(|subset| subset & !changes == 0);
        let mut readings = subsets
            .flat_map(|subset| {
                [
                    reading(&self.plain, subset, without_end),
                    reading(&self.plain, subset, without_end_or_dots),
                    reading(self.served, subset, without_raw_end),
                ]
            })
            .filter(|reading| *reading != self.plain);
        match readings.all(|reading| is_same(&PathView::new(&reading))) {
            true => Ok(()),
            false => Err(PathRefusal::Ambiguous),
        }
    }
}

/// Returns a path as a service interprets it that makes these changes. `cut` removes the ends of
/// segments.
fn reading(path: &str, changes: u8, cut: fn(&str) -> &str) -> String {
    let mut text = path.to_owned();
    if changes & SLASH != 0 {
        text = text.replace("%2F", "/").replace("%5C", "/");
    }
    if changes & QUERY != 0 {
        text.truncate(without_query(&text).len());
    }
    if changes & ENDS != 0 {
        text = text.split('/').map(cut).collect::<Vec<_>>().join("/");
    }
    if changes & EMPTY != 0 {
        let is_last = text.len() > 1 && text.ends_with('/');
        let segments: Vec<_> = text.split('/').filter(|segment| !segment.is_empty()).collect();
        let end = if is_last && !segments.is_empty() { "/" } else { "" };
        text = format!("/{}{end}", segments.join("/"));
    }
    text
}

/// Returns whether RFC 3986, section 3.3, allows the byte in a path.
pub(super) const fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// Finds the oddities of a path in one pass.
fn oddities(path: &str) -> u8 {
    let (mut found, mut before) = (0, 0);
    for byte in path.bytes() {
        found |= KINDS[usize::from(byte)];
        if byte == b'/' {
            match before {
                b'/' => found |= EMPTY,
                b'.' => found |= ENDS,
                _ => {}
            }
        }
        before = byte;
    }
    let has_blanks = found & ENCODED != 0 && (path.contains("%20/") || path.ends_with("%20"));
    if before == b'.' || has_blanks { found | ENDS } else { found }
}

/// Finds the oddities of the percent-encoded bytes in a plain text.
fn encoded_oddities(plain: &str) -> u8 {
    let triplets = plain.split('%').skip(1).filter_map(|after| triplet(after.as_bytes()));
    triplets.fold(0, |found, (byte, _)| {
        found
            | match byte {
                b'/' | b'\\' => SLASH,
                b'?' | b'#' => QUERY,
                0..0x20 | 0x7f => CONTROL,
                _ => 0,
            }
    })
}

/// Returns the plain text of a path, which patterns match.
fn plain(served: &str) -> String {
    let mut plain = Vec::with_capacity(served.len() + 16);
    let mut rest = served.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'%' => match triplet(rest) {
                Some((byte, after)) => {
                    rest = after;
                    put(&mut plain, byte, byte == b'/');
                }
                None => push_triplet(&mut plain, b'%'),
            },
            byte => put(&mut plain, *byte, false),
        }
    }
    String::from_utf8(plain).expect("it is ASCII")
}

fn put(into: &mut Vec<u8>, byte: u8, is_encoded_slash: bool) {
    match (is_pchar(byte) || byte == b'/') && !is_encoded_slash {
        true => into.push(byte),
        false => push_triplet(into, byte),
    }
}

/// Decodes the UTF-8 of a plain text; `None` if it is ASCII only.
fn decoded(plain: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(plain.len()), plain.as_bytes());
    while let [byte, after @ ..] = rest {
        match triplet(after).filter(|(high, _)| *byte == b'%' && *high >= 0x80) {
            Some((high, after)) => {
                bytes.push(high);
                rest = after;
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    if bytes.is_ascii() {
        return None;
    }
    let mut text = String::with_capacity(plain.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        let mut invalid = Vec::new();
        chunk.invalid().iter().for_each(|byte| push_triplet(&mut invalid, *byte));
        text.extend(invalid.into_iter().map(char::from));
    }
    Some(text)
}

/// Splits a text at slashes, encoded slashes and backslashes.
fn pieces(plain: &str) -> impl Iterator<Item = &str> {
    plain.split('/').flat_map(|segment| segment.split("%2F")).flat_map(|part| part.split("%5C"))
}

/// Cuts a text off at an encoded `?` or `#`.
fn without_query(plain: &str) -> &str {
    let end = [plain.find("%3F"), plain.find("%23")].into_iter().flatten().min();
    &plain[..end.unwrap_or(plain.len())]
}

/// Removes the parameters of a segment, and the dots and blanks at its end.
fn without_end(segment: &str) -> &str {
    let mut name = segment.split(';').next().unwrap_or_default();
    while let Some(rest) = name.strip_suffix('.').or_else(|| name.strip_suffix("%20")) {
        name = rest;
    }
    name
}

/// Like [`without_end`], for services that treat a segment of dots alone as a name.
fn without_end_or_dots(segment: &str) -> &str {
    if segment.bytes().all(|byte| byte == b'.') { segment } else { without_end(segment) }
}

/// Like [`without_end_or_dots`], for services that do not decode before they cut.
fn without_raw_end(segment: &str) -> &str {
    if segment.bytes().all(|byte| byte == b'.') {
        return segment;
    }
    segment.split(';').next().unwrap_or_default().trim_end_matches('.')
}

/// Returns the length in bytes of the character, or percent-encoded byte, at this position.
fn unit(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b'%') if triplet(&text[at + 1..]).is_some() => 3,
        _ => 1,
    }
}
