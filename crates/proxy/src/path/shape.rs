//! The common properties of all paths that a pattern matches: their beginning, their end, and an
//! example.

use regex_syntax::hir::{Class, ClassUnicodeRange, Hir, HirKind};

/// Limit of an example, in bytes.
const LONGEST: usize = 1000;

/// Limit of the texts that are recorded as contained in a path, and of the alternatives to one
/// text.
const MOST_TEXTS: usize = 32;

/// The common properties of the paths of a pattern, folded by [`fold`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The text that every path begins with.
    pub(crate) prefix: String,
    /// The text that every path ends with.
    pub(crate) suffix: String,
    /// Every path contains at least one text of each list.
    pub(crate) contained: Vec<Vec<String>>,
    /// Whether `prefix` is the only path.
    pub(crate) is_exact: bool,
    /// Minimum number of fixed characters in a path.
    pub(crate) literals: usize,
    /// A path that matches, if one was found.
    pub(crate) example: Option<String>,
    /// Whether a match may begin with `/`, as every path does.
    pub(crate) is_of_paths: bool,
}

impl Shape {
    /// Analyzes a pattern without its anchors. It is parsed case-sensitively, since folding ignores
    /// case.
    pub(super) fn of(hir: &Hir) -> Self {
        let (prefix, is_exact) = edge(hir, false);
        let (suffix, _) = edge(hir, true);
        let mut example = String::new();
        let found = put_example(hir, &mut example);
        Self {
            prefix: ascii_beginning(&prefix).to_owned(),
            suffix: ascii_end(&suffix).to_owned(),
            is_exact: is_exact && prefix.is_ascii(),
            contained: contained(hir),
            literals: literals(hir),
            example: found.then_some(example),
            is_of_paths: First::of(hir).slash,
        }
    }
}

/// How the matches of a pattern begin.
struct First {
    /// Some match may begin with `/`.
    slash: bool,
    /// Some match may be empty.
    empty: bool,
}

impl First {
    fn of(hir: &Hir) -> Self {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => Self { slash: false, empty: true },
            HirKind::Literal(text) => Self { slash: text.0.starts_with(b"/"), empty: false },
            HirKind::Class(Class::Unicode(class)) => {
                let has = |range: &ClassUnicodeRange| (range.start()..=range.end()).contains(&'/');
                Self { slash: class.iter().any(has), empty: false }
            }
            HirKind::Class(Class::Bytes(_)) => Self { slash: true, empty: false },
            HirKind::Repetition(repetition) => {
                let first = Self::of(&repetition.sub);
                Self { empty: first.empty || repetition.min == 0, ..first }
            }
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Concat(parts) => {
                let mut all = Self { slash: false, empty: true };
                for first in parts.iter().map(Self::of) {
                    all.slash |= first.slash;
                    all.empty = first.empty;
                    if !first.empty {
                        break;
                    }
                }
                all
            }
            HirKind::Alternation(parts) => {
                let either = |one: Self, other: Self| Self {
                    slash: one.slash || other.slash,
                    empty: one.empty || other.empty,
                };
                parts.iter().map(Self::of).fold(Self { slash: false, empty: false }, either)
            }
        }
    }
}

/// Folds case: maps letters that differ only in case, and have an ASCII variant, to the same
/// lower-case ASCII letter. Two letters beyond ASCII have one: the long s and the Kelvin sign
/// (Unicode, CaseFolding.txt, C and S).
pub(crate) fn fold(text: &str) -> std::borrow::Cow<'_, str> {
    if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return text.into();
    }
    text.chars().map(fold_char).collect::<String>().into()
}

fn fold_char(char: char) -> char {
    match char {
        'ſ' => 's',
        '\u{212a}' => 'k',
        char => char.to_ascii_lowercase(),
    }
}

fn ascii_beginning(text: &str) -> &str {
    &text[..text.find(|c: char| !c.is_ascii()).unwrap_or(text.len())]
}

fn ascii_end(text: &str) -> &str {
    &text[text
        .rfind(|c: char| !c.is_ascii())
        .map_or(0, |at| at + text[at..].chars().next().map_or(0, char::len_utf8))..]
}

/// Returns the folded text that every match begins with, or ends with if `at_end`, and whether it
/// is the whole match.
fn edge(hir: &Hir, at_end: bool) -> (String, bool) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => (String::new(), true),
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => (fold(text).into_owned(), true),
            Err(_) => (String::new(), false),
        },
        HirKind::Class(class) => (String::new(), class.maximum_len() == Some(0)),
        HirKind::Capture(capture) => edge(&capture.sub, at_end),
        HirKind::Repetition(repetition) => match (repetition.min, repetition.max) {
            (0, _) => (String::new(), false),
            (1, Some(1)) => edge(&repetition.sub, at_end),
            _ => (edge(&repetition.sub, at_end).0, false),
        },
        HirKind::Concat(list) => {
            let mut text = String::new();
            let mut part = |hir| {
                let (more, is_all) = edge(hir, at_end);
                if at_end {
                    text.insert_str(0, &more)
                } else {
                    text.push_str(&more)
                }
                is_all
            };
            let is_all = if at_end { list.iter().rev().all(&mut part) } else { list.iter().all(&mut part) };
            (text, is_all)
        }
        HirKind::Alternation(list) => {
            let edges = list.iter().map(|hir| edge(hir, at_end).0);
            let common = edges.reduce(|one, other| match at_end {
                true => common_end(&one, &other).to_owned(),
                false => common_beginning(&one, &other).to_owned(),
            });
            (common.unwrap_or_default(), false)
        }
    }
}

fn common_beginning<'a>(one: &'a str, other: &str) -> &'a str {
    let different = one.char_indices().zip(other.chars()).find(|((_, one), other)| one != other);
    &one[..different.map_or(one.len().min(other.len()), |((at, _), _)| at)]
}

fn common_end<'a>(one: &'a str, other: &str) -> &'a str {
    let same = one.chars().rev().zip(other.chars().rev()).take_while(|(one, other)| one == other);
    &one[one.len() - same.map(|(char, _)| char.len_utf8()).sum::<usize>()..]
}

/// Returns lists of folded texts: every match contains at least one text of each list.
fn contained(hir: &Hir) -> Vec<Vec<String>> {
    let (mut texts, mut text) = (Vec::new(), String::new());
    put_contained(hir, &mut texts, &mut text);
    end_text(&mut texts, &mut text);
    texts
}

/// Collects texts that every match contains; `text` is the literal text directly before `hir`.
fn put_contained(hir: &Hir, texts: &mut Vec<Vec<String>>, text: &mut String) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => {
            let Ok(literal) = std::str::from_utf8(&literal.0) else { return end_text(texts, text) };
            for char in literal.chars().map(fold_char) {
                match char.is_ascii() {
                    true => text.push(char),
                    false => end_text(texts, text),
                }
            }
        }
        HirKind::Capture(capture) => put_contained(&capture.sub, texts, text),
        HirKind::Concat(list) => list.iter().for_each(|hir| put_contained(hir, texts, text)),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            put_contained(&repetition.sub, texts, text);
            end_text(texts, text);
        }
        HirKind::Repetition(_) | HirKind::Class(_) => end_text(texts, text),
        HirKind::Alternation(list) => {
            end_text(texts, text);
            // The longest text of each branch: every match contains one of them.
            let longest =
                |hir| contained(hir).into_iter().max_by_key(|any| any.iter().map(String::len).min());
            let any: Option<Vec<_>> = list.iter().map(longest).collect();
            let any: Vec<_> = any.into_iter().flatten().flatten().collect();
            if !any.is_empty() && any.len() <= MOST_TEXTS && texts.len() < MOST_TEXTS {
                texts.push(any);
            }
        }
    }
}

fn end_text(texts: &mut Vec<Vec<String>>, text: &mut String) {
    if !text.is_empty() && texts.len() < MOST_TEXTS {
        texts.push(vec![std::mem::take(text)]);
    }
    text.clear();
}

/// Returns the minimum number of fixed characters in a match.
fn literals(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) => 0,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Capture(capture) => literals(&capture.sub),
        HirKind::Repetition(repetition) => {
            literals(&repetition.sub).saturating_mul(repetition.min.min(LONGEST as u32) as usize)
        }
        HirKind::Concat(list) => list.iter().fold(0, |sum, hir| sum.saturating_add(literals(hir))),
        HirKind::Alternation(list) => list.iter().map(literals).min().unwrap_or(0),
    }
}

/// Writes an example of a match. Fails if it would be too long or is hard to find.
fn put_example(hir: &Hir, into: &mut String) -> bool {
    if into.len() > LONGEST {
        return false;
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => match std::str::from_utf8(&literal.0) {
            Ok(text) => {
                into.push_str(text);
                true
            }
            Err(_) => false,
        },
        HirKind::Class(class) => match example_of(class) {
            Some(char) => {
                into.push(char);
                true
            }
            None => false,
        },
        HirKind::Capture(capture) => put_example(&capture.sub, into),
        HirKind::Repetition(repetition) => {
            let times = repetition.min.max(1).min(repetition.max.unwrap_or(u32::MAX));
            (0..times).all(|_| put_example(&repetition.sub, into))
        }
        HirKind::Concat(list) => list.iter().all(|hir| put_example(hir, into)),
        HirKind::Alternation(list) => list.first().is_some_and(|hir| put_example(hir, into)),
    }
}

/// Returns a letter of the class if it has one, otherwise its first character.
fn example_of(class: &Class) -> Option<char> {
    let Class::Unicode(class) = class else { return None };
    let has = |char: char| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&char));
    ['x', '1']
        .into_iter()
        .find(|char| has(*char))
        .or_else(|| class.ranges().first().map(|range| range.start()))
}
