use std::pin::pin;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::issuers::demand::Demand;

#[tokio::test(start_paused = true)]
async fn i05_a_new_key_is_fetched_for_the_first_token_that_names_it() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(1).await;
    sleep(SECOND).await;
    kept.answer(Answer::Keys(vec!["a", "b"]));
    kept.takes(SECOND);
    let results = join_all((0..100).map(|_| kept.refetched("b"))).await;
    assert!(results.iter().all(|result| *result == Refetched::Fetched), "{results:?}");
    assert!(kept.has("b"));
    assert_eq!(kept.fetches().len(), 2, "one fetch for all");
    assert_eq!(kept.last_hint(), Hint::OnDemand);
    // One that has verified with the old keys, and comes late.
    assert_eq!(kept.refetched("b").await, Refetched::Fetched);
    assert_eq!(kept.fetches().len(), 2);
    // The regular fetch comes when it would have come.
    kept.wait_for_fetches(3).await;
    assert_about(kept.fetches()[2], 5 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn i06_random_kids_cause_few_fetches_and_take_no_memory() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(1).await;
    let begin = kept.fetches().len();
    for second in 0..10 {
        let kids: Vec<_> = (0..1000).map(|number| format!("{second}-{number}{}", "x".repeat(5000))).collect();
        join_all(kids.iter().map(|kid| kept.refetched(kid))).await;
        sleep(SECOND).await;
    }
    let fetches = kept.fetches().len() - begin;
    assert!((3..=4).contains(&fetches), "{fetches} fetches");
    let unknown = kept.issuer.state().unknown_keys;
    assert_eq!((unknown.tokens, unknown.fetches, unknown.absent), (10_000, 3, 128));
    assert_eq!(unknown.last.unwrap().0, Refetched::Limited);
    assert!(kept.has("a"), "good tokens are not concerned");
    // One more each 30 s.
    sleep(31 * SECOND).await;
    assert_eq!(kept.refetched("later").await, Refetched::Fetched);
    assert_eq!(kept.refetched("too soon").await, Refetched::Limited);
}

#[tokio::test(start_paused = true)]
async fn a_kid_that_was_absent_causes_no_fetch_until_the_next_regular_one() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(1).await;
    assert_eq!(kept.refetched("old").await, Refetched::Fetched);
    for _ in 0..10 {
        sleep(5 * SECOND).await;
        assert_eq!(kept.refetched("old").await, Refetched::Absent);
    }
    assert_eq!(kept.fetches().len(), 2);
    // A fetch for another one changes nothing: the two could take turns.
    assert_eq!(kept.refetched("other").await, Refetched::Fetched);
    assert_eq!(kept.refetched("old").await, Refetched::Absent);
    kept.wait_for_fetches(4).await;
    assert_eq!(kept.refetched("old").await, Refetched::Missing);
    assert_eq!(kept.fetches().len(), 5);
}

/// The issuer may have published it right after the fetch.
#[tokio::test(start_paused = true)]
async fn a_key_that_could_not_be_looked_for_is_found_a_minute_later() {
    for kids in [vec!["new"], vec!["x", "y", "z"]] {
        let kept = Kept::start_with(Answer::Keys(vec!["a"]), |config| config.keys_refresh = 60 * 24 * MINUTE);
        kept.wait_for_fetches(1).await;
        for kid in &kids {
            assert_eq!(kept.refetched(kid).await, Refetched::Fetched);
        }
        kept.answer(Answer::Keys(vec!["a", "new"]));
        sleep(SECOND).await;
        let refused = kept.refetched("new").await;
        assert!(matches!(refused, Refetched::Absent | Refetched::Limited), "{refused:?}");
        sleep(59 * SECOND).await;
        assert!(!kept.has("new"), "{kids:?}");
        sleep(2 * SECOND).await;
        assert!(kept.has("new"), "{kids:?}");
        // Brought forward once, since nothing was refused afterwards.
        let fetches = kept.fetches().len();
        sleep(60 * MINUTE).await;
        assert_eq!(kept.fetches().len(), fetches, "{kids:?}");
    }
}

/// Another one would be refused although the regular fetch may have brought its key.
#[tokio::test(start_paused = true)]
async fn a_kid_is_not_absent_if_a_regular_fetch_has_ended_since() {
    let demand = Demand::default();
    let mut request = pin!(demand.refetched(Some("new"), SECOND, || false));
    assert_eq!(request.as_mut().now_or_never(), None);
    for is_regular in [false, true] {
        demand.begin();
        demand.end(true, is_regular);
    }
    assert_eq!(request.await, Refetched::Fetched);
    assert_eq!(demand.report().absent, 0);
}

#[tokio::test(start_paused = true)]
async fn tokens_without_a_kid_are_one_unknown_key() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(1).await;
    assert_eq!(kept.issuer.refetched(None, SECOND).await, Refetched::Fetched);
    assert_eq!(kept.issuer.refetched(None, SECOND).await, Refetched::Absent);
    // An empty kid is another one.
    assert_eq!(kept.issuer.refetched(Some(""), SECOND).await, Refetched::Fetched);
}

/// A key that could not be looked for is not absent.
#[tokio::test(start_paused = true)]
async fn a_fetch_that_fails_says_nothing_about_a_kid() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(1).await;
    kept.answer(Answer::Failure("status 500"));
    assert_eq!(kept.refetched("b").await, Refetched::Failed);
    kept.answer(Answer::Keys(vec!["a", "b"]));
    assert_eq!(kept.refetched("b").await, Refetched::Fetched);
    assert!(kept.has("b"));
}

#[tokio::test(start_paused = true)]
async fn fetches_on_demand_neither_delay_nor_prolong_the_schedule() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.provider.0.lock().fresh_for = Some(24 * 60 * MINUTE);
    kept.wait_for_fetches(1).await;
    while kept.now() < 60 * MINUTE {
        sleep(31 * SECOND).await;
        kept.refetched(&format!("{:?}", kept.now())).await;
    }
    let regular: Vec<_> = kept
        .provider
        .0
        .lock()
        .fetches
        .iter()
        .filter(|(_, hint)| *hint != Hint::OnDemand)
        .map(|(at, _)| *at)
        .collect();
    for pair in regular.windows(2) {
        assert_about(pair[1] - pair[0], 5 * MINUTE);
    }
    assert!(regular.len() >= 11, "{regular:?}");
    // The same while it fails: tries on demand do not make the pauses longer.
    sleep(2 * MINUTE).await;
    kept.answer(Answer::Failure("status 500"));
    kept.wait_for_fetches(kept.fetches().len() + 1).await;
    let first = kept.now();
    for number in 0..3 {
        assert_eq!(kept.refetched(&format!("during {number}")).await, Refetched::Failed);
    }
    let count = kept.fetches().len();
    kept.wait_for_fetches(count + 1).await;
    assert_about(kept.now() - first, 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_failure_on_demand_is_tried_again_soon() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(1).await;
    kept.answer(Answer::Failure("status 500"));
    sleep(10 * SECOND).await;
    assert_eq!(kept.refetched("b").await, Refetched::Failed);
    kept.wait_for_fetches(3).await;
    assert_about(kept.fetches()[2] - kept.fetches()[1], 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_running_fetch_is_shared_but_is_not_the_last_word() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.takes(2 * SECOND);
    sleep(3 * SECOND).await;
    // This fetch is answered from before the key was added.
    let (early, late) = tokio::join!(kept.refetched("x"), async {
        sleep(SECOND).await;
        kept.answer(Answer::Keys(vec!["a", "b"]));
        kept.refetched("b").await
    });
    assert_eq!((early, late), (Refetched::Fetched, Refetched::Fetched));
    assert!(kept.has("b"));
    assert_eq!(kept.fetches().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_break_the_fetch_of_others() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(1).await;
    kept.answer(Answer::Keys(vec!["a", "b"]));
    kept.takes(2 * SECOND);
    let first = kept.issuer.clone();
    let first = tokio::spawn(async move { first.refetched(Some("b"), 5 * SECOND).await });
    sleep(SECOND).await;
    first.abort();
    assert_eq!(kept.refetched("b").await, Refetched::Fetched);
    assert_eq!(kept.fetches().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_no_longer_than_it_says() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(1).await;
    kept.takes(5 * SECOND);
    let begin = Instant::now();
    assert_eq!(kept.issuer.refetched(Some("b"), 2 * SECOND).await, Refetched::Failed);
    assert_eq!(begin.elapsed().as_secs(), 2);
    // Nor if no task fetches.
    let issuer = Issuers::new(vec![IssuerConfig::new("x", "https://x.example", Audience::Any)]);
    let issuer = issuer.iter().next().unwrap();
    assert_eq!(issuer.refetched(Some("b"), 2 * SECOND).await, Refetched::Failed);
    assert_eq!(issuer.state().next_fetch, None);
}

/// Where the key set has moved, the old place may still answer.
#[tokio::test(start_paused = true)]
async fn a_kid_that_is_absent_makes_the_next_regular_fetch_look_at_the_metadata() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(2).await;
    assert_eq!(kept.last_hint(), Hint::Regular);
    assert_eq!(kept.refetched("b").await, Refetched::Fetched);
    kept.wait_for_fetches(4).await;
    assert_eq!(kept.last_hint(), Hint::Moved);
    kept.wait_for_fetches(5).await;
    assert_eq!(kept.last_hint(), Hint::Regular);
}
