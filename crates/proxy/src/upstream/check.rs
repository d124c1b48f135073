//! The health check of a server.

use std::sync::Weak;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request};
use tokio::time::{sleep, timeout};

use super::server::Server;
use super::{ServiceLimits, Upstream};
use crate::body::RequestBody;
use crate::definition::HealthCheck;
use crate::time_limits::TimeLimits;

/// How much a pause may deviate from the configured interval, so that the checks of many nodes do
/// not coincide.
const JITTER: f64 = 0.1;

/// The state of a server by its checks so far: healthy until they show otherwise.
#[derive(Debug)]
struct Opinion {
    well: bool,
    /// Number of results in a row that contradict the state.
    against: u32,
}

impl Opinion {
    fn new() -> Self {
        Self { well: true, against: 0 }
    }

    /// Notes a result. Returns the new state if it changes.
    fn hear(&mut self, good: bool, check: &HealthCheck) -> Option<bool> {
        if good == self.well {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = if good { check.healthy_after } else { check.unhealthy_after };
        if self.against < enough {
            return None;
        }
        *self = Self { well: good, against: 0 };
        Some(good)
    }
}

/// Checks a server regularly while the upstream exists.
pub(super) async fn watch(upstream: Weak<Upstream>, at: usize, check: HealthCheck, limits: ServiceLimits) {
    let mut opinion = Opinion::new();
    loop {
        let Some(upstream) = upstream.upgrade() else { return };
        let good = timeout(check.timeout, is_good(&upstream, &upstream.servers[at], &check, &limits)).await;
        if let Some(well) = opinion.hear(good.unwrap_or(false), &check) {
            upstream.set_well(at, well);
        }
        drop(upstream);
        sleep(pause(check.interval)).await;
    }
}

fn pause(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64())
}

/// Checks once, over a new connection: that it can be made is part of the check.
async fn is_good(upstream: &Upstream, server: &Server, check: &HealthCheck, limits: &ServiceLimits) -> bool {
    let mut link = match upstream.connect(server, limits).await {
        Ok(link) => link,
        Err(failure) => {
            upstream.complain(server, &failure);
            return false;
        }
    };
    let mut request = Request::new(RequestBody::empty());
    *request.uri_mut() = check.path.parse().expect("the path was checked with the definition");
    server.address(&mut request, link.is_http2());
    if !link.is_http2() {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let time_limits = TimeLimits { answer: check.timeout, idle: check.timeout };
    let answer = link.send(request, None, time_limits).await;
    answer.is_ok_and(|answer| answer.status().is_success() || answer.status().is_redirection())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::uri::Scheme;
    use tokio::runtime::Handle;

    use super::*;
    use crate::definition::{TargetConfig, TlsFiles, UpstreamConfig};
    use crate::upstream::SystemRoots;

    const CHECK: HealthCheck = HealthCheck {
        path: String::new(),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(1),
        healthy_after: 2,
        unhealthy_after: 3,
    };

    fn heard(answers: &[bool]) -> Vec<Option<bool>> {
        let mut opinion = Opinion::new();
        answers.iter().map(|good| opinion.hear(*good, &CHECK)).collect()
    }

    #[test]
    fn an_opinion_changes_after_enough_answers_in_a_row() {
        let changes = heard(&[false, false, false, false, true, true, true, false]);
        assert_eq!(changes, [None, None, Some(false), None, None, Some(true), None, None]);
    }

    #[test]
    fn one_answer_that_agrees_begins_the_row_anew() {
        assert_eq!(heard(&[false, false, true, false, false]), [None; 5]);
        assert_eq!(heard(&[false, false, false, true, false, true])[3..], [None; 3]);
    }

    #[test]
    fn pauses_are_about_the_interval() {
        let pauses: Vec<_> = (0..100).map(|_| pause(CHECK.interval)).collect();
        let range = Duration::from_secs(9)..=Duration::from_secs(11);
        assert!(pauses.iter().all(|pause| range.contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "without jitter");
    }

    #[tokio::test(start_paused = true)]
    async fn checks_run_once_for_each_server_that_gets_requests_and_end_with_their_upstream() {
        let target = |weight| TargetConfig {
            scheme: Scheme::HTTP,
            host: "127.0.0.1".to_owned(),
            // A reserved port (RFC 6335, section 6).
            port: 0,
            weight,
        };
        let config = UpstreamConfig {
            targets: [1, 0, 2].map(target).into(),
            http2: false,
            tls: TlsFiles::default(),
            health_check: Some(HealthCheck { path: "/".to_owned(), ..CHECK }),
            ejection: None,
        };
        let upstream = Upstream::new(&"a".into(), &config, &SystemRoots::default()).unwrap();
        let tasks = || Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks(), 0, "none before it is served");
        let upstream = Arc::new(upstream);
        upstream.watch(&ServiceLimits::default());
        upstream.watch(&ServiceLimits::default());
        assert_eq!(tasks(), 2);
        sleep(CHECK.interval * 10).await;
        assert_eq!(tasks(), 2);
        drop(upstream);
        // Gives checks that are in progress time to finish.
        sleep(CHECK.timeout * 2).await;
        assert_eq!(tasks(), 0);
    }
}
