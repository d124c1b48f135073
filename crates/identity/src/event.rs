//! Security events (RFC 8417; Shared Signals Framework 1.0, CAEP 1.0, RISC 1.0).

use std::time::SystemTime;

use serde_json::{Map, Value};
use session::Mode;

use crate::claims::{AHEAD, Statement, seconds};
use crate::config::{EventsConfig, FeedConfig};
use crate::event_name::{Action, EventName};
use crate::ordered::{Happened, Ordered};
use crate::refused::{Fault, Refused};
use crate::subject::{Reader, Subject};

/// The event by which a transmitter checks its stream (SSF 1.0, section 8.1.4).
const VERIFICATION: [&str; 2] = [
    "https://schemas.openid.net/secevent/ssf/event-type/verification",
    // Google.
    "https://schemas.openid.net/secevent/risc/event-type/verification",
];

/// The event by which a transmitter states that it has changed its stream (SSF 1.0, section 8.1.5).
const STREAM_UPDATED: &str = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated";

/// From this time on, `event_timestamp` is in milliseconds (Okta): in seconds it is the year 5138.
const MILLISECONDS: f64 = 1e11;

/// What a security event asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// These revocations. Empty if all tokens that it means have expired.
    Revoke(Vec<Ordered>),
    /// Nothing: its type is unknown or ignored, or it names no change that matters, or it has a
    /// subject that must be understood and is not.
    Ignored,
    /// Nothing can be revoked: no token can be selected by its subject.
    Unmapped,
    /// The stream works.
    Verified,
    /// The stream has changed.
    StreamUpdated(StreamStatus),
}

/// The state of a stream (SSF 1.0, section 8.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    /// Events are sent.
    Enabled,
    /// Events are held back.
    Paused,
    /// Events are not sent, and lost.
    Disabled,
}

/// A security event is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refused}")]
pub struct SetRefused {
    /// The error code for the transmitter.
    pub err: SetError,
    /// The claim, and what is wrong with it.
    pub refused: Refused,
}

/// The error codes for security events (RFC 8935, section 2.4; SSF 1.0, section 8.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetError {
    /// It is not a security event, or a member of it is wrong.
    InvalidRequest,
    /// Its signature, or the key or algorithm of it.
    InvalidKey,
    /// Its issuer.
    InvalidIssuer,
    /// It is not for this receiver.
    InvalidAudience,
    /// The transmitter has not authenticated itself.
    AuthenticationFailed,
    /// The state of a verification event is not what was asked for.
    InvalidState,
}

impl SetError {
    /// Returns the code, as it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidKey => "invalid_key",
            Self::InvalidIssuer => "invalid_issuer",
            Self::InvalidAudience => "invalid_audience",
            Self::AuthenticationFailed => "authentication_failed",
            Self::InvalidState => "invalid_state",
        }
    }
}

impl From<Refused> for SetRefused {
    fn from(refused: Refused) -> Self {
        let err = match (refused.claim, refused.fault) {
            ("iss", _) => SetError::InvalidIssuer,
            ("aud", _) => SetError::InvalidAudience,
            (_, Fault::State) => SetError::InvalidState,
            _ => SetError::InvalidRequest,
        };
        Self { err, refused }
    }
}

/// Returns what a security event asks for. Its signature and issuer have been verified.
///
/// # Errors
/// Fails if the event is malformed or not for this gateway. An event whose type or subject the
/// gateway does not know is no error.
pub fn security_event(
    claims: &Map<String, Value>,
    header_type: Option<&str>,
    config: &FeedConfig,
    now: SystemTime,
) -> Result<Effect, SetRefused> {
    let set = Statement::new(claims, header_type, now);
    // SSF 1.0, section 4.1.1.
    set.check_type("", &["secevent+jwt"])?;
    set.check_issuer(config)?;
    let events = config.events.as_ref();
    let audience = events.map_or(&[][..], |events| &events.audience);
    set.check_audience(|one| audience.iter().any(|ours| ours == one))?;
    let issued_at = set.issued_at()?;
    set.expires_at(config.leeway)?;
    let id = set.id()?;
    let Some((kind, event)) = only_event(&set)? else { return Ok(Effect::Ignored) };
    let name = match kind {
        Kind::Verification => return Ok(verified(event, events)?),
        Kind::StreamUpdated => return Ok(Effect::StreamUpdated(stream_status(event)?)),
        Kind::Named(name) => name,
    };
    let action = events.and_then(|events| events.actions.get(&name).copied());
    let mode = match action.unwrap_or(name.default_action()) {
        Action::Revoke => Mode::Revoke,
        Action::Disconnect => Mode::Disconnect,
        Action::Ignore => return Ok(Effect::Ignored),
    };
    if !matters(name, event) {
        return Ok(Effect::Ignored);
    }
    // Before the subject, so that an event without either names the one that is always required.
    let at = happened_at(&set, event, issued_at)?;
    let (subject, place) = match set.claim("sub_id") {
        Some(subject) => (subject, "sub_id"),
        // As earlier drafts, and CAEP and RISC still allow it.
        None => (event.get("subject").ok_or(Fault::Missing.of("sub_id"))?, "subject"),
    };
    let selected = match (Reader { config, place }).read(subject)? {
        Subject::Critical => return Ok(Effect::Ignored),
        Subject::Selected(selected) if selected.is_empty() => return Ok(Effect::Unmapped),
        Subject::Selected(selected) => selected,
    };
    let what = format_args!("security event {name}");
    let happened = Happened::new(what, Some(id), at, set.now).with_mode(mode);
    let orders =
        selected.into_iter().filter_map(|one| happened.order(one.tokens, one.claim, one.value)).collect();
    Ok(Effect::Revoke(orders))
}

/// An event, and its type.
type Known<'s> = (Kind, &'s Map<String, Value>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Verification,
    StreamUpdated,
    Named(EventName),
}

impl Kind {
    fn of(uri: &str) -> Option<Self> {
        match uri {
            STREAM_UPDATED => Some(Self::StreamUpdated),
            uri if VERIFICATION.contains(&uri) => Some(Self::Verification),
            uri => EventName::of_uri(uri).map(Self::Named),
        }
    }
}

/// Returns the event of a type that is known; `None` if there is none. There may be further types
/// for the same event (RFC 8417, section 2.2).
fn only_event<'s>(set: &Statement<'s>) -> Result<Option<Known<'s>>, Refused> {
    let mut known = None;
    for (uri, event) in set.events()? {
        let event = event.as_object().ok_or(Fault::Object.of("events"))?;
        if let Some(kind) = Kind::of(uri)
            && known.replace((kind, event)).is_some()
        {
            return Err(Fault::SeveralEvents.of("events"));
        }
    }
    Ok(known)
}

fn verified(event: &Map<String, Value>, config: Option<&EventsConfig>) -> Result<Effect, Refused> {
    let asked_for = config.and_then(|config| config.verification_state.as_deref());
    let state = event.get("state").filter(|state| !state.is_null());
    match (state, asked_for) {
        (Some(state), Some(asked_for)) if state.as_str() != Some(asked_for) => Err(Fault::State.of("state")),
        // A transmitter that was not asked sends none.
        _ => Ok(Effect::Verified),
    }
}

fn stream_status(event: &Map<String, Value>) -> Result<StreamStatus, Refused> {
    match event.get("status").and_then(Value::as_str) {
        Some("enabled") => Ok(StreamStatus::Enabled),
        Some("paused") => Ok(StreamStatus::Paused),
        Some("disabled") => Ok(StreamStatus::Disabled),
        _ => Err(Fault::Member("status").of("events")),
    }
}

/// Returns whether an event states a change for the worse, for the types that have both (CAEP 1.0,
/// sections 3.3 to 3.5).
fn matters(name: EventName, event: &Map<String, Value>) -> bool {
    let says = |member: &str| event.get(member).and_then(Value::as_str).unwrap_or_default();
    match name {
        // Some transmitters write the past tense. What cannot be understood may be for the worse.
        EventName::CredentialChange => {
            !["create", "created"].iter().any(|word| word.eq_ignore_ascii_case(says("change_type")))
        }
        EventName::AssuranceLevelChange => says("change_direction") == "decrease",
        EventName::DeviceComplianceChange => says("current_status") == "not-compliant",
        _ => true,
    }
}

/// Returns when the event has happened, in seconds since 1970: by its own time (CAEP 1.0, section
/// 2), by `toe` (RFC 8417, section 2.2), or by `iat`. Never later than clocks may differ.
fn happened_at(set: &Statement<'_>, event: &Map<String, Value>, issued_at: f64) -> Result<f64, Refused> {
    let at = match seconds(event, "event_timestamp")? {
        Some(milliseconds) if milliseconds >= MILLISECONDS => milliseconds / 1000.0,
        Some(at) => at,
        None => set.seconds("toe")?.unwrap_or(issued_at),
    };
    Ok(at.min(issued_at + AHEAD.as_secs_f64()))
}
