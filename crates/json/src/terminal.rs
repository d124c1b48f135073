//! Keeps a line of a log one line, and from commanding the terminal that shows it.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns `line` with every character escaped that ends a line, controls a terminal (C0, DEL, C1), or changes the order in which
/// text is shown (bidirectional controls). `json`: as an escape of JSON, where such characters stand in strings only.
pub fn escape(line: &str, json: bool) -> Cow<'_, str> {
    if !line.bytes().any(suspicious) {
        return Cow::Borrowed(line);
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for letter in line.chars() {
        match letter {
            '\n' if !json => escaped.push_str("\\n"),
            '\r' if !json => escaped.push_str("\\r"),
            _ if !commands(letter) => escaped.push(letter),
            _ if json => write!(escaped, "\\u{:04x}", u32::from(letter)).expect("a String takes all"),
            _ => write!(escaped, "\\u{{{:x}}}", u32::from(letter)).expect("a String takes all"),
        }
    }
    Cow::Owned(escaped)
}

/// Whether a character that has to be escaped can begin with this byte of UTF-8.
fn suspicious(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, 0x7f | 0xc2 | 0xd8 | 0xe2)
}

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
            let text = escape(&line, false);
            assert_eq!(text == line, !commands(letter), "{letter:?}");
            assert!(!text.chars().any(commands), "{letter:?}");
            if !letter.is_control() || letter >= '\u{7f}' {
                let json = format!("\"{line}\"").replace("a\"b", "a\\\"b").replace("a\\b", "a\\\\b");
                let json = escape(&json, true);
                assert!(!json.chars().any(commands), "{letter:?}");
                assert_eq!(serde_json::from_str::<String>(&json).unwrap(), line);
            }
        }
        assert_eq!(escape("\u{9b}31m\r\n\t\u{1b}", false), "\\u{9b}31m\\r\\n\\u{9}\\u{1b}");
        assert_eq!(escape("\u{9b}31mé€", true), "\\u009b31mé€");
    }
}
