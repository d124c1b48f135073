//! What is bounded.

use super::*;
use crate::issuers::testing::Log;

fn bounds(tokens: usize, bytes: usize, refused: usize) -> Bounds {
    Bounds { tokens, bytes, refused }
}

#[tokio::test(start_paused = true)]
async fn invented_tokens_displace_no_active_one_and_are_remembered_in_bounds() {
    let world = World::without_task(bounds(4, 1 << 20, 8), |_| {});
    for number in 0..4 {
        world.say_active(&format!("good-{number}"));
        world.accept(&format!("good-{number}")).await.unwrap();
    }
    for number in 0..100 {
        assert_eq!(world.accept(&format!("bad-{number}")).await.unwrap_err(), TokenError::Inactive);
        assert!(world.issuer.introspection.as_ref().unwrap().store.lock().refusals() <= 8);
    }
    let asked = world.questions();
    for number in 0..4 {
        assert!(world.verifier.verify(&format!("good-{number}")).is_ok());
    }
    // The last ones are still known, the first ones are not.
    assert_eq!(world.verifier.verify("bad-99").unwrap_err(), TokenError::Inactive);
    assert_eq!(world.verifier.verify("bad-0").unwrap_err(), TokenError::Unasked);
    assert_eq!(world.questions(), asked);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refused_if_all_remembered_ones_have_connections() {
    let (log, _guard) = Log::start();
    let world = World::start_with(bounds(16, 1 << 20, 8), |_| {});
    let tokens: Vec<_> = (0..17).map(|number| format!("token-{number}")).collect();
    for token in &tokens {
        world.say_active(token);
    }
    for token in &tokens[..16] {
        world.connect(token).await;
    }
    for second in [0, 30, 50] {
        world.until(second).await;
        assert_eq!(world.accept(&tokens[16]).await.unwrap_err(), TokenError::Unavailable);
    }
    assert_eq!(world.state().tokens, 16);
    let reason = "as many tokens are in use as may be remembered";
    assert_eq!(world.state().last_error.as_deref(), Some(reason));
    assert_eq!(log.lines().len(), 1);
    assert!(tokens[..16].iter().all(|token| world.is_open(token)));
    assert!(world.verifier.verify(&tokens[16]).is_err());
}

#[tokio::test(start_paused = true)]
async fn tokens_without_connections_make_room() {
    let world = World::start_with(bounds(16, 1 << 20, 8), |_| {});
    let tokens: Vec<_> = (0..40).map(|number| format!("token-{number}")).collect();
    for token in &tokens {
        world.say_active(token);
    }
    for (number, token) in tokens[..16].iter().enumerate() {
        world.accept(token).await.unwrap();
        if number % 2 == 0 {
            world.register(token);
        }
    }
    // A token that was just used may be about to have a connection.
    assert_eq!(world.accept(&tokens[16]).await.unwrap_err(), TokenError::Unavailable);
    world.until(16).await;
    assert_eq!(world.accept(&tokens[17]).await.unwrap_err(), TokenError::Unavailable);
    sleep(SOON).await;
    for token in &tokens[18..26] {
        world.accept(token).await.unwrap();
    }
    assert_eq!(world.state().tokens, 16);
    // Those with connections are still asked about.
    for token in &tokens {
        world.say_inactive(token);
    }
    world.until(60).await;
    let ended = tokens[..16].iter().map(|token| world.ended(token).len()).collect::<Vec<_>>();
    assert_eq!(ended, [1, 0].repeat(8));
}

#[tokio::test(start_paused = true)]
async fn the_texts_are_bounded_too() {
    let size = TOKEN.len() + active(json!({})).to_string().len();
    let world = World::without_task(bounds(100, 3 * size, 8), |_| {});
    let tokens = ["a", "b", "c", "d"].map(|letter| letter.repeat(TOKEN.len()));
    for token in &tokens {
        world.say_active(token);
    }
    for token in &tokens[..3] {
        world.accept(token).await.unwrap();
    }
    assert_eq!(world.accept(&tokens[3]).await.unwrap_err(), TokenError::Unavailable);
    // What the issuer states about a token may grow.
    world.until(31).await;
    world.say(&tokens[0], active(json!({"groups": "x".repeat(1000)})));
    assert_eq!(world.accept(&tokens[0]).await.unwrap_err(), TokenError::Unavailable);
    assert!(world.accept(&tokens[1]).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn requests_ask_64_questions_at_once_and_the_others_wait_for_5_s() {
    let world = World::without_task(Bounds::default(), |_| {});
    world.takes(4 * SECOND);
    let tokens: Vec<_> = (0..200).map(|number| format!("token-{number}")).collect();
    let verdicts = futures_util::future::join_all(tokens.iter().map(|token| world.accept(token))).await;
    let count = |error| verdicts.iter().filter(|verdict| verdict.as_ref().err() == Some(&error)).count();
    assert_eq!((count(TokenError::Inactive), count(TokenError::Unavailable)), (64, 136));
    assert_eq!(world.begin.elapsed().as_secs(), 5);
    assert_eq!(world.provider.script.lock().most_running, 64);
    // Those who wait no longer cause no question.
    world.until(60).await;
    assert_eq!(world.questions(), 128);
}

#[tokio::test(start_paused = true)]
async fn requests_with_one_token_that_wait_for_a_place_share_a_question() {
    let world = World::without_task(Bounds::default(), |_| {});
    world.takes(2 * SECOND);
    world.say_active(TOKEN);
    let others: Vec<_> = (0..64).map(|number| format!("token-{number}")).collect();
    let tokens = others.iter().map(String::as_str).chain([TOKEN; 50]);
    let verdicts = futures_util::future::join_all(tokens.map(|token| world.accept(token))).await;
    assert!(verdicts[64..].iter().all(Result::is_ok));
    assert_eq!((world.asked(TOKEN), world.questions()), (vec![2], 65));
}

#[tokio::test(start_paused = true)]
async fn many_tokens_in_use_are_asked_about_16_at_once_while_requests_have_places_of_their_own() {
    let world = World::start();
    let tokens: Vec<_> = (0..2000).map(|number| format!("token-{number}")).collect();
    for token in &tokens {
        world.say_active(token);
        world.connect(token).await;
    }
    world.takes(Duration::from_millis(20));
    for token in &tokens {
        world.say_inactive(token);
    }
    world.until(56).await;
    world.accept(OTHER).await.unwrap_err();
    assert!(world.begin.elapsed() < 57 * SECOND);
    world.until(60).await;
    assert!(tokens.iter().all(|token| world.ended(token).len() == 1));
    let most = world.provider.script.lock().most_running;
    assert!((16..=17).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_token_or_of_what_is_said_about_it_is_shown() {
    let world = World::without_task(Bounds::default(), |_| {});
    let (log, _guard) = Log::start();
    world.say_active(TOKEN);
    let claims = world.accept(TOKEN).await.unwrap();
    world.fail(OTHER, "down");
    world.accept(OTHER).await.unwrap_err();
    let Ok(Answer::Active(statement)) = Answer::read(active(json!({})).to_string().as_bytes()) else {
        panic!("a good answer")
    };
    let shown = format!(
        "{claims:?} {:?} {:?} {:?} {statement:?} {:?}",
        world.issuer,
        world.verifier,
        world.state(),
        log.lines()
    );
    assert!(![TOKEN, OTHER, "alice"].iter().any(|secret| shown.contains(secret)), "{shown}");
}
