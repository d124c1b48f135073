//! The errors of a command for a running gateway, each with its exit code.

use std::path::Path;

use serde_json::Value;

use super::api::{ApiAnswer, InternalPort};
use super::text::safe;

/// The gateway cannot be reached, failed, or is not a gateway.
const FAILED: u8 = 1;
/// `rig apis diff`: there are differences. There, [`USAGE`] takes the place of [`FAILED`], as in
/// other programs that compare.
const DIFFERENT: u8 = 1;
/// A value is invalid.
const USAGE: u8 = 2;
/// The session or revocation does not exist.
const NOT_FOUND: u8 = 3;
/// The gateway refuses, but might accept another request.
const REFUSED: u8 = 4;
/// The API_TOKEN is missing or wrong.
const UNAUTHORIZED: u8 = 5;
/// Done on the node that was asked, but not confirmed by every node of the cluster.
const PENDING: u8 = 6;

/// Why a command failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(super) code: u8,
    pub(super) text: String,
}

impl Trouble {
    /// The gateway could not be reached, or could not answer.
    pub(super) fn failed(text: String) -> Self {
        Self { code: FAILED, text: safe(&text) }
    }

    /// Returns what the gateway would refuse, by a dry run; `None` if nothing.
    pub(super) fn of_dry_run(answer: &ApiAnswer) -> Option<Self> {
        let refused = &answer.json["refused"];
        (!refused.is_null()).then(|| Self::refused(refused))
    }

    /// Returns what is still to come in the cluster; `None` if nothing is.
    pub(super) fn of_pending(answer: &ApiAnswer) -> Option<Self> {
        let detail = answer.json["clusterDetail"].as_str().filter(|_| answer.status == 202)?;
        Some(Self { code: PENDING, text: safe(&format!("not done yet: {detail}")) })
    }

    /// A value is wrong.
    pub(super) fn usage(text: String) -> Self {
        Self { code: USAGE, text: safe(&text) }
    }

    /// A file named by the command line cannot be read.
    pub(super) fn of_file(path: &Path, error: &std::io::Error) -> Self {
        Self { code: USAGE, text: safe(&format!("{}: {error}", path.display())) }
    }

    /// Returns the result of a comparison; `None` if there is no difference.
    pub(super) fn of_comparison(answer: &ApiAnswer) -> Option<Self> {
        let count = answer.json["differences"].as_array().map_or(0, Vec::len);
        let text = if count == 1 { "1 API differs".to_owned() } else { format!("{count} APIs differ") };
        (count > 0).then_some(Self { code: DIFFERENT, text })
    }

    /// Converts an error of a command that compares: its exit code is [`USAGE`] instead of
    /// [`FAILED`].
    pub(super) fn of_comparing(self) -> Self {
        if self.code == FAILED { Self { code: USAGE, ..self } } else { self }
    }

    fn refused(problem: &Value) -> Self {
        let detail = problem["detail"].as_str().unwrap_or_default();
        let needed = problem["neededInSeconds"].as_u64();
        let enough = needed.map(|seconds| format!("; --for {seconds}s is enough, --force takes it as it is"));
        Self { code: REFUSED, text: safe(&format!("refused: {detail}{}", enough.unwrap_or_default())) }
    }

    /// Returns the error in an answer; `None` if the request succeeded.
    pub(super) fn of(answer: &ApiAnswer, api: &InternalPort) -> Option<Self> {
        let detail = answer.json["detail"].as_str().filter(|_| answer.is_problem).unwrap_or_default();
        let told = |code, text: String| Some(Self { code, text: safe(&text) });
        match answer.status {
            200..=299 if answer.is_readable() => None,
            403 if answer.is_problem => told(UNAUTHORIZED, format!("not let in: {detail}")),
            401 | 403 => told(UNAUTHORIZED, "not let in: the API_TOKEN is missing or wrong".to_owned()),
            400 | 413 | 415 if answer.is_problem => told(USAGE, detail.to_owned()),
            404 if answer.is_problem => told(NOT_FOUND, detail.to_owned()),
            409 | 422 if answer.is_problem => Some(Self::refused(&answer.json)),
            status if answer.is_problem => told(FAILED, format!("the gateway failed ({status}): {detail}")),
            status => {
                told(FAILED, format!("{}: answered {status}, and not as the API of a gateway", api.shown()))
            }
        }
    }
}
