//! `rig revoke`.

use std::time::Duration;

use serde_json::{Map, Value};

use super::super::call::{Call, CallBody, Query, by, wait};
use super::super::line::CommandLine;
use super::super::operation::{self, GatewayCommand, dry_run, flag, switch};
use super::super::show::{connections, instant, nodes, terminated, text, time, whose};
use super::super::text::safe;
use crate::settings::parse_time;

pub(super) const COMMAND: GatewayCommand = GatewayCommand {
    name: "revoke",
    about: "Ends sessions: refuses their tokens for a while, and terminates their connections",
    arguments: || {
        vec![
            flag("session", "NAME", "All tokens of this session"),
            flag("claim", "POINTER=VALUE", "All tokens with this claim, such as /sub=alice")
                .allow_hyphen_values(true),
            flag(
                "jwt",
                "TOKEN",
                "The session of this token, for as long as the token is good; - reads it from \
                                      standard input, where other users of the host do not see it",
            )
            .allow_hyphen_values(true),
            flag(
                "issuer",
                "ISSUER",
                "Only tokens of this issuer: the exact text of its iss; a --jwt has its own [default: any]",
            ),
            flag("for", "TIME", "How long, such as 30s, 10m, 2h, 7d"),
            flag("until", "INSTANT", "Until when, such as 2030-01-01T00:00:00Z"),
            flag(
                "issued-up-to",
                "INSTANT",
                "Only tokens issued up to then: now, seconds since 1970, or RFC 3339",
            ),
            switch("disconnect", "Terminate the connections only; the tokens stay good"),
            flag("reason", "TEXT", "Why; the audit log keeps it"),
            operation::by(),
            flag("id", "ID", "Names the revocation; twice with one id is done once [default: a UUID]"),
            operation::wait("what CLUSTER_WAIT of the gateway says"),
            switch(
                "require-cluster",
                "Fail if the cluster cannot be reached; in force on the node that was asked then",
            ),
            switch("force", "Also where it ends before the token of an open connection does"),
            dry_run("Only say what it would do"),
        ]
    },
    call: |line| {
        let (mut query, dry_run) = (Query::default(), line.switch("dry-run"));
        let waits = wait(line);
        query.add("dry_run", dry_run.then(|| "true".to_owned()));
        query.wait(waits);
        query.add("require", line.switch("require-cluster").then(|| "cluster".to_owned()));
        Some(Call {
            method: "POST",
            path: query.behind("/v4/revocations".to_owned()),
            body: Some(CallBody::Members(revocation(line))),
            waits: waits.unwrap_or_default(),
            show: Box::new(move |answer, took| match dry_run {
                true => would_revoke(&answer.json),
                false => revoked(&answer.json, answer.status == 200, took) + &nodes(&answer.json),
            }),
        })
    },
    compares: false,
};

/// Returns the body of a revocation. The gateway validates the values again, more strictly.
fn revocation(line: &mut CommandLine<'_>) -> Map<String, Value> {
    let mut body = Map::new();
    selector(line, &mut body);
    let (disconnect, by_token) = (line.switch("disconnect"), line.has("jwt"));
    let times: Vec<_> = ["for", "until"].into_iter().filter(|id| line.has(id)).collect();
    match times[..] {
        [] if !disconnect && !by_token => {
            line.wrong("--for", "missing: how long it lasts, here or as --until")
        }
        [one, ..] if disconnect => {
            line.wrong(&format!("--{one}"), "--disconnect is given as well: nothing lasts");
        }
        [_, _] => line.wrong("--until", "--for is given as well: one or the other"),
        _ => {}
    }
    if let Some(text) = line.once("for") {
        match parse_time(&text).map(|time| time.as_secs() + u64::from(time.subsec_nanos() > 0)) {
            Some(seconds) if seconds > 0 => drop(body.insert("validityInSeconds".to_owned(), seconds.into())),
            _ => {
                line.wrong("--for", "expected a time of 1s or more, such as 30s, 10m, 2h, 7d or bare seconds")
            }
        }
    }
    let issued = line.once("issued-up-to").map(|text| match text.parse::<u64>() {
        Ok(seconds) => Value::from(seconds),
        Err(_) => Value::from(text),
    });
    let more = [
        ("issuer", line.once("issuer").map(Value::from)),
        ("until", line.once("until").map(Value::from)),
        ("issuedUpTo", issued),
        ("mode", disconnect.then(|| "disconnect".into())),
        ("reason", line.once("reason").map(Value::from)),
        ("by", by(line).map(Value::from)),
        ("id", line.once("id").map(Value::from)),
        ("force", line.switch("force").then(|| true.into())),
    ];
    body.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    body
}

/// Adds the selector, given by exactly one of three flags.
fn selector(line: &mut CommandLine<'_>, body: &mut Map<String, Value>) {
    let given: Vec<_> = ["session", "claim", "jwt"].into_iter().filter(|id| line.has(id)).collect();
    match given[..] {
        [] => line.wrong("--session", "missing: whose tokens, here or as --claim or --jwt"),
        [_] => {}
        [one, ref others @ ..] => {
            for other in others {
                line.wrong(&format!("--{other}"), format!("--{one} is given as well: one or the other"));
            }
        }
    }
    if line.has("issuer") && line.has("jwt") {
        line.wrong("--issuer", "--jwt is given as well: the issuer of the token counts");
    }
    for id in ["session", "jwt"] {
        body.extend(line.once(id).map(|text| (id.to_owned(), text.into())));
    }
    if let Some(text) = line.once("claim") {
        match text.split_once('=') {
            Some((claim, value)) if claim.starts_with('/') => {
                body.insert("claim".to_owned(), claim.into());
                body.insert("value".to_owned(), value.into());
            }
            _ => line.wrong("--claim", "expected a JSON Pointer, = and a value, such as /sub=alice"),
        }
    }
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

/// Formats a receipt, to a request that took this time if it is a new one.
pub(super) fn revoked(json: &Value, before: bool, took: Duration) -> String {
    let disconnects = json["mode"] == "disconnect";
    let state = if disconnects { "disconnected" } else { "in force" };
    let count = connections(&terminated(json));
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
