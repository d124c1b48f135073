//! The schedule with paused time and scripted answers.

mod demand;
mod failures;
mod intervals;
mod withdrawal;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::issuers::metrics::FetchResult;
use crate::issuers::testing::Log;
use crate::issuers::{Audience, IssuerConfig, Issuers, Refetched};
use crate::key_set::KeySet;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Allows for the time of a fetch, and for the resolution of timers.
const SOON: Duration = Duration::from_millis(20);

/// How the provider answers.
#[derive(Clone, Debug)]
enum Answer {
    /// With the keys of these `kid`s. A digit after a `/` makes it another key.
    Keys(Vec<&'static str>),
    /// That nothing has changed.
    NotModified,
    /// Not.
    Failure(&'static str),
}

/// A provider that answers as a test says.
#[derive(Clone)]
struct Provider(Arc<Mutex<Script>>);

struct Script {
    answer: Answer,
    /// How long an answer takes.
    takes: Duration,
    fresh_for: Option<Duration>,
    complaint: Option<&'static str>,
    /// When each fetch began, from the start of the test.
    fetches: Vec<(Duration, Hint)>,
    begin: Instant,
}

impl Fetch for Provider {
    async fn fetch(&mut self, hint: Hint) -> Result<Fetched, Failure> {
        let (answer, takes) = {
            let mut script = self.0.lock();
            let at = script.begin.elapsed();
            script.fetches.push((at, hint));
            (script.answer.clone(), script.takes)
        };
        // Answered with what there was when it was asked.
        sleep(takes).await;
        let script = self.0.lock();
        let failure = |reason: &str| Failure::new(FetchResult::Status, reason.to_owned());
        let set = match answer {
            Answer::Keys(kids) => Some(key_set(&kids)),
            Answer::NotModified => None,
            Answer::Failure(reason) => return Err(failure(reason)),
        };
        Ok(Fetched { set, fresh_for: script.fresh_for, complaint: script.complaint.map(failure) })
    }
}

fn key_set(kids: &[&str]) -> KeySet {
    let key = |name: &&str| {
        let (kid, version) = name.split_once('/').unwrap_or((name, "0"));
        let mut bytes = [0; 32];
        let material = format!("{kid}{version}");
        bytes[..material.len()].copy_from_slice(material.as_bytes());
        let x = URL_SAFE_NO_PAD.encode(bytes);
        format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#)
    };
    let keys: Vec<_> = kids.iter().map(key).collect();
    KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes()).unwrap()
}

fn thumbprint(name: &str) -> String {
    key_set(&[name]).thumbprints().next().unwrap().to_owned()
}

/// An issuer with the task that keeps its keys.
struct Kept {
    issuer: Arc<Issuer>,
    provider: Provider,
    /// The keys whose connections were disconnected, and when.
    withdrawn: Arc<Mutex<Vec<(Duration, String)>>>,
    /// Whether each key has connections.
    have: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// Notes the keys whose connections end, and when.
struct Connections {
    begin: Instant,
    have: Arc<AtomicBool>,
    withdrawn: Arc<Mutex<Vec<(Duration, String)>>>,
}

impl OpenConnections for Connections {
    fn have(&self, _: &Mark) -> bool {
        self.have.load(Ordering::SeqCst)
    }

    fn end(&self, EndedMark { mark, reason }: EndedMark) {
        assert_eq!((&*mark.issuer, mark.kind), ("https://id.example", "key"));
        assert_eq!(reason, format!("key withdrawn, thumbprint {}", mark.value));
        self.withdrawn.lock().push((self.begin.elapsed(), mark.value.to_string()));
    }
}

impl Kept {
    fn start(answer: Answer) -> Self {
        Self::start_with(answer, |_| {})
    }

    fn start_with(answer: Answer, change: impl FnOnce(&mut IssuerConfig)) -> Self {
        let mut config = IssuerConfig::new("kc", "https://id.example", Audience::Any);
        change(&mut config);
        let issuer = Issuers::new(vec![config]).iter().next().unwrap().clone();
        let begin = Instant::now();
        let script = Script {
            answer,
            takes: Duration::ZERO,
            fresh_for: None,
            complaint: None,
            fetches: Vec::new(),
            begin,
        };
        let provider = Provider(Arc::new(Mutex::new(script)));
        let (withdrawn, have) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(true)));
        let task = tokio::spawn({
            let (issuer, provider) = (issuer.clone(), provider.clone());
            let (withdrawn, have) = (withdrawn.clone(), have.clone());
            async move {
                let connections = Connections { begin, have, withdrawn };
                keep(&issuer, provider, &connections, std::future::pending()).await;
            }
        });
        Self { issuer, provider, withdrawn, have, task }
    }

    fn answer(&self, answer: Answer) {
        self.provider.0.lock().answer = answer;
    }

    fn takes(&self, takes: Duration) {
        self.provider.0.lock().takes = takes;
    }

    /// Returns the `kid`s in force; `None` if tokens are refused for now.
    fn kids(&self) -> Option<Vec<String>> {
        let set = self.issuer.keys.current()?;
        Some(set.keys().iter().filter_map(|key| key.kid()).map(str::to_owned).collect())
    }

    fn has(&self, kid: &str) -> bool {
        self.issuer.keys.current().is_some_and(|set| set.has_kid(kid))
    }

    /// Returns when the fetches began.
    fn fetches(&self) -> Vec<Duration> {
        self.provider.0.lock().fetches.iter().map(|(at, _)| *at).collect()
    }

    fn last_hint(&self) -> Hint {
        self.provider.0.lock().fetches.last().expect("a fetch").1
    }

    fn now(&self) -> Duration {
        self.provider.0.lock().begin.elapsed()
    }

    /// Waits until this number of fetches have begun, for at most a day.
    async fn wait_for_fetches(&self, count: usize) {
        let deadline = Instant::now() + 24 * 60 * MINUTE;
        while self.fetches().len() < count {
            assert!(Instant::now() < deadline, "{} fetches in a day", self.fetches().len());
            sleep(SECOND / 10).await;
        }
        sleep(SOON).await;
    }

    async fn refetched(&self, kid: &str) -> Refetched {
        self.issuer.refetched(Some(kid), 5 * SECOND).await
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Asserts that a time is right, give or take the jitter.
#[track_caller]
fn assert_about(time: Duration, expected: Duration) {
    let (least, most) = (expected.mul_f64(0.9), expected.mul_f64(1.1) + 10 * SOON);
    assert!((least..=most).contains(&time), "{time:?}, expected about {expected:?}");
}
