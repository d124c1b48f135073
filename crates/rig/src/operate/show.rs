//! Formats values of the API.

use serde_json::Value;

use super::table::TextTable;
use super::text::{is_unsafe, safe};

/// Limit of the characters of a user agent, a reason or a list of types.
pub(super) const LONGEST: usize = 40;

/// Formats the selector of a revocation.
pub(super) fn whose(revocation: &Value) -> String {
    let selector = &revocation["selector"];
    let of = selector["claim"].as_str().or(selector["mark"].as_str());
    let whose = match of {
        Some(of) => format!("{of}={}", text(&selector["value"])),
        None => format!("session {}", text(&selector["session"])),
    };
    let whose = match selector["issuer"].as_str() {
        Some(issuer) => format!("{whose} of {issuer}"),
        None => whose,
    };
    match revocation["issuedUpTo"].as_u64() {
        Some(second) => format!("{whose} issued up to {second}"),
        None => whose,
    }
}

/// Formats how far a revocation has got at each node of a cluster; empty without a cluster.
pub(super) fn nodes(json: &Value) -> String {
    let Some(cluster) = json["cluster"].as_str() else { return String::new() };
    let mut table = TextTable::new(&["NODE", "STATE", "SINCE", "TERMINATED", "LAST EVENT"]);
    for one in list(&json["nodes"]) {
        let since = [&one["appliedAt"], &one["noLeaseSince"]].into_iter().find(|at| at.is_string());
        let state = match one["policy"].as_str() {
            Some(policy) => format!("{} ({policy})", text(&one["state"])),
            None => text(&one["state"]),
        };
        table.row(vec![
            text(&one["node"]),
            state,
            instant(since.unwrap_or(&Value::Null)),
            text(&one["connectionsTerminated"]),
            instant(&one["lastPayloadAt"]),
        ]);
    }
    format!("cluster: {}\n{}", safe(cluster), table.shown())
}

/// Formats which nodes of a cluster are missing in a list; empty if none is.
pub(super) fn missing(json: &Value) -> String {
    let nodes: Vec<_> = list(&json["partial"]).map(|node| safe(&text(node))).collect();
    if nodes.is_empty() { String::new() } else { format!("did not answer: {}\n", nodes.join(", ")) }
}

/// Formats how to get the next page.
pub(super) fn more(json: &Value, flag: &str, cursor: Option<String>) -> String {
    match (json["next"].as_str(), cursor) {
        // With a space, a value that begins like a flag would be one.
        (Some(_), Some(cursor)) if cursor.starts_with('-') => {
            format!("there are more: --{flag}={}\n", quoted(&cursor))
        }
        (Some(_), Some(cursor)) => format!("there are more: --{flag} {}\n", quoted(&cursor)),
        _ => String::new(),
    }
}

/// Quotes a text for a shell; if a terminal must not receive it as it is, by the escapes of `$'…'`
/// (POSIX.1-2024, section 2.2.4; `\u` in bash and zsh).
fn quoted(text: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-._:/@+".contains(letter);
    if text.chars().all(plain) {
        text.to_owned()
    } else if text.chars().any(is_unsafe) {
        let escaped = |letter: char| match letter {
            '\\' | '\'' => format!("\\{letter}"),
            letter if is_unsafe(letter) => format!("\\u{:04x}", u32::from(letter)),
            letter => letter.to_string(),
        };
        format!("$'{}'", text.chars().map(escaped).collect::<String>())
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Returns how many connections a revocation has terminated, in a cluster at all nodes that have
/// said so.
pub(super) fn terminated(revocation: &Value) -> Value {
    let at_nodes = list(&revocation["nodes"]).filter_map(|one| one["connectionsTerminated"].as_u64());
    at_nodes.reduce(|sum, count| sum + count).map_or(revocation["connectionsTerminated"].clone(), Value::from)
}

pub(super) fn connections(count: &Value) -> String {
    match count.as_u64() {
        Some(1) => "1 connection".to_owned(),
        Some(count) => format!("{count} connections"),
        None => "an unknown number of connections".to_owned(),
    }
}

pub(super) fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// Formats a text unchanged, a number as its digits, null as nothing.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Formats an instant of the API, to the second.
pub(super) fn instant(value: &Value) -> String {
    let at = text(value);
    match at.split_once('.') {
        Some((at, fraction)) if fraction.ends_with('Z') => safe(&format!("{at}Z")),
        _ => safe(&at),
    }
}

pub(super) fn yes(value: &Value) -> String {
    if *value == true { "yes".to_owned() } else { "-".to_owned() }
}

/// Formats seconds in the two largest units.
pub(super) fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_reads_is_quoted() {
        assert_eq!(quoted("a-b.c/é"), "a-b.c/é");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("it's\u{1b}x\\"), r"$'it\'s\u001bx\\'");
        for (seconds, expected) in [(0, "0s"), (59, "59s"), (61, "1m1s"), (3600, "1h0m"), (90_000, "1d1h")] {
            assert_eq!(time(seconds), expected);
        }
    }
}
