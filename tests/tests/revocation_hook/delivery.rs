//! How often and in which order reports come, whatever happens to the receiver and the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rig_tests::*;
use serde_json::json;

use crate::world::*;

/// What was answered with 201 is reported, whenever the process is killed.
#[test]
fn kill_9_between_a_revocation_and_its_report_loses_none() {
    let files = Files::new();
    let address = unused_address();
    let url = format!("http://{address}/hooks/rig");
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        let mut gateway = files.start(&url);
        let enough = AtomicBool::new(false);
        let revoke_some = |thread: u32| {
            let mut ids = Vec::new();
            for number in 0.. {
                let id = format!("{round}-{thread}-{number}");
                let order = json!({ "session": id, "id": id, "validityInSeconds": 600 }).to_string();
                let request = Request::post_json("/v4/revocations", order);
                if request.status_if_any(gateway.internal()) != Some(201) {
                    return ids;
                }
                ids.push(id);
                if ids.len() > round as usize % 5 && !enough.swap(true, Ordering::SeqCst) {
                    gateway.signal("KILL");
                }
            }
            ids
        };
        std::thread::scope(|scope| {
            let revoke_some = &revoke_some;
            let threads = [0, 1].map(|thread| scope.spawn(move || revoke_some(thread)));
            let ids = threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics"));
            acknowledged.extend(ids);
        });
        gateway.exit_status();
    }
    assert!(acknowledged.len() >= 40, "{}", acknowledged.len());
    let gateway = files.start(&url);
    let receiver = HookReceiver::start_at(address);
    let posts = eventually("all are reported", || {
        let posts = unique(&receiver.posts());
        let has =
            |id: &String, kind: &str| posts.iter().any(|post| id_of(post) == *id && post.kind() == kind);
        acknowledged.iter().all(|id| has(id, "accepted") && has(id, "applied")).then_some(posts)
    });
    assert_order(&posts);
    for id in &acknowledged {
        let kinds: Vec<_> = posts.iter().filter(|post| id_of(post) == *id).map(HookPost::kind).collect();
        assert_eq!(kinds, ["accepted", "applied"], "{id}");
    }
    assert_eq!(sent(&gateway, "dropped"), 0.0);
    // The receipts of most were not stored before the kill; nothing was open any more.
    let unknown = posts.iter().filter(|post| post.kind() == "applied");
    assert!(unknown.filter(|post| post.event()["data"]["connectionsTerminated"].is_null()).count() > 0);
}

/// The receiver is there, and the process is killed at any instant: what was sent may come again,
/// and nothing is missing.
#[test]
fn kill_9_while_reports_are_sent_repeats_some_and_loses_none() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let mut count = 0;
    for round in 0..10 {
        let mut gateway = files.start(&receiver.url());
        for _ in 0..=round {
            revoke(&gateway, &format!("r{count}"));
            count += 1;
        }
        gateway.signal("KILL");
        gateway.exit_status();
    }
    let gateway = files.start(&receiver.url());
    gateway.await_metric(r#"rig_hook_queue{to="hook"}"#, 0.0);
    let posts = unique(&receiver.posts());
    assert_order(&posts);
    for number in 0..count {
        let id = format!("r{number}");
        let kinds: Vec<_> = posts.iter().filter(|post| id_of(post) == id).map(HookPost::kind).collect();
        assert_eq!(kinds, ["accepted", "applied"], "{id}");
    }
}

#[test]
fn a_receiver_that_is_away_gets_everything_in_order_when_it_is_back() {
    let files = Files::new();
    let address = unused_address();
    let gateway = files.start(&format!("http://{address}/"));
    for number in 0..50 {
        revoke(&gateway, &format!("s{number}"));
        if number % 10 == 9 {
            lift(&gateway, &format!("s{number}"));
        }
    }
    eventually("an attempt fails", || (sent(&gateway, "failed") >= 2.0).then_some(()));
    eventually("its age is shown", || {
        (gateway.metric(r#"rig_hook_oldest_seconds{to="hook"}"#) > 0.0).then_some(())
    });
    assert_eq!(sent(&gateway, "sent"), 0.0);
    let receiver = HookReceiver::start_at(address);
    let is_complete =
        |posts: &Vec<HookPost>| posts.iter().filter(|post| post.kind() == "lifted").count() == 5;
    let posts = eventually("all are reported", || Some(receiver.posts()).filter(is_complete));
    assert_order(&posts);
    gateway.await_metric(r#"rig_hook_queue{to="hook"}"#, 0.0);
    gateway.await_metric(r#"rig_hook_oldest_seconds{to="hook"}"#, 0.0);
    let accepted: Vec<_> =
        receiver.posts().iter().filter(|post| post.kind() == "accepted").map(id_of).collect();
    assert_eq!(accepted, (0..50).map(|number| format!("s{number}")).collect::<Vec<_>>());
    let log = gateway.end();
    assert_eq!(log.matches("revocations are not reported").count(), 1, "the first failure: {log}");
    assert_eq!(log.matches("revocations are reported again").count(), 1, "{log}");
}

#[test]
fn what_is_queued_is_reported_after_an_orderly_restart() {
    let files = Files::new();
    let address = unused_address();
    let url = format!("http://{address}/");
    let mut gateway = files.start(&url);
    revoke(&gateway, "s1");
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0), "{}", gateway.log());
    let receiver = HookReceiver::start_at(address);
    let gateway = files.start(&url);
    let posts = receiver.await_posts(2);
    assert_eq!(
        posts.iter().map(|post| (id_of(post), post.kind())).collect::<Vec<_>>(),
        [("s1".to_owned(), "accepted".to_owned()), ("s1".to_owned(), "applied".to_owned()),]
    );
    gateway.await_metric(r#"rig_hook_queue{to="hook"}"#, 0.0);
    // What was sent is not sent by the next process.
    gateway.end();
    let gateway = files.start(&url);
    revoke(&gateway, "s2");
    assert_eq!(id_of(&receiver.await_posts(3)[2]), "s2");
}

/// Returns how long the slower half of revocations takes at least.
fn median(gateway: &Gateway) -> Duration {
    let mut times: Vec<_> = (0..60)
        .map(|number| {
            let began = Instant::now();
            revoke(gateway, &format!("s{number}"));
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn a_receiver_that_hangs_delays_no_revocation() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    receiver.hang();
    let gateway = files.start(&receiver.url());
    revoke(&gateway, "first");
    receiver.await_posts(1);
    let hooked = median(&gateway);
    assert_eq!(receiver.posts().len(), 1, "it still hangs");
    let folder = Folder::new();
    let plain = median(&Gateway::start(&[("DATA_DIR", &folder.join("data"))]));
    // An attempt may take ten seconds.
    let bound = plain * 3 + Duration::from_millis(50);
    assert!(hooked <= bound, "{hooked:?} with a web hook, {plain:?} without");
}

#[test]
fn what_is_not_taken_is_sent_again_and_no_redirect_is_followed() {
    let (receiver, other, files) = (HookReceiver::start(), HookReceiver::start(), Files::new());
    receiver.answer("429 Too Many Requests", "retry-after: 3\r\n");
    let gateway = files.start(&receiver.url());
    revoke(&gateway, "s1");
    receiver.await_posts(1);
    receiver.answer("302 Found", &format!("location: {}\r\n", other.url()));
    receiver.await_posts(2);
    receiver.answer("410 Gone", "");
    receiver.await_posts(3);
    receiver.answer("200 OK", "");
    let posts = receiver.await_posts(5);
    let pauses: Vec<_> = posts.windows(2).map(|pair| (pair[1].at - pair[0].at).as_millis()).collect();
    // The first one would be a second.
    for (pause, expected) in pauses.iter().zip([3000, 2000, 4000]) {
        assert!((expected - 100..expected + 1500).contains(pause), "{pauses:?}");
    }
    let timestamp = |post: &HookPost| {
        post.request.header("webhook-timestamp").and_then(|text| text.parse::<u64>().ok()).expect("a number")
    };
    assert!(timestamp(&posts[3]) >= timestamp(&posts[0]) + 8, "each attempt has its own time");
    assert!(posts.iter().all(|post| post.is_signed_by(SECRET)));
    assert_eq!(unique(&posts).len(), 2);
    assert_eq!(other.posts().len(), 0, "no redirect is followed");
    assert_eq!((sent(&gateway, "failed"), sent(&gateway, "dropped")), (3.0, 0.0));
    let log = gateway.end();
    for cause in ["status 429", "status 302, and redirects are not followed", "status 410"] {
        assert_eq!(log.matches(cause).count(), 1, "{cause}: {log}");
    }
}

#[test]
fn without_a_folder_reports_are_sent_until_the_process_exits() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let url = receiver.url();
    let mut settings = files.settings(&url);
    settings.push(("DATA_DIR", "memory"));
    let mut last = String::new();
    for _ in 0..2 {
        let count = receiver.posts().len();
        let mut gateway = Gateway::start(&settings);
        revoke(&gateway, "s1");
        lift(&gateway, "s1");
        // The process waits for its reports before it exits.
        gateway.terminate();
        assert_eq!(gateway.exit_status().code(), Some(0));
        let posts = receiver.posts();
        let kinds: Vec<_> = posts[count..].iter().map(HookPost::kind).collect();
        assert_eq!(kinds, ["accepted", "applied", "lifted"]);
        assert_order(&posts);
        assert!(posts[count].sequence() > last, "numbers go on, also without a folder");
        last = posts.last().expect("one").sequence();
    }
}

#[test]
fn a_process_that_exits_waits_until_all_is_reported() {
    let (receiver, files) = (HookReceiver::start(), Files::new());
    let url = receiver.url();
    let mut settings = files.settings(&url);
    settings.push(("DATA_DIR", "memory"));
    let mut gateway = Gateway::start(&settings);
    // Far more at once than one after the other can be reported.
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || (0..10).for_each(|n| revoke(gateway, &format!("s{thread}-{n}"))));
        }
    });
    gateway.terminate();
    assert_eq!(gateway.exit_status().code(), Some(0));
    assert_eq!(receiver.posts().len(), 2 * 8 * 10);
}
