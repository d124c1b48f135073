use std::time::UNIX_EPOCH;

use super::*;

/// 2027-01-15T08:00:00Z.
const NOW: u64 = 1_800_000_000;

fn parse(body: &str) -> Result<Requested, Problem> {
    Requested::parse(body.as_bytes(), UNIX_EPOCH + Duration::from_secs(NOW))
}

fn asked(body: &str) -> Requested {
    parse(body)
        .unwrap_or_else(|problem| panic!("{body}: {}", serde_json::to_string(&problem.document()).unwrap()))
}

/// Returns all faults, each on a line.
fn faults(body: &str) -> String {
    let Err(Problem::Faults(faults)) = parse(body) else { panic!("no faults: {body}") };
    let lines =
        faults.iter().map(|fault| format!("{}: {}", fault.pointer.as_deref().unwrap_or("?"), fault.detail));
    lines.collect::<Vec<_>>().join("\n")
}

fn named(text: &str) -> SessionName {
    text.parse().unwrap()
}

#[test]
fn a_request_says_whose_tokens_for_how_long_and_why() {
    let all = asked(
        r#"{"id":"a.B_1:-","claim":"/sub","value":"alice","issuedUpTo":"now","mode":"revoke","validityInSeconds":60,
            "issuer":"https://id.example","reason":"why","by":"who","force":true}"#,
    );
    let expected = Requested {
        id: Some(RevocationId::new("a.B_1:-").unwrap()),
        whom: Whom::Claim { claim: "/sub".into(), value: named("alice") },
        issuer: Some("https://id.example".into()),
        issued: Some(Issued::Now),
        mode: Mode::Revoke,
        lasts: Some(Lasts::For(Duration::from_secs(60))),
        reason: Some("why".into()),
        by: Some("who".into()),
        force: true,
    };
    assert_eq!(all, expected);
    let least = asked(r#"{"session":"s","mode":"disconnect"}"#);
    assert_eq!((least.whom, least.mode, least.lasts), (Whom::Session(named("s")), Mode::Disconnect, None));
    assert_eq!(
        (least.id, least.issued, least.reason, least.by, least.force),
        (None, None, None, None, false)
    );
}

#[test]
fn values_may_be_written_in_several_ways() {
    for (validity, seconds) in
        [("1", 1), (r#""60""#, 60), ("60.0", 60), ("6e1", 60), ("9007199254740991", MAX_SECONDS)]
    {
        let asked = asked(&format!(r#"{{"session":"s","validityInSeconds":{validity}}}"#));
        assert_eq!(asked.lasts, Some(Lasts::For(Duration::from_secs(seconds))));
    }
    for (issued, expected) in [
        ("1.8e9", Issued::UpTo(1_800_000_000)),
        ("0", Issued::UpTo(0)),
        ("1799999999", Issued::UpTo(NOW - 1)),
        (r#""2027-01-15T08:00:01.9Z""#, Issued::UpTo(NOW + 1)),
        (r#""now""#, Issued::Now),
    ] {
        let asked = asked(&format!(r#"{{"session":"s","validityInSeconds":1,"issuedUpTo":{issued}}}"#));
        assert_eq!(asked.issued, Some(expected));
    }
    let until = asked(r#"{"session":77,"until":"2027-01-15T08:00:01Z"}"#);
    assert_eq!(until.whom, Whom::Session(named("77")));
    assert_eq!(until.lasts, Some(Lasts::Until(UNIX_EPOCH + Duration::from_secs(NOW + 1))));
    assert_eq!(asked(r#"{"jwt":"a.b.c"}"#).lasts, None);
    assert!(asked(r#"{"jwt":"a.b.c","validityInSeconds":5}"#).lasts.is_some());
}

#[test]
fn each_fault_names_its_member() {
    let validity = "expected whole seconds from 1 to 9007199254740991";
    let until = "expected an RFC 3339 date and time, with its offset";
    let issued = r#"expected whole seconds since 1970, an RFC 3339 date and time, or "now""#;
    let too_late = "expected a time before 2106; a number is in seconds, not in milliseconds";
    let id = "expected 1 to 128 letters, digits and . _ : -";
    let remark = "expected up to 1000 bytes without control characters";
    let long = format!("{:?}", "x".repeat(1001));
    let longest_name = format!("{:?}", "x".repeat(1025));
    let table: &[(&str, &str, &str)] = &[
        ("id", r#"".""#, "a URL cannot name it (RFC 3986, section 5.2.4)"),
        ("id", r#""..""#, "a URL cannot name it (RFC 3986, section 5.2.4)"),
        ("validityInSeconds", "0", validity),
        ("validityInSeconds", "-1", validity),
        ("validityInSeconds", "1.5", validity),
        ("validityInSeconds", "1e30", validity),
        ("validityInSeconds", "9007199254740992", validity),
        ("validityInSeconds", r#""""#, validity),
        ("validityInSeconds", r#""+1""#, validity),
        ("validityInSeconds", r#""1.5""#, validity),
        ("validityInSeconds", r#""99999999999999999999""#, validity),
        ("validityInSeconds", "null", validity),
        ("validityInSeconds", "true", validity),
        ("validityInSeconds", "[1]", validity),
        ("until", "1800000001", "expected a string"),
        ("until", r#""tomorrow""#, until),
        ("until", r#""2030-01-01T00:00:00""#, until),
        ("until", r#""2027-01-15T08:00:00Z""#, "expected a time in the future"),
        ("issuedUpTo", "-1", issued),
        ("issuedUpTo", "1.5", issued),
        ("issuedUpTo", r#""Now""#, issued),
        ("issuedUpTo", r#""1800000000""#, issued),
        ("issuedUpTo", "null", issued),
        ("issuedUpTo", "1800000000000", too_late),
        ("issuedUpTo", "4294967295", too_late),
        ("issuedUpTo", r#""2106-02-07T06:28:15Z""#, too_late),
        ("id", r#""""#, id),
        ("id", r#""a b""#, id),
        ("id", r#""session-blacklist/x""#, id),
        ("id", r#""é""#, id),
        ("id", &long, id),
        ("id", "7", "expected a string"),
        ("session", r#""""#, "it is empty"),
        ("session", &longest_name, "it is longer than 1024 bytes"),
        ("session", "1.5", "expected a string or an integer"),
        ("session", "null", "expected a string or an integer"),
        ("session", r#"["s"]"#, "expected a string or an integer"),
        ("issuer", r#""""#, "expected 1 to 1024 bytes"),
        ("issuer", &longest_name, "expected 1 to 1024 bytes"),
        ("issuer", "null", "expected a string"),
        ("mode", r#""Revoke""#, r#"expected "revoke" or "disconnect""#),
        ("mode", "1", r#"expected "revoke" or "disconnect""#),
        ("reason", &long, remark),
        ("reason", r#""a\u0000b""#, remark),
        ("by", r#""a\nb""#, remark),
        ("by", r#""\u009b31m""#, remark),
        ("by", "{}", "expected a string"),
        ("force", r#""true""#, "expected true or false"),
        ("force", "1", "expected true or false"),
        ("Session", r#""s""#, "unknown member"),
        ("a/b", "1", "unknown member"),
    ];
    for (name, value, expected) in table {
        let mut members = vec![format!("{name:?}:{value}")];
        if *name != "session" {
            members.push(r#""session":"s""#.to_owned());
        }
        if !matches!(*name, "validityInSeconds" | "until") {
            members.push(r#""validityInSeconds":60"#.to_owned());
        }
        let body = format!("{{{}}}", members.join(","));
        assert_eq!(faults(&body), format!("/{}: {expected}", name.replace('/', "~1")), "{body}");
    }
}

#[test]
fn members_must_fit_each_other() {
    let needed = "/validityInSeconds: missing: the validity, here or as until";
    for (body, expected) in [
        ("{}", ": missing: session, or claim and value, or jwt"),
        (r#"{"validityInSeconds":1}"#, ": missing: session, or claim and value, or jwt"),
        (r#"{"session":"s"}"#, needed),
        (r#"{"session":"s","mode":"revoke"}"#, needed),
        (r#"{"claim":"/sub","validityInSeconds":1}"#, "/value: missing: the value of the claim"),
        (
            r#"{"value":"a","validityInSeconds":1}"#,
            "/claim: missing: the JSON Pointer of a claim, such as /sub",
        ),
        (
            r#"{"session":"s","value":"a","validityInSeconds":1}"#,
            "/value: session is given: only a claim has a value",
        ),
        (
            r#"{"session":"s","claim":"/sub","value":"a","validityInSeconds":1}"#,
            "/claim: session is given as well: one or the other",
        ),
        (
            r#"{"session":"s","jwt":"x","validityInSeconds":1}"#,
            "/jwt: session is given as well: one or the other",
        ),
        (
            r#"{"jwt":"x","issuer":"https://id.example"}"#,
            "/issuer: jwt is given: the issuer of the token counts",
        ),
        (
            r#"{"session":"s","validityInSeconds":1,"until":"2030-01-01T00:00:00Z"}"#,
            "/until: validityInSeconds is given as well: one or the other",
        ),
        (
            r#"{"session":"s","mode":"disconnect","validityInSeconds":1}"#,
            "/validityInSeconds: mode is disconnect: nothing lasts",
        ),
        (
            r#"{"session":"s","session":"t","validityInSeconds":1}"#,
            "/session: given more than once (line 1, column 24)",
        ),
    ] {
        assert_eq!(faults(body), expected, "{body}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let told = faults(r#"{"session":"","validityInSeconds":0,"force":1,"nonsense":{},"by":"\u0007"}"#);
    insta::assert_snapshot!(told, @r"
    /session: it is empty
    /validityInSeconds: expected whole seconds from 1 to 9007199254740991
    /by: expected up to 1000 bytes without control characters
    /force: expected true or false
    /nonsense: unknown member
    ");
}
