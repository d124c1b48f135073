//! The feeds of all issuers, and their routes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts as RequestHead;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Body as HttpBody;
use identity::{FeedConfig, PollConfig, SeenSessions};
use listener::{Body, BoxError, CountedBody, read_counted};
use memory::Memory;
use metric::Registry;
use node::Node;
use session::Sessions;

use crate::check::{NotTaken, Unavailable};
use crate::issuer::{IssuerFeeds, LastStatement};
use crate::metrics::{FeedName, Metrics};
use crate::signatures::Signatures;
use crate::{answer, events, global, logout};

/// Limit of a request body, in bytes. A token of an issuer may have half of it.
const MAX_BODY: usize = 32 << 10;

/// The feeds of all issuers.
pub struct Feeds {
    pub(crate) node: Node,
    pub(crate) sessions: Sessions,
    pub(crate) metrics: Metrics,
    memory: Arc<Memory>,
    body_timeout: Duration,
    issuers: HashMap<Arc<str>, IssuerFeeds>,
}

/// What the feeds use of the gateway.
pub struct Parts {
    /// Revokes.
    pub node: Node,
    /// The sessions of `node`, for selectors.
    pub sessions: Sessions,
    /// Counts request bodies: the memory of the port that the feeds are mounted at.
    pub memory: Arc<Memory>,
    /// Time limit for a request body to arrive.
    pub body_timeout: Duration,
}

/// The feeds of one issuer, as they are configured.
pub struct Feed {
    /// What is configured.
    pub config: FeedConfig,
    /// Verifies statements of the issuer.
    pub signatures: Arc<dyn Signatures>,
    /// Whether tokens of the issuer had a `sid`.
    pub seen: Arc<SeenSessions>,
}

impl Feeds {
    /// What the paths of all feeds begin with.
    pub const PREFIX: &str = "/_rig/v1/issuers/";

    /// Creates the feeds, and reads the files with their secrets; a file that cannot be read is
    /// logged. Registers the metrics.
    pub fn new(parts: Parts, feeds: Vec<Feed>, registry: &mut Registry) -> Self {
        let Parts { node, sessions, memory, body_timeout } = parts;
        let issuers = feeds.into_iter().map(|feed| (feed.config.issuer_id.clone(), IssuerFeeds::new(feed)));
        let metrics = Metrics::register(registry);
        Self { node, sessions, metrics, memory, body_timeout, issuers: issuers.collect() }
    }

    /// Returns whether a path is that of a feed, or would be.
    pub fn has_path(path: &str) -> bool {
        path.starts_with(Self::PREFIX)
    }

    /// Reads the files with secrets again that have changed, or all if `forced`. May block on a
    /// disk.
    pub fn refresh(&self, forced: bool) {
        for issuer in self.issuers.values() {
            issuer.refresh(forced);
        }
    }

    /// Returns the last statement of each feed of an issuer that has had any.
    pub fn last_statements(&self, issuer_id: &str) -> Vec<LastStatement> {
        self.issuers.get(issuer_id).map(IssuerFeeds::last).unwrap_or_default()
    }

    /// Returns the issuers whose events are fetched, by id, and where.
    pub fn polled(&self) -> impl Iterator<Item = (&Arc<str>, &PollConfig)> {
        self.issuers.values().filter_map(|issuer| {
            Some((&issuer.config.issuer_id, issuer.config.events.as_ref()?.poll.as_ref()?))
        })
    }

    pub(crate) fn issuer(&self, id: &str) -> Option<&IssuerFeeds> {
        self.issuers.get(id)
    }

    /// Answers a request with a path of [`Feeds::PREFIX`]. A statement that was accepted is kept
    /// and carried out by then.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let Some((issuer, feed)) = self.find(head.uri.path()) else { return answer::not_found() };
        if head.method != Method::POST {
            return answer::method_not_allowed();
        }
        // Counted and logged: a provider shows nothing of what it is answered.
        let not_taken = |reason: NotTaken<String>| self.conclude(issuer, feed, &Err(reason));
        let refused = |reason: String| not_taken(NotTaken::Refused(reason));
        if listener::is_coded(&head.headers) && !body.is_end_stream() {
            refused("the body has a content-encoding".to_owned());
            return answer::coded();
        }
        let expected = media_type(feed);
        if !is_of_type(&head.headers, expected) {
            refused(format!("the content-type is not {expected}"));
            return answer::unsupported(expected);
        }
        let (body, counted) = match read_counted(body, MAX_BODY, self.body_timeout, &self.memory).await {
            Ok(read) => read,
            Err(error) => {
                match error.status() {
                    StatusCode::SERVICE_UNAVAILABLE => not_taken(NotTaken::Unavailable(Unavailable::Busy)),
                    _ => refused(error.to_string()),
                }
                return answer::unread(error);
            }
        };
        // While it waits, it is counted even if it came in one piece.
        let counted = counted.unwrap_or_else(|| CountedBody::new(body.len(), &self.memory));
        let statement = Box::pin(self.take(issuer, feed, &head, body));
        counted.during(statement).await.unwrap_or_else(answer::unread)
    }

    async fn take(
        &self,
        issuer: &IssuerFeeds,
        feed: FeedName,
        head: &RequestHead,
        body: Bytes,
    ) -> Response<Body> {
        match feed {
            FeedName::Logout => logout::answer(self, issuer, body).await,
            FeedName::GlobalTokenRevocation => global::answer(self, issuer, &head.headers, body).await,
            FeedName::Events | FeedName::Poll => events::answer(self, issuer, &head.headers, body).await,
        }
    }

    fn find(&self, path: &str) -> Option<(&IssuerFeeds, FeedName)> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let (id, feed) = path.strip_prefix(Self::PREFIX)?.split_once('/')?;
        let feed = match feed {
            "logout" => FeedName::Logout,
            "events" => FeedName::Events,
            "global-token-revocation" => FeedName::GlobalTokenRevocation,
            _ => return None,
        };
        self.issuer(id).filter(|issuer| issuer.has(feed)).map(|issuer| (issuer, feed))
    }
}

fn media_type(feed: FeedName) -> &'static str {
    match feed {
        FeedName::Logout => "application/x-www-form-urlencoded",
        FeedName::GlobalTokenRevocation => "application/json",
        FeedName::Events | FeedName::Poll => "application/secevent+jwt",
    }
}

/// Returns whether a request has this one media type. Parameters do not matter: Keycloak sends a
/// `charset`.
fn is_of_type(headers: &HeaderMap, expected: &str) -> bool {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return false };
    let essence = given.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(expected.as_bytes())
}
