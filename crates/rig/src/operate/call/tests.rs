use std::ffi::OsString;

use serde_json::json;

use super::*;
use crate::operate::commands::{commands, find};
use crate::settings::{Environment, Mistake};

/// Returns the call of a command line, or its mistakes, each on a line.
fn call(arguments: &[&str], user: &str) -> Result<Call, String> {
    let environment: Environment = [("USER".into(), user.into())].into();
    let command = clap::Command::new("rig").subcommands(commands());
    let matches = command.get_matches_from(["rig"].iter().chain(arguments).map(OsString::from));
    let (name, matches) = matches.subcommand().unwrap();
    let (name, matches) = matches.subcommand().unwrap_or((name, matches));
    let mut line = CommandLine::new(matches, &environment);
    let call = (find(name).unwrap().call)(&mut line);
    let mistakes: Vec<_> = line.mistakes.iter().map(Mistake::to_string).collect();
    if mistakes.is_empty() { Ok(call.unwrap()) } else { Err(mistakes.join("\n")) }
}

fn members(body: CallBody) -> Value {
    match body {
        CallBody::Members(members) => Value::Object(members),
        other => panic!("{other:?}"),
    }
}

fn asked(arguments: &[&str]) -> (String, Value) {
    let call = call(arguments, "bob").unwrap();
    let body = call.body.map_or(Value::Null, members);
    (format!("{} {}", call.method, call.path), body)
}

#[test]
fn names_are_escaped_in_paths_and_queries() {
    assert_eq!(asked(&["sessions"]), ("GET /v4/sessions".into(), Value::Null));
    assert_eq!(
        asked(&["sessions", "--after", "a b&c", "--limit", "7"]).0,
        "GET /v4/sessions?limit=7&after=a%20b%26c"
    );
    assert_eq!(asked(&["session", "a/b%é?"]).0, "GET /v4/sessions/a%2Fb%25%C3%A9%3F");
    assert_eq!(asked(&["session", "..", "--after", "3"]).0, "GET /v4/sessions/..?after=3");
    assert_eq!(asked(&["revocations", "--before", "9"]).0, "GET /v4/revocations?before=9");
    let of_issuer = ["revocations", "--issuer", "https://id.example/", "--before", "9"];
    let path = "GET /v4/revocations?before=9&issuer=https%3A%2F%2Fid.example%2F";
    assert_eq!(asked(&of_issuer).0, path);
    assert_eq!(
        asked(&["lift", "session-blacklist/x"]).0,
        "DELETE /v4/revocations/session-blacklist%2Fx?by=bob"
    );
    assert_eq!(
        asked(&["lift", "x", "--dry-run", "--by", "a"]).0,
        "DELETE /v4/revocations/x?by=a&dry_run=true"
    );
}

#[test]
fn a_revocation_says_what_was_written() {
    let (line, body) = asked(&["revoke", "--session", "s", "--for", "10m"]);
    assert_eq!(
        (line.as_str(), body),
        ("POST /v4/revocations", json!({"session": "s", "validityInSeconds": 600, "by": "bob"}))
    );
    let all = [
        "revoke",
        "--claim",
        "/sub=a=b",
        "--until",
        "2030-01-01T00:00:00Z",
        "--issued-up-to",
        "now",
        "--reason",
        "why",
        "--by",
        "me",
        "--id",
        "i",
        "--force",
        "--dry-run",
    ];
    let expected = json!({
        "claim": "/sub", "value": "a=b", "until": "2030-01-01T00:00:00Z", "issuedUpTo": "now", "reason": "why",
        "by": "me", "id": "i", "force": true,
    });
    assert_eq!(asked(&all), ("POST /v4/revocations?dry_run=true".into(), expected));
    let (_, body) = asked(&["revoke", "--jwt", "-", "--issued-up-to", "1800000000"]);
    assert_eq!(body, json!({"jwt": "-", "issuedUpTo": 1_800_000_000, "by": "bob"}));
    let (_, body) = asked(&["revoke", "--session", "s", "--for", "1s", "--issuer", "https://id.example"]);
    assert_eq!(body["issuer"], "https://id.example");
    let (_, body) = asked(&["revoke", "--session", "s", "--disconnect"]);
    assert_eq!(body, json!({"session": "s", "mode": "disconnect", "by": "bob"}));
    let (_, body) = asked(&["revoke", "--session", "s", "--for", "1500ms"]);
    assert_eq!(body["validityInSeconds"], 2, "never shorter than asked for");
}

#[test]
fn a_user_name_that_cannot_be_sent_is_not() {
    for user in ["", "a\nb", &"x".repeat(1001)] {
        let call = call(&["revoke", "--session", "s", "--for", "1s"], user).unwrap();
        assert_eq!(members(call.body.unwrap()).get("by"), None);
    }
}

#[test]
fn all_mistakes_are_told_and_no_value_is() {
    for (line, expected) in [
        ("session", "flag NAME: missing"),
        ("lift", "flag ID: missing"),
        ("lift a b", "flag ID: given more than once"),
        (
            "revoke",
            "flag --session: missing: whose tokens, here or as --claim or --jwt\n\
                    flag --for: missing: how long it lasts, here or as --until",
        ),
        (
            "revoke --session hidden --claim /sub=hidden --jwt hidden",
            "flag --claim: --session is given as well: one or the other\n\
          flag --jwt: --session is given as well: one or the other",
        ),
        (
            "revoke --jwt hidden --issuer hidden",
            "flag --issuer: --jwt is given as well: the issuer of the token counts",
        ),
        (
            "revoke --session s --for 1m --until hidden",
            "flag --until: --for is given as well: one or the other",
        ),
        (
            "revoke --session s --for 1m --disconnect",
            "flag --for: --disconnect is given as well: nothing lasts",
        ),
        (
            "revoke --claim hidden --for 0",
            "flag --claim: expected a JSON Pointer, = and a value, such as /sub=alice\n\
                    flag --for: expected a time of 1s or more, such as 30s, 10m, 2h, 7d or bare seconds",
        ),
        (
            "revoke --session s --for 1w",
            "flag --for: expected a time of 1s or more, such as 30s, 10m, 2h, 7d or bare seconds",
        ),
        ("revoke --jwt hidden --jwt hidden", "flag --jwt: given more than once"),
    ] {
        let mut told = call(&line.split(' ').collect::<Vec<_>>(), "bob").err().unwrap();
        told.truncate(told.trim_end().len());
        let mut told: Vec<_> = told.lines().collect();
        told.sort_unstable();
        let mut expected: Vec<_> = expected.lines().collect();
        expected.sort_unstable();
        assert_eq!(told, expected, "{line}");
    }
}

#[test]
fn definitions_go_to_a_file_and_come_from_one() {
    assert_eq!(asked(&["apis", "export"]), ("GET /v4/apis".into(), Value::Null));
    let import = |arguments: &[&str]| {
        let call = call(arguments, "bob").unwrap();
        assert_eq!(call.body, Some(CallBody::File("f.json".into())));
        format!("{} {}", call.method, call.path)
    };
    let dry_run = "PUT /v4/apis?dry_run=true";
    assert_eq!(import(&["apis", "import", "f.json"]), "PUT /v4/apis");
    assert_eq!(import(&["apis", "import", "f.json", "--dry-run"]), dry_run);
    assert_eq!(import(&["apis", "diff", "f.json"]), dry_run);
    for command in ["import", "diff"] {
        assert_eq!(call(&["apis", command], "bob").err().unwrap(), "flag FILE: missing");
        assert_eq!(
            call(&["apis", command, "a", "b"], "bob").err().unwrap(),
            "flag FILE: given more than once"
        );
    }
}

#[test]
fn only_diff_has_the_exit_codes_of_a_comparison() {
    let comparing = ["sessions", "session", "revoke", "lift", "revocations", "export", "import", "diff"]
        .map(|name| find(name).unwrap().compares);
    assert_eq!(comparing, [false, false, false, false, false, false, false, true]);
}
