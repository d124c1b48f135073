//! Which answers make a token valid.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::issuers::testing::{ISS, seconds};

#[tokio::test(start_paused = true)]
async fn only_an_object_with_active_true_or_false_is_an_answer() {
    let world = World::without_task(Bounds::default(), |_| {});
    let good = active(json!({})).to_string();
    let with_active = |active: &str| good.replacen("true", active, 1);
    let bodies = [
        String::new(),
        "{}".to_owned(),
        "true".to_owned(),
        "null".to_owned(),
        format!("[{good}]"),
        format!("{good}{good}"),
        good[..good.len() - 1].to_owned(),
        with_active("\"true\""),
        with_active("1"),
        with_active("null"),
        with_active("[true]"),
        // The second one counts for some readers.
        good.replacen('{', "{\"active\":false,", 1),
        good.replacen('{', "{\"\\u0061ctive\":true,", 1),
        good.replacen('{', "{\"aud\":\"gateway\",", 1),
        "<html>".to_owned(),
        // Signed answers (RFC 9701) are not asked for.
        "eyJhbGciOiJSUzI1NiJ9.eyJhY3RpdmUiOnRydWV9.c2ln".to_owned(),
    ];
    for (number, body) in bodies.iter().enumerate() {
        world.say(TOKEN, body);
        assert_eq!(world.accept(TOKEN).await.unwrap_err(), TokenError::Unavailable, "{body}");
        assert_eq!(world.questions(), number + 1, "{body}");
        let error = world.state().last_error.unwrap();
        assert!(error.contains("the answer"), "{error}");
        assert!(!error.contains("alice") && !error.contains("html") && !error.contains(TOKEN), "{error}");
    }
    assert_eq!(world.state().tokens, 0);
    world.say(TOKEN, format!("\u{feff} {good}\n"));
    assert!(world.accept(TOKEN).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_claims_of_an_active_token_are_checked_as_those_of_a_jwt() {
    use TokenError::*;
    let world = World::without_task(Bounds::default(), |config| {
        config.aliases = vec!["https://alias.example".into()];
        config.required = vec![("/scope".to_owned(), json!("events"))];
    });
    let cases = [
        (json!({}), None),
        (json!({"iss": null}), None),
        (json!({"iss": "https://alias.example"}), None),
        (json!({"token_type": "bearer", "aud": ["other", "gateway"]}), None),
        (json!({"iss": "https://id.example"}), Some(Issuer)),
        (json!({"iss": [ISS]}), Some(Issuer)),
        (json!({"iss": ""}), Some(Issuer)),
        (json!({"exp": null}), Some(Expired)),
        (json!({"exp": seconds(-60)}), Some(Expired)),
        (json!({"exp": "9999999999"}), Some(Time("exp"))),
        (json!({"iat": null}), Some(IssuedAt)),
        (json!({"iat": seconds(60)}), Some(IssuedAt)),
        (json!({"nbf": seconds(60)}), Some(NotYetValid)),
        (json!({"exp": seconds(25 * 3600)}), Some(Lifetime)),
        (json!({"aud": null}), Some(Audience)),
        (json!({"aud": "other"}), Some(Audience)),
        (json!({"scope": "other"}), Some(Required)),
        (json!({"cnf": {"jkt": "x"}}), Some(Binding)),
        (json!({"events": {}}), Some(Statement)),
    ];
    for (number, (further, expected)) in cases.into_iter().enumerate() {
        let token = format!("token-{number}");
        world.say(&token, with(active(json!({"scope": "events"})), further.clone()));
        assert_eq!(world.accept(&token).await.err(), expected, "{further}");
        // What is refused is remembered too.
        assert_eq!(world.accept(&token).await.err(), expected, "{further}");
        assert_eq!(world.verifier.verify(&token).err(), expected, "{further}");
        assert_eq!(world.questions(), number + 1, "{further}");
    }
    assert_eq!(world.state().tokens, 4);
}

/// Issuers also say that refresh tokens and ID tokens are active.
#[tokio::test(start_paused = true)]
async fn only_an_access_token_is_accepted() {
    use TokenError::*;
    let world = World::without_task(Bounds::default(), |_| {});
    let any = World::without_task(Bounds::default(), |config| config.audience = crate::Audience::Any);
    // What an issuer says, and the verdict with an audience and with any.
    let cases = [
        // oidc-provider, Spring Authorization Server, Okta: Bearer; none for refresh tokens, which
        // hardly have an audience.
        (json!({}), None, None),
        (json!({"token_type": null}), None, Some(Type)),
        (json!({"token_type": null, "aud": null}), Some(Audience), Some(Type)),
        // WSO2, Hydra before 1.0.
        (json!({"token_type": "Refresh"}), Some(Type), Some(Type)),
        (json!({"token_type": "refresh_token"}), Some(Type), Some(Type)),
        (json!({"token_type": "N_A"}), Some(Type), Some(Type)),
        (json!({"token_type": ""}), Some(Type), Some(Type)),
        (json!({"token_type": ["Bearer"]}), Some(Type), Some(Type)),
        // Hydra, Cognito.
        (json!({"token_use": "access_token"}), None, None),
        (json!({"token_type": null, "token_use": "access"}), None, None),
        (json!({"token_use": "refresh_token"}), Some(Type), Some(Type)),
        (json!({"token_use": "id"}), Some(Type), Some(Type)),
        // Keycloak.
        (json!({"token_type": null, "typ": "Bearer"}), None, None),
        (json!({"token_type": null, "typ": "application/AT+JWT"}), None, None),
        (json!({"typ": "JWT"}), None, None),
        (json!({"token_type": null, "typ": "Refresh"}), Some(Type), Some(Type)),
        (json!({"typ": "Offline"}), Some(Type), Some(Type)),
        (json!({"typ": "ID"}), Some(Type), Some(Type)),
        (json!({"typ": "Logout"}), Some(Type), Some(Type)),
        (json!({"token_type": "DPoP"}), Some(Binding), Some(Binding)),
        (json!({"token_type": "dpop"}), Some(Binding), Some(Binding)),
        (json!({"typ": "DPoP"}), Some(Binding), Some(Binding)),
        (json!({"token_type": "mac"}), Some(Binding), Some(Binding)),
    ];
    for (number, (further, expected, expected_of_any)) in cases.into_iter().enumerate() {
        let token = format!("token-{number}");
        for (world, expected) in [(&world, expected), (&any, expected_of_any)] {
            world.say(&token, active(further.clone()));
            assert_eq!(world.accept(&token).await.err(), expected, "{further}");
        }
    }
}

/// Returns values that a member may have in place of a good one.
fn odd() -> impl Strategy<Value = Value> {
    let now = seconds(0);
    let values = json!([
        true,
        false,
        null,
        "true",
        1,
        0,
        -1.5,
        1e300,
        {},
        [],
        [true],
        "gateway",
        ["gateway", 1],
        "Bearer",
        "DPoP",
        "refresh_token",
        "access_token",
        ISS,
        [ISS],
        now,
        now + 100,
        now - 100,
        now + 1_000_000,
        now.to_string(),
        "",
    ]);
    select(values.as_array().unwrap().clone())
}

/// The members that decide.
const MEMBERS: &str = "active iss exp iat nbf aud token_type token_use typ cnf events sub";

fn member() -> impl Strategy<Value = &'static str> {
    select(MEMBERS.split(' ').collect::<Vec<_>>())
}

/// Whether a body, as far as a lenient reader sees it, states a valid token.
fn may_be_valid(body: &[u8]) -> bool {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return false };
    let number = |name: &str| members.get(name).and_then(Value::as_f64);
    let is_there = |name: &str| members.get(name).is_some_and(|value| !value.is_null());
    let is_text = |name: &str, allowed: &[&str]| {
        !is_there(name) || members[name].as_str().is_some_and(|text| allowed.contains(&text))
    };
    let aud = &members.get("aud").cloned().unwrap_or_default();
    let now = seconds(0) as f64;
    members.get("active") == Some(&Value::Bool(true))
        && is_text("iss", &[ISS])
        && is_text("token_type", &["Bearer"])
        && is_text("token_use", &["access_token", "access"])
        && is_text("typ", &["Bearer", "JWT", "at+jwt"])
        && number("exp").is_some_and(|exp| exp + 6.0 > now)
        && number("iat").is_some_and(|iat| iat < now + 6.0)
        && (aud == "gateway" || aud.as_array().is_some_and(|all| all.iter().any(|one| one == "gateway")))
        && !is_there("cnf")
        && !is_there("events")
}

fn verdict(body: &[u8]) -> Result<Claims, TokenError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let world = World::without_task(Bounds::default(), |_| {});
        world.say(TOKEN, String::from_utf8_lossy(body));
        let verdict = world.accept(TOKEN).await;
        // Neither is it accepted by what is remembered.
        assert_eq!(world.verifier.verify(TOKEN).is_ok(), verdict.is_ok());
        assert_eq!(world.state().tokens, usize::from(verdict.is_ok()));
        verdict
    })
}

proptest! {
    #[test]
    fn no_odd_member_makes_a_token_valid(changes in vec((member(), odd()), 0..4), is_bare: bool) {
        let mut statement = if is_bare { json!({}) } else { active(json!({})) };
        for (name, value) in &changes {
            statement[*name] = value.clone();
        }
        let body = statement.to_string();
        let is_valid = verdict(body.as_bytes()).is_ok();
        prop_assert!(!is_valid || may_be_valid(body.as_bytes()), "{body}");
        prop_assert!(is_valid || is_bare || !changes.is_empty());
    }

    #[test]
    fn no_odd_text_makes_a_token_valid(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
        is_cut: bool,
    ) {
        let mut body = active(json!({})).to_string().into_bytes();
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if is_cut {
            body.truncate(cut.index(body.len()));
        }
        let body = String::from_utf8_lossy(&body).into_owned().into_bytes();
        prop_assert!(verdict(&body).is_err() || may_be_valid(&body), "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn no_text_at_all_makes_a_token_valid(body in ".{0,200}") {
        prop_assert!(verdict(body.as_bytes()).is_err());
    }
}
