//! Answers of the API for people.

use std::time::Duration;

use serde_json::Value;

use super::api::ApiAnswer;
use super::apis;
use super::call::{Call, What};
use super::table::TextTable;
use super::text::{cut, safe};

/// Letters of a user agent, a reason or a list of types that are shown.
const LONGEST: usize = 40;

/// The answer, in lines. `took`: how long it was waited for.
pub(super) fn answer(call: &Call, answer: &ApiAnswer, took: Duration) -> String {
    let json = &answer.json;
    match &call.what {
        What::Sessions => sessions(json),
        What::Session => session(json),
        What::Revocations => revocations(json),
        What::Export => apis::exported(json),
        What::Import | What::Diff => apis::differences(json),
        What::Revoke { dry_run: true } => would_revoke(json),
        What::Revoke { dry_run: false } => revoked(json, answer.status == 200, took),
        What::Lift { dry_run: true, .. } => format!("would lift: {}\n", whose(&json["revocation"])),
        What::Lift { id, dry_run: false } => format!("lifted: {}\n", safe(id)),
    }
}

fn sessions(json: &Value) -> String {
    let mut table = TextTable::new(&["SESSION", "CONNECTIONS", "SINCE", "TRANSPORTS", "REVOKED"]);
    for session in list(&json["sessions"]) {
        let transports: Vec<_> = list(&session["transports"]).map(text).collect();
        table.row(vec![
            text(&session["name"]),
            text(&session["connectionCount"]),
            instant(&session["since"]),
            transports.join(","),
            yes(&session["revoked"]),
        ]);
    }
    let last = list(&json["sessions"]).last().map(|last| text(&last["name"]));
    table.shown() + &more(json, "after", last)
}

fn session(json: &Value) -> String {
    let mut table = TextTable::new(&[
        "CONNECTION",
        "TRANSPORT",
        "SINCE",
        "FROM",
        "TOKEN EXPIRES",
        "DELIVERED",
        "DROPPED",
        "SUBSCRIBED TO",
        "USER AGENT",
    ]);
    for connection in list(&json["connections"]) {
        let types: Vec<_> = list(&connection["subscriptions"]).map(|one| text(&one["eventType"])).collect();
        table.row(vec![
            text(&connection["id"]),
            text(&connection["transport"]),
            instant(&connection["since"]),
            text(&connection["remoteAddress"]),
            instant(&connection["tokenExpiresAt"]),
            text(&connection["delivered"]),
            text(&connection["dropped"]),
            cut(&types.join(","), LONGEST),
            cut(&text(&connection["userAgent"]), LONGEST),
        ]);
    }
    let last = list(&json["connections"]).last().map(|last| text(&last["id"]));
    let state = if json["revoked"] == true { "revoked" } else { "not revoked" };
    let count = connections(&json["connectionCount"]);
    let table = if last.is_some() { table.shown() } else { String::new() };
    format!("{}: {state}, {count}\n{table}{}", safe(&text(&json["name"])), more(json, "after", last))
}

fn revocations(json: &Value) -> String {
    let mut table =
        TextTable::new(&["REVOCATION", "WHOSE", "MODE", "LEFT", "TERMINATED", "ACCEPTED", "BY", "REASON"]);
    for one in list(&json["revocations"]) {
        table.row(vec![
            text(&one["id"]),
            whose(one),
            text(&one["mode"]),
            one["remainingSeconds"].as_u64().map_or_else(|| "-".to_owned(), time),
            text(&one["connectionsTerminated"]),
            instant(&one["acceptedAt"]),
            text(&one["by"]),
            cut(&text(&one["reason"]), LONGEST),
        ]);
    }
    let cursor =
        json["next"].as_str().and_then(|next| next.rsplit_once("before=")).map(|(_, at)| at.to_owned());
    table.shown() + &more(json, "before", cursor)
}

fn would_revoke(json: &Value) -> String {
    if json["known"] == true {
        return "would do nothing: it was accepted before\n".to_owned();
    }
    let last = json["lastTokenSeconds"].as_u64();
    let last = last.map(|seconds| format!("; the last of their tokens is good for {} more", time(seconds)));
    let count = connections(&json["connections"]);
    format!("would terminate {count}{}\n", last.unwrap_or_default())
}

fn revoked(json: &Value, before: bool, took: Duration) -> String {
    let disconnects = json["mode"] == "disconnect";
    let state = if disconnects { "disconnected" } else { "in force" };
    let count = connections(&json["connectionsTerminated"]);
    let done = match (before, json["appliedAt"].is_null()) {
        (false, _) => format!("{state}; {count} terminated in {} ms", took.as_millis()),
        (true, true) => format!("{state} since {}; under way", instant(&json["acceptedAt"])),
        (true, false) => format!("{state} since {}; {count} terminated then", instant(&json["acceptedAt"])),
    };
    let until = match (disconnects, &json["endsAt"]) {
        (true, _) => String::new(),
        (false, Value::Null) => ", forever".to_owned(),
        (false, at) => format!(", until {}", instant(at)),
    };
    let kept =
        if json["durable"] == true || disconnects { "" } else { "; a restart of the gateway forgets it" };
    format!("{done}\n{}: {}{until}{kept}\n", safe(&text(&json["id"])), safe(&whose(json)))
}

/// Whose tokens a revocation is about.
fn whose(revocation: &Value) -> String {
    let selector = &revocation["selector"];
    let whose = match selector["claim"].as_str() {
        Some(claim) => format!("{claim}={}", text(&selector["value"])),
        None => format!("session {}", text(&selector["session"])),
    };
    match revocation["issuedUpTo"].as_u64() {
        Some(second) => format!("{whose} issued up to {second}"),
        None => whose,
    }
}

/// How to see what comes behind this page.
fn more(json: &Value, flag: &str, cursor: Option<String>) -> String {
    match (json["next"].as_str(), cursor) {
        (Some(_), Some(cursor)) => format!("there are more: --{flag} {}\n", quoted(&cursor)),
        _ => String::new(),
    }
}

/// A text as a shell reads it.
fn quoted(text: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-._:/@+".contains(letter);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", safe(text).replace('\'', r"'\''")) }
}

fn connections(count: &Value) -> String {
    match count.as_u64() {
        Some(1) => "1 connection".to_owned(),
        Some(count) => format!("{count} connections"),
        None => "an unknown number of connections".to_owned(),
    }
}

fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// A text as it is, a number as its digits, null as nothing.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// An instant of the API to the second.
fn instant(value: &Value) -> String {
    let at = text(value);
    match at.split_once('.') {
        Some((at, fraction)) if fraction.ends_with('Z') => safe(&format!("{at}Z")),
        _ => safe(&at),
    }
}

fn yes(value: &Value) -> String {
    if *value == true { "yes".to_owned() } else { "-".to_owned() }
}

/// Seconds, in the two largest units.
fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests;
