//! What patterns see of a path, and what else a service may read in it.

use std::borrow::Cow;

use listener::{is_unreserved, push_triplet, triplet};

use super::rules::{PathRefusal, PathRules, Rule};

/// A path in its normal form, as a service gets it, and as patterns see it.
///
/// Patterns see one text for all paths that are the same once they are decoded. What RFC 3986
/// allows in a path (`pchar`, section 3.3) is plain there, everything else is percent-encoded.
/// Where that is more than ASCII they see a second text as well, with its UTF-8 decoded:
/// `/stra%C3%9Fe` is `/straße` too.
#[derive(Clone, Debug)]
pub struct PathView<'a> {
    served: &'a str,
    plain: Cow<'a, str>,
    decoded: Option<String>,
    oddities: u8,
}

/// It has an encoded slash, or a backslash.
const SLASH: u8 = 1;
/// It has an empty segment.
const EMPTY: u8 = 2;
/// It has path parameters, or segments with a dot or a blank at their end.
const ENDS: u8 = 4;
/// It has a `%`.
const ENCODED: u8 = 8;
/// It has a character that patterns see encoded.
const FOREIGN: u8 = 16;

/// It has a control character.
const CONTROL: u8 = 32;
/// It has an encoded `?` or `#`.
const QUERY: u8 = 64;

/// What a byte says about its path.
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
    /// Looks at a path in its normal form ([`listener::normal_path`]).
    pub fn new(served: &'a str) -> Self {
        let oddities = oddities(served);
        if oddities & (ENCODED | FOREIGN) == 0 {
            return Self { served, plain: Cow::Borrowed(served), decoded: None, oddities };
        }
        let plain = plain(served);
        let oddities = oddities | self::oddities(&plain) | encoded_oddities(&plain);
        Self { served, decoded: decoded(&plain), plain: Cow::Owned(plain), oddities }
    }

    /// The texts of which one has to match.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.plain).chain(self.decoded.as_deref())
    }

    #[cfg(test)]
    pub(crate) fn plain_text(&self) -> &Cow<'a, str> {
        &self.plain
    }

    /// As a service gets it.
    pub(crate) fn served(&self) -> &'a str {
        self.served
    }

    /// A part of the served path, by its place in one of the texts that are matched.
    pub(crate) fn served_part(&self, text: &str, [start, end]: [usize; 2]) -> &'a str {
        let (served, text) = (self.served, text.as_bytes());
        let (mut at, mut seen) = (0, 0);
        let mut advance = |to: usize, is_end: bool| {
            while seen < to {
                let steps = [unit(served.as_bytes(), at), unit(text, seen)];
                if seen + steps[1] > to {
                    // Inside of a character: exactly where both spell it alike, else all of it is
                    // captured.
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

    /// Whether a service may read dot segments in it (RFC 3986, section 5.2.4), in whatever
    /// disguise.
    pub(crate) fn has_dots(&self) -> bool {
        pieces(&self.plain).any(|piece| {
            let mut name = without_query(piece).split(';').next().unwrap_or_default();
            while let Some(rest) = name.strip_suffix("%20") {
                name = rest;
            }
            matches!(name, "." | "..")
        })
    }

    /// Whether it has a control character.
    pub(crate) fn has_control(&self) -> bool {
        self.oddities & CONTROL != 0
    }

    /// Checks what a service may read in it by its rules. `is_same` says whether another text has
    /// the same endpoint.
    ///
    /// # Errors
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
                // What another change leaves may be empty, or end in a dot or a blank.
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

/// A path as somebody reads it who makes these changes to it, and cuts the ends of segments by
/// `cut`.
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

/// RFC 3986, section 3.3.
pub(super) const fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}

/// One pass over a path.
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

/// What the percent-encodings of a plain text stand for.
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

/// The text that patterns see.
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

/// The plain text with its UTF-8 decoded; `None`: it has none.
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

/// The segments for somebody who takes encoded slashes and backslashes for slashes.
fn pieces(plain: &str) -> impl Iterator<Item = &str> {
    plain.split('/').flat_map(|segment| segment.split("%2F")).flat_map(|part| part.split("%5C"))
}

/// A text as somebody reads it who takes an encoded `?` or `#` for the end of the path.
fn without_query(plain: &str) -> &str {
    let end = [plain.find("%3F"), plain.find("%23")].into_iter().flatten().min();
    &plain[..end.unwrap_or(plain.len())]
}

/// A segment without its parameters, and without dots and blanks at its end.
fn without_end(segment: &str) -> &str {
    let mut name = segment.split(';').next().unwrap_or_default();
    while let Some(rest) = name.strip_suffix('.').or_else(|| name.strip_suffix("%20")) {
        name = rest;
    }
    name
}

/// The same, for a service to which a segment of dots alone is a name.
fn without_end_or_dots(segment: &str) -> &str {
    if segment.bytes().all(|byte| byte == b'.') { segment } else { without_end(segment) }
}

/// The same, for a service that does not decode.
fn without_raw_end(segment: &str) -> &str {
    if segment.bytes().all(|byte| byte == b'.') {
        return segment;
    }
    segment.split(';').next().unwrap_or_default().trim_end_matches('.')
}

/// How many bytes the character, or its percent-encoded byte, takes that begins there.
fn unit(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b'%') if triplet(&text[at + 1..]).is_some() => 3,
        _ => 1,
    }
}
