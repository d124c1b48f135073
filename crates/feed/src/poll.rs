//! Fetches security events (RFC 8936).
//!
//! An event is acknowledged only after it was carried out and kept. If the process exits between,
//! the transmitter sends it again, and it has no second effect.

mod answer;
mod http;
mod token;

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, AUTHORIZATION};
use ::http::{HeaderMap, HeaderValue, Response, StatusCode, Uri};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use identity::PollConfig;
use listener::LogLimiter;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use self::answer::Events;
pub use self::http::Http;
use self::token::ClientCredentials;
use crate::check::NotTaken;
use crate::events::{self, EventRefused};
use crate::feeds::Feeds;
use crate::issuer::IssuerFeeds;
use crate::metrics::{FeedName, StatementResult};

/// Limit of the events of one answer. Further ones are left to the next.
const EVENTS: usize = 100;

/// Limit of the events that are taken at once: in a cluster, each waits for the other nodes.
const AT_ONCE: usize = 16;

/// The pauses after a failure: the first, and the longest. Each is twice the one before.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// How long the last acknowledgement may take.
const LAST: Duration = Duration::from_secs(2);

/// Fetches the security events of an issuer until `leaving` resolves. In a cluster, only the node
/// does that is chosen for it.
///
/// Then acknowledges what was kept, if the transmitter answers soon.
pub async fn poll(
    feeds: Arc<Feeds>,
    issuer_id: Arc<str>,
    http: Arc<dyn Http>,
    leaving: impl Future<Output = ()>,
) {
    let Some((issuer, config)) = feeds
        .issuer(&issuer_id)
        .and_then(|issuer| Some((issuer, issuer.config.events.as_ref()?.poll.as_ref()?)))
    else {
        return leaving.await;
    };
    let mut poller = match Poller::new(&feeds, issuer, config, &*http) {
        Ok(poller) => poller,
        Err(reason) => {
            tracing::error!(issuer = &*issuer_id, reason, "security events cannot be fetched");
            return leaving.await;
        }
    };
    tokio::select! {
        () = leaving => {}
        () = poller.run() => {}
    }
    // If it is too late, the events come again.
    let _ = timeout(LAST, poller.acknowledge()).await;
}

/// Fetches the events of one issuer.
struct Poller<'f> {
    feeds: &'f Feeds,
    issuer: &'f IssuerFeeds,
    http: &'f dyn Http,
    url: Uri,
    interval: Duration,
    credentials: ClientCredentials<'f>,
    /// What has to be reported to the transmitter. Reported again until it has answered.
    done: Done,
    taken: Taken,
    log: LogLimiter,
}

/// What became of events: by their `jti`, as the transmitter names it.
#[derive(Debug, Default)]
struct Done {
    accepted: Vec<String>,
    /// Those that are refused, each with its error (RFC 8936, section 2.4).
    refused: Map<String, Value>,
}

/// What to do after an exchange.
enum Next {
    /// More events wait.
    AtOnce,
    /// After the interval.
    Later,
}

impl<'f> Poller<'f> {
    fn new(
        feeds: &'f Feeds,
        issuer: &'f IssuerFeeds,
        config: &'f PollConfig,
        http: &'f dyn Http,
    ) -> Result<Self, &'static str> {
        let url = config.url.parse().map_err(|_| "its URL is none")?;
        let secret = issuer.poll_secret.as_ref().ok_or("there is no secret")?;
        let credentials = ClientCredentials::new(config, secret).map_err(|_| "the URL for tokens is none")?;
        let (interval, log) = (config.interval, LogLimiter::new());
        let (done, taken) = Default::default();
        Ok(Self { feeds, issuer, http, url, interval, credentials, done, taken, log })
    }

    /// Never returns.
    async fn run(&mut self) {
        let task = format!("security events of {}", self.issuer.config.issuer_id);
        let mut pause = None;
        loop {
            if !self.feeds.node.is_chosen_for(&task) {
                let _ = timeout(LAST, self.acknowledge()).await;
                pause = None;
                sleep(self.interval).await;
                continue;
            }
            match self.exchange(EVENTS).await {
                Ok(next) => {
                    pause = None;
                    match next {
                        Next::AtOnce => tokio::task::yield_now().await,
                        Next::Later => sleep(self.interval).await,
                    }
                }
                Err(reason) => {
                    let (id, feed) = (&self.issuer.config.issuer_id, FeedName::Poll);
                    self.feeds.metrics.count(id, feed, StatementResult::Unavailable);
                    self.issuer.note(feed, StatementResult::Unavailable);
                    if self.log.allows() {
                        tracing::warn!(issuer = &**id, reason, "security events were not fetched");
                    }
                    let [first, longest] = PAUSES;
                    let next = pause.map_or(first, |last: Duration| (last * 2).min(longest));
                    pause = Some(next);
                    sleep(next).await;
                }
            }
        }
    }

    /// Tells the transmitter what was done, without fetching events (RFC 8936, section 2.2).
    async fn acknowledge(&mut self) {
        if !self.done.is_empty() {
            // If that fails, whoever gets the events again reports them.
            let _ = self.exchange(0).await;
        }
    }

    /// Tells the transmitter what was done, and takes up to `most` events.
    async fn exchange(&mut self, most: usize) -> Result<Next, String> {
        let events = self.fetch(most).await?;
        self.done = Done::default();
        let Events { sets, is_more } = events;
        // A transmitter that sends none although more wait, or what it has sent before, is not
        // asked in a loop.
        let new = sets.iter().take(most).filter(|(id, _)| self.taken.is_new(id)).count();
        let is_more = (is_more || sets.len() > most) && new > 0;
        let (feeds, issuer) = (self.feeds, self.issuer);
        let take = |(id, set): (String, Option<String>)| async move {
            let taken = match &set {
                Some(token) => events::take(feeds, issuer, FeedName::Poll, token.as_bytes()).await,
                None => Err(NotTaken::Refused(EventRefused::NotAToken)),
            };
            (id, taken)
        };
        let mut taken = stream::iter(sets.into_iter().take(most)).map(take).buffer_unordered(AT_ONCE);
        let mut is_missing = None;
        while let Some((id, taken)) = taken.next().await {
            match taken {
                Ok(_) => self.done.accepted.push(id),
                Err(NotTaken::Refused(refused)) => {
                    let error = json!({ "err": refused.err(), "description": refused.to_string() });
                    self.done.refused.insert(id, error);
                }
                // It is not acknowledged, so it comes again.
                Err(NotTaken::Unavailable(reason)) => is_missing = Some(reason.text()),
            }
        }
        if let Some(reason) = is_missing {
            return Err(reason.to_owned());
        }
        Ok(if is_more { Next::AtOnce } else { Next::Later })
    }

    async fn fetch(&mut self, most: usize) -> Result<Events, String> {
        // A transmitter that may hold the answer back does so for longer than connections live.
        let body = json!({
            "maxEvents": most,
            "returnImmediately": true,
            "ack": self.done.accepted,
            "setErrs": self.done.refused,
        });
        let body = Bytes::from(body.to_string());
        let mut response = self.post(body.clone()).await?;
        if response.status() == StatusCode::UNAUTHORIZED {
            // It may have been withdrawn. Once: a second refusal is a failure.
            self.credentials.forget();
            response = self.post(body).await?;
        }
        match response.status() {
            StatusCode::OK => Events::parse(response.body()),
            status => {
                let is_final = status.is_client_error()
                    && !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS);
                // To report errors is a courtesy, to fetch the next events is not.
                let report = if is_final && !self.done.refused.is_empty() {
                    self.done.refused.clear();
                    " to a request that reports events that were refused; they are no longer reported"
                } else {
                    ""
                };
                Err(format!("the transmitter answers with status {}{report}", status.as_u16()))
            }
        }
    }

    async fn post(&mut self, body: Bytes) -> Result<Response<Bytes>, String> {
        let authorization = self.credentials.authorization(self.http).await?;
        let headers = HeaderMap::from_iter([
            (AUTHORIZATION, authorization),
            (ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        self.http.post_json(&self.url, headers, body).await
    }
}

/// The events that were taken last, by hashes of their ids, which are as long as others choose.
#[derive(Default)]
struct Taken {
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Taken {
    /// How many are known.
    const MOST: usize = 4096;

    /// Returns `true` if an event was not taken lately, and notes that it is taken.
    fn is_new(&mut self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        let is_new = self.known.insert(hash);
        if is_new {
            self.order.push_back(hash);
        }
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        is_new
    }
}

impl Done {
    fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.refused.is_empty()
    }
}
