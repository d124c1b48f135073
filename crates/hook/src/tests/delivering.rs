//! When events are sent, in which order, and which are lost.

use super::*;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[tokio::test(start_paused = true)]
async fn events_are_sent_one_after_the_other_in_their_order() {
    let recipient = Scripted::new([Answer::Hangs(7), Answer::Takes, Answer::Hangs(3)], Answer::Takes);
    let running = Running::start(recipient.clone());
    running.add(1..=200);
    pass(60).await;
    assert_eq!(recipient.taken(), (1..=200).collect::<Vec<_>>());
    assert_eq!(recipient.times()[..4], [0, 7, 7, 10]);
    assert_eq!((running.events("sent"), running.events("failed")), (200.0, 0.0));
    assert_eq!(running.metric("rig_hook_queue{to=\"hook\"}"), 0.0);
    assert_eq!(running.metric("rig_hook_oldest_seconds{to=\"hook\"}"), 0.0);
    running.add([201]);
    pass(1).await;
    assert_eq!(recipient.taken().last(), Some(&201), "one that comes while there is nothing to do");
}

#[tokio::test(start_paused = true)]
async fn an_event_is_repeated_after_a_second_up_to_once_a_minute_and_holds_up_the_others() {
    let recipient = Scripted::new(vec![Answer::Fails("status 500"); 9], Answer::Takes);
    let running = Running::start(recipient.clone());
    running.add([1, 2]);
    pass(300).await;
    assert_eq!(recipient.times(), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 243]);
    assert_eq!(recipient.taken(), [1, 2]);
    assert_eq!((running.events("sent"), running.events("failed")), (2.0, 9.0));
    // The pauses begin with a second again.
    recipient.now(Answer::Fails("status 500"));
    running.add([3]);
    pass(4).await;
    assert_eq!(recipient.times()[11..], [300, 301, 303]);
}

#[tokio::test(start_paused = true)]
async fn a_recipient_may_ask_for_a_longer_pause_but_not_for_more_than_a_minute() {
    let script = [Answer::Asks(20), Answer::Asks(1), Answer::Asks(u64::MAX)];
    let recipient = Scripted::new(script, Answer::Takes);
    let running = Running::start(recipient.clone());
    running.add([1]);
    pass(200).await;
    assert_eq!(recipient.times(), [0, 20, 22, 82]);
}

#[tokio::test(start_paused = true)]
async fn a_recipient_that_is_away_for_an_hour_gets_everything_in_order() {
    let recipient = Scripted::new([], Answer::Fails("refused"));
    let running = Running::start(recipient.clone());
    for number in 1..=3600 {
        running.add([number]);
        pass(1).await;
    }
    assert_eq!(running.metric("rig_hook_queue{to=\"hook\"}"), 3600.0);
    let oldest = running.metric("rig_hook_oldest_seconds{to=\"hook\"}");
    assert!((3590.0..=3600.0).contains(&oldest), "{oldest}");
    assert!(recipient.seen.lock().iter().all(|(_, number)| *number == 1), "only the first is tried");
    recipient.now(Answer::Takes);
    pass(61).await;
    assert_eq!(recipient.taken(), (1..=3600).collect::<Vec<_>>());
    assert!(recipient.taken.lock().iter().all(|event| event.get("dropped").is_none()));
    assert_eq!(running.events("dropped"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_not_taken_for_a_day_is_given_up_and_the_next_tells_it() {
    let recipient = Scripted::new([], Answer::Fails("status 400"));
    let running = Running::start(recipient.clone());
    running.add([1, 2]);
    pass(HOUR).await;
    running.add([3]);
    pass(DAY - HOUR - 120).await;
    assert_eq!(running.events("dropped"), 0.0, "not before the day has passed");
    pass(240).await;
    assert_eq!(running.events("dropped"), 2.0);
    assert_eq!(running.metric("rig_hook_queue{to=\"hook\"}"), 1.0);
    let last = *recipient.seen.lock().last().unwrap();
    assert_eq!(last.1, 3, "the next one is tried");
    recipient.now(Answer::Takes);
    pass(60).await;
    let taken = recipient.taken.lock().clone();
    assert_eq!((number(&taken[0]), &taken[0]["dropped"]), (3, &Value::from(2)));
    running.add([4]);
    pass(1).await;
    assert!(recipient.taken.lock()[1].get("dropped").is_none(), "it is told once");
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_while_others_are_given_up_adds_up() {
    let recipient = Scripted::new([], Answer::Fails("status 500"));
    let running = Running::start(recipient.clone());
    for number in 1..=5 {
        running.add([number]);
        pass(HOUR).await;
    }
    // The last of them is a day old.
    pass(DAY).await;
    assert_eq!(running.events("dropped"), 5.0);
    running.add([6]);
    recipient.now(Answer::Takes);
    pass(60).await;
    let taken = recipient.taken.lock().clone();
    assert_eq!((taken.len(), number(&taken[0]), &taken[0]["dropped"]), (1, 6, &Value::from(5)));
}

/// What was queued before a long pause of the node was not tried meanwhile.
#[tokio::test(start_paused = true)]
async fn what_is_old_when_the_node_starts_has_a_day_as_well() {
    let outbox = Arc::new(MemoryOutbox::with_clock(Paused));
    outbox.add(change(1));
    pass(10 * DAY).await;
    let recipient = Scripted::new([], Answer::Fails("refused"));
    let running = Running::over(outbox, recipient.clone());
    pass(DAY - 120).await;
    assert_eq!(running.events("dropped"), 0.0);
    recipient.now(Answer::Takes);
    pass(60).await;
    assert_eq!(recipient.taken(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_keeps_what_it_has_and_tells_how_many_are_missing() {
    let recipient = Scripted::new([], Answer::Fails("refused"));
    let running = Running::start(recipient.clone());
    running.add(1..=100_007);
    pass(120).await;
    assert_eq!(running.metric("rig_hook_queue{to=\"hook\"}"), 100_000.0);
    assert_eq!(running.events("dropped"), 7.0);
    recipient.now(Answer::Takes);
    pass(120).await;
    running.add([100_008, 100_009]);
    pass(1).await;
    let taken = recipient.taken.lock().clone();
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>()[..100_000], (1..=100_000).collect::<Vec<_>>());
    assert_eq!((number(&taken[100_000]), &taken[100_000]["dropped"]), (100_008, &Value::from(7)));
    assert!(taken[100_001].get("dropped").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_recipient_that_panics_gets_its_event_again() {
    let recipient = Scripted::new([Answer::Panics], Answer::Takes);
    let running = Running::start(recipient.clone());
    running.add([1, 2]);
    pass(10).await;
    assert_eq!(recipient.taken(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_waits_for_its_reports_and_not_for_ever() {
    let recipient = Scripted::new([Answer::Hangs(1)], Answer::Takes);
    let running = Running::start(recipient.clone());
    running.add([1, 2]);
    let began = Instant::now();
    running.delivery.leave(Duration::from_secs(2)).await;
    assert_eq!((recipient.taken(), began.elapsed().as_secs()), (vec![1, 2], 1));
    recipient.now(Answer::Hangs(60));
    running.add([3]);
    let began = Instant::now();
    running.delivery.leave(Duration::from_secs(2)).await;
    assert_eq!((recipient.taken().len(), began.elapsed().as_secs()), (2, 2));
    pass(60).await;
    recipient.now(Answer::Fails("refused"));
    running.add([4]);
    let began = Instant::now();
    running.delivery.leave(Duration::from_secs(2)).await;
    assert_eq!(began.elapsed().as_secs(), 0, "it would not help to wait");
}

#[tokio::test(start_paused = true)]
async fn data_that_are_damaged_are_given_up() {
    let recipient = Scripted::new([], Answer::Takes);
    let running = Running::start(recipient.clone());
    running.outbox.add(Change { data: "garbage".to_owned(), ..change(1) });
    running.add([2]);
    pass(1).await;
    let taken = recipient.taken.lock().clone();
    assert_eq!((taken.len(), number(&taken[0]), &taken[0]["dropped"]), (1, 2, &Value::from(1)));
}
