//! Rewrites patterns to the spelling in which paths are matched.

use regex_syntax::ast::{Ast, Literal, Span, parse::Parser};

use super::view::is_pchar;

/// Replaces what never occurs in the texts of a [`super::PathView`] by its equivalent: `%40` by
/// `@`, and a literal blank or bracket by its percent-encoding. `None` if the pattern is not a
/// regular expression.
pub(super) fn respelled(path_regex: &str) -> Option<String> {
    let ast = Parser::new().parse(path_regex).ok()?;
    let mut changes = Vec::new();
    find(&ast, &mut changes);
    let mut text = path_regex.to_owned();
    changes.sort_unstable_by_key(|(start, ..)| *start);
    for (start, end, new) in changes.into_iter().rev() {
        text.replace_range(start..end, &new);
    }
    Some(text)
}

type Change = (usize, usize, String);

fn find(ast: &Ast, changes: &mut Vec<Change>) {
    match ast {
        Ast::Literal(literal) => changes.extend(encoded(literal)),
        Ast::Repetition(repetition) => find(&repetition.ast, changes),
        Ast::Group(group) => find(&group.ast, changes),
        Ast::Alternation(alternation) => alternation.asts.iter().for_each(|ast| find(ast, changes)),
        Ast::Concat(concat) => {
            let mut rest = &concat.asts[..];
            while let [first, after @ ..] = rest {
                match plain(rest) {
                    Some(change) => {
                        changes.push(change);
                        rest = &rest[3..];
                    }
                    None => {
                        find(first, changes);
                        rest = after;
                    }
                }
            }
        }
        _ => {}
    }
}

/// Replaces a percent-encoding of a character that is plain in paths.
fn plain(asts: &[Ast]) -> Option<Change> {
    let [Ast::Literal(percent), Ast::Literal(high), Ast::Literal(low), ..] = asts else { return None };
    let byte = high.c.to_digit(16)? << 4 | low.c.to_digit(16)?;
    let is_plain = percent.c == '%' && u8::try_from(byte).is_ok_and(is_pchar);
    let ([start, _], [_, end]) = (ends(&percent.span), ends(&low.span));
    is_plain.then(|| (start, end, format!("\\x{{{byte:X}}}")))
}

/// Replaces a printable ASCII character that is always encoded in paths.
fn encoded(literal: &Literal) -> Option<Change> {
    let is_odd = matches!(literal.c, ' ' | '"' | '<' | '>' | '[' | '\\' | ']' | '^' | '`' | '{' | '|' | '}');
    let [start, end] = ends(&literal.span);
    is_odd.then(|| (start, end, format!("(?:%{:02X})", u32::from(literal.c))))
}

fn ends(span: &Span) -> [usize; 2] {
    [span.start.offset, span.end.offset]
}
