//! Media types: RFC 2046 and RFC 9110, section 8.3.1.

/// A media type with its `charset`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    /// `type/subtype` in lower case.
    pub(crate) essence: String,
    /// The `charset` parameter in lower case.
    pub(crate) charset: Option<String>,
}

impl MediaType {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (essence, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        let essence = essence.trim_matches([' ', '\t']);
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut charset = None;
        while let Some(parameters) = rest.strip_prefix(';') {
            let parameters = parameters.trim_start_matches([' ', '\t']);
            if parameters.is_empty() || parameters.starts_with(';') {
                rest = parameters;
                continue;
            }
            let (name, value, after) = parameter(parameters)?;
            if name.eq_ignore_ascii_case("charset") {
                charset.get_or_insert(value.to_ascii_lowercase());
            }
            rest = after.trim_start_matches([' ', '\t']);
        }
        rest.is_empty().then(|| Self { essence: essence.to_ascii_lowercase(), charset })
    }

    /// Returns `true` for `application/json`, `text/json`, and everything with the suffix `+json`
    /// (RFC 6839, section 3.1).
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.essence.as_str(), "application/json" | "text/json") || self.essence.ends_with("+json")
    }

    /// Returns `true` if its bytes may be UTF-8. Without a charset, only trying tells.
    pub(crate) fn is_utf8(&self) -> bool {
        matches!(self.charset.as_deref(), None | Some("utf-8" | "utf8" | "us-ascii"))
    }
}

/// Returns `true` if this is a media type, with or without parameters.
pub(crate) fn is_media_type(text: &str) -> bool {
    MediaType::parse(text).is_some()
}

/// Splits off the first parameter. Returns its name, its value, and the rest.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, value) = text.split_once('=')?;
    if !is_token(name) {
        return None;
    }
    let Some(quoted) = value.strip_prefix('"') else {
        let (value, after) = value.split_at(value.find([';', ' ', '\t']).unwrap_or(value.len()));
        return is_token(value).then(|| (name, value.to_owned(), after));
    };
    let (value, after) = unquote(quoted)?;
    Some((name, value, after))
}

/// Parses a quoted string after its opening quote (RFC 9110, section 5.6.4). Returns its value and
/// the text after the closing quote; `None` without a closing quote.
pub(crate) fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// Returns `true` for a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_caseless_and_keep_their_charset() {
        let parsed = MediaType::parse("Application/JSON ;; x=\"a;\\\"b\" ; Charset=\"UTF-8\";").unwrap();
        assert_eq!(parsed.essence, "application/json");
        assert_eq!(parsed.charset.as_deref(), Some("utf-8"));
        assert!(parsed.is_json() && parsed.is_utf8());
        assert!(MediaType::parse("application/vnd.a+json").unwrap().is_json());
        assert!(!MediaType::parse("application/json-seq").unwrap().is_json());
        assert!(!MediaType::parse("text/plain;charset=iso-8859-1").unwrap().is_utf8());
    }

    #[test]
    fn invalid_media_types() {
        for bad in [
            "",
            "bad",
            "/",
            "a/",
            "/b",
            "a b/c",
            "a/b c",
            "a/b/c",
            "a/b;c",
            "a/b;=d",
            "a/b;c=",
            "a/b;c=\"d",
            "a/b;c=\"d\"e",
            "a/b;c=d e",
            "ä/b",
            "a/b, c/d",
        ] {
            assert_eq!(MediaType::parse(bad), None, "{bad}");
        }
    }
}
