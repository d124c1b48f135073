//! Characters that are unsafe in a terminal: they move the cursor, colour the text that follows, or
//! change its direction.

use std::fmt::Write;

/// Returns whether a character is a control character (Unicode category Cc), a line or paragraph
/// separator, or changes the direction of text or is invisible (Unicode Bidirectional Algorithm,
/// section 2; U+200B to U+200F, U+FEFF).
pub(super) fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(letter, '\u{61c}' | '\u{fff9}'..='\u{fffb}')
}

/// Returns the text on one line, with unsafe characters escaped, as in `\u{1b}`.
pub(super) fn safe(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, letter| {
        if is_unsafe(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
        shown
    })
}

/// Returns the JSON with unsafe characters escaped, as in `\u001b`. In strings the escapes have the
/// same meaning, and elsewhere such characters are not allowed. Spaces between values stay.
pub(super) fn safe_json(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut shown, letter| {
        if is_unsafe(letter) && !matches!(letter, '\n' | '\r' | '\t') {
            write!(shown, "\\u{:04x}", u32::from(letter)).expect("writing to a String succeeds");
        } else {
            shown.push(letter);
        }
        shown
    })
}

/// Truncates the text to this many characters.
pub(super) fn cut(text: &str, letters: usize) -> String {
    match text.char_indices().nth(letters) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_it_would_obey() {
        let hostile = "a\u{1b}[31m\r\n\u{7}\u{9b}2J\u{202e}b\u{2066}\u{200b}é\u{7f}";
        assert_eq!(safe(hostile), r"a\u{1b}[31m\u{d}\u{a}\u{7}\u{9b}2J\u{202e}b\u{2066}\u{200b}é\u{7f}");
        assert_eq!(safe("plain 漢字"), "plain 漢字");
    }

    #[test]
    fn json_means_the_same() {
        let json = "{\"a\":\t\"\u{9b}\u{202e}\u{7f}é\"}\n";
        let shown = safe_json(json);
        assert_eq!(shown, "{\"a\":\t\"\\u009b\\u202e\\u007fé\"}\n");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(json));
        assert_eq!(safe_json("\u{1b}]0;title\u{7}"), r"\u001b]0;title\u0007");
    }

    #[test]
    fn texts_are_cut_between_letters() {
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
