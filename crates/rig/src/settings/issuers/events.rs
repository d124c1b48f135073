//! The table `events` of an issuer: which security events it sends, and what they select.

use std::collections::BTreeMap;
use std::time::Duration;

use identity::{Action, EventName, EventsConfig, FeedConfig, PollConfig};
use serde_json::Value;

use super::value::{self, ANY_TEXT, MOST_TEXTS, POINTER, URL};
use crate::settings::kind::ValueKind;
use crate::settings::tables::Table;

/// The members of a poll without which there is none.
const OF_POLL: [&str; 4] = ["poll_url", "poll_token_url", "poll_client_id", "poll_client_secret_file"];

const IDS: ValueKind = ValueKind::Text { placeholder: "ID", expected: "the id of another issuer" };

const ACTION: ValueKind = ValueKind::Word(&["revoke", "disconnect", "ignore"]);

/// Reads the table; `None` if there is none. Also returns the ids of `subject_issuers`, which may
/// not be read yet.
pub(super) fn read(issuer: &mut Table, insecure: bool) -> Option<(EventsConfig, Vec<String>)> {
    let mut table = issuer.table("events")?;
    let audience = table.texts("audience", MOST_TEXTS, ANY_TEXT, value::text);
    let subject_issuers = table.texts("subject_issuers", MOST_TEXTS, IDS, value::text);
    let mut pointer = |name| table.text(name, POINTER, value::pointer);
    let mut events = EventsConfig {
        audience: audience.unwrap_or_default(),
        email: pointer("email"),
        opaque: pointer("opaque"),
        account: pointer("account"),
        phone_number: pointer("phone_number"),
        session: pointer("session"),
        device: pointer("device"),
        user: pointer("user"),
        tenant: pointer("tenant"),
        ..EventsConfig::default()
    };
    events.critical = table.texts("critical", MOST_TEXTS, ANY_TEXT, value::text).unwrap_or_default();
    events.actions = read_actions(&mut table);
    events.verification_state = table.text("verification_state", ANY_TEXT, value::text);
    events.bearer_file = table.secret_file("bearer_file");
    events.poll = read_poll(&mut table, insecure);
    if events.audience.is_empty() && (events.poll.is_some() || events.bearer_file.is_some()) {
        table.mistake("audience", "missing: the audience (aud) of the events");
    }
    issuer.adopt(table);
    Some((events, subject_issuers.unwrap_or_default()))
}

/// Reads what events do, where that is not the default.
fn read_actions(events: &mut Table) -> BTreeMap<EventName, Action> {
    let Some(mut table) = events.table("actions") else { return BTreeMap::new() };
    let mut actions = BTreeMap::new();
    for (name, action) in table.take_rest() {
        let parsed = match &action {
            Value::String(word) => word.parse::<Action>().ok(),
            _ => None,
        };
        match (name.parse::<EventName>(), parsed) {
            (Ok(event), Some(action)) => {
                actions.insert(event, action);
            }
            (Ok(_), None) => table.refuse(&name, &action, &ACTION),
            (Err(unknown), _) => table.mistake(&name, unknown.to_string()),
        }
    }
    events.adopt(table);
    actions
}

/// Reads where events are fetched; `None` if they are pushed only.
fn read_poll(table: &mut Table, insecure: bool) -> Option<PollConfig> {
    let is_asked = OF_POLL.iter().any(|name| table.has(name));
    for name in OF_POLL {
        if is_asked && !table.has(name) {
            table.mistake(name, "missing, although events are fetched");
        }
    }
    let url = |text: &str, _| value::url(text, insecure).map(|_| text.to_owned());
    let bounds = [Duration::from_secs(1), Duration::from_secs(3600)];
    let interval = table.time("poll_interval", bounds, FeedConfig::POLL_INTERVAL);
    let poll_url = table.text("poll_url", URL, url);
    let token_url = table.text("poll_token_url", URL, url);
    let client_id = table.text("poll_client_id", ANY_TEXT, value::text);
    let client_secret_file = table.secret_file("poll_client_secret_file");
    let scope = table.text("poll_scope", ANY_TEXT, value::text);
    Some(PollConfig {
        url: poll_url?,
        interval,
        token_url: token_url?,
        client_id: client_id?,
        client_secret_file: client_secret_file?,
        scope,
    })
}
