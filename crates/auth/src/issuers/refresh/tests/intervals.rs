use super::*;

/// Returns the pauses between regular fetches, with this `max-age`.
async fn pauses(interval: Duration, fresh_for: Option<Duration>, count: usize) -> Vec<Duration> {
    let kept = Kept::start_with(Answer::Keys(vec!["a"]), |config| config.keys_refresh = interval);
    kept.provider.0.lock().fresh_for = fresh_for;
    kept.wait_for_fetches(count + 1).await;
    kept.fetches().windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test(start_paused = true)]
async fn the_interval_deviates_by_a_tenth() {
    let pauses = pauses(5 * MINUTE, None, 200).await;
    for pause in &pauses {
        assert_about(*pause, 5 * MINUTE);
    }
    let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
    assert!(*longest - *shortest > 30 * SECOND, "{shortest:?} to {longest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_may_shorten_the_interval_to_a_minute_and_never_lengthen_it() {
    for (fresh_for, expected) in [(120, 120), (60, 60), (59, 60), (0, 60), (301, 300), (30 * 24 * 3600, 300)]
    {
        let fresh_for = Duration::from_secs(fresh_for);
        for pause in pauses(5 * MINUTE, Some(fresh_for), 20).await {
            assert_about(pause, Duration::from_secs(expected));
            assert!(pause >= MINUTE, "{pause:?}");
        }
    }
    // An interval below a minute is the operator's own.
    for pause in pauses(20 * SECOND, Some(Duration::ZERO), 20).await {
        assert_about(pause, 20 * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn what_has_not_changed_leaves_the_results_of_tokens_valid() {
    let kept = Kept::start(Answer::Keys(vec!["a", "b"]));
    kept.wait_for_fetches(1).await;
    let epoch = kept.issuer.keys.epoch();
    for same in [Answer::NotModified, Answer::Keys(vec!["b", "a"]), Answer::Keys(vec!["a", "b"])] {
        kept.answer(same);
        kept.wait_for_fetches(kept.fetches().len() + 1).await;
        assert_eq!(kept.issuer.keys.epoch(), epoch);
        assert!(kept.issuer.state().age.unwrap() < SECOND);
        assert!(kept.has("a") && kept.has("b"));
    }
    kept.answer(Answer::Keys(vec!["a", "b", "c"]));
    kept.wait_for_fetches(kept.fetches().len() + 1).await;
    assert_eq!(kept.issuer.keys.epoch(), epoch + 1);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_the_gateway_leaves_even_in_the_middle_of_a_fetch() {
    for takes in [Duration::ZERO, 60 * MINUTE] {
        let config = IssuerConfig::new("kc", "https://id.example", Audience::Any);
        let issuer = Issuers::new(vec![config]).iter().next().unwrap().clone();
        let script = Script {
            answer: Answer::Keys(vec!["a"]),
            takes,
            fresh_for: None,
            complaint: None,
            fetches: Vec::new(),
            begin: Instant::now(),
        };
        let provider = Provider(Arc::new(Mutex::new(script)));
        let begin = Instant::now();
        keep(&issuer, provider, &(), sleep(SECOND)).await;
        assert!(begin.elapsed() < 2 * SECOND);
    }
}
