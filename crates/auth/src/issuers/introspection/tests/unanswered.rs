//! The issuer cannot be asked.

use super::*;

fn stale(seconds: u64) -> String {
    format!("the issuer could not be asked for {seconds} s")
}

#[tokio::test(start_paused = true)]
async fn connections_stay_for_keys_max_stale_after_the_first_failure() {
    let world = World::start_with(Bounds::default(), |config| config.keys_max_stale = 600 * SECOND);
    world.say_active(TOKEN);
    world.connect(TOKEN).await;
    world.fail(TOKEN, "down");
    world.fail(OTHER, "down");
    world.until(654).await;
    assert_eq!(world.ended(TOKEN), []);
    assert_eq!(world.accept(OTHER).await.unwrap_err(), TokenError::Unavailable, "a new one");
    assert_eq!(world.asked(TOKEN)[..7], [0, 55, 60, 70, 90, 130, 185]);
    world.until(656).await;
    assert_eq!(world.ended(TOKEN), [(655, stale(600))]);
    // Terminated again if it connects, and accepted again when the issuer says so.
    world.register(TOKEN);
    world.until(659).await;
    assert_eq!(world.ended(TOKEN).len(), 2);
    world.say_active(TOKEN);
    world.connect(TOKEN).await;
    world.until(1300).await;
    assert_eq!(world.ended(TOKEN).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_starts_anew() {
    let world = World::start_with(Bounds::default(), |config| config.keys_max_stale = 600 * SECOND);
    world.say_active(TOKEN);
    world.connect(TOKEN).await;
    for outage in [50, 700, 1400] {
        world.until(outage).await;
        world.fail(TOKEN, "down");
        world.until(outage + 500).await;
        world.say_active(TOKEN);
    }
    world.until(3000).await;
    assert!(world.is_open(TOKEN));
    world.say_inactive(TOKEN);
    world.until(3060).await;
    assert_eq!(world.ended(TOKEN).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_patience_the_first_failure_counts() {
    let world = World::start_with(Bounds::default(), |config| config.keys_max_stale = Duration::ZERO);
    world.say_active(TOKEN);
    world.connect(TOKEN).await;
    world.until(100).await;
    assert!(world.is_open(TOKEN));
    world.fail(TOKEN, "down");
    world.until(111).await;
    assert_eq!(world.ended(TOKEN), [(110, stale(0))]);
}

/// Questions wait for each other, so that most tokens are not asked about at all.
#[tokio::test(start_paused = true)]
async fn a_token_that_cannot_be_asked_about_in_time_counts_as_unanswered() {
    let world = World::start_with(Bounds::default(), |config| config.keys_max_stale = 120 * SECOND);
    let tokens: Vec<_> = (0..500).map(|number| format!("token-{number}")).collect();
    for token in &tokens {
        world.say_active(token);
        world.connect(token).await;
        world.fail(token, "no answer within 5 s");
    }
    world.takes(5 * SECOND);
    world.until(170).await;
    assert!(tokens.iter().all(|token| world.is_open(token)));
    world.until(190).await;
    let ended: Vec<_> = tokens.iter().map(|token| world.ended(token)).collect();
    assert!(ended.iter().all(|ended| ended.len() == 1 && (175..=181).contains(&ended[0].0)), "{ended:?}");
    assert!(tokens.iter().any(|token| world.asked(token).len() == 1), "some were never asked about again");
    assert!(world.provider.script.lock().most_running <= 16);
}
