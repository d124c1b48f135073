use super::*;

#[tokio::test(start_paused = true)]
async fn i08_a_provider_that_is_down_at_the_start_is_tried_until_it_answers() {
    let (log, _guard) = Log::start();
    let kept = Kept::start(Answer::Failure("refused"));
    kept.wait_for_fetches(10).await;
    assert_eq!(kept.kids(), None);
    let fetches = kept.fetches();
    let pauses: Vec<_> = fetches.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, expected) in pauses.into_iter().zip([5, 10, 20, 40, 80, 160, 300, 300, 300]) {
        assert_about(pause, Duration::from_secs(expected));
    }
    assert_eq!(
        log.lines(),
        ["WARN the keys of an issuer cannot be fetched issuer=kc error=refused has_keys=false"]
    );
    kept.answer(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(11).await;
    assert_eq!(kept.kids().unwrap(), ["a"]);
    assert_eq!(
        log.lines(),
        [
            "INFO the keys of an issuer have changed issuer=kc keys=1 skipped=0",
            "INFO the keys of an issuer can be fetched again issuer=kc"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn i07_old_keys_go_on_until_they_are_too_old_and_come_back_without_a_restart() {
    for recovery in [Answer::Keys(vec!["a", "b"]), Answer::NotModified] {
        let kept = Kept::start(Answer::Keys(vec!["a", "b"]));
        kept.wait_for_fetches(1).await;
        let epoch = kept.issuer.keys.epoch();
        kept.answer(Answer::Failure("status 500"));
        kept.wait_for_fetches(2).await;
        let first_failure = kept.fetches()[1];
        sleep(60 * MINUTE - SECOND).await;
        assert_eq!(kept.kids().unwrap(), ["a", "b"]);
        assert_eq!(kept.issuer.keys.epoch(), epoch);
        sleep(SECOND).await;
        assert_eq!(kept.kids(), None);
        assert!(kept.now() < first_failure + 60 * MINUTE + SECOND);
        // What the proxy remembers of its tokens is void now.
        assert_eq!(kept.issuer.keys.epoch(), epoch + 1);
        let state = kept.issuer.state();
        assert_eq!((state.keys, state.last_error.as_deref()), (0, Some("status 500")));
        assert!(state.age.unwrap() > 60 * MINUTE && state.next_fetch.unwrap() <= 330 * SECOND);

        kept.answer(recovery);
        kept.wait_for_fetches(kept.fetches().len() + 1).await;
        assert_eq!(kept.kids().unwrap(), ["a", "b"]);
        assert_eq!(kept.issuer.keys.epoch(), epoch + 2);
        let state = kept.issuer.state();
        assert_eq!((state.keys, state.last_error), (2, None));
        assert!(state.age.unwrap() < SECOND);
        // Nothing of this is a withdrawal.
        sleep(60 * MINUTE).await;
        assert!(kept.withdrawn.lock().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn i07_keys_that_may_not_be_stale_end_with_the_first_failure() {
    let kept = Kept::start_with(Answer::Keys(vec!["a"]), |config| config.keys_max_stale = Duration::ZERO);
    // Its age does not matter while fetches succeed.
    sleep(4 * MINUTE).await;
    assert_eq!(kept.kids().unwrap(), ["a"]);
    kept.answer(Answer::Failure("status 500"));
    kept.wait_for_fetches(2).await;
    assert_eq!(kept.kids(), None);
}

#[tokio::test(start_paused = true)]
async fn i07_a_fetch_that_hangs_does_not_prolong_the_life_of_old_keys() {
    let kept = Kept::start_with(Answer::Keys(vec!["a"]), |config| config.keys_max_stale = 7 * SECOND);
    kept.wait_for_fetches(1).await;
    kept.answer(Answer::Failure("no answer"));
    kept.takes(5 * SECOND);
    kept.wait_for_fetches(2).await;
    // This one fails after 5 s, the next begins 5 s later.
    sleep(5 * SECOND + 6 * SECOND).await;
    assert_eq!(kept.kids().unwrap(), ["a"]);
    sleep(SECOND).await;
    assert_eq!(kept.kids(), None);
}

#[tokio::test(start_paused = true)]
async fn the_log_is_told_of_changes_not_of_each_try() {
    let (log, _guard) = Log::start();
    let kept = Kept::start(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(4).await;
    assert_eq!(log.lines(), ["INFO the keys of an issuer have changed issuer=kc keys=1 skipped=0"]);
    kept.answer(Answer::Failure("status 500"));
    kept.wait_for_fetches(8).await;
    kept.answer(Answer::Failure("no answer"));
    kept.wait_for_fetches(11).await;
    kept.answer(Answer::Keys(vec!["a"]));
    kept.wait_for_fetches(15).await;
    assert_eq!(
        log.lines(),
        [
            "WARN the keys of an issuer cannot be fetched issuer=kc error=status 500 has_keys=true",
            "WARN the keys of an issuer cannot be fetched issuer=kc error=no answer has_keys=true",
            "INFO the keys of an issuer can be fetched again issuer=kc"
        ]
    );
    // Keys without metadata are good, but someone should know.
    kept.provider.0.lock().complaint = Some("metadata: status 500");
    kept.wait_for_fetches(18).await;
    assert_eq!(kept.issuer.state().last_error.as_deref(), Some("metadata: status 500"));
    kept.provider.0.lock().complaint = None;
    kept.wait_for_fetches(20).await;
    assert_eq!(kept.issuer.state().last_error, None);
    assert_eq!(
        log.lines(),
        [
            "WARN the metadata of an issuer cannot be fetched, its keys can issuer=kc error=metadata: status 500",
            "INFO the keys of an issuer can be fetched again issuer=kc"
        ]
    );
}
