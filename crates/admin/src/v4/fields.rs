//! Reads the members of a JSON object one by one, and collects all faults.

use axum::extract::Request;
use bytes::Bytes;
use document::JsonError;
use http::header::CONTENT_TYPE;
use listener::CountedBody;
use serde_json::Value;
use serde_json::error::Category;

use super::problem::{InvalidPlace, Problem};
use crate::params::essence;
use crate::port::Port;

/// Limit of the faults that are reported.
const MOST: usize = 20;

/// Limit of the characters of an unknown name that an error repeats.
const SHOWN: usize = 64;

/// The members that were not taken yet, and the faults so far.
#[derive(Debug)]
pub(crate) struct Fields {
    given: Vec<(String, Value)>,
    faults: Vec<InvalidPlace>,
}

/// Reads a complete request body. The second value accounts for its bytes until it is dropped.
///
/// # Errors
/// Fails if its media type is not JSON, or it cannot be read.
pub(super) async fn json_body(
    port: &Port,
    request: Request,
) -> Result<(Bytes, Option<CountedBody>), Problem> {
    // The media type has no parameters (RFC 8259), but some clients send a charset.
    let is_json = request
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|given| essence(given).eq_ignore_ascii_case(b"application/json"));
    if !is_json {
        return Err(Problem::MediaType);
    }
    port.bodies.read(request.into_body()).await.map_err(Problem::Body)
}

/// Parses a body.
///
/// # Errors
/// Fails if it is not JSON (RFC 8259), or has a member twice.
pub(super) fn json(body: &[u8]) -> Result<Value, Problem> {
    document::from_slice(body).map_err(|error| match error {
        JsonError::Duplicate { pointer, line, column } => Problem::fault(InvalidPlace {
            pointer: Some(pointer),
            parameter: None,
            detail: format!("given more than once (line {line}, column {column})"),
        }),
        // Without the text of the error, which repeats parts of the body.
        JsonError::Syntax(error) => Problem::NotJson(match error.classify() {
            Category::Eof if body.iter().all(u8::is_ascii_whitespace) => "it is empty".to_owned(),
            Category::Eof => "it ends too early".to_owned(),
            _ => format!("line {}, column {}", error.line(), error.column()),
        }),
    })
}

impl Fields {
    /// Parses the members of a body.
    ///
    /// # Errors
    /// Fails if it is not JSON, has a member twice, or is not an object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let no_object = || Problem::fault(InvalidPlace::of_body("expected a JSON object"));
        // An array is refused without parsing, however deep it is.
        if body.trim_ascii_start().starts_with(b"[") {
            return Err(no_object());
        }
        let Value::Object(given) = json(body)? else { return Err(no_object()) };
        let mut faults = Vec::new();
        if given.len() > 2 * MOST {
            faults.push(InvalidPlace::of_body("too many members"));
        }
        Ok(Self { given: given.into_iter().take(2 * MOST).collect(), faults })
    }

    /// Returns whether the member is given and was not taken yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| given == name)
    }

    /// Takes a member and parses it; an error of `parse` is noted as a fault.
    pub(crate) fn take<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(Value) -> Result<T, String>,
    ) -> Option<T> {
        let at = self.given.iter().position(|(given, _)| given == name)?;
        let (_, value) = self.given.swap_remove(at);
        parse(value).map_err(|detail| self.fault(name, detail)).ok()
    }

    /// Notes a fault of a member.
    pub(crate) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.push(InvalidPlace::of_member(name, detail));
    }

    /// Notes a fault of the whole object.
    pub(crate) fn fault_of_all(&mut self, detail: impl Into<String>) {
        self.faults.push(InvalidPlace::of_body(detail));
    }

    /// Returns all faults. Members that were not taken are unknown.
    pub(crate) fn faults(mut self) -> Vec<InvalidPlace> {
        let unknown =
            self.given.iter().map(|(name, _)| InvalidPlace::of_member(&cut(name), "unknown member"));
        self.faults.extend(unknown);
        self.faults.truncate(MOST);
        self.faults
    }
}

fn cut(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(body: &[u8]) -> String {
        let document = Fields::parse(body).unwrap_err().document();
        serde_json::to_value(document).unwrap()["detail"].as_str().unwrap().to_owned()
    }

    #[test]
    fn what_is_no_object_is_told_without_repeating_it() {
        for (body, expected) in [
            (&b""[..], "the body is not JSON: it is empty"),
            (b" \n", "the body is not JSON: it is empty"),
            (b"{", "the body is not JSON: it ends too early"),
            (b"{\"a\":1", "the body is not JSON: it ends too early"),
            (b"{}{}", "the body is not JSON: line 1, column 3"),
            (b"{\"a\":\xff}", "the body is not JSON: line 1, column 6"),
            (b"{\"a\":\"\xff\"}", "the body is not JSON: line 1, column 7"),
            (b"{'a':1}", "the body is not JSON: line 1, column 2"),
            (b"hidden", "the body is not JSON: line 1, column 1"),
            (b"\"hidden\"", "expected a JSON object"),
            (b"[]", "expected a JSON object"),
            (b"null", "expected a JSON object"),
            (b"7", "expected a JSON object"),
        ] {
            assert_eq!(problem(body), expected, "{}", String::from_utf8_lossy(body));
        }
        let deep = [b"{\"a\":".as_slice(), &b"[".repeat(100_000)].concat();
        assert!(problem(&deep).starts_with("the body is not JSON: line 1"), "deep");
    }

    #[test]
    fn members_that_nobody_takes_are_faults() {
        let mut fields = Fields::parse(br#"{"a":1,"b":2}"#).unwrap();
        assert_eq!(fields.take("a", Ok), Some(1.into()));
        assert_eq!(fields.faults(), [InvalidPlace::of_member("b", "unknown member")]);
    }

    #[test]
    fn f06_a_member_that_is_given_twice_is_a_fault_at_any_depth() {
        let told = |body: &[u8]| Fields::parse(body).unwrap_err().document();
        let document = serde_json::to_value(told(br#"{"a":1,"claim":{"x":1,"x":1}}"#)).unwrap();
        let expected = serde_json::json!([
            { "pointer": "/claim/x", "detail": "given more than once (line 1, column 25)" }
        ]);
        assert_eq!(document["errors"], expected);
    }

    #[test]
    fn what_is_told_is_bounded() {
        let many: Vec<_> = (0..10_000).map(|n| format!("\"{n}{}\":1", "x".repeat(100))).collect();
        let fields = Fields::parse(format!("{{{}}}", many.join(",")).as_bytes()).unwrap();
        let faults = fields.faults();
        assert_eq!(faults.len(), MOST);
        assert!(serde_json::to_string(&faults).unwrap().len() < 4000);
    }
}
