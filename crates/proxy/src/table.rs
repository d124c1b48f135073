//! The compiled form of all definitions: every active endpoint, with everything that a request to
//! it needs.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use auth::TokenSources;
use http::{HeaderName, Method};
use serde_json::Value;

use crate::definition::{Api, Endpoint, RateLimit};
use crate::fault::{Fault, Warning};
use crate::limit::Limiter;
use crate::metrics::{EndpointLabels, Metrics, ProxyEndpoint};
use crate::path::{PathRefusal, PathRules, PathView, Pattern};
use crate::routes::{Overlap, Routed, Routes};
use crate::target::{Target, Targets};
use crate::upstream::{SystemRoots, TlsFault, Upstream};

/// The routes and upstreams of one set of definitions. Immutable: another set is compiled to
/// another table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    routes: Routes<Arc<Route>>,
    upstreams: HashMap<Arc<str>, Arc<Upstream>>,
    /// By the ids of API and endpoint.
    limiters: HashMap<[Arc<str>; 2], (RateLimit, Arc<Limiter>)>,
}

/// A compiled endpoint.
#[derive(Debug)]
pub(crate) struct Route {
    /// The id of its API.
    pub(crate) api: Arc<str>,
    pub(crate) endpoint: Arc<Endpoint>,
    /// The endpoint as the document has it.
    pub(crate) definition: Arc<Value>,
    pub(crate) pattern: Pattern,
    pub(crate) rules: PathRules,
    /// Where requests carry the token, if one is required.
    pub(crate) token_sources: Option<TokenSources>,
    pub(crate) limiter: Option<Arc<Limiter>>,
    /// Headers that the service must see with one value only: those that the definition sets, and
    /// the one of the token.
    pub(crate) set: Arc<[HeaderName]>,
    pub(crate) destination: Destination,
    /// Set by the first request.
    pub(crate) counters: OnceLock<Arc<ProxyEndpoint>>,
}

/// The target of a route.
///
/// HTTP services are not behind the trait object, since almost all requests are for them: it would
/// cost each request another allocation, for a future that holds every state of an exchange.
/// Moreover, their answers are streams, each bound to the connection that it comes over.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    Http(Arc<Upstream>),
    Other(Arc<dyn Target>),
}

impl Table {
    /// Compiles the definitions. Unchanged upstreams and limits are taken over from the previous
    /// table, with their connections and counts. `make` creates the targets of endpoints without an
    /// HTTP service.
    ///
    /// # Errors
    /// Fails with all faults, each with its pointer into the document of its API.
    pub(crate) fn build(
        apis: &[Arc<Api>],
        before: &Self,
        make: &dyn Targets,
    ) -> Result<(Self, Vec<Warning>), Vec<Fault>> {
        let (mut table, mut routes, mut faults) = (Self::default(), Vec::new(), Vec::new());
        let system = SystemRoots::default();
        for api in apis.iter().filter(|api| api.active) {
            let upstream = match before.upstreams.get(&api.id).filter(|old| old.config == api.upstream) {
                Some(upstream) => {
                    upstream.refresh(false);
                    upstream.clone()
                }
                None => match Upstream::new(&api.id, &api.upstream, &system) {
                    Ok(upstream) => Arc::new(upstream),
                    Err(fault) => {
                        faults.push(tls_fault(api, &fault));
                        continue;
                    }
                },
            };
            table.upstreams.insert(api.id.clone(), upstream.clone());
            for (index, endpoint) in api.endpoints.iter().enumerate() {
                let pattern = Pattern::new(&endpoint.path_regex, endpoint.path_replacement.as_deref());
                let fault = |member: &str, reason: String| Fault {
                    pointer: format!("/version_data/default/endpoints/{index}/{member}"),
                    group: format!("{}/{}", api.id, endpoint.id),
                    field: member.to_owned(),
                    reason,
                };
                let pattern = pattern.map_err(|error| fault(error.member(), error.to_string()));
                let target = make.target(api, endpoint).map_err(|wrong| fault(wrong.member, wrong.reason));
                let (pattern, target) = match (pattern, target) {
                    (Ok(pattern), Ok(target)) => (pattern, target),
                    (pattern, target) => {
                        faults.extend(pattern.err());
                        faults.extend(target.err());
                        continue;
                    }
                };
                let limiter = table.limiter(api, endpoint, before);
                let token_sources = api.token_sources.clone().filter(|_| endpoint.secured);
                let of_token = token_sources.iter().filter_map(|sources| sources.header.as_ref());
                let set = endpoint.set().chain(of_token).cloned().collect();
                let destination = match target {
                    Some(target) => Destination::Other(target),
                    None => Destination::Http(upstream.clone()),
                };
                routes.push(Route {
                    api: api.id.clone(),
                    endpoint: Arc::new(endpoint.clone()),
                    definition: Arc::new(definition_of(api, index)),
                    pattern,
                    rules: api.path_rules,
                    token_sources,
                    limiter,
                    set,
                    destination,
                    counters: OnceLock::new(),
                });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        table.routes = Routes::new(routes.into_iter().map(Arc::new).collect());
        let warnings = table.routes.overlaps().iter().map(warning).collect();
        Ok((table, warnings))
    }

    /// Returns the endpoint for a request.
    ///
    /// # Errors
    /// Fails like [`Routes::choose`].
    pub(crate) fn choose(
        &self,
        method: &Method,
        path: &PathView<'_>,
    ) -> Result<Option<&Arc<Route>>, PathRefusal> {
        self.routes.choose(method, path)
    }

    /// Returns the methods of all endpoints that match the path.
    pub(crate) fn methods(&self, path: &PathView<'_>) -> Vec<Method> {
        self.routes.methods(path)
    }

    /// Returns the upstreams, with the ids of their APIs.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Upstream>)> {
        self.upstreams.iter()
    }

    fn limiter(&mut self, api: &Api, endpoint: &Endpoint, before: &Self) -> Option<Arc<Limiter>> {
        let limit = endpoint.rate_limit?;
        let key = [api.id.clone(), endpoint.id.clone()];
        let kept = before.limiters.get(&key).filter(|(of, _)| *of == limit).map(|(_, kept)| kept.clone());
        let limiter = kept.unwrap_or_else(|| Arc::new(Limiter::new(limit)));
        self.limiters.insert(key, (limit, limiter.clone()));
        Some(limiter)
    }
}

fn tls_fault(api: &Api, fault: &TlsFault) -> Fault {
    let field = fault.field();
    Fault {
        pointer: format!("/proxy/tls/{field}"),
        group: api.id.to_string(),
        field: field.to_owned(),
        reason: fault.to_string(),
    }
}

fn warning(overlap: &Overlap<'_, Arc<Route>>) -> Warning {
    let Overlap { winner, loser, path } = overlap;
    let name = |route: &Route| format!("{}/{}", route.api, route.endpoint.id);
    let (winner, loser, method) = (name(winner), name(loser), &loser.endpoint.method);
    Warning(format!("{method} {path:?} is matched by both {winner} and {loser}; {winner} gets it"))
}

impl Routed for Arc<Route> {
    fn method(&self) -> &Method {
        &self.endpoint.method
    }

    fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    fn rules(&self) -> PathRules {
        self.rules
    }
}

/// Returns an endpoint as the document has it.
fn definition_of(api: &Api, index: usize) -> Value {
    let endpoints = &api.document.get("version_data").and_then(|versions| versions.get("default"));
    let endpoint = endpoints.and_then(|version| version.get("endpoints")?.get(index));
    endpoint.cloned().unwrap_or_default()
}

impl Destination {
    /// The value of the label `target`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Other(target) => target.label(),
        }
    }

    /// Returns how long an answer may take, if that is not the node's limit of HTTP services.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Http(_) => None,
            Self::Other(target) => target.timeout(),
        }
    }
}

impl Route {
    /// Returns the counters of the route.
    pub(crate) fn counters(&self, metrics: &Metrics) -> Arc<ProxyEndpoint> {
        let look_up = || {
            metrics.endpoint(&EndpointLabels {
                api: self.api.clone(),
                endpoint: self.endpoint.id.clone(),
                method: self.endpoint.method.as_str().into(),
                path: self.endpoint.path_regex.as_str().into(),
                target: self.destination.label(),
                response_from: self.endpoint.response_from.as_str(),
            })
        };
        self.counters.get_or_init(look_up).clone()
    }
}
