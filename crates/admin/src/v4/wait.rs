//! The parameters `wait` and `require`: how long a request waits for the other nodes of a cluster,
//! and what it demands of them.

use std::time::Duration;

use super::query::Parameters;

/// Limit of the time that a request can ask to wait.
const LONGEST: Duration = Duration::from_secs(300);

/// What a request demands of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    /// How long it waits for the other nodes.
    pub(crate) within: Duration,
    /// Whether it fails if the cluster has not stored it by then.
    pub(crate) requires_cluster: bool,
}

impl Parameters {
    /// Takes `wait` and `require`.
    pub(crate) fn waits(&mut self, by_default: Duration) -> Wait {
        let within = self.wait(by_default);
        let required = self.take_as("require", |text| match text {
            "cluster" => Ok(true),
            _ => Err("expected cluster".to_owned()),
        });
        Wait { within, requires_cluster: required.unwrap_or_default() }
    }

    /// Takes `wait`.
    pub(crate) fn wait(&mut self, by_default: Duration) -> Duration {
        let given = self.take_as("wait", |text| {
            let time = parse(text).filter(|time| *time <= LONGEST);
            time.ok_or_else(|| "expected a time from 0 to 5m, such as 500ms or 5s".to_owned())
        });
        given.unwrap_or(by_default)
    }
}

/// Parses a whole number of milliseconds (`ms`), seconds (`s`) or minutes (`m`), or `0`.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) =
        text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let number: u32 = digits.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number.into())),
        "s" => Some(Duration::from_secs(number.into())),
        "m" => Some(Duration::from_secs(number.into()) * 60),
        "" if number == 0 => Some(Duration::ZERO),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Duration = Duration::from_secs(16);

    #[test]
    fn a_request_says_how_long_it_waits() {
        for (query, expected) in [
            ("", DEFAULT),
            ("wait=0", Duration::ZERO),
            ("wait=0s", Duration::ZERO),
            ("wait=500ms", Duration::from_millis(500)),
            ("wait=5s", Duration::from_secs(5)),
            ("wait=5m", LONGEST),
        ] {
            let mut parameters = Parameters::parse(Some(query));
            assert_eq!(parameters.waits(DEFAULT).within, expected, "{query}");
            assert!(parameters.finish().is_ok(), "{query}");
        }
        for wrong in
            ["wait=", "wait=5", "wait=s", "wait=-1s", "wait=1.5s", "wait=6m", "wait=301s", "wait=5 s"]
        {
            let mut parameters = Parameters::parse(Some(wrong));
            parameters.waits(DEFAULT);
            let faults = serde_json::to_string(&parameters.faults()).unwrap();
            assert!(
                faults.contains(r#""parameter":"wait""#) && faults.contains("0 to 5m"),
                "{wrong}: {faults}"
            );
        }
    }

    #[test]
    fn a_request_can_require_the_cluster() {
        for (query, expected) in [("", Some(false)), ("require=cluster", Some(true)), ("require=node", None)]
        {
            let mut parameters = Parameters::parse(Some(query));
            let requires = parameters.waits(DEFAULT).requires_cluster;
            assert_eq!(parameters.finish().is_ok().then_some(requires), expected, "{query}");
        }
    }
}
