use super::*;
use crate::subject::{Reader, Subject};
use crate::{Refused, SubjectIssuer};

fn everything() -> FeedConfig {
    let claim = |text: &str| Some(text.to_owned());
    FeedConfig {
        aliases: vec!["idp".into()],
        events: Some(EventsConfig {
            audience: vec!["a".to_owned()],
            subject_issuers: vec![SubjectIssuer {
                id: "second".into(),
                issuer: "https://second.example".into(),
                aliases: vec!["second.example".into()],
                max_token_life: Duration::from_secs(60),
                leeway: Duration::ZERO,
            }],
            email: claim("/email"),
            opaque: claim("/oid"),
            account: claim("/acct"),
            phone_number: claim("/phone"),
            session: claim("/sid"),
            device: claim("/device"),
            user: claim("/uid"),
            tenant: claim("/tid"),
            ..EventsConfig::default()
        }),
        ..config()
    }
}

fn read(config: &FeedConfig, subject: Value) -> Result<String, Refused> {
    Ok(match (Reader { config, place: "sub_id" }).read(&subject)? {
        Subject::Critical => "critical".to_owned(),
        Subject::Selected(all) => {
            let shown =
                |one: &crate::subject::Selected<'_>| format!("{}{}={}", one.tokens.id, one.claim, one.value);
            all.iter().map(shown).collect::<Vec<_>>().join(" ")
        }
    })
}

#[test]
fn each_format_selects_by_its_claim() {
    let (all, least) = (everything(), FeedConfig { events: None, ..config() });
    for (subject, expected, without_config) in [
        (json!({ "format": "iss_sub", "iss": ISSUER, "sub": "145234573" }), "idp/sub=145234573", true),
        (json!({ "format": "iss_sub", "iss": "idp", "sub": "x" }), "idp/sub=x", false),
        (json!({ "format": "iss_sub", "iss": "second.example", "sub": "x" }), "second/sub=x", false),
        (json!({ "format": "iss_sub", "iss": "https://third.example", "sub": "x" }), "", true),
        (json!({ "format": "jwt_id", "iss": ISSUER, "jti": "j" }), "idp/jti=j", true),
        (json!({ "format": "jwt_id", "iss": "https://third.example", "jti": "j" }), "", true),
        (json!({ "format": "email", "email": "User@example.com" }), "idp/email=User@example.com", false),
        (json!({ "format": "opaque", "id": "11112222333344445555" }), "idp/oid=11112222333344445555", false),
        (
            json!({ "format": "account", "uri": "acct:example.user@service.example.com" }),
            "idp/acct=acct:example.user@service.example.com",
            false,
        ),
        (
            json!({ "format": "phone_number", "phone_number": "+12065550100" }),
            "idp/phone=+12065550100",
            false,
        ),
        (json!({ "subject_type": "phone", "phone_number": "+1 206" }), "idp/phone=+1 206", false),
        (json!({ "format": "did", "url": "did:example:123456" }), "", true),
        (json!({ "format": "uri", "uri": "urn:uuid:4e851e98" }), "", true),
        (json!({ "format": "ip-addresses", "ip-addresses": ["10.29.37.75"] }), "", true),
        (json!({ "format": "unknown" }), "", true),
    ] {
        assert_eq!(read(&all, subject.clone()).as_deref(), Ok(expected), "{subject}");
        let expected = if without_config { expected } else { "" };
        assert_eq!(read(&least, subject.clone()).as_deref(), Ok(expected), "{subject}");
    }
}

#[test]
fn a_format_lacks_no_member() {
    for (subject, member) in [
        (json!({ "format": "iss_sub", "iss": ISSUER }), "sub"),
        (json!({ "format": "iss_sub", "sub": "x" }), "iss"),
        (json!({ "format": "iss_sub", "iss": [ISSUER], "sub": "x" }), "iss"),
        (json!({ "format": "iss_sub", "iss": ISSUER, "sub": 7 }), "sub"),
        (json!({ "format": "iss_sub", "iss": ISSUER, "sub": "" }), "sub"),
        (json!({ "format": "email", "email": null }), "email"),
        (json!({ "format": "email", "email": "x".repeat(1025) }), "email"),
        (json!({ "format": "opaque", "sub": "x" }), "id"),
        (json!({ "format": "aliases" }), "identifiers"),
        (json!({ "format": "aliases", "identifiers": ["x"] }), "identifiers"),
        (json!({ "format": 1 }), "format"),
        (json!({ "format": "complex", "user": "x" }), "user"),
        (json!({ "format": "complex", "session": { "id": "x" } }), "format"),
    ] {
        for config in [everything(), FeedConfig { events: None, ..config() }] {
            let refused = read(&config, subject.clone()).unwrap_err().to_string();
            assert_eq!(refused, format!("sub_id: expected the member {member:?}"), "{subject}");
        }
    }
}

#[test]
fn aliases_select_each_that_is_mapped_once() {
    let email = json!({ "format": "email", "email": "user@example.com" });
    let iss_sub = json!({ "format": "iss_sub", "iss": "idp", "sub": "x" });
    let same = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "x" });
    let nested = json!({ "format": "aliases", "identifiers": [email] });
    let did = json!({ "format": "did", "url": "did:example:1" });
    let identifiers = json!([did, nested, iss_sub, email, same]);
    let subject = json!({ "format": "aliases", "identifiers": identifiers });
    assert_eq!(read(&everything(), subject).as_deref(), Ok("idp/sub=x idp/email=user@example.com"));
    assert_eq!(read(&everything(), json!({ "format": "aliases", "identifiers": [] })).as_deref(), Ok(""));
}

#[test]
fn a_complex_subject_is_its_narrowest_member() {
    let opaque = |id: &str| json!({ "format": "opaque", "id": id });
    let subject = json!({
        "format": "complex", "tenant": opaque("t"), "user": { "format": "iss_sub", "iss": ISSUER, "sub": "u" },
        "device": opaque("d"), "session": opaque("s"), "group": opaque("g"),
    });
    let mut config = everything();
    for (unset, expected) in
        [("", "idp/sid=s"), ("session", "idp/device=d"), ("device", "idp/uid=u"), ("user", "idp/sub=u")]
    {
        let events = config.events.as_mut().unwrap();
        match unset {
            "session" => events.session = None,
            "device" => events.device = None,
            "user" => events.user = None,
            _ => {}
        }
        assert_eq!(read(&config, subject.clone()).as_deref(), Ok(expected), "without {unset}");
    }
    let without_user = with(&subject, "user", Value::Null);
    assert_eq!(read(&config, without_user.clone()).as_deref(), Ok("idp/tid=t"));
    config.events.as_mut().unwrap().tenant = None;
    assert_eq!(read(&config, without_user).as_deref(), Ok(""));
    // The `sub` of a device is not that of a user.
    let device = json!({ "format": "iss_sub", "iss": ISSUER, "sub": "u" });
    assert_eq!(read(&config, json!({ "format": "complex", "device": device })).as_deref(), Ok(""));
    let users = json!({ "format": "aliases", "identifiers": [
        { "format": "iss_sub", "iss": ISSUER, "sub": "u" }, { "format": "email", "email": "e" },
    ] });
    let subject = json!({ "format": "complex", "user": users });
    assert_eq!(read(&config, subject).as_deref(), Ok("idp/sub=u idp/email=e"));
}

#[test]
fn a_critical_member_that_selects_nothing_is_never_passed_over() {
    let subject = json!({
        "format": "complex", "user": { "format": "iss_sub", "iss": ISSUER, "sub": "u" },
        "group": { "format": "opaque", "id": "g" }, "tenant": { "format": "opaque", "id": "t" },
    });
    for (critical, expected) in
        [("user", "idp/uid=u"), ("tenant", "idp/uid=u"), ("session", "idp/uid=u"), ("group", "critical")]
    {
        let mut config = everything();
        config.events.as_mut().unwrap().critical = vec![critical.to_owned()];
        assert_eq!(read(&config, subject.clone()).as_deref(), Ok(expected), "{critical}");
    }
    let mut config = everything();
    let events = config.events.as_mut().unwrap();
    (events.critical, events.tenant) = (vec!["tenant".to_owned()], None);
    assert_eq!(read(&config, subject).as_deref(), Ok("critical"));
}

#[test]
fn tokens_of_another_issuer_have_their_own_life() {
    let config = everything();
    let set = json!({
        "iss": ISSUER, "aud": "a", "iat": NOW - 1, "jti": "j",
        "sub_id": { "format": "iss_sub", "iss": "https://second.example", "sub": "x" },
        "events": { "https://schemas.openid.net/secevent/caep/event-type/session-revoked": {} },
    });
    let effect = crate::security_event(&claims(set), Some("secevent+jwt"), &config, now()).unwrap();
    let crate::Effect::Revoke(orders) = effect else { panic!("{effect:?}") };
    assert_eq!((&*orders[0].issuer_id, &*orders[0].issuer), ("second", "https://second.example"));
    assert_eq!(orders[0].ends_at, at(NOW + 2 + 60));
}

#[test]
fn the_claims_that_feeds_select_by() {
    let claims = |config: &FeedConfig| config.claims().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(claims(&FeedConfig::new("i", "https://i.example")), "");
    let logout = FeedConfig { events: None, public_url: None, ..config() };
    assert_eq!(claims(&logout), "/sub", "sid is the session's");
    assert_eq!(claims(&FeedConfig { session_field: "/jti".to_owned(), ..logout }), "/sid /sub");
    let expected = "/acct /device /email /jti /oid /phone /sub /tid /uid";
    assert_eq!(claims(&everything()), expected);
}
