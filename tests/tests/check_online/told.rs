//! Runs the check, and says what it has to find.

use std::process::Command;
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::{Value, json};

pub(crate) const PASSWORD: &str = "a test password";

/// The time that a look at brokers may take, and a busy machine.
const MOST: Duration = Duration::from_secs(20);

/// What the program has said.
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<String>,
    pub(crate) error: String,
}

/// Runs the check with these settings only.
pub(crate) fn check(settings: &[(&str, &str)]) -> Told {
    let began = Instant::now();
    let mut rig = Command::new("/usr/bin/timeout");
    rig.arg("60").arg(Gateway::binary()).args(["check", "--online"]).env_clear();
    rig.env("JWT_SECRET_KEY", KEY).envs(settings.iter().copied());
    let output = rig.output().expect("rig has been built");
    assert!(began.elapsed() < MOST, "it takes {:?}", began.elapsed());
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (out, error) = (text(output.stdout), text(output.stderr));
    for secret in [KEY, PASSWORD, "wrong"] {
        assert!(!out.contains(secret) && !error.contains(secret), "{secret} is shown: {out}\n{error}");
    }
    Told { code: output.status.code(), lines: out.lines().map(str::to_owned).collect(), error }
}

impl Told {
    /// Requires that all was found, and these lines.
    pub(crate) fn is_good(&self, lines: &[&str]) {
        assert_eq!((self.code, self.error.as_str()), (Some(0), ""), "{:#?}", self.lines);
        assert_eq!(self.lines.first().map(String::as_str), Some("settings are valid"));
        let last = self.lines.last().expect("lines");
        assert!(last.starts_with("all of ") && last.ends_with(" checks are good"), "{last}");
        for line in lines {
            assert!(self.lines.iter().any(|told| told == line), "{line} is not in {:#?}", self.lines);
        }
    }

    /// Requires that this was not found, and all else was, for a reason with these texts.
    pub(crate) fn is_bad(&self, what: &str, reasons: &[&str]) {
        assert_eq!(self.code, Some(1), "{:#?} {}", self.lines, self.error);
        assert!(self.error.ends_with(&format!(" checks failed: {what}\n")), "{}", self.error);
        let last = self.error.lines().last().unwrap_or_default();
        assert!(last.starts_with("1 of "), "{}", self.error);
        let start = format!("{what}: ");
        let line = self.lines.iter().find_map(|line| line.strip_prefix(&start));
        let line = line.unwrap_or_else(|| panic!("{what} is not in {:#?}", self.lines));
        for reason in reasons {
            assert!(line.contains(reason), "{reason} is not in {line}");
        }
    }
}

/// Returns a definition whose endpoints have these members.
pub(crate) fn apis(endpoints: &[Value]) -> String {
    let endpoints = endpoints.iter().enumerate().map(|(number, more)| {
        let mut endpoint =
            json!({"id": number.to_string(), "path_regex": format!("/{number}"), "method": "POST"});
        let members = more.as_object().expect("an object").clone();
        endpoint.as_object_mut().expect("an object").extend(members);
        endpoint
    });
    json!([api_of("svc", ([127, 0, 0, 1], 1).into(), endpoints.collect())]).to_string()
}

/// Starts a server with further lines of its configuration.
pub(crate) fn nats(config: &str) -> NatsServer {
    NatsServer::start(NatsOptions { config, ..NatsOptions::default() })
}
