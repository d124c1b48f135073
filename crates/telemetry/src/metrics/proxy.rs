//! What the reverse proxy counts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::{Registry, Unit};

use super::labels::{ProxyStatus, TokenCacheResult};

/// Bounds of the buckets of the duration of requests, in seconds: a service next door needs one millisecond, a long
/// download minutes.
const DURATION: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0];

/// What stands where there is no endpoint (RIG).
const NONE: &str = "N/A";

/// What endpoints share that came when there were too many.
const OTHER: &str = "other";

/// Methods that are counted by name where they have no endpoint; all else a client makes up is [`OTHER`].
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Names an endpoint in metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointLabels {
    /// The id of its API.
    pub api: Arc<str>,
    /// Its id.
    pub endpoint: Arc<str>,
    /// Its method.
    pub method: Arc<str>,
    /// Its path, as the regular expression of its definition.
    pub path: Arc<str>,
    /// Where its requests go: `http`.
    pub target: &'static str,
    /// Where its answers come from.
    pub response_from: &'static str,
}

impl EndpointLabels {
    /// Whether there is no endpoint.
    pub(crate) fn is_none(&self) -> bool {
        self.target == NONE
    }
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

/// Every metric of the proxy.
pub struct ProxyMetrics {
    families: Families,
    endpoints: RwLock<HashMap<EndpointLabels, Arc<ProxyEndpoint>>>,
    /// Of endpoints beyond the bound.
    other: Arc<ProxyEndpoint>,
    /// Of requests without an endpoint, by the places of [`METHODS`], and one more.
    unmatched: [Arc<ProxyEndpoint>; METHODS.len() + 1],
    ejections: Family<ByTarget, Counter>,
    ejected: RwLock<HashMap<ByTarget, Counter>>,
    token_cache: [Counter; 3],
    idle_connections: Gauge,
    /// Requests that wait for an asynchronous answer.
    pub responses_waiting: Gauge,
}

/// Those that every endpoint has a part in.
#[derive(Clone)]
struct Families {
    requests: Family<ByRequest, Counter>,
    durations: Family<ByEndpoint, Histogram>,
    in_flight: Gauge,
}

/// The counters of one endpoint: counting costs an atomic operation, the duration a lock that nobody holds for long.
pub struct ProxyEndpoint {
    labels: EndpointLabels,
    families: Families,
    /// Made when first used, so that a page shows what happened and not all that could.
    requests: [OnceLock<Counter>; ProxyStatus::COUNT],
    duration: OnceLock<Histogram>,
}

impl ProxyMetrics {
    /// How many endpoints get labels of their own, and how many targets that were ejected.
    pub const MOST: usize = 10_000;

    /// Registers every family.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let families = Families {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATION)),
            in_flight: Gauge::default(),
        };
        let (ejections, cache, connections) = (Family::default(), Family::default(), Family::default());
        let responses_waiting = Gauge::default();
        registry.register("requests", "Requests, by what became of them", families.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "From the head of a request to the end of its answer, or to the 101 of an upgrade",
            Unit::Seconds,
            families.durations.clone(),
        );
        registry.register(
            "requests_in_flight",
            "Requests whose answer has not ended, upgraded connections included",
            families.in_flight.clone(),
        );
        registry.register(
            "upstream_connections",
            "Connections to services, by what they do",
            connections.clone(),
        );
        registry.register(
            "upstream_ejections",
            "Times that a target was left out because it failed",
            ejections.clone(),
        );
        registry.register("token_cache", "Tokens looked up in the cache of verified ones", cache.clone());
        registry.register(
            "responses_waiting",
            "Requests that wait for an asynchronous answer",
            responses_waiting.clone(),
        );
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
                &families,
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
                &families,
            )),
            unmatched: std::array::from_fn(|at| unmatched(METHODS.get(at).copied().unwrap_or(OTHER))),
            ejections,
            ejected: RwLock::default(),
            token_cache: [TokenCacheResult::Hit, TokenCacheResult::Miss, TokenCacheResult::Ended]
                .map(|result| cache.get_or_create_owned(&ByCacheResult { result })),
            idle_connections: connections.get_or_create_owned(&ByState { state: "idle" }),
            responses_waiting,
            families,
        }
    }

    /// The counters of an endpoint. Not for every request: to be kept with the endpoint.
    pub fn endpoint(&self, labels: &EndpointLabels) -> Arc<ProxyEndpoint> {
        if let Some(known) = self.endpoints.read().get(labels) {
            return known.clone();
        }
        let mut endpoints = self.endpoints.write();
        if endpoints.len() >= Self::MOST && !endpoints.contains_key(labels) {
            return self.other.clone();
        }
        let new = || Arc::new(ProxyEndpoint::new(labels.clone(), &self.families));
        endpoints.entry(labels.clone()).or_insert_with(new).clone()
    }

    /// The counters of requests that have no endpoint.
    pub fn unmatched(&self, method: &str) -> Arc<ProxyEndpoint> {
        let at = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len());
        self.unmatched[at].clone()
    }

    /// A target of an API was left out so many times.
    pub fn upstream_ejected(&self, api: &Arc<str>, target: &str, times: u64) {
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
        let counter = self.ejections.get_or_create_owned(&label);
        counter.inc_by(times);
        ejected.insert(label, counter);
    }

    /// A token was looked up.
    pub fn token_cache(&self, result: TokenCacheResult) {
        self.token_cache[result as usize].inc();
    }

    /// Connections to services that wait for a request.
    pub fn set_idle_connections(&self, count: usize) {
        self.idle_connections.set(count as i64);
    }
}

impl ProxyEndpoint {
    fn new(labels: EndpointLabels, families: &Families) -> Self {
        let (requests, duration) = (std::array::from_fn(|_| OnceLock::new()), OnceLock::new());
        Self { labels, families: families.clone(), requests, duration }
    }

    /// A request has come. Each ends once.
    pub fn begun(&self) {
        self.families.in_flight.inc();
    }

    /// It has ended.
    pub fn ended(&self, status: ProxyStatus, duration: Duration) {
        self.families.in_flight.dec();
        self.requests(status).inc();
        self.duration().observe(duration.as_secs_f64());
    }

    /// What it is called.
    pub fn labels(&self) -> &EndpointLabels {
        &self.labels
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
