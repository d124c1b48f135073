use super::*;
use crate::{Action, Effect, EventName, SetError, SetRefused, StreamStatus, security_event};

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

/// `event_timestamp` of CAEP's examples; their `iat` is 168 s later.
const HAPPENED: u64 = 1_615_304_991;

fn read_by(config: &FeedConfig, set: Value) -> Result<Effect, SetRefused> {
    security_event(&claims(set), Some("secevent+jwt"), config, now())
}

/// Returns a configuration for the examples of CAEP, whose transmitters are several.
fn transmitter(iss: &str) -> FeedConfig {
    let mut config = FeedConfig { issuer: iss.into(), ..config() };
    let events = config.events.as_mut().unwrap();
    events.audience.push("https://sp.example2.net/caep".to_owned());
    config
}

/// Returns an event as CAEP's examples have it.
fn set(iss: &str, subject: Value, kind: &str, event: Value) -> Value {
    json!({
        "iss": iss, "jti": "24c63fb56e5a2d77a6b512616ca9fa24", "iat": 1_615_305_159,
        "aud": ["https://sp.example.com/caep"], "txn": "8675309", "sub_id": subject, "events": { kind: event },
    })
}

fn caep(name: &str) -> String {
    format!("{CAEP}{name}")
}

fn revoked(effect: &Effect) -> Vec<(Mode, &str, &str, u64)> {
    match effect {
        Effect::Revoke(orders) => orders.iter().map(short).collect(),
        other => panic!("{other:?}"),
    }
}

fn iss_sub(iss: &str, sub: &str) -> Value {
    json!({ "format": "iss_sub", "iss": iss, "sub": sub })
}

#[test]
fn i31_the_examples_of_caep_for_revoked_sessions() {
    let opaque = |id: &str| json!({ "format": "opaque", "id": id });
    let kind = caep("session-revoked");
    let session = opaque("dMTlD|1600802906337.16|16008.16");
    let required = set(ISSUER, session.clone(), &kind, json!({ "event_timestamp": HAPPENED }));
    assert_eq!(read_by(&config(), required.clone()), Ok(Effect::Unmapped));
    let mut mapped = config();
    mapped.events.as_mut().unwrap().opaque = Some("/sid".to_owned());
    let effect = read_by(&mapped, required).unwrap();
    let expected = (Mode::Revoke, "/sid", "dMTlD|1600802906337.16|16008.16", HAPPENED + 2);
    assert_eq!(revoked(&effect), [expected]);

    let event = json!({
        "initiating_entity": "policy", "event_timestamp": HAPPENED,
        "reason_admin": { "en": "Landspeed Policy Violation: C076E82F" },
        "reason_user": { "en": "Access attempt from multiple regions.", "es-410": "Intento de acceso." },
    });
    let user = iss_sub(ISSUER, "99beb27c-c1c2-4955-882a-e0dc4996fcbc");
    let complex =
        json!({ "format": "complex", "session": session, "user": user, "tenant": opaque("123456789") });
    let by_user = set(ISSUER, complex, &kind, event.clone());
    let effect = read_by(&config(), by_user.clone()).unwrap();
    let of_user = (Mode::Revoke, "/sub", "99beb27c-c1c2-4955-882a-e0dc4996fcbc", HAPPENED + 2);
    assert_eq!(revoked(&effect), [of_user]);
    let mut with_session = config();
    with_session.events.as_mut().unwrap().session = Some("/sid".to_owned());
    assert_eq!(revoked(&read_by(&with_session, by_user).unwrap()), [expected]);

    let device = iss_sub(ISSUER, "e9297990-14d2-42ec-a4a9-4036db86509a");
    let complex = json!({
        "format": "complex", "user": iss_sub(ISSUER, "jane.smith@example.com"), "device": device,
        "tenant": opaque("123456789"),
    });
    let by_device = set(ISSUER, complex, &kind, event);
    let effect = read_by(&config(), by_device.clone()).unwrap();
    assert_eq!(revoked(&effect), [(Mode::Revoke, "/sub", "jane.smith@example.com", HAPPENED + 2)]);
    let mut with_device = config();
    with_device.events.as_mut().unwrap().device = Some("/device_id".to_owned());
    let expected = (Mode::Revoke, "/device_id", "e9297990-14d2-42ec-a4a9-4036db86509a", HAPPENED + 2);
    assert_eq!(revoked(&read_by(&with_device, by_device).unwrap()), [expected]);
}

#[test]
fn i31_the_examples_of_caep_for_changes() {
    let idp = "https://idp.example.com/987654321/";
    let jwt = json!({ "format": "jwt_id", "iss": idp, "jti": "f61t6e20zdo3px56gepu8rzlsp4c1dpc0fx7" });
    let kind = caep("token-claims-change");
    let event = json!({ "event_timestamp": HAPPENED, "claims": { "trusted_network": false } });
    let effect = read_by(&transmitter(idp), set(idp, jwt, &kind, event.clone())).unwrap();
    let expected = (Mode::Revoke, "/jti", "f61t6e20zdo3px56gepu8rzlsp4c1dpc0fx7", HAPPENED + 2);
    assert_eq!(revoked(&effect), [expected]);
    let saml = json!({ "format": "saml_assertion_id", "issuer": idp, "assertion_id": "_a75adf55-01d7-dbd8372ebdfc" });
    assert_eq!(read_by(&transmitter(idp), set(idp, saml, &kind, event)), Ok(Effect::Unmapped));

    let idp = "https://idp.example.com/3456789/";
    let jane = (Mode::Revoke, "/sub", "jane.smith@example.com", HAPPENED + 2);
    let kind = caep("credential-change");
    let change = |change_type: &str| {
        let event = json!({
            "credential_type": "fido2-roaming", "change_type": change_type, "initiating_entity": "user",
            "fido2_aaguid": "accced6a-63f5-490a-9eea-e59bc1896cfc", "event_timestamp": HAPPENED,
        });
        read_by(&transmitter(idp), set(idp, iss_sub(idp, "jane.smith@example.com"), &kind, event)).unwrap()
    };
    assert_eq!(change("create"), Effect::Ignored);
    assert_eq!(change("Created"), Effect::Ignored);
    for change_type in ["revoke", "update", "delete", "revoked", "updated", "Deleted", "other", ""] {
        assert_eq!(revoked(&change(change_type)), [jane], "{change_type}");
    }

    let kind = caep("assurance-level-change");
    let change = |direction: Value| {
        let event = json!({
            "namespace": "NIST-AAL", "current_level": "nist-aal2", "previous_level": "nist-aal1",
            "change_direction": direction, "event_timestamp": HAPPENED,
        });
        read_by(&transmitter(idp), set(idp, iss_sub(idp, "jane.smith@example.com"), &kind, event)).unwrap()
    };
    assert_eq!(change(json!("increase")), Effect::Ignored);
    assert_eq!(change(Value::Null), Effect::Ignored);
    assert_eq!(revoked(&change(json!("decrease"))), [(Mode::Disconnect, jane.1, jane.2, jane.3)]);

    let kind = caep("device-compliance-change");
    let device = iss_sub(ISSUER, "e9297990-14d2-42ec-a4a9-4036db86509a");
    let complex =
        json!({ "format": "complex", "device": device, "tenant": { "format": "opaque", "id": "123456789" } });
    let change = |status: &str, config: &FeedConfig| {
        let event =
            json!({ "current_status": status, "previous_status": "compliant", "event_timestamp": HAPPENED });
        read_by(config, set(ISSUER, complex.clone(), &kind, event)).unwrap()
    };
    assert_eq!(change("not-compliant", &config()), Effect::Unmapped);
    let mut by_device = config();
    by_device.events.as_mut().unwrap().device = Some("/device_id".to_owned());
    assert_eq!(change("compliant", &by_device), Effect::Ignored);
    let effect = change("not-compliant", &by_device);
    assert_eq!(revoked(&effect)[0].0, Mode::Disconnect);

    let email = json!({ "format": "email", "email": "someuser@somedomain.com" });
    for name in ["session-established", "session-presented", "risk-level-change"] {
        let event = json!({ "event_timestamp": HAPPENED, "current_level": "HIGH", "principal": "USER" });
        let effect = read_by(&config(), set(ISSUER, email.clone(), &caep(name), event));
        assert_eq!(effect, Ok(Effect::Ignored), "{name}");
    }
}

#[test]
fn i31_okta_and_google() {
    // Okta: the subject in the event, without a format, and the time in milliseconds.
    let okta = "https://org.okta.example";
    let subject = json!({ "user": iss_sub(okta, "00uabc") });
    let event =
        json!({ "event_timestamp": 1_615_304_991_643_u64, "initiating_entity": "user", "subject": subject });
    let mut set = set(okta, Value::Null, &caep("session-revoked"), event);
    assert_eq!(
        revoked(&read_by(&transmitter(okta), set.clone()).unwrap()),
        [(Mode::Revoke, "/sub", "00uabc", HAPPENED + 2)]
    );
    let mut renamed = transmitter(okta);
    renamed.events.as_mut().unwrap().user = Some("/uid".to_owned());
    assert_eq!(revoked(&read_by(&renamed, set.clone()).unwrap())[0].1, "/uid");
    // Where that is too much.
    renamed.events.as_mut().unwrap().actions.insert(EventName::SessionRevoked, Action::Ignore);
    assert_eq!(read_by(&renamed, set.clone()), Ok(Effect::Ignored));
    // `sub_id` counts if both are there.
    set["sub_id"] = iss_sub(okta, "00uxyz");
    assert_eq!(revoked(&read_by(&transmitter(okta), set).unwrap())[0].2, "00uxyz");

    // Google: `subject_type`, a name with a hyphen, an issuer with a slash.
    let google = FeedConfig {
        aliases: vec!["https://accounts.google.com/".into(), "accounts.google.com".into()],
        ..transmitter("https://accounts.google.com")
    };
    for (subject_type, iss) in
        [("iss-sub", "https://accounts.google.com/"), ("id_token_claims", "accounts.google.com")]
    {
        let subject = json!({ "subject_type": subject_type, "iss": iss, "sub": "7375626A656374" });
        let event = json!({ "subject": subject, "reason": "hijacking" });
        let set = json!({
            "iss": "https://accounts.google.com/", "aud": "https://sp.example.com/caep", "iat": NOW - 60,
            "jti": "756E69717565206964656E746966696572", "events": { format!("{RISC}account-disabled"): event },
        });
        let effect = read_by(&google, set).unwrap();
        assert_eq!(revoked(&effect), [(Mode::Revoke, "/sub", "7375626A656374", NOW - 58)]);
        let Effect::Revoke(orders) = effect else { unreachable!() };
        assert_eq!(&*orders[0].issuer, "https://accounts.google.com");
        assert_eq!(
            orders[0].reason,
            "security event account-disabled, jti 756E69717565206964656E746966696572"
        );
    }
}

#[test]
fn i31_the_time_of_an_event() {
    let base = with(&basic(), "aud", json!("https://sp.example.com/caep"));
    let base = with(&base, "sub_id", iss_sub(ISSUER, "alice"));
    let second = |toe: Value, timestamp: Value| {
        let event = match timestamp {
            Value::Null => json!({}),
            timestamp => json!({ "event_timestamp": timestamp }),
        };
        let set = with(&with(&base, "toe", toe), "events", json!({ caep("session-revoked"): event }));
        read_by(&config(), set).map(|effect| revoked(&effect)[0].3)
    };
    let issued = NOW - 1;
    assert_eq!(second(Value::Null, Value::Null), Ok(issued + 2));
    assert_eq!(second(json!(NOW - 500), Value::Null), Ok(NOW - 498));
    assert_eq!(second(json!(NOW - 500), json!(NOW - 700)), Ok(NOW - 698));
    assert_eq!(second(Value::Null, json!((NOW - 700) * 1000 + 999)), Ok(NOW - 698));
    assert_eq!(second(Value::Null, json!(NOW + 900)), Ok(issued + 62), "never later than iat + 60 s");
    assert_eq!(second(json!(1e17), Value::Null), Ok(issued + 62));
    for (toe, timestamp, name) in
        [(json!("x"), Value::Null, "toe"), (Value::Null, json!("1615304991"), "event_timestamp")]
    {
        let refused = second(toe, timestamp).unwrap_err();
        assert_eq!((refused.err, refused.refused.claim), (SetError::InvalidRequest, name));
    }
}

#[test]
fn i32_each_error_has_its_code() {
    let kind = caep("session-revoked");
    let base = set(ISSUER, iss_sub(ISSUER, "alice"), &kind, json!({}));
    let change = |member: &str, value: Value| with(&base, member, value);
    let two = json!({ kind.clone(): {}, caep("credential-change"): {} });
    let aliases = json!({ "format": "aliases", "identifiers": vec![iss_sub(ISSUER, "a"); 17] });
    for (set, err, text) in [
        (change("iss", json!("https://other.example")), SetError::InvalidIssuer, "iss: not the issuer"),
        (change("iss", Value::Null), SetError::InvalidIssuer, "iss: missing"),
        (change("aud", json!("https://other.example")), SetError::InvalidAudience, "aud: not an audience"),
        (change("aud", Value::Null), SetError::InvalidAudience, "aud: missing"),
        (change("iat", Value::Null), SetError::InvalidRequest, "iat: missing"),
        (change("iat", json!(NOW + 61)), SetError::InvalidRequest, "iat: in the future"),
        (change("exp", json!(NOW - 5)), SetError::InvalidRequest, "exp: in the past"),
        (change("jti", Value::Null), SetError::InvalidRequest, "jti: missing"),
        (change("events", Value::Null), SetError::InvalidRequest, "events: missing"),
        (change("events", json!([])), SetError::InvalidRequest, "events: expected an object"),
        (change("events", json!({ &kind: 1 })), SetError::InvalidRequest, "events: expected an object"),
        (change("events", json!({ "urn:x": null })), SetError::InvalidRequest, "events: expected an object"),
        (change("events", two), SetError::InvalidRequest, "events: expected one event"),
        (change("sub_id", Value::Null), SetError::InvalidRequest, "sub_id: missing"),
        (change("sub_id", json!("alice")), SetError::InvalidRequest, "sub_id: expected an object"),
        (change("sub_id", json!({})), SetError::InvalidRequest, r#"sub_id: expected the member "format""#),
        (change("sub_id", aliases), SetError::InvalidRequest, "sub_id: expected at most 16 items"),
    ] {
        let refused = read_by(&config(), set.clone()).unwrap_err();
        assert_eq!(refused.err, err, "{set}: {refused}");
        assert!(refused.to_string().starts_with(text), "{set}: {refused}");
    }
    for header_type in [None, Some("JWT"), Some("logout+jwt"), Some("at+jwt")] {
        let refused = security_event(&claims(base.clone()), header_type, &config(), now()).unwrap_err();
        assert_eq!((refused.err, refused.refused.claim), (SetError::InvalidRequest, "typ"));
    }
    for header_type in ["application/secevent+jwt", "SecEvent+JWT"] {
        assert!(security_event(&claims(base.clone()), Some(header_type), &config(), now()).is_ok());
    }
    let no_events = FeedConfig { events: None, ..config() };
    assert_eq!(read_by(&no_events, base).unwrap_err().err, SetError::InvalidAudience);
}

#[test]
fn i32_what_the_gateway_does_not_know_is_no_error() {
    let kind = caep("session-revoked");
    let base = set(ISSUER, iss_sub(ISSUER, "alice"), &kind, json!({ "event_timestamp": HAPPENED, "x": [1] }));
    let alice = (Mode::Revoke, "/sub", "alice", HAPPENED + 2);
    let also = json!({ &kind: { "event_timestamp": HAPPENED }, "urn:example:same": { "x": 1 } });
    for set in [
        with(&base, "sub", json!("mallory")),
        with(&base, "unknown", json!({ "x": [null] })),
        with(&base, "events", also),
    ] {
        assert_eq!(revoked(&read_by(&config(), set).unwrap()), [alice]);
    }
    for (events, expected) in [
        (json!({}), Effect::Ignored),
        (json!({ "urn:example:event": {} }), Effect::Ignored),
        (json!({ caep("session-revoked/"): {} }), Effect::Ignored),
        (json!({ format!("{RISC}account-enabled"): {} }), Effect::Ignored),
    ] {
        assert_eq!(read_by(&config(), with(&base, "events", events.clone())), Ok(expected), "{events}");
    }
    for name in ["sessions-revoked", "account-disabled", "account-purged", "credential-compromise"] {
        let set = with(&base, "events", json!({ format!("{RISC}{name}"): {} }));
        assert_eq!(revoked(&read_by(&config(), set).unwrap()).len(), 1, "{name}");
    }
    let old = with(&base, "iat", json!(NOW - 86_408));
    let old = with(&old, "events", json!({ &kind: {} }));
    assert_eq!(read_by(&config(), old), Ok(Effect::Revoke(Vec::new())));
}

#[test]
fn i34_events_about_the_stream() {
    let stream = json!({ "format": "opaque", "id": "f67e39a0a4d34d56b3aa1bc4cff0069f" });
    let mut asked = config();
    asked.events.as_mut().unwrap().verification_state = Some("VGhpcyBpcw==".to_owned());
    let mut states = vec![(json!("VGhpcyBpcw=="), true), (Value::Null, true)];
    states.extend([json!("other"), json!(""), json!(1), json!({})].map(|state| (state, false)));
    for (state, is_right) in states {
        for family in [SSF, RISC] {
            let event = json!({ "state": state });
            let set = set(ISSUER, stream.clone(), &format!("{family}verification"), event);
            let read = read_by(&asked, set.clone()).map_err(|refused| refused.err);
            let expected = if is_right { Ok(Effect::Verified) } else { Err(SetError::InvalidState) };
            assert_eq!(read, expected, "{state}");
            assert_eq!(read_by(&config(), set), Ok(Effect::Verified), "none was asked for");
        }
    }
    for (status, expected) in [
        (json!("paused"), Some(StreamStatus::Paused)),
        (json!("disabled"), Some(StreamStatus::Disabled)),
        (json!("enabled"), Some(StreamStatus::Enabled)),
        (json!("gone"), None),
        (Value::Null, None),
    ] {
        let event = json!({ "status": status, "reason": "Internal error" });
        let read = read_by(&config(), set(ISSUER, stream.clone(), &format!("{SSF}stream-updated"), event));
        match expected {
            Some(status) => assert_eq!(read, Ok(Effect::StreamUpdated(status))),
            None => assert_eq!(read.unwrap_err().err, SetError::InvalidRequest),
        }
    }
}

#[test]
fn what_an_event_does_can_be_set() {
    let kind = caep("session-established");
    let set = set(ISSUER, iss_sub(ISSUER, "alice"), &kind, json!({}));
    for (action, expected) in [(Action::Revoke, Mode::Revoke), (Action::Disconnect, Mode::Disconnect)] {
        let mut config = config();
        config.events.as_mut().unwrap().actions.insert(EventName::SessionEstablished, action);
        assert_eq!(revoked(&read_by(&config, set.clone()).unwrap())[0].0, expected);
    }
}
