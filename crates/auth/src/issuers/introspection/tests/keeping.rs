//! Tokens in use are asked about again.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_connections_of_a_revoked_token_are_terminated_within_a_minute() {
    let world = World::start();
    world.takes(SECOND);
    world.say_active(TOKEN);
    world.say_active(OTHER);
    world.connect(TOKEN).await;
    world.connect(OTHER).await;
    // Right after the second question.
    world.until(56).await;
    world.say_inactive(TOKEN);
    world.until(110).await;
    assert_eq!(world.ended(TOKEN), []);
    world.until(112).await;
    assert_eq!(world.ended(TOKEN), [(111, "token no longer active".to_owned())]);
    assert_eq!(world.asked(TOKEN), [0, 55, 110]);
    world.until(3600).await;
    assert_eq!((world.ended(TOKEN).len(), world.ended(OTHER).len()), (1, 0));
    assert!(world.is_open(OTHER));
    let asked = world.asked(OTHER);
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] == 55), "{asked:?}");
    // The other one is forgotten a minute after its last use.
    assert_eq!((world.asked(TOKEN).len(), world.state().tokens), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_without_connections_is_forgotten() {
    let world = World::start();
    world.say_active(TOKEN);
    world.accept(TOKEN).await.unwrap();
    world.until(20).await;
    world.accept(TOKEN).await.unwrap();
    world.until(100).await;
    assert_eq!((world.asked(TOKEN), world.state().tokens), (vec![0, 55], 1));
    world.until(111).await;
    assert_eq!(world.state().tokens, 0);
    world.until(3600).await;
    assert_eq!(world.asked(TOKEN), [0, 55]);
    // Its connections are found however late they are registered, if it is used again.
    world.connect(TOKEN).await;
    world.say_inactive(TOKEN);
    world.until(3660).await;
    assert_eq!(world.ended(TOKEN).len(), 1);
}

/// A request may verify a token and register its connection a moment after the token was found
/// inactive.
#[tokio::test(start_paused = true)]
async fn a_connection_that_is_registered_late_is_terminated_too() {
    let world = World::start();
    world.say_active(TOKEN);
    world.connect(TOKEN).await;
    world.until(29).await;
    assert!(world.verifier.verify(TOKEN).is_ok(), "a second request, whose checks take a while");
    world.say_inactive(TOKEN);
    world.until(56).await;
    assert_eq!(world.ended(TOKEN).len(), 1);
    // The second request is that far, and a third one, which was even slower.
    world.register(TOKEN);
    world.until(59).await;
    assert_eq!(world.ended(TOKEN).len(), 2);
    world.until(80).await;
    world.register(TOKEN);
    world.until(83).await;
    assert_eq!(world.ended(TOKEN).len(), 3);
    assert!(!world.is_open(TOKEN));
    // No question was needed for that.
    assert_eq!(world.asked(TOKEN), [0, 55]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_terminated_where_nothing_is_open() {
    let world = World::start();
    world.say_active(TOKEN);
    world.accept(TOKEN).await.unwrap();
    world.say_inactive(TOKEN);
    world.until(300).await;
    assert_eq!((world.ended(TOKEN), world.state().tokens), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_claims_are_no_longer_accepted_is_terminated() {
    let world = World::start();
    world.say_active(TOKEN);
    world.connect(TOKEN).await;
    world.say(TOKEN, active(json!({"aud": "other"})));
    world.until(56).await;
    assert_eq!(world.ended(TOKEN), [(55, "token no longer accepted: wrong audience".to_owned())]);
    assert_eq!(world.accept(TOKEN).await.unwrap_err(), TokenError::Audience);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_finds_a_token_inactive_terminates_its_connections_at_once() {
    let world = World::start();
    world.say_active(TOKEN);
    world.connect(TOKEN).await;
    world.say_inactive(TOKEN);
    world.until(31).await;
    assert_eq!(world.accept(TOKEN).await.unwrap_err(), TokenError::Inactive);
    sleep(SOON).await;
    assert_eq!(world.ended(TOKEN), [(31, "token no longer active".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_active_again_is_kept_again() {
    let world = World::start();
    world.say_active(TOKEN);
    world.connect(TOKEN).await;
    world.say_inactive(TOKEN);
    world.until(56).await;
    assert_eq!(world.ended(TOKEN).len(), 1);
    world.say_active(TOKEN);
    world.until(66).await;
    world.connect(TOKEN).await;
    world.until(200).await;
    assert_eq!(world.ended(TOKEN).len(), 1);
    assert!(world.is_open(TOKEN));
    world.say_inactive(TOKEN);
    world.until(240).await;
    assert_eq!(world.ended(TOKEN).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_used_token_is_asked_about_by_its_requests_only() {
    let world = World::start();
    world.say_active(TOKEN);
    for second in (0..300).step_by(10) {
        world.until(second).await;
        world.accept(TOKEN).await.unwrap();
    }
    let asked = world.asked(TOKEN);
    assert!(asked.windows(2).all(|pair| (30..=40).contains(&(pair[1] - pair[0]))), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn the_secret_is_looked_at_every_5_s_and_the_task_leaves_when_it_is_asked_to() {
    let world = World::without_task(Bounds::default(), |_| {});
    let leaving = sleep(60 * SECOND);
    keep_tokens(world.issuer.clone(), world.connections.clone(), leaving).await;
    assert_eq!(world.begin.elapsed().as_secs(), 60);
    let refreshed = world.provider.script.lock().refreshed;
    assert!((12..=13).contains(&refreshed), "{refreshed}");
}
