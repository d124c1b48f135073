//! Metrics of the reverse proxy.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use metric::{Registry, Sampled};
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use telemetry::EndpointNames;

/// Bucket bounds of the duration of requests, in seconds: a service nearby needs a millisecond, a
/// long download minutes.
const DURATION: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// Label values of requests without an endpoint (RIG).
const NONE: &str = "N/A";

/// The label value that endpoints beyond the limit share.
const OTHER: &str = "other";

/// Methods that are counted by name if they have no endpoint; any other is [`OTHER`].
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

metric::labels! {
    /// The outcome of a request to the reverse proxy. The first six are RIG's words.
    pub(crate) enum ProxyStatus {
        /// The client got the service's answer, whatever its status.
        Ok = "ok",
        /// Its body is incomplete.
        BadRequest = "bad_request",
        /// No endpoint has its path and method.
        NotFound = "not_found",
        /// No server of the service can be reached, or its answer is not HTTP.
        Unreachable = "unreachable",
        /// The service did not begin its answer in time.
        RequestTimeout = "request_timeout",
        /// No asynchronous answer came in time.
        ResponseTimeout = "response_timeout",
        /// It requires a token of a legal session, and has none.
        Unauthenticated = "unauthenticated",
        /// The claims of its token do not satisfy those required.
        Forbidden = "forbidden",
        /// Its session or address exceeded the rate limit.
        TooManyRequests = "too_many_requests",
        /// Its body exceeds the limit.
        TooLarge = "too_large",
        /// Its client stopped in the middle of the body.
        ClientTimeout = "client_timeout",
        /// Its client went away before it had all of the answer.
        ClientClosed = "client_closed",
        /// Its session was revoked, or its token expired.
        Killed = "killed",
        /// The service broke off in the middle of the answer.
        Broken = "broken",
        /// The broker of the endpoint cannot be reached.
        BrokerUnavailable = "broker_unavailable",
        /// The limit of requests that wait for an asynchronous answer is reached.
        Unavailable = "unavailable",
    }

    /// The result of looking up a token in the cache of verified ones.
    pub(crate) enum TokenCacheResult {
        /// It was verified before.
        Hit = "hit",
        /// It had to be verified.
        Miss = "miss",
        /// It was verified before, and has expired since.
        Ended = "ended",
    }
}

impl ProxyStatus {
    /// Number of variants.
    const COUNT: usize = Self::Unavailable as usize + 1;

    /// Returns whether the request failed for this reason; `status` was sent to its client. `Ok` is
    /// no failure, even with a 5xx: that status is the service's.
    pub(crate) fn is_failure(self, status: Option<StatusCode>) -> bool {
        match self {
            Self::Ok => false,
            Self::Broken => true,
            _ => status.is_some_and(|status| status.is_server_error()),
        }
    }
}

/// Names an endpoint in metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EndpointLabels {
    /// The id of its API.
    pub(crate) api: Arc<str>,
    /// Its id.
    pub(crate) endpoint: Arc<str>,
    /// Its method.
    pub(crate) method: Arc<str>,
    /// Its path, as the regular expression of its definition.
    pub(crate) path: Arc<str>,
    /// Where its requests go: `http`.
    pub(crate) target: &'static str,
    /// Where its answers come from.
    pub(crate) response_from: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRequest {
    method: Arc<str>,
    path: Arc<str>,
    target: &'static str,
    response_from: &'static str,
    status: ProxyStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEndpoint {
    api: Arc<str>,
    endpoint: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTarget {
    api: Arc<str>,
    target: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCacheResult {
    result: TokenCacheResult,
}

metric::families! {
    struct ProxyFamilies {
        /// Requests, by what became of them
        requests: Family<ByRequest, Counter> = "rig_proxy_requests_total";
        /// From the head of a request to the end of its answer, or to the 101 of an upgrade
        durations: Family<ByEndpoint, Histogram> = "rig_proxy_request_duration_seconds",
            Family::new_with_constructor(|| Histogram::new(DURATION));
        /// Requests whose answer is not complete, upgraded connections included
        in_flight: Gauge = "rig_proxy_requests_in_flight";
        /// Connections to services, by what they do
        connections: Sampled<Family<ByState, Gauge>> = "rig_proxy_upstream_connections";
        /// Times that a target was ejected because it failed
        ejections: Sampled<Family<ByTarget, Counter>> = "rig_proxy_upstream_ejections_total";
        /// Tokens looked up in the cache of verified ones
        token_cache: Family<ByCacheResult, Counter> = "rig_proxy_token_cache_total";
        /// Requests that wait for an asynchronous answer
        responses_waiting: Sampled<Gauge> = "rig_proxy_responses_waiting";
    }
}

/// The metrics of the proxy.
pub struct Metrics {
    families: ProxyFamilies,
    endpoints: RwLock<HashMap<EndpointLabels, Arc<ProxyEndpoint>>>,
    /// Endpoints beyond the limit.
    other: Arc<ProxyEndpoint>,
    /// Requests without an endpoint, in the order of [`METHODS`]; the last is any other method.
    unmatched: [Arc<ProxyEndpoint>; METHODS.len() + 1],
    ejected: RwLock<HashMap<ByTarget, Counter>>,
    token_cache: [Counter; 3],
}

/// The families that every endpoint has samples in.
#[derive(Clone)]
struct EndpointFamilies {
    requests: Family<ByRequest, Counter>,
    durations: Family<ByEndpoint, Histogram>,
    in_flight: Gauge,
}

/// The counters of one endpoint. Counting costs an atomic operation, and for the duration a lock
/// held briefly.
pub(crate) struct ProxyEndpoint {
    labels: EndpointLabels,
    families: EndpointFamilies,
    /// Created when first used, so that a scrape shows what happened, not everything that could.
    requests: [OnceLock<Counter>; ProxyStatus::COUNT],
    duration: OnceLock<Histogram>,
}

impl Metrics {
    /// Limit of the endpoints with labels of their own, and of the ejected targets.
    pub(crate) const MOST: usize = 10_000;

    /// Registers every family; nothing is counted yet.
    pub fn register(registry: &mut Registry) -> Self {
        let families = ProxyFamilies::register(registry);
        let ProxyFamilies { requests, durations, in_flight, token_cache, .. } = families.clone();
        let endpoint_families = EndpointFamilies { requests, durations, in_flight };
        let unmatched = |method: &str| {
            let none: Arc<str> = NONE.into();
            Arc::new(ProxyEndpoint::new(
                EndpointLabels {
                    api: none.clone(),
                    endpoint: none.clone(),
                    method: method.into(),
                    path: none,
                    target: NONE,
                    response_from: NONE,
                },
                &endpoint_families,
            ))
        };
        let other: Arc<str> = OTHER.into();
        Self {
            endpoints: RwLock::default(),
            other: Arc::new(ProxyEndpoint::new(
                EndpointLabels {
                    api: other.clone(),
                    endpoint: other.clone(),
                    method: other.clone(),
                    path: other,
                    target: OTHER,
                    response_from: OTHER,
                },
                &endpoint_families,
            )),
            unmatched: std::array::from_fn(|at| unmatched(METHODS.get(at).copied().unwrap_or(OTHER))),
            ejected: RwLock::default(),
            token_cache: [TokenCacheResult::Hit, TokenCacheResult::Miss, TokenCacheResult::Ended]
                .map(|result| token_cache.get_or_create_owned(&ByCacheResult { result })),
            families,
        }
    }

    /// Returns the counters of an endpoint. Looks them up under a lock: keep them with the
    /// endpoint.
    pub(crate) fn endpoint(&self, labels: &EndpointLabels) -> Arc<ProxyEndpoint> {
        if let Some(known) = self.endpoints.read().get(labels) {
            return known.clone();
        }
        let mut endpoints = self.endpoints.write();
        if endpoints.len() >= Self::MOST && !endpoints.contains_key(labels) {
            return self.other.clone();
        }
        let new = || Arc::new(ProxyEndpoint::new(labels.clone(), &self.other.families));
        endpoints.entry(labels.clone()).or_insert_with(new).clone()
    }

    /// Returns the counters of requests without an endpoint.
    pub(crate) fn unmatched(&self, method: &str) -> Arc<ProxyEndpoint> {
        let at = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len());
        self.unmatched[at].clone()
    }

    /// Counts how many times a target of an API was ejected.
    pub(crate) fn upstream_ejected(&self, api: &Arc<str>, target: &str, times: u64) {
        let label = ByTarget { api: api.clone(), target: target.into() };
        if let Some(counter) = self.ejected.read().get(&label) {
            counter.inc_by(times);
            return;
        }
        let mut ejected = self.ejected.write();
        let label = match ejected.len() < Self::MOST {
            true => label,
            false => ByTarget { api: OTHER.into(), target: OTHER.into() },
        };
        let counter = self.families.ejections.get_or_create_owned(&label);
        counter.inc_by(times);
        ejected.insert(label, counter);
    }

    /// Counts a lookup in the cache of verified tokens.
    pub(crate) fn token_cache(&self, result: TokenCacheResult) {
        self.token_cache[result as usize].inc();
    }

    /// Sets what the sampled metrics are refreshed from at each scrape: `count_ejections` counts
    /// those since the last one, `idle` and `waiting` return numbers of connections and requests.
    pub(crate) fn watch(
        self: &Arc<Self>,
        count_ejections: impl Fn(&Self) + Send + Sync + 'static,
        idle: impl Fn() -> usize + Send + Sync + 'static,
        waiting: impl Fn() -> usize + Send + Sync + 'static,
    ) {
        let families = &self.families;
        families.ejections.sample_with({
            let metrics = Arc::downgrade(self);
            move |_| _ = metrics.upgrade().inspect(|metrics| count_ejections(metrics))
        });
        families.connections.sample_with(move |gauges| {
            gauges.get_or_create(&ByState { state: "idle" }).set(idle() as i64);
        });
        families.responses_waiting.sample_with(move |gauge| _ = gauge.set(waiting() as i64));
    }
}

impl ProxyEndpoint {
    fn new(labels: EndpointLabels, families: &EndpointFamilies) -> Self {
        let (requests, duration) = (std::array::from_fn(|_| OnceLock::new()), OnceLock::new());
        Self { labels, families: families.clone(), requests, duration }
    }

    /// Counts a request that begins. Each must be ended once.
    pub(crate) fn begun(&self) {
        self.families.in_flight.inc();
    }

    /// Counts the end of a request.
    pub(crate) fn ended(&self, status: ProxyStatus, duration: Duration) {
        self.families.in_flight.dec();
        self.requests(status).inc();
        self.duration().observe(duration.as_secs_f64());
    }

    /// Returns the names for log and traces; `None` if no endpoint matched.
    pub(crate) fn names(&self) -> Option<EndpointNames> {
        let EndpointLabels { api, endpoint, path, target, .. } = &self.labels;
        (*target != NONE).then(|| EndpointNames {
            api: api.clone(),
            id: endpoint.clone(),
            path: path.clone(),
        })
    }

    fn requests(&self, status: ProxyStatus) -> &Counter {
        self.requests[status as usize].get_or_init(|| {
            let EndpointLabels { method, path, target, response_from, .. } = self.labels.clone();
            let label = ByRequest { method, path, target, response_from, status };
            self.families.requests.get_or_create_owned(&label)
        })
    }

    fn duration(&self) -> &Histogram {
        self.duration.get_or_init(|| {
            let EndpointLabels { api, endpoint, .. } = self.labels.clone();
            self.families.durations.get_or_create_owned(&ByEndpoint { api, endpoint })
        })
    }
}

impl fmt::Debug for ProxyEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyEndpoint").field("labels", &self.labels).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
