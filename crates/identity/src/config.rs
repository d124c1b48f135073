//! What is configured for the feeds of an issuer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::event_name::{Action, EventName};

/// The claim that usually names the session in access tokens of providers that send `sid` in logout
/// tokens (OpenID Connect Back-Channel Logout 1.0, section 2.1).
const SID: &str = "/sid";

/// The claim by which all tokens of a user are selected.
pub(crate) const SUB: &str = "/sub";

/// The claim by which a single token is selected.
pub(crate) const JTI: &str = "/jti";

/// The configuration of the feeds of one issuer.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// The id of the issuer, in paths, metrics and the audit log.
    pub issuer_id: Arc<str>,
    /// The main text of `iss`.
    pub issuer: Arc<str>,
    /// Further texts of `iss`.
    pub aliases: Vec<Arc<str>>,
    /// The audiences of logout tokens. Empty: the issuer has no logout feed.
    pub client_ids: Vec<String>,
    /// What a logout token with `sid` and `sub` selects.
    pub logout_ends: LogoutEnds,
    /// The claim (JSON Pointer) of access tokens that the `sid` of a logout token is compared with.
    /// Auth0 allows no claim of the name `sid` in access tokens, only one with a namespace.
    pub sid_at: String,
    /// The JSON Pointer of the claim that names the session in tokens of the issuer.
    pub session_field: String,
    /// How long a token of the issuer may be valid, from its `iat` on.
    pub max_token_life: Duration,
    /// Allowed difference of clocks.
    pub leeway: Duration,
    /// Where clients reach the gateway, without a slash at its end. `None`: there is no Global
    /// Token Revocation.
    pub public_url: Option<String>,
    /// Which security events are received, and how their subjects select tokens. `None`: none, and
    /// the subjects that need no configuration.
    pub events: Option<EventsConfig>,
}

/// What a logout token selects if it names both a session and a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogoutEnds {
    /// The session.
    #[default]
    Session,
    /// All tokens of the user: for providers whose access tokens name no session.
    User,
}

/// The configuration of security events.
#[derive(Clone, Debug, Default)]
pub struct EventsConfig {
    /// The audiences of security events. Empty: none is received; the subjects count for Global
    /// Token Revocation only.
    pub audience: Vec<String>,
    /// Other issuers whose tokens may be selected by the statements of this one.
    pub subject_issuers: Vec<SubjectIssuer>,
    /// The claim (JSON Pointer) that an `email` subject is compared with, as exact text. `None`, as
    /// for the following: such subjects select nothing.
    pub email: Option<String>,
    /// The claim that an `opaque` subject is compared with.
    pub opaque: Option<String>,
    /// The claim that the URI of an `account` subject is compared with.
    pub account: Option<String>,
    /// The claim that a `phone_number` subject is compared with.
    pub phone_number: Option<String>,
    /// The claim for the `session` of a `complex` subject, whatever the format of that member.
    pub session: Option<String>,
    /// The claim for the `device` of a `complex` subject.
    pub device: Option<String>,
    /// The claim for the `user` of a `complex` subject. `None`: what the member selects as a
    /// subject of its own.
    pub user: Option<String>,
    /// The claim for the `tenant` of a `complex` subject.
    pub tenant: Option<String>,
    /// The members of `complex` subjects that must be understood (`critical_subject_members` of the
    /// transmitter; SSF 1.0, section 7.1): if one of them is there and selects nothing, the event
    /// is ignored.
    pub critical: Vec<String>,
    /// What events do, where that is not the default.
    pub actions: BTreeMap<EventName, Action>,
    /// The `state` that the transmitter was asked to send in verification events. `None`: any is
    /// accepted.
    pub verification_state: Option<String>,
    /// The file with the bearer token that a transmitter which pushes must present, if any.
    pub bearer_file: Option<PathBuf>,
    /// Where events are fetched; `None`: they are pushed only.
    pub poll: Option<PollConfig>,
}

/// Another configured issuer whose tokens a transmitter may select.
#[derive(Clone, Debug)]
pub struct SubjectIssuer {
    /// The id of the issuer.
    pub id: Arc<str>,
    /// The main text of `iss`.
    pub issuer: Arc<str>,
    /// Further texts of `iss`.
    pub aliases: Vec<Arc<str>>,
    /// How long a token of the issuer may be valid, from its `iat` on.
    pub max_token_life: Duration,
    /// Allowed difference of clocks.
    pub leeway: Duration,
}

/// Where security events are fetched (RFC 8936).
#[derive(Clone, Debug)]
pub struct PollConfig {
    /// The URL of the stream.
    pub url: String,
    /// The pause between two requests if no more events wait.
    pub interval: Duration,
    /// The token endpoint for the client credentials (RFC 6749, section 4.4).
    pub token_url: String,
    /// The id of the client.
    pub client_id: String,
    /// The file with the secret of the client.
    pub client_secret_file: PathBuf,
    /// The scope of the tokens, if one has to be asked for.
    pub scope: Option<String>,
}

impl FeedConfig {
    /// The pause between two requests for security events, unless configured.
    pub const POLL_INTERVAL: Duration = Duration::from_secs(5);

    /// Returns a configuration with the defaults, and without any feed.
    pub fn new(issuer_id: &str, issuer: &str) -> Self {
        Self {
            issuer_id: issuer_id.into(),
            issuer: issuer.into(),
            aliases: Vec::new(),
            client_ids: Vec::new(),
            logout_ends: LogoutEnds::default(),
            sid_at: SID.to_owned(),
            session_field: SID.to_owned(),
            max_token_life: Duration::from_secs(24 * 3600),
            leeway: Duration::from_secs(5),
            public_url: None,
            events: None,
        }
    }

    /// Returns `true` if the issuer sends logout tokens.
    pub fn has_logout(&self) -> bool {
        !self.client_ids.is_empty()
    }

    /// Returns `true` if the issuer may send requests of Global Token Revocation.
    pub fn has_global_revocation(&self) -> bool {
        self.public_url.is_some() && !self.client_ids.is_empty()
    }

    /// Returns `true` if the issuer sends security events.
    pub fn has_events(&self) -> bool {
        self.events.as_ref().is_some_and(|events| !events.audience.is_empty())
    }

    /// Returns the audience of assertions for Global Token Revocation: the URL of its endpoint.
    pub fn global_revocation_url(&self) -> Option<String> {
        let url = self.public_url.as_ref()?;
        Some(format!("{url}/_rig/v1/issuers/{}/global-token-revocation", self.issuer_id))
    }

    /// Returns the claims (JSON Pointers), beside the session's, that the feeds select tokens by.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        let mut claims = BTreeSet::new();
        if self.has_logout() {
            claims.extend([&*self.sid_at, SUB]);
        }
        if self.has_global_revocation() || self.has_events() {
            claims.extend([SUB, JTI]);
            if let Some(events) = &self.events {
                claims.extend(events.claims());
            }
        }
        claims.remove(&*self.session_field);
        claims.into_iter()
    }

    /// Returns the issuer itself, as one whose tokens are selected.
    pub(crate) fn own(&self) -> Tokens<'_> {
        Tokens { id: &self.issuer_id, issuer: &self.issuer, kept: self.max_token_life + self.leeway }
    }

    /// Returns `true` if this is a text of the issuer's `iss`.
    pub(crate) fn is_issuer(&self, iss: &str) -> bool {
        *self.issuer == *iss || self.aliases.iter().any(|alias| **alias == *iss)
    }

    /// Returns the issuer of this text of `iss` whose tokens the statements of this one may select.
    pub(crate) fn tokens_of(&self, iss: &str) -> Option<Tokens<'_>> {
        if self.is_issuer(iss) {
            return Some(self.own());
        }
        let others = self.events.as_ref().map_or(&[][..], |events| &events.subject_issuers);
        let is_named = |other: &&SubjectIssuer| {
            *other.issuer == *iss || other.aliases.iter().any(|alias| **alias == *iss)
        };
        others.iter().find(is_named).map(|other| Tokens {
            id: &other.id,
            issuer: &other.issuer,
            kept: other.max_token_life + other.leeway,
        })
    }
}

impl EventsConfig {
    fn claims(&self) -> impl Iterator<Item = &str> {
        let Self { email, opaque, account, phone_number, session, device, user, tenant, .. } = self;
        let all = [email, opaque, account, phone_number, session, device, user, tenant];
        all.into_iter().flatten().map(String::as_str)
    }
}

/// The issuer whose tokens are selected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens<'c> {
    pub(crate) id: &'c Arc<str>,
    pub(crate) issuer: &'c Arc<str>,
    /// How long after an event a token may be valid that was issued before it.
    pub(crate) kept: Duration,
}
