//! The reverse proxy: requests that are not the gateway's own go to services, by API definitions.
//!
//! The room handles definitions, routes, upstreams and asynchronous answers, and registers requests
//! in flight with their sessions. The gateway's own endpoints (inbound), those of the internal port
//! (admin) and the verification of tokens (auth) are outside of it.

mod access;
mod account;
mod answer;
mod apis;
mod async_answer;
mod body;
mod definition;
mod exchange;
mod fault;
mod head;
mod in_flight;
mod informational;
mod limit;
mod metrics;
mod path;
mod proxy;
mod rejection;
mod relay;
mod routes;
mod table;
mod target;
mod time_limits;
mod tunnel;
mod upstream;
mod waiting;

pub use apis::{
    Apis, ChangeError, Changes, Definitions, Difference, FileStore, LoadError, MemoryStore, Revision, Saved,
    ServedBy, Serving, Standing, Store, StoreError, difference,
};
pub use async_answer::AsyncAnswer;
pub use definition::{
    Api, Broker, BrokerEndpoint, Ejection, Endpoint, HealthCheck, RateLimit, RateLimitBy, RequiredClaim,
    ResponseFrom, TargetConfig, TlsFiles, UpstreamConfig,
};
pub use fault::{Fault, Warning};
pub use in_flight::{InFlight, Over};
pub use metrics::Metrics;
pub use path::{PathRefusal, PathRules, PathView, Pattern, PatternError, Rule};
pub use proxy::{Collaborators, Config, Proxy};
pub use routes::{Overlap, Routed, Routes};
pub use target::{NoTargets, Target, TargetError, TargetFault, TargetFuture, TargetRequest, Targets};
pub use time_limits::TimeLimits;
pub use upstream::ServiceLimits;
pub use waiting::{DeliverError, Expected, TimedOut, TooManyWaiting, Waiting, WaitingConfig};
