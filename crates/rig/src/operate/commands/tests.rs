use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::operate::api::ApiAnswer;
use crate::operate::line::CommandLine;
use crate::operate::trouble::Trouble;
use crate::settings::Environment;

/// Returns the output of a command line for an answer that took 12 milliseconds.
fn shown(line: &[&str], status: u16, json: &Value) -> String {
    let matches = clap::Command::new("rig").subcommands(commands());
    let matches = matches.get_matches_from(["rig"].iter().chain(line));
    let (name, matches) = matches.subcommand().unwrap();
    let environment = Environment::default();
    let call = (find(name).unwrap().call)(&mut CommandLine::new(matches, &environment)).unwrap();
    let body = Bytes::from(serde_json::to_vec(json).unwrap());
    (call.show)(&ApiAnswer::new(status, false, body), Duration::from_millis(12))
}

const REVOKE: &[&str] = &["revoke", "--session", "s", "--for", "1m"];
const REVOKE_DRY: &[&str] = &["revoke", "--session", "s", "--for", "1m", "--dry-run"];
const SESSION: &[&str] = &["session", "a"];

fn receipt() -> Value {
    json!({
        "id": "r1", "selector": {"claim": "/sub", "value": "alice"}, "issuedUpTo": 1_800_000_000, "mode": "revoke",
        "by": null, "reason": null, "acceptedAt": "2027-01-15T08:00:00.000001Z", "endsAt": "2027-01-15T09:00:00.5Z",
        "remainingSeconds": 3600, "appliedAt": "2027-01-15T08:00:00.1Z", "connectionsTerminated": 2, "requestsCut": 0,
        "lastPayloadAt": null, "durable": true,
    })
}

#[test]
fn a_revocation_is_in_force() {
    let until = "r1: /sub=alice issued up to 1800000000, until 2027-01-15T09:00:00Z\n";
    assert_eq!(
        shown(REVOKE, 201, &receipt()),
        format!("in force; 2 connections terminated in 12 ms\n{until}")
    );
    let mut receipt = receipt();
    assert_eq!(
        shown(REVOKE, 200, &receipt),
        format!("in force since 2027-01-15T08:00:00Z; 2 connections terminated then\n{until}")
    );
    receipt["appliedAt"] = Value::Null;
    assert_eq!(
        shown(REVOKE, 200, &receipt),
        format!("in force since 2027-01-15T08:00:00Z; under way\n{until}")
    );
    receipt["endsAt"] = Value::Null;
    receipt["durable"] = false.into();
    receipt["issuedUpTo"] = Value::Null;
    receipt["connectionsTerminated"] = 1.into();
    assert_eq!(
        shown(REVOKE, 201, &receipt),
        "in force; 1 connection terminated in 12 ms\nr1: /sub=alice, forever; a restart of the gateway forgets it\n"
    );
    receipt["mode"] = "disconnect".into();
    receipt["selector"] = json!({"session": "s"});
    assert_eq!(
        shown(REVOKE, 201, &receipt),
        "disconnected; 1 connection terminated in 12 ms\nr1: session s\n"
    );
}

#[test]
fn in_a_cluster_each_node_is_shown() {
    let mut receipt = receipt();
    receipt["cluster"] = "pending".into();
    receipt["nodes"] = json!([
        {"node": "a", "state": "applied", "appliedAt": "2027-01-15T08:00:00.1Z", "connectionsTerminated": 2,
         "requestsCut": 0, "lastPayloadAt": "2027-01-15T07:59:59.9Z"},
        {"node": "b", "state": "expired", "noLeaseSince": "2027-01-15T08:00:15Z"},
        {"node": "d", "state": "applied", "appliedAt": null, "connectionsTerminated": 1},
        {"node": "c", "state": "unconfirmed", "policy": "closed_new"},
    ]);
    insta::assert_snapshot!(shown(REVOKE, 202, &receipt), @r"
    in force; 3 connections terminated in 12 ms
    r1: /sub=alice issued up to 1800000000, until 2027-01-15T09:00:00Z
    cluster: pending
    NODE  STATE                     SINCE                 TERMINATED  LAST EVENT
    a     applied                   2027-01-15T08:00:00Z  2           2027-01-15T07:59:59Z
    b     expired                   2027-01-15T08:00:15Z  -           -
    d     applied                   -                     1           -
    c     unconfirmed (closed_new)  -                     -           -
    ");
    let one = shown(&["revocations", "r1"], 200, &receipt);
    assert!(
        one.starts_with("in force since 2027-01-15T08:00:00Z; ") && one.contains("\nc     unconf"),
        "{one}"
    );
    insta::assert_snapshot!(shown(&["revocations"], 200, &json!({"revocations": [receipt], "next": null})), @r"
    REVOCATION  WHOSE                               MODE    LEFT  TERMINATED  ACCEPTED              BY  REASON  CLUSTER
    r1          /sub=alice issued up to 1800000000  revoke  1h0m  3           2027-01-15T08:00:00Z  -   -       pending
    ");
    let lifted = json!({"cluster": "pending", "clusterDetail": "lifted", "nodes": []});
    assert!(shown(&["lift", "r1"], 202, &lifted).starts_with("lifted: r1\ncluster: pending\n"));
}

#[test]
fn what_the_cluster_has_not_confirmed_has_an_exit_code() {
    let answer =
        |status, json: &Value| ApiAnswer::new(status, false, Bytes::from(serde_json::to_vec(json).unwrap()));
    let pending = json!({"cluster": "pending", "clusterDetail": "not confirmed: c\u{1b}"});
    let trouble = Trouble::of_pending(&answer(202, &pending)).unwrap();
    assert_eq!((trouble.code, trouble.text.as_str()), (6, "not done yet: not confirmed: c\\u{1b}"));
    assert_eq!(Trouble::of_pending(&answer(200, &pending)), None);
    assert_eq!(Trouble::of_pending(&answer(201, &receipt())), None);
}

#[test]
fn a_command_waits_as_long_as_the_gateway() {
    let call = |line: &[&str]| {
        let matches = clap::Command::new("rig").subcommands(commands());
        let matches = matches.get_matches_from(["rig"].iter().chain(line));
        let (name, matches) = matches.subcommand().unwrap();
        let environment = Environment::default();
        let mut line = CommandLine::new(matches, &environment);
        let call = (find(name).unwrap().call)(&mut line);
        (call.map(|call| (call.path, call.waits)), line.mistakes.len())
    };
    let seconds = Duration::from_secs;
    assert_eq!(
        call(&["revoke", "--session", "s", "--for", "1m", "--wait", "5s", "--require-cluster"]),
        (Some(("/v4/revocations?wait=5000ms&require=cluster".to_owned(), seconds(5))), 0)
    );
    assert_eq!(
        call(&["lift", "r1", "--by", "me", "--wait", "1m"]),
        (Some(("/v4/revocations/r1?by=me&wait=60000ms".to_owned(), seconds(60))), 0)
    );
    assert_eq!(call(&["revoke", "--session", "s", "--for", "1m", "--wait", "6m"]).1, 1);
    assert_eq!(call(&["revocations", "r1", "--limit", "3"]).1, 1);
}

#[test]
fn dry_runs_and_lifting() {
    let dry = |json: &Value| shown(REVOKE_DRY, 200, json);
    assert_eq!(
        dry(
            &json!({"dryRun": true, "connections": 3, "lastTokenSeconds": 90, "known": false, "refused": null})
        ),
        "would terminate 3 connections; the last of their tokens is good for 1m30s more\n"
    );
    assert_eq!(dry(&json!({"known": true})), "would do nothing: it was accepted before\n");
    let lift = |json: &Value| shown(&["lift", "r\u{1b}1"], 204, json);
    assert_eq!(lift(&Value::Null), "lifted: r\\u{1b}1\n");
    assert_eq!(
        shown(&["lift", "r", "--dry-run"], 200, &json!({"revocation": receipt()})),
        "would lift: /sub=alice issued up to 1800000000\n"
    );
    let of_session = json!({"revocation": {"selector": {"session": "a\u{1b}]0;b\nlifted: other"}}});
    assert_eq!(
        shown(&["lift", "r", "--dry-run"], 200, &of_session),
        "would lift: session a\\u{1b}]0;b\\u{a}lifted: other\n"
    );
}

#[test]
fn the_next_page_can_be_asked_for_as_it_is_shown() {
    for (last, shown_as) in
        [("-dash", "--after=-dash"), ("a b", "--after 'a b'"), ("\u{1b}x", "--after $'\\u001bx'")]
    {
        let json = json!({"sessions": [{"name": last}], "next": "/v4/sessions?after=x"});
        let text = shown(&["sessions"], 200, &json);
        assert!(text.ends_with(&format!("there are more: {shown_as}\n")), "{text}");
    }
}

#[test]
fn lists_are_tables_and_say_where_they_go_on() {
    let json = json!({
        "sessions": [
            {"name": "a", "connectionCount": 2, "since": "2027-01-15T08:00:00.000001Z", "transports": ["sse", "websocket"], "revoked": false},
            {"name": "b c", "connectionCount": 1, "since": null, "transports": ["longpolling"], "revoked": true},
        ],
        "next": "/v4/sessions?limit=2&after=b%20c",
    });
    insta::assert_snapshot!(shown(&["sessions"], 200, &json), @r"
    SESSION  CONNECTIONS  SINCE                 TRANSPORTS     REVOKED
    a        2            2027-01-15T08:00:00Z  sse,websocket  -
    b c      1            -                     longpolling    yes
    there are more: --after 'b c'
    ");
    let json = json!({"revocations": [receipt()], "next": "/v4/revocations?limit=1&before=17"});
    insta::assert_snapshot!(shown(&["revocations"], 200, &json), @r"
    REVOCATION  WHOSE                               MODE    LEFT  TERMINATED  ACCEPTED              BY  REASON
    r1          /sub=alice issued up to 1800000000  revoke  1h0m  2           2027-01-15T08:00:00Z  -   -
    there are more: --before 17
    ");
    let none = shown(&["revocations"], 200, &json!({"revocations": [], "next": null}));
    assert_eq!(none.lines().count(), 1, "{none}");
}

#[test]
fn a_session_is_shown_with_its_connections() {
    let json = json!({
        "name": "a", "revoked": false, "connectionCount": 3, "next": "/v4/sessions/a?limit=1&after=7",
        "connections": [{
            "id": 7, "transport": "sse", "since": "2027-01-15T08:00:00.000001Z", "remoteAddress": "127.0.0.1:5",
            "userAgent": "curl\u{1b}[31m", "tokenExpiresAt": null, "delivered": 3, "dropped": 0,
            "subscriptions": [{"eventType": "greeting", "oneOf": []}, {"eventType": "chat"}],
        }],
    });
    insta::assert_snapshot!(shown(SESSION, 200, &json), @r"
    a: not revoked, 3 connections
    CONNECTION  TRANSPORT  SINCE                 FROM         TOKEN EXPIRES  DELIVERED  DROPPED  SUBSCRIBED TO  USER AGENT
    7           sse        2027-01-15T08:00:00Z  127.0.0.1:5  -              3          0        greeting,chat  curl\u{1b}[31m
    there are more: --after 7
    ");
    let none =
        json!({"name": "a\nb", "revoked": true, "connectionCount": 0, "connections": [], "next": null});
    assert_eq!(shown(SESSION, 200, &none), "a\\u{a}b: revoked, 0 connections\n");
}

#[test]
fn connections_are_shown_with_their_nodes_and_nodes_that_are_missing() {
    let mut json = json!({
        "name": "a", "revoked": false, "connectionCount": 3, "next": "/v4/sessions/a?limit=1&after=7%40n1",
        "connections": [{"id": 7, "node": "n1", "transport": "sse", "delivered": 3, "dropped": 0}],
        "partial": ["n2", "n\u{1b}3"],
    });
    insta::assert_snapshot!(shown(SESSION, 200, &json), @r"
    a: not revoked, 3 connections
    CONNECTION  TRANSPORT  SINCE  FROM  TOKEN EXPIRES  DELIVERED  DROPPED  SUBSCRIBED TO  USER AGENT
    7@n1        sse        -      -     -              3          0                       -
    did not answer: n2, n\u{1b}3
    there are more: --after 7@n1
    ");
    json["sessions"] = json!([{"name": "a", "connectionCount": 1}]);
    insta::assert_snapshot!(shown(&["sessions"], 200, &json), @r"
    SESSION  CONNECTIONS  SINCE  TRANSPORTS  REVOKED
    a        1            -                  -
    did not answer: n2, n\u{1b}3
    there are more: --after a
    ");
}

#[test]
fn issuers_are_shown_with_their_keys_and_statements() {
    let json = json!({"issuers": [
        {"id": "kc", "issuer": "https://id.example", "keys": 2, "skippedKeys": ["keys[2]: x"], "ageSeconds": 61, "lastError": null,
         "feeds": [
            {"feed": "logout", "lastStatementAt": "2027-01-15T08:00:00.000001Z", "lastResult": "revoked"},
            {"feed": "events", "lastStatementAt": "2027-01-15T09:00:00.5Z", "lastResult": "invalid"},
        ]},
        {"id": "b", "issuer": "https://b.example", "keys": 0, "skippedKeys": [], "ageSeconds": null,
         "lastError": "\u{1b}timed out", "feeds": []},
    ]});
    insta::assert_snapshot!(shown(&["issuers"], 200, &json), @r"
    ID  ISSUER              KEYS  AGE   LAST STATEMENTS                                                           LAST ERROR
    kc  https://id.example  2     1m1s  logout 2027-01-15T08:00:00Z revoked, events 2027-01-15T09:00:00Z invalid  -
    b   https://b.example   0     -     -                                                                         \u{1b}timed out
    ");
}

#[test]
fn an_answer_of_another_shape_is_shown_without_a_fault() {
    for json in
        [json!(null), json!({}), json!([]), json!({"sessions": 7, "connections": {}, "revocations": [[]]})]
    {
        for line in [&["sessions"], SESSION, &["revocations"], &["issuers"], REVOKE, REVOKE_DRY] {
            assert!(shown(line, 200, &json).ends_with('\n'), "{json}");
        }
    }
}
