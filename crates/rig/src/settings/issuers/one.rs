//! One table of `ISSUERS`: the members that say whose tokens are accepted, and under which
//! conditions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use auth::{Algorithms, Audience, IssuerConfig, KeySet, KeysFrom, OnWithdrawn};
use identity::{FeedConfig, LogoutEnds};
use serde_json::Value;

use super::value::{self, ANY_TEXT, MOST_TEXTS, POINTER, URL};
use super::{Common, IssuerRead, Taken, asked, events};
use crate::settings::kind::ValueKind;
use crate::settings::tables::Table;

/// The audience that says that any will do.
pub(super) const ANY: &str = "any";

/// Limit of the further texts of an issuer.
const ALIASES: usize = 8;

/// Limit of the claims that are required.
const REQUIRED: usize = 16;

/// The algorithms that verify with a public key.
const ALGORITHMS: ValueKind =
    ValueKind::Word(&["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]);

const ID: ValueKind = ValueKind::Text { placeholder: "ID", expected: "1 to 32 of the characters a-z 0-9 -" };

const TYPE: ValueKind =
    ValueKind::Text { placeholder: "TYPE", expected: "a type of tokens, such as JWT or at+jwt" };

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Reads an issuer; `None` if it has mistakes that leave nothing to work with.
pub(super) fn read(table: &mut Table, common: &Common, taken: &mut Taken) -> Option<IssuerRead> {
    let insecure = table.switch("insecure_http");
    let keys = read_keys(table, insecure);
    let is_discovered = matches!(keys, KeysFrom::Discovery);
    let id = table.needed("id", ID, value::id);
    let issuer = table.needed("issuer", URL, |text, _| match is_discovered {
        true => value::discovered(text, insecure),
        false => value::named(text, insecure),
    });
    let aliases =
        table.texts("aliases", ALIASES, ANY_TEXT, |text, kind| value::text(text, kind).map(Arc::from));
    let audience = read_audience(table);
    // Filled in below: what is missing is a mistake by now.
    let mut config = IssuerConfig::new("", "", Audience::Any);
    config.keys = keys;
    config.insecure_http = insecure;
    read_rules(table, &mut config);
    read_times(table, &mut config);
    config.ca_file = read_authorities(table);
    config.on_withdrawn =
        table.word("on_withdrawn", &["disconnect", "keep"], &[OnWithdrawn::Disconnect, OnWithdrawn::Keep]);
    let session_field = table.text("session_field", POINTER, value::pointer);
    let session_field = session_field.unwrap_or_else(|| common.session_field.clone());
    let logout_ends =
        table.word("logout_ends", &["session", "user"], &[LogoutEnds::Session, LogoutEnds::User]);
    let client_ids = table.texts("client_ids", MOST_TEXTS, ANY_TEXT, value::text);
    let sid_at = table.text("sid_at", POINTER, value::pointer);
    config.introspection = asked::introspection(table, insecure);
    config.status_lists = asked::status_lists(table, insecure);
    let (events, subject_issuers) = events::read(table, insecure).unzip();
    config.aliases = aliases.unwrap_or_default();
    take(table, taken, [id.as_ref(), issuer.as_ref()], &config.aliases);
    take_prefix(table, taken, &config);
    (config.id, config.issuer, config.audience) = (id?, issuer?, audience?);
    let client_ids = client_ids.unwrap_or_default();
    let feed = feed(&config, common, &session_field);
    let sid_at = sid_at.unwrap_or_else(|| feed.sid_at.clone());
    let feed = FeedConfig { logout_ends, client_ids, sid_at, events, ..feed };
    Some(IssuerRead { config, feed, subject_issuers: subject_issuers.unwrap_or_default() })
}

/// Returns the feeds of an issuer that reports nothing yet.
pub(super) fn feed(config: &IssuerConfig, common: &Common, session_field: &str) -> FeedConfig {
    FeedConfig {
        aliases: config.aliases.clone(),
        session_field: session_field.to_owned(),
        max_token_life: config.max_token_life,
        leeway: config.leeway,
        public_url: common.public_url.clone(),
        ..FeedConfig::new(&config.id, &config.issuer)
    }
}

/// Reads where the key set is.
fn read_keys(table: &mut Table, insecure: bool) -> KeysFrom {
    let are_both_there = table.has("jwks_uri") && table.has("jwks_file");
    let uri = table.text("jwks_uri", URL, |text, _| value::url(text, insecure));
    let file = table.file("jwks_file");
    if are_both_there {
        table.mistake("jwks_file", "jwks_uri is there too: one or the other");
    }
    let parsed = file.as_ref().map(|file| read_key_set(file));
    if let Some(Err(reason)) = parsed {
        table.mistake("jwks_file", reason);
    }
    uri.map(KeysFrom::Uri).or(file.map(KeysFrom::File)).unwrap_or(KeysFrom::Discovery)
}

/// Reads a file of keys, at least one of which must be usable.
fn read_key_set(file: &Path) -> Result<KeySet, String> {
    let text = document::read_file(file, document::MAX_KEYS).map_err(|error| error.to_string())?;
    KeySet::parse(&text).map_err(|error| error.to_string())
}

/// Reads the audiences: texts, or `any`.
fn read_audience(table: &mut Table) -> Option<Audience> {
    const EXPECTED: ValueKind = ValueKind::Text {
        placeholder: "TEXTS",
        expected: "a list of the audiences (aud) of which a token must name one; or \"any\"",
    };
    if !table.has("audience") {
        table.mistake("audience", format!("missing; expected {EXPECTED}"));
    }
    if table.has_text("audience") {
        return table.text("audience", ANY_TEXT, |text, kind| match text {
            ANY => Ok(Audience::Any),
            text => Ok(Audience::OneOf(vec![value::text(text, kind)?])),
        });
    }
    let texts = table.texts("audience", MOST_TEXTS, ANY_TEXT, value::text)?;
    match &texts[..] {
        [only] if only == ANY => Some(Audience::Any),
        several if several.iter().any(|text| text == ANY) => {
            table.mistake("audience", "\"any\" stands alone");
            None
        }
        _ => Some(Audience::OneOf(texts)),
    }
}

/// Reads what a token must be like.
fn read_rules(table: &mut Table, config: &mut IssuerConfig) {
    if let Some(pointer) = table.text("audience_at", POINTER, value::pointer) {
        config.audience_at = pointer;
    }
    config.required = read_required(table);
    let algorithms = table.texts("algorithms", MOST_TEXTS, ALGORITHMS, |text, kind| match kind {
        ValueKind::Word(words) if words.contains(&text) => Ok(text.to_owned()),
        kind => Err(format!("expected {kind}")),
    });
    if let Some(algorithms) = algorithms.and_then(|names| names.join(",").parse::<Algorithms>().ok()) {
        config.algorithms = algorithms;
    }
    let types = table.texts("types", MOST_TEXTS, TYPE, value::text);
    config.types = types.unwrap_or_default();
}

/// Reads claims that a token must have, each with its value.
fn read_required(table: &mut Table) -> Vec<(String, Value)> {
    let Some(mut required) = table.table("required") else { return Vec::new() };
    let mut claims = Vec::new();
    for (pointer, expected) in required.take_rest() {
        if let Err(reason) = value::pointer(&pointer, POINTER) {
            required.mistake(&pointer, reason);
        } else if !matches!(expected, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
            required.refuse(&pointer, &expected, &"a text, a number, true or false");
        } else {
            claims.push((pointer, expected));
        }
    }
    if claims.len() > REQUIRED {
        required.mistake("", format!("{} claims; at most {REQUIRED} are allowed", claims.len()));
    }
    table.adopt(required);
    claims
}

/// Reads times.
fn read_times(table: &mut Table, config: &mut IssuerConfig) {
    let mut read = |name, least, most, time: &mut Duration| *time = table.time(name, [least, most], *time);
    read("leeway", Duration::ZERO, 5 * MINUTE, &mut config.leeway);
    read("max_token_life", MINUTE, 366 * DAY, &mut config.max_token_life);
    read("keys_refresh", MINUTE, 24 * HOUR, &mut config.keys_refresh);
    read("keys_max_stale", Duration::ZERO, 7 * DAY, &mut config.keys_max_stale);
}

/// Reads the file of further certificate authorities.
fn read_authorities(table: &mut Table) -> Option<PathBuf> {
    let file = table.file("ca_file")?;
    let read = document::read_file(&file, document::MAX_KEYS).map_err(|error| error.to_string());
    let parsed = read.and_then(|text| pem::authorities(&text).map_err(|error| error.to_string()));
    if let Err(reason) = parsed {
        table.mistake("ca_file", reason);
    }
    Some(file)
}

/// Notes if the opaque tokens of the issuer begin as those of another one do.
fn take_prefix(table: &mut Table, taken: &mut Taken, config: &IssuerConfig) {
    const MEMBER: &str = "introspection.prefix";
    if let Some(introspection) = &config.introspection
        && let Err(other) = taken.take("prefix", &Arc::from(&*introspection.prefix), table.name(MEMBER))
    {
        table.mistake(MEMBER, format!("the same as {other}"));
    }
}

/// Notes if the issuer has an id, a text or an alias of another one.
fn take(table: &mut Table, taken: &mut Taken, [id, issuer]: [Option<&Arc<str>>; 2], aliases: &[Arc<str>]) {
    let own = [("id", id), ("issuer", issuer)];
    let own = own.into_iter().filter_map(|(kind, text)| Some((kind, text?, kind.to_owned())));
    let aliases = aliases.iter().enumerate();
    let aliases = aliases.map(|(index, alias)| ("issuer", alias, format!("aliases[{index}]")));
    for (kind, text, member) in own.chain(aliases) {
        if let Err(other) = taken.take(kind, text, table.name(&member)) {
            table.mistake(&member, format!("the same as {other}"));
        }
    }
}
