//! Parses parameters in the query, and names in the path.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use http::Uri;

use super::problem::{InvalidPlace, Problem};

/// The parameters of a query. Each may be given once. Unknown ones are faults, so that a request
/// with a misspelt `dry_run` is refused.
pub(crate) struct Parameters {
    given: Vec<(String, String)>,
    faults: Vec<InvalidPlace>,
}

/// Limit of the parameters that are read.
const MOST: usize = 16;

/// Limit of the characters of an unknown name that an error repeats.
const SHOWN: usize = 64;

impl Parameters {
    /// Parses the parameters of a URL.
    pub(crate) fn of(uri: &Uri) -> Self {
        Self::parse(uri.query())
    }

    pub(crate) fn parse(query: Option<&str>) -> Self {
        let mut parsed = Self { given: Vec::new(), faults: Vec::new() };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()).take(MOST) {
            if parsed.given.iter().any(|(given, _)| *given == name) {
                parsed.fault(InvalidPlace::of_parameter(cut(&name), "given more than once"));
            } else {
                parsed.given.push((name.into_owned(), value.into_owned()));
            }
        }
        parsed
    }

    /// Takes the value of a parameter; `None` if it is not given.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.swap_remove(at).1)
    }

    /// Takes a parameter and parses it; an error of `parse` is noted as a fault.
    pub(crate) fn take_as<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.take(name)?;
        parse(&text).map_err(|detail| self.fault(InvalidPlace::of_parameter(name, detail))).ok()
    }

    /// Takes `dry_run`: whether the request only reports its effect.
    pub(crate) fn dry_run(&mut self) -> bool {
        let given = self.take_as("dry_run", |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("expected true or false".to_owned()),
        });
        given.unwrap_or(false)
    }

    /// Takes a text about the request: who makes it, or why.
    pub(crate) fn remark(&mut self, name: &'static str) -> Option<String> {
        self.take_as(name, |text| super::request::remark(text).map(str::to_owned))
    }

    /// Notes a fault.
    pub(crate) fn fault(&mut self, fault: InvalidPlace) {
        self.faults.push(fault);
    }

    /// Returns all faults. Parameters that were not taken are unknown.
    pub(crate) fn faults(mut self) -> Vec<InvalidPlace> {
        let unknown =
            self.given.iter().map(|(name, _)| InvalidPlace::of_parameter(cut(name), "unknown parameter"));
        self.faults.extend(unknown);
        self.faults
    }

    /// Checks that every given parameter was taken and is valid.
    ///
    /// # Errors
    /// Fails if a parameter is invalid or unknown.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let faults = self.faults();
        if faults.is_empty() { Ok(()) } else { Err(Problem::Faults(faults)) }
    }
}

fn cut(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

/// A decoded name in a path.
pub(crate) type PathName = Result<Path<String>, PathRejection>;

/// Parses the name in a path.
///
/// # Errors
/// Fails if it is not UTF-8, or `parse` refuses it.
pub(crate) fn named<T, E: ToString>(
    name: PathName,
    parameter: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Problem> {
    let wrong = |detail| Problem::fault(InvalidPlace::of_parameter(parameter, detail));
    let Path(text) = name.map_err(|_| wrong("not UTF-8".to_owned()))?;
    parse(&text).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(query: Parameters) -> String {
        serde_json::to_string(&query.faults()).unwrap()
    }

    #[test]
    fn a_parameter_that_is_unknown_or_given_twice_is_a_fault() {
        let mut query = Parameters::parse(Some("dryrun=true&limit=1&limit=2"));
        assert_eq!(query.take("limit").as_deref(), Some("1"));
        assert_eq!(
            faults(query),
            r#"[{"parameter":"limit","detail":"given more than once"},{"parameter":"dryrun","detail":"unknown parameter"}]"#
        );
    }

    #[test]
    fn dry_run_is_a_switch() {
        for (text, expected) in [("", false), ("dry_run=false", false), ("dry_run=true", true)] {
            let mut query = Parameters::parse(Some(text));
            assert_eq!(query.dry_run(), expected);
            assert!(query.finish().is_ok());
        }
        for wrong in ["dry_run", "dry_run=1", "dry_run=TRUE"] {
            let mut query = Parameters::parse(Some(wrong));
            query.dry_run();
            assert!(query.finish().is_err(), "{wrong}");
        }
    }

    #[test]
    fn long_names_are_cut_and_many_are_bounded() {
        let long = "x".repeat(10_000);
        assert!(faults(Parameters::parse(Some(&long))).len() < 200);
        let many: String = (0..10_000).map(|n| format!("p{n}&")).collect();
        assert!(faults(Parameters::parse(Some(&many))).len() < 2000);
    }
}
