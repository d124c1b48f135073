//! The types of CloudEvents attributes that have their own grammar.

mod media_type;
mod time;
mod uri;

pub(crate) use media_type::{MediaType, is_media_type, unquote};
pub(crate) use time::is_time;
pub(crate) use uri::{is_absolute_uri, is_uri_reference};

/// CloudEvents 1.0.2, type system, String: no control characters (C0, DEL, C1) and no
/// noncharacters. Surrogates cannot occur in a `str`.
pub(crate) fn is_attribute_text(text: &str) -> bool {
    // The usual case, which is checked several bytes at once.
    let is_plain = text.bytes().fold(true, |plain, byte| plain & (0x20..0x7F).contains(&byte));
    is_plain
        || text.chars().all(|c| {
            let code = u32::from(c);
            !c.is_control() && !(0xFDD0..=0xFDEF).contains(&code) && code & 0xFFFE != 0xFFFE
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_noncharacters_are_no_text() {
        for good in ["", "Größe 😀", "tab is %09", "\u{a0}", "\u{fdf0}", "\u{fffd}"] {
            assert!(is_attribute_text(good), "{good:?}");
        }
        for bad in ["\t", "a\0", "\u{7f}", "\u{9f}", "\u{fdd0}", "\u{ffff}", "\u{1fffe}"] {
            assert!(!is_attribute_text(bad), "{bad:?}");
        }
    }
}
