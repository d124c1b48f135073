//! What a registry answers.

use http::StatusCode;
use serde::Deserialize;

/// An answer with a schema, to `/schemas/ids/{id}` or `/subjects/{subject}/versions/{version}`.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// The id; only the versions of a subject have it.
    pub id: Option<u32>,
    /// The text of the schema.
    pub schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    references: Option<Vec<Reference>>,
}

/// A schema that another one refers to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Reference {
    /// The name of the type that it stands for.
    pub name: String,
    /// The subject.
    pub subject: String,
    /// The version.
    pub version: u32,
}

/// Why there is no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The registry does not know it.
    Unknown,
    /// It cannot be used, with the reason.
    Flaw(String),
    /// The registry does not answer as one does.
    Unavailable(String),
    /// The registry answers, but not this question.
    Forbidden(String),
}

#[derive(Deserialize)]
struct Error {
    error_code: u32,
}

/// Codes of errors: a subject, a version, or a schema that does not exist.
const UNKNOWN: [u32; 3] = [40401, 40402, 40403];

impl Answer {
    /// Parses an answer by its status and its body.
    ///
    /// # Errors
    /// Fails if it has no schema of Avro.
    pub fn parse(status: u16, body: &[u8]) -> Result<Self, Failure> {
        match status {
            200 => {}
            // The subject or the version is one that no registry takes.
            422 => return Err(Failure::Unknown),
            404 => {
                // Without such a code, it is the answer of another service, or of a wrong path.
                let error: Option<Error> = serde_json::from_slice(body).ok();
                return Err(match error {
                    Some(error) if UNKNOWN.contains(&error.error_code) => Failure::Unknown,
                    _ => Failure::Unavailable(
                        "status 404 without a registry's error code: check the path of the URL".to_owned(),
                    ),
                });
            }
            _ => return Err(refusal(status)),
        }
        let answer: Self = serde_json::from_slice(body)
            .map_err(|_| Failure::Unavailable("the answer is not one of a schema registry".to_owned()))?;
        match answer.kind.as_deref() {
            None | Some("AVRO") => Ok(answer),
            Some("JSON") => Err(Failure::Flaw("its type is JSON, not AVRO".to_owned())),
            Some("PROTOBUF") => Err(Failure::Flaw("its type is PROTOBUF, not AVRO".to_owned())),
            Some(_) => Err(Failure::Flaw("its type is not AVRO".to_owned())),
        }
    }

    /// Returns what the schema refers to.
    pub fn references(&self) -> &[Reference] {
        self.references.as_deref().unwrap_or_default()
    }
}

/// Explains a status that is not expected.
pub(crate) fn refusal(status: u16) -> Failure {
    match status {
        401 => Failure::Unavailable("the credentials are not accepted (status 401)".to_owned()),
        403 => Failure::Forbidden("the credentials do not allow it (status 403)".to_owned()),
        300..=399 => Failure::Unavailable(format!("status {status}; redirects are not followed")),
        _ => {
            let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            Failure::Unavailable(format!("status {status} {}", reason.unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, body: &str) -> Failure {
        Answer::parse(status, body.as_bytes()).unwrap_err()
    }

    #[test]
    fn an_answer_has_a_schema_and_what_it_refers_to() {
        let body = r#"{"subject":"s","version":3,"id":7,"schema":"\"int\"","references":
            [{"name":"a.B","subject":"b","version":2}],"ruleSet":null}"#;
        let answer = Answer::parse(200, body.as_bytes()).unwrap();
        assert_eq!((answer.id, &*answer.schema), (Some(7), "\"int\""));
        let expected = Reference { name: "a.B".to_owned(), subject: "b".to_owned(), version: 2 };
        assert_eq!(answer.references(), [expected]);
        for body in [r#"{"schema":"x"}"#, r#"{"schema":"x","schemaType":"AVRO","references":null}"#] {
            assert!(Answer::parse(200, body.as_bytes()).unwrap().references().is_empty());
        }
    }

    #[test]
    fn what_is_unknown_and_what_is_wrong_are_told_apart() {
        for code in UNKNOWN {
            assert_eq!(failure(404, &format!(r#"{{"error_code":{code},"message":"x"}}"#)), Failure::Unknown);
        }
        assert_eq!(failure(422, ""), Failure::Unknown);
        for (status, body) in [
            (404, ""),
            (404, r#"{"error_code":404,"message":"HTTP 404 Not Found"}"#),
            (200, "<html>"),
            (200, "{}"),
            (200, r#"{"schema":{}}"#),
            (401, ""),
            (302, ""),
            (429, ""),
            (500, r#"{"error_code":50001}"#),
            (999, ""),
        ] {
            assert!(matches!(failure(status, body), Failure::Unavailable(_)), "{status} {body}");
        }
        assert!(matches!(failure(403, ""), Failure::Forbidden(_)));
        for kind in ["JSON", "PROTOBUF", "OTHER"] {
            let body = format!(r#"{{"schema":"x","schemaType":"{kind}"}}"#);
            assert!(matches!(failure(200, &body), Failure::Flaw(_)));
        }
    }
}
