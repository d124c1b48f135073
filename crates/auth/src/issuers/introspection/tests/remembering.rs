//! How long an answer counts, and who asks.

use super::*;
use crate::issuers::MAX_TOKEN;
use crate::issuers::testing::{ISS, Log, seconds};

#[tokio::test(start_paused = true)]
async fn an_active_token_is_accepted_with_its_claims_and_its_mark() {
    let world = World::without_task(Bounds::default(), |_| {});
    world.say_active(TOKEN);
    assert_eq!(world.verifier.verify(TOKEN).unwrap_err(), TokenError::Unasked);
    assert_eq!(world.questions(), 0);
    let claims = world.accept(TOKEN).await.unwrap();
    assert_eq!(claims.pointer("/sub").unwrap(), "alice");
    assert_eq!(claims.issuer.as_deref(), Some(ISS));
    // As computed by sha256sum and base64url.
    assert_eq!(claims.marks, [("token", "bJYTDxMKsNbRWDl-JNK8wcml5zrggfbpg_HHtUXSSkw".into())]);
    let again = world.verifier.verify(TOKEN).unwrap();
    assert_eq!((again.map, again.marks), (claims.map, claims.marks));
    assert_eq!(world.questions(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_active_token_is_remembered_for_30_s_however_often_it_is_used() {
    let world = World::without_task(Bounds::default(), |_| {});
    world.takes(2 * SECOND);
    world.say_active(TOKEN);
    let claims = world.accept(TOKEN).await.unwrap();
    world.say_inactive(TOKEN);
    for second in 2..30 {
        world.until(second).await;
        assert!(world.verifier.verify(TOKEN).is_ok() && !claims.must_be_checked(), "after {second} s");
        assert!(world.accept(TOKEN).await.is_ok(), "after {second} s");
    }
    // Counted from the question, not from the answer or the last use.
    world.until(30).await;
    assert!(claims.must_be_checked());
    assert_eq!(world.verifier.verify(TOKEN).unwrap_err(), TokenError::Unasked);
    assert_eq!(world.questions(), 1);
    assert_eq!(world.accept(TOKEN).await.unwrap_err(), TokenError::Inactive);
    assert_eq!(world.questions(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_is_checked_again_by_then() {
    let world = World::without_task(Bounds::default(), |config| config.leeway = Duration::ZERO);
    world.say(TOKEN, active(json!({"exp": seconds(10)})));
    let claims = world.accept(TOKEN).await.unwrap();
    let until = claims.checked_until.unwrap() - world.begin;
    assert!((9 * SECOND..=11 * SECOND).contains(&until), "{until:?}");
}

#[tokio::test(start_paused = true)]
async fn an_inactive_token_is_remembered_for_10_s() {
    let world = World::without_task(Bounds::default(), |_| {});
    assert_eq!(world.accept(TOKEN).await.unwrap_err(), TokenError::Inactive);
    world.say_active(TOKEN);
    for second in 0..10 {
        world.until(second).await;
        assert_eq!(world.verifier.verify(TOKEN).unwrap_err(), TokenError::Inactive);
        assert_eq!(world.accept(TOKEN).await.unwrap_err(), TokenError::Inactive, "after {second} s");
    }
    assert_eq!(world.questions(), 1);
    world.until(10).await;
    assert_eq!(world.verifier.verify(TOKEN).unwrap_err(), TokenError::Unasked);
    assert!(world.accept(TOKEN).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn many_requests_with_one_token_are_one_question() {
    let world = World::without_task(Bounds::default(), |_| {});
    world.takes(SECOND);
    world.say_active(TOKEN);
    let requests = (0..1000).map(|_| world.accept(TOKEN));
    let verdicts = futures_util::future::join_all(requests).await;
    assert!(verdicts.iter().all(Result::is_ok));
    assert_eq!(world.questions(), 1);
    assert_eq!(world.begin.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_asks_may_go_away_and_the_others_have_their_answer() {
    let world = Arc::new(World::without_task(Bounds::default(), |_| {}));
    world.takes(3 * SECOND);
    world.say_active(TOKEN);
    let spawn = || {
        let world = world.clone();
        tokio::spawn(async move { world.accept(TOKEN).await })
    };
    let first = spawn();
    world.until(1).await;
    let second = spawn();
    world.until(2).await;
    first.abort();
    assert!(second.await.unwrap().is_ok());
    assert_eq!((world.questions(), world.begin.elapsed().as_secs()), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_remembered_and_the_log_says_it_once() {
    let (log, _guard) = Log::start();
    let world = World::without_task(Bounds::default(), |_| {});
    world.fail(TOKEN, "https://id.example/introspect: status 500");
    for _ in 0..3 {
        assert_eq!(world.accept(TOKEN).await.unwrap_err(), TokenError::Unavailable);
        assert_eq!(world.verifier.verify(TOKEN).unwrap_err(), TokenError::Unasked);
    }
    assert_eq!(world.questions(), 3);
    assert_eq!(world.state().last_error.as_deref(), Some("https://id.example/introspect: status 500"));
    let expected = r#"WARN an issuer cannot be asked about its tokens issuer=main error="https://id.example/introspect: status 500""#;
    assert_eq!(log.lines(), [expected]);
    world.say_active(TOKEN);
    assert!(world.accept(TOKEN).await.is_ok());
    assert_eq!(world.state(), Introspected { tokens: 1, last_error: None });
    assert_eq!(log.lines(), ["INFO an issuer can be asked about its tokens again issuer=main"]);
    // A stranger whose token the issuer fails on cannot fill the log.
    world.fail(OTHER, "https://id.example/introspect: status 500");
    for second in [30, 40, 59] {
        world.until(second).await;
        assert!(world.accept(OTHER).await.is_err());
        assert!(world.accept(TOKEN).await.is_ok());
    }
    assert_eq!(log.lines(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_to_the_issuer_with_the_longest_prefix_and_to_no_other() {
    let begin = Instant::now();
    let providers = ["", "ory_", "ory_at_"].map(|prefix| {
        let script = Mutex::default();
        (prefix, Arc::new(Provider { script, begin }))
    });
    let configs = providers.iter().map(|(prefix, _)| {
        let mut config = IssuerConfig::new("any", format!("https://{prefix}.example"), Audience::Any);
        config.introspection = Some(asked_with_prefix(prefix));
        config
    });
    let issuers = Issuers::with(configs.collect(), |config, _| {
        let prefix = &config.introspection.as_ref().unwrap().prefix;
        let (_, provider) = providers.iter().find(|(its, _)| its == prefix).unwrap();
        Some(Introspection::with(provider.clone(), Bounds::default(), Duration::ZERO))
    });
    let verifier = verifier_of(issuers);
    let asked = || providers.each_ref().map(|(_, provider)| provider.script.lock().asked.len());
    for (token, expected) in
        [("ory_at_1", [0, 0, 1]), ("ory_rt_1", [0, 1, 1]), ("gho_1", [1, 1, 1]), ("ORY_AT_1", [2, 1, 1])]
    {
        assert_eq!(verifier.verify_fetching(token).await.unwrap_err(), TokenError::Inactive, "{token}");
        assert_eq!(asked(), expected, "{token}");
    }
    // Three parts that can be decoded are no JWT without its header.
    for (token, number) in [("eyJ1IjoxfQ.Zx1aBA.abcd", 3), ("abc.abcd.efgh", 4), ("x.eyJhIjoxfQ.y", 5)] {
        assert_eq!(verifier.verify_fetching(token).await.unwrap_err(), TokenError::Inactive, "{token}");
        assert_eq!(asked(), [number, 1, 1], "{token}");
    }
    // What no header of a request can hold, and what is too long, reaches no issuer.
    let long = "a".repeat(MAX_TOKEN + 1);
    for token in ["ory_at_1\r\nx: y", "ory_at_1 ", "ory_at_\u{e9}", "ory_at_%31", "", "ory\u{0}", &long] {
        assert_eq!(verifier.verify_fetching(token).await.unwrap_err(), TokenError::Signature);
        assert_eq!(verifier.verify(token).unwrap_err(), TokenError::Signature);
    }
    assert_eq!(asked(), [5, 1, 1]);
    let longest = "a".repeat(MAX_TOKEN);
    assert_eq!(verifier.verify_fetching(&longest).await.unwrap_err(), TokenError::Inactive);
}
