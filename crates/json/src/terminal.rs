//! Escapes characters that would split a log line, or control the terminal that shows it.

use std::borrow::Cow;
use std::fmt::Write;

/// Escapes every character of a line of text that ends a line, controls a terminal (C0, DEL, C1),
/// or changes the order in which text is shown (bidirectional controls).
pub fn escape_text(line: &str) -> Cow<'_, str> {
    escape(line, |letter, escaped| match letter {
        '\n' => escaped.push_str("\\n"),
        '\r' => escaped.push_str("\\r"),
        _ => write!(escaped, "\\u{{{:x}}}", u32::from(letter)).expect("a String takes all"),
    })
}

/// Escapes the same characters of a line of JSON, as JSON does: they stand in its strings only.
pub fn escape_json(line: &str) -> Cow<'_, str> {
    escape(line, |letter, escaped| {
        write!(escaped, "\\u{:04x}", u32::from(letter)).expect("a String takes all");
    })
}

fn escape(line: &str, write_escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !line.bytes().any(suspicious) {
        return Cow::Borrowed(line);
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for letter in line.chars() {
        if commands(letter) { write_escape(letter, &mut escaped) } else { escaped.push(letter) }
    }
    Cow::Owned(escaped)
}

/// Returns `true` if a character that must be escaped can begin with this byte of UTF-8.
fn suspicious(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, 0x7f | 0xc2 | 0xd8 | 0xe2)
}

/// Returns `true` if a character ends a line, controls a terminal, or changes the order of text.
fn commands(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f35_characters_that_command_a_terminal_are_escaped() {
        for letter in (0..=0x10_ffff).filter_map(char::from_u32) {
            let line = format!("a{letter}b");
            let text = escape_text(&line);
            assert_eq!(text == line, !commands(letter), "{letter:?}");
            assert!(!text.chars().any(commands), "{letter:?}");
            if !letter.is_control() || letter >= '\u{7f}' {
                let json = format!("\"{line}\"").replace("a\"b", "a\\\"b").replace("a\\b", "a\\\\b");
                let json = escape_json(&json);
                assert!(!json.chars().any(commands), "{letter:?}");
                assert_eq!(serde_json::from_str::<String>(&json).unwrap(), line);
            }
        }
        assert_eq!(escape_text("\u{9b}31m\r\n\t\u{1b}"), "\\u{9b}31m\\r\\n\\u{9}\\u{1b}");
        assert_eq!(escape_json("\u{9b}31mé€"), "\\u009b31mé€");
    }
}
