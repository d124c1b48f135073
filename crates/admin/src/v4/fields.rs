//! The members of a JSON object, taken one by one, with all that is wrong with them.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::problem::{Fault, Problem};

/// Most faults that are told.
const MOST: usize = 20;

/// Most characters of an unknown name that are repeated.
const SHOWN: usize = 64;

/// Members that nobody has taken yet, and the faults found so far.
#[derive(Debug)]
pub(crate) struct Fields {
    given: Vec<(String, Value)>,
    faults: Vec<Fault>,
}

/// What is told of a body that is not JSON, or no object where one is read.
pub(super) fn not_json(body: &[u8], error: &serde_json::Error) -> Problem {
    match error.classify() {
        // Without the library's words: they repeat what was found.
        Category::Data => Problem::fault(Fault::of_body("allowed: a JSON object")),
        Category::Eof if body.iter().all(u8::is_ascii_whitespace) => {
            Problem::NotJson("it is empty".to_owned())
        }
        Category::Eof => Problem::NotJson("it ends too early".to_owned()),
        Category::Syntax | Category::Io => {
            Problem::NotJson(format!("line {}, column {}", error.line(), error.column()))
        }
    }
}

impl Fields {
    /// The members of a body.
    ///
    /// # Errors
    /// It is not JSON (RFC 8259), or no object.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = json.deserialize_map(Members).and_then(|given| json.end().map(|()| given));
        let given = read.map_err(|error| not_json(body, &error))?;
        let mut fields = Self { given: Vec::new(), faults: Vec::new() };
        for (name, value) in given {
            if fields.has(&name) {
                fields.fault(&cut(&name), "given more than once");
            } else if fields.faults.len() < MOST && fields.given.len() < 2 * MOST {
                fields.given.push((name, value));
            } else {
                fields.faults.push(Fault::of_body("too many members"));
                break;
            }
        }
        Ok(fields)
    }

    /// Whether the member is there and not taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.iter().any(|(given, _)| given == name)
    }

    /// What `parse` makes of a member. It says what is wrong, if anything is.
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
        self.faults.push(Fault::of_member(name, detail));
    }

    /// Notes a fault of the object as a whole.
    pub(crate) fn fault_of_all(&mut self, detail: impl Into<String>) {
        self.faults.push(Fault::of_body(detail));
    }

    /// All faults; members that nobody has taken are unknown.
    pub(crate) fn faults(mut self) -> Vec<Fault> {
        let unknown = self.given.iter().map(|(name, _)| Fault::of_member(&cut(name), "unknown member"));
        self.faults.extend(unknown);
        self.faults.truncate(MOST);
        self.faults
    }
}

fn cut(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

/// Reads the members of an object in their order, and keeps those that are there twice.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, Value)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
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
            (b"\"hidden\"", "allowed: a JSON object"),
            (b"[]", "allowed: a JSON object"),
            (b"null", "allowed: a JSON object"),
            (b"7", "allowed: a JSON object"),
        ] {
            assert_eq!(problem(body), expected, "{}", String::from_utf8_lossy(body));
        }
        let deep = [b"{\"a\":".as_slice(), &b"[".repeat(100_000)].concat();
        assert!(problem(&deep).starts_with("the body is not JSON: line 1"), "deep");
    }

    #[test]
    fn members_that_nobody_takes_and_those_given_twice_are_faults() {
        let mut fields = Fields::parse(br#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(fields.take("a", Ok), Some(1.into()));
        let faults = fields.faults();
        assert_eq!(
            faults,
            [Fault::of_member("a", "given more than once"), Fault::of_member("b", "unknown member")]
        );
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
