//! Several sources of tokens: what a selector with an issuer reaches, and one without.

use super::*;
use crate::config::{IssuerField, SelectorError};
use crate::selector::Selector;
use crate::subject::Verified;

pub(super) const A: &str = "https://a.example";
pub(super) const B: &str = "https://b.example/";

pub(super) fn issuer(issuer: &str, session_field: &str) -> IssuerField {
    IssuerField { issuer: issuer.into(), session_field: session_field.to_owned(), ..IssuerField::default() }
}

/// A configuration with these issuers.
pub(super) fn config_of(issuers: Vec<IssuerField>, has_static_key: bool) -> Config {
    let expiry = Expiry::Ends { warning: Duration::from_secs(30), leeway: Duration::ZERO };
    Config::default().with_issuers(issuers, has_static_key).expect("pointers").with_expiry(expiry)
}

/// Two issuers whose session claim is `sid`.
pub(super) fn two_issuers() -> Config {
    config_of(vec![issuer(A, "/sid"), issuer(B, "/sid")], false)
}

pub(super) fn subject(sessions: &Sessions, issuer: Option<&str>, claims: &serde_json::Value) -> Subject {
    let claims = claims.as_object().expect("claims are an object");
    sessions.subject(Verified { claims, issuer, marks: &[] }).expect("names")
}

pub(super) fn connect(
    sessions: &Sessions,
    issuer: Option<&str>,
    claims: &serde_json::Value,
) -> Result<(Arc<Client>, Registration), Blacklisted> {
    let client = Arc::new(Client::default());
    let registration = sessions.register(&subject(sessions, issuer, claims), Arc::downgrade(&client))?;
    Ok((client, registration))
}

/// Revokes what a selector selects. Returns how many connections that has terminated.
fn revoke(sessions: &Sessions, id: &str, selector: Selector) -> u64 {
    let id = RevocationId::new(id).expect("an id");
    let revocation =
        Revocation { id, selector, extends: false, ..Revocation::blacklist(&name("unused"), MINUTE) };
    sessions.revoke(&revocation, true).expect("it is stored").expect("it is done").connections
}

fn selector(sessions: &Sessions, issuer: Option<&str>, claim: &str, value: &str) -> Selector {
    sessions.config().selector(issuer, claim, name(value)).expect("tokens can be selected by it")
}

#[test]
fn i04_a_revocation_of_one_issuer_leaves_the_same_names_of_another_alone() {
    let claims = json!({"sub": "1", "sid": "1", "iat": 10});
    for (claim, value) in [("/sid", "1"), ("/sub", "1")] {
        let (sessions, _) = sessions_of(two_issuers());
        let (a, _a) = connect(&sessions, Some(A), &claims).unwrap();
        let (b, _b) = connect(&sessions, Some(B), &claims).unwrap();
        assert_eq!(revoke(&sessions, "r", selector(&sessions, Some(A), claim, value)), 1, "{claim}");
        assert_eq!((a.times(), b.times()), (1, 0), "{claim}");
        assert!(connect(&sessions, Some(A), &claims).is_err(), "{claim}");
        assert!(connect(&sessions, Some(B), &claims).is_ok(), "{claim}");
        assert!(!sessions.is_blacklisted(&name("1")), "not whatever its token");
    }
}

#[test]
fn i04_the_token_of_another_issuer_is_not_of_the_same_user() {
    let (sessions, _) = sessions_of(two_issuers());
    for claims in [json!({"sub": "1", "sid": "1"}), json!({"sid": "1"}), json!({})] {
        let (_client, of_a) = connect(&sessions, Some(A), &claims).unwrap();
        let [a, b] = [A, B].map(|issuer| subject(&sessions, Some(issuer), &claims));
        assert!(of_a.goes_with(&a) && !of_a.goes_with(&b), "{claims}");
        assert!(!of_a.is_of_user(&b), "{claims}");
        assert_eq!(of_a.is_of_user(&a), claims != json!({}), "{claims}");
    }
    let (_client, of_a) = connect(&sessions, Some(A), &json!({"sub": "1", "sid": "1"})).unwrap();
    let (_client, of_b) = connect(&sessions, Some(B), &json!({"sub": "1", "sid": "1"})).unwrap();
    assert!(!of_a.is_same(&of_b) && of_a.is_same(&of_a));
    let static_key = config_of(vec![issuer(A, "/jti")], true);
    let (sessions, _) = sessions_of(static_key);
    let (_client, of_a) = connect(&sessions, Some(A), &json!({"sub": "1"})).unwrap();
    assert!(!of_a.is_of_user(&subject(&sessions, None, &json!({"sub": "1"}))), "of the static key");
}

#[test]
fn a_selector_without_an_issuer_reaches_all() {
    for (claim, value) in [("/sub", "1"), ("/sid", "2"), ("/jti", "3")] {
        // All have another session claim.
        let config = config_of(vec![issuer(A, "/sid"), issuer(B, "/sub")], true);
        let (sessions, _) = sessions_of(config);
        let claims = json!({"sub": "1", "sid": "2", "jti": "3"});
        let guards: Vec<_> = [Some(A), Some(B), None]
            .into_iter()
            .map(|issuer| connect(&sessions, issuer, &claims).unwrap())
            .collect();
        assert_eq!(sessions.counts().connections, 3, "each is counted once");
        assert_eq!(sessions.counts().sessions, 3);
        assert_eq!(revoke(&sessions, "r", selector(&sessions, None, claim, value)), 3, "{claim}");
        for issuer in [Some(A), Some(B), None] {
            assert!(connect(&sessions, issuer, &claims).is_err(), "{claim} {issuer:?}");
        }
        drop(guards);
        assert_eq!(sessions.counts().connections, 0);
    }
}

#[test]
fn a_selector_by_the_session_claim_of_an_issuer_is_one_by_its_session() {
    let (sessions, _) = sessions_of(config_of(vec![issuer(A, "/sid"), issuer(B, "/jti")], false));
    let claims = json!({"sid": "1", "jti": "2"});
    let (a, _a) = connect(&sessions, Some(A), &claims).unwrap();
    let (b, _b) = connect(&sessions, Some(B), &claims).unwrap();
    let of_a = selector(&sessions, Some(A), "/sid", "1");
    assert_eq!((of_a.claim(), of_a.issuer.as_deref()), (None, Some(A)));
    let of_b = selector(&sessions, Some(B), "/sid", "1");
    assert_eq!(of_b.claim(), Some("/sid"), "it is a claim like others in tokens of B");
    assert_eq!(revoke(&sessions, "a", of_a), 1);
    assert_eq!((a.times(), b.times()), (1, 0));
    assert_eq!(revoke(&sessions, "b", of_b), 1);
    assert_eq!(b.times(), 1);
    // The same, as it was stored when the session claim was another one.
    let by_claim = Selector::of_claim("/sid", name("3")).issued_by(Some(A.into()));
    assert_eq!(revoke(&sessions, "by claim", by_claim), 0);
    assert!(connect(&sessions, Some(A), &json!({"sid": "3"})).is_err());
}

#[test]
fn with_one_source_a_selector_with_its_issuer_is_the_same_and_costs_no_key() {
    let claims = json!({"sub": "1", "sid": "2"});
    let (sessions, _) = sessions_of(config_of(vec![issuer(A, "/sid")], false));
    let subject = subject(&sessions, Some(A), &claims);
    assert_eq!(subject.keys.len(), 2, "the session and sub");
    for issuer in [Some(A), None] {
        for (claim, value) in [("/sub", "1"), ("/sid", "2")] {
            let key = sessions.key_of(&selector(&sessions, issuer, claim, value));
            assert!(subject.keys.contains(&key), "{issuer:?} {claim}");
        }
    }
    let elsewhere = Selector::session(name("2")).issued_by(Some(B.into()));
    assert_eq!(sessions.affected(&elsewhere, None).connections, 0);
    let (_client, _guard) = connect(&sessions, Some(A), &claims).unwrap();
    assert_eq!(revoke(&sessions, "r", elsewhere), 0, "an issuer that is not the source matches nothing");
    assert!(connect(&sessions, Some(A), &claims).is_ok());
    // Nor does one with the static key alone.
    let (sessions, _) = sessions_of(Config::default());
    let (_client, _guard) = connect(&sessions, None, &json!({"jti": "2"})).unwrap();
    assert_eq!(revoke(&sessions, "r", Selector::session(name("2")).issued_by(Some(A.into()))), 0);
}

#[test]
fn with_several_sources_a_session_costs_two_keys_and_so_does_a_claim() {
    let (sessions, _) = sessions_of(config_of(vec![issuer(A, "/sid"), issuer(B, "/jti")], false));
    let subject = subject(&sessions, Some(A), &json!({"sub": "1", "sid": "2"}));
    // The session, and `sid` as a claim: once for A, which selects it as the session.
    assert_eq!(subject.keys.len(), 2 + 2 + 1);
}

#[test]
fn users_and_sessions_of_issuers_can_always_be_selected() {
    let keycloak = IssuerField { selectable: vec!["/email".to_owned()], ..issuer(A, "/sid") };
    let config = config_of(vec![keycloak, issuer(B, "/sid")], false);
    assert_eq!(config.revocation_claims().collect::<Vec<_>>(), ["/sub", "/email"]);
    let config = config.with_revocation_claims(["/sid", "/role"]).unwrap();
    assert_eq!(config.revocation_claims().collect::<Vec<_>>(), ["/role", "/sub", "/email"]);
    let config = config_of(vec![issuer(A, "/sid"), issuer(B, "/jti")], true);
    assert_eq!(config.revocation_claims().collect::<Vec<_>>(), ["/sub", "/sid", "/jti"]);
    let error = config.selector(Some(A), "/role", name("x")).unwrap_err().to_string();
    assert_eq!(error, r#"tokens cannot be revoked by the claim "/role"; expected one of /sub, /sid, /jti"#);
    let error = config.selector(Some("https://c.example"), "/sub", name("x")).unwrap_err();
    assert!(matches!(&error, SelectorError::Issuer { .. }), "{error}");
    assert_eq!(error.to_string(), format!("expected one of {A}, {B}"));
    let error = Config::default().selector(Some(A), "/jti", name("x")).unwrap_err().to_string();
    assert_eq!(error, "no issuer is configured");
}

#[test]
fn each_issuer_has_its_session_claim() {
    let (sessions, _) = sessions_of(config_of(vec![issuer(A, "/sid"), issuer(B, "/origin_jti")], true));
    let claims = json!({"sid": "1", "origin_jti": "2", "jti": "3"});
    let named = [Some(A), Some(B), None].map(|issuer| {
        let claims = claims.as_object().unwrap();
        sessions.session_of(Verified { claims, issuer, marks: &[] }).unwrap().to_string()
    });
    assert_eq!(named, ["1", "2", "3"]);
    let claims = json!({"jti": "3"});
    let claims = claims.as_object().unwrap();
    let missing = sessions.session_of(Verified { claims, issuer: Some(B), marks: &[] }).unwrap_err();
    assert_eq!(missing, ClaimError::Missing { field: "/origin_jti".to_owned() });
}

#[test]
fn i28_a_revocation_before_the_connect_refuses_it() {
    let (sessions, _) = sessions_of(two_issuers());
    assert_eq!(revoke(&sessions, "r", selector(&sessions, Some(A), "/sid", "1")), 0);
    assert!(connect(&sessions, Some(A), &json!({"sid": "1", "iat": 10})).is_err());
    assert!(connect(&sessions, Some(B), &json!({"sid": "1", "iat": 10})).is_ok());
}

#[test]
fn a_revocation_of_an_issuer_that_is_gone_is_kept_and_no_error() {
    let log = Kept::default();
    let before = Sessions::new(two_issuers(), log.clone()).unwrap();
    revoke(&before, "sub", selector(&before, Some(A), "/sub", "1"));
    revoke(&before, "sid", selector(&before, Some(A), "/sid", "1"));
    let config = config_of(vec![issuer(B, "/jti")], false);
    let after = Sessions::new(config, log.clone()).unwrap();
    assert!(connect(&after, Some(B), &json!({"sub": "1", "sid": "1", "jti": "1"})).is_ok());
    assert_eq!(log.page(None, 9).unwrap().len(), 2);
    let again = Sessions::new(two_issuers(), log).unwrap();
    assert!(connect(&again, Some(A), &json!({"sub": "1"})).is_err(), "the issuer is back");
    assert!(connect(&again, Some(A), &json!({"sid": "1"})).is_err());
    assert!(connect(&again, Some(B), &json!({"sub": "1", "sid": "1"})).is_ok());
}

#[test]
fn what_was_loaded_under_another_session_claim_can_be_lifted() {
    let log = Kept::default();
    let before = Sessions::new(config_of(vec![issuer(A, "/jti")], false), log.clone()).unwrap();
    revoke(&before, "r", selector(&before, Some(A), "/sid", "1"));
    let after = Sessions::new(config_of(vec![issuer(A, "/sid")], false), log).unwrap();
    assert!(after.is_blacklisted(&name("1")), "the claim names the session now");
    assert!(after.lift(&RevocationId::new("r").unwrap(), None).unwrap().is_some());
    assert!(!after.is_blacklisted(&name("1")));
}

#[test]
fn another_node_terminates_the_same_tokens() {
    let config = || config_of(vec![issuer(A, "/sid"), issuer(B, "/jti")], true);
    let (here, there) = (sessions_of(config()).0, sessions_of(config()).0);
    let claims = json!({"sub": "1", "sid": "2", "jti": "3", "iat": 10});
    for (n, (issuer, claim, value, reached)) in [
        (Some(A), "/sid", "2", [1, 0, 0]),
        (Some(B), "/sid", "2", [0, 1, 0]),
        (Some(B), "/jti", "3", [0, 1, 0]),
        (None, "/sub", "1", [1, 1, 1]),
    ]
    .into_iter()
    .enumerate()
    {
        let clients = [Some(A), Some(B), None].map(|issuer| {
            let traces = subject(&here, issuer, &claims).traces();
            let client = Arc::new(Client::default());
            let guard = there.register(&there.subject_elsewhere(traces, None), Arc::downgrade(&client));
            (client, guard)
        });
        let disconnect = Revocation {
            id: RevocationId::new(&n.to_string()).unwrap(),
            selector: selector(&there, issuer, claim, value),
            mode: Mode::Disconnect,
            extends: false,
            ..Revocation::blacklist(&name("unused"), MINUTE)
        };
        there.revoke(&disconnect, true).unwrap();
        assert_eq!(clients.map(|(client, _)| client.times()), reached, "{issuer:?} {claim}");
    }
}

#[test]
fn a_connection_lasts_as_long_as_its_issuer_grants_after_exp() {
    let generous = IssuerField { leeway: Some(Duration::from_secs(20)), ..issuer(A, "/sid") };
    let expiry = Expiry::Ends { warning: Duration::from_secs(30), leeway: Duration::from_secs(5) };
    let config = Config::default().with_issuers(vec![generous, issuer(B, "/sid")], true).unwrap();
    let (sessions, hand) = sessions_of(config.with_expiry(expiry));
    let exp = hand.wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 60;
    let left = |issuer: Option<&str>| {
        let (_client, registration) = connect(&sessions, issuer, &json!({ "exp": exp })).unwrap();
        registration.left().unwrap().as_secs_f64().round()
    };
    assert_eq!([left(Some(A)), left(Some(B)), left(None)], [80.0, 65.0, 65.0]);
}

/// The text of an issuer changes while its old tokens live, or the nodes of a cluster change one
/// after the other.
#[test]
fn a_revocation_by_another_text_of_the_issuer_selects_its_tokens() {
    let claims = json!({"sub": "1", "sid": "1", "iat": 10});
    let renamed = IssuerField { aliases: vec![B.into()], ..issuer(A, "/sid") };
    for (issuers, has_static_key) in [
        (vec![renamed.clone()], false),
        (vec![renamed.clone()], true),
        (vec![renamed, issuer("https://c.example", "/sid")], false),
    ] {
        let (sessions, _) = sessions_of(config_of(issuers, has_static_key));
        let (_client, _registration) = connect(&sessions, Some(A), &claims).unwrap();
        // As a log has it that was written when this was the main text.
        let old = Selector::of_claim("/sub", name("1")).issued_by(Some(B.into()));
        assert_eq!(revoke(&sessions, "old", old), 1, "{has_static_key}");
        assert!(connect(&sessions, Some(A), &claims).is_err());
        let selected = selector(&sessions, Some(B), "/sid", "1");
        assert_eq!(selected.issuer.as_deref(), Some(A), "whoever asks by an alias means the issuer");
    }
}
