use super::*;
use crate::issuers::OnWithdrawn;

#[tokio::test(start_paused = true)]
async fn i09_a_key_that_comes_back_was_not_withdrawn() {
    let kept = Kept::start(Answer::Keys(vec!["a", "b"]));
    kept.wait_for_fetches(1).await;
    kept.answer(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(2).await;
    assert!(!kept.has("b"), "its tokens are refused in between");
    kept.answer(Answer::Keys(vec!["a", "b"]));
    kept.wait_for_fetches(3).await;
    assert!(kept.has("b"));
    let fetches = kept.fetches();
    assert!((30 * SECOND..31 * SECOND).contains(&(fetches[2] - fetches[1])), "{fetches:?}");
    kept.wait_for_fetches(6).await;
    assert!(kept.withdrawn.lock().is_empty());
    assert_eq!(kept.issuer.state().withdrawn, 0);
    // The fetches have their interval again.
    let fetches = kept.fetches();
    assert_about(fetches[3] - fetches[2], 5 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn i10_a_key_is_withdrawn_by_the_second_fetch_without_it() {
    for second in [Answer::Keys(vec!["a", "b/1"]), Answer::NotModified] {
        let kept = Kept::start(Answer::Keys(vec!["a", "b"]));
        kept.wait_for_fetches(1).await;
        let epoch = kept.issuer.keys.epoch();
        let withdrawn_at = kept.now();
        // The same `kid` is another key.
        kept.answer(Answer::Keys(vec!["a", "b/1"]));
        kept.wait_for_fetches(2).await;
        let refused = thumbprint("b");
        let current = kept.issuer.keys.current().unwrap();
        assert!(current.thumbprints().all(|key| key != refused) && kept.has("b"));
        assert_eq!(kept.issuer.keys.epoch(), epoch + 1);
        assert!(kept.withdrawn.lock().is_empty());
        kept.answer(second);
        kept.wait_for_fetches(3).await;
        let withdrawn = kept.withdrawn.lock().clone();
        assert_eq!(withdrawn.len(), 1);
        assert_eq!(withdrawn[0].1, refused);
        let bound = 5 * MINUTE + 30 * SECOND + 30 * SECOND;
        assert!(withdrawn[0].0 - withdrawn_at < bound, "interval, a tenth of it, and 30 s");
        // Once.
        kept.wait_for_fetches(6).await;
        assert_eq!(kept.withdrawn.lock().len(), 1);
        assert_eq!(kept.issuer.state().withdrawn, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn i10_fetches_within_thirty_seconds_confirm_nothing() {
    let kept = Kept::start(Answer::Keys(vec!["a", "b"]));
    kept.wait_for_fetches(1).await;
    kept.answer(Answer::Keys(vec!["a"]));
    // The first fetch without the key is one on demand.
    assert_eq!(kept.refetched("x").await, Refetched::Fetched);
    let first = kept.now();
    for _ in 0..2 {
        sleep(10 * SECOND).await;
        assert_eq!(kept.refetched(&format!("y{}", kept.fetches().len())).await, Refetched::Fetched);
        assert!(kept.withdrawn.lock().is_empty());
    }
    sleep(30 * SECOND).await;
    let withdrawn = kept.withdrawn.lock().clone();
    assert_eq!(withdrawn.len(), 1);
    assert!((30 * SECOND..31 * SECOND).contains(&(withdrawn[0].0 - first)), "{withdrawn:?}");
}

#[tokio::test(start_paused = true)]
async fn i10_failures_confirm_nothing_and_an_outage_does_not_hide_a_withdrawal() {
    let kept = Kept::start(Answer::Keys(vec!["a", "b"]));
    kept.wait_for_fetches(1).await;
    kept.answer(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(2).await;
    kept.answer(Answer::Failure("status 500"));
    sleep(3 * 60 * MINUTE).await;
    assert_eq!(kept.kids(), None);
    assert!(kept.withdrawn.lock().is_empty());
    kept.answer(Answer::Keys(vec!["c"]));
    kept.wait_for_fetches(kept.fetches().len() + 1).await;
    assert_eq!(
        kept.withdrawn.lock().iter().map(|(_, key)| key.clone()).collect::<Vec<_>>(),
        [thumbprint("b")]
    );
    // "a" was in the last good fetch before the outage, and is not in this one.
    sleep(31 * SECOND).await;
    assert_eq!(kept.withdrawn.lock()[1].1, thumbprint("a"));
}

#[tokio::test(start_paused = true)]
async fn i10_an_empty_set_withdraws_nothing() {
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(1).await;
    // No usable key is a failed fetch.
    assert!(KeySet::parse(br#"{"keys":[]}"#).is_err());
    kept.answer(Answer::Failure("no usable key"));
    sleep(30 * MINUTE).await;
    assert!(kept.withdrawn.lock().is_empty() && kept.has("a"));
}

/// An issuer that replaces its keys all the time fills neither the log nor the queues of reports.
#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_without_connections_is_counted_and_that_is_all() {
    let kept = Kept::start(Answer::Keys(vec!["a", "b"]));
    kept.have.store(false, Ordering::SeqCst);
    kept.wait_for_fetches(1).await;
    kept.answer(Answer::Keys(vec!["b"]));
    sleep(7 * MINUTE).await;
    assert!(kept.withdrawn.lock().is_empty());
    assert_eq!(kept.issuer.state().withdrawn, 1);
}

#[tokio::test(start_paused = true)]
async fn connections_of_withdrawn_keys_may_stay() {
    let keep = |config: &mut IssuerConfig| config.on_withdrawn = OnWithdrawn::Keep;
    let kept = Kept::start_with(Answer::Keys(vec!["a", "b"]), keep);
    kept.wait_for_fetches(1).await;
    kept.answer(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(4).await;
    assert!(!kept.has("b"));
    assert!(kept.withdrawn.lock().is_empty());
    assert_eq!(kept.issuer.state().withdrawn, 1);
}
