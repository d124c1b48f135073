//! What comes to a node, and what is noticed as lost.

use node::Numbers;

use super::super::arrivals::{LINGER, SWEEP};
use super::*;

/// Invariant 10: whatever the network does, what is taken is in the order of each publisher and
/// bucket, nothing is taken twice, and everything that is missing is counted, once.
#[test]
fn events_are_taken_in_order_and_once_and_every_missing_one_is_counted() {
    for seed in 0..2_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (loss, repeats, delays) = (rng.u8(..60), rng.u8(..60), 1 + rng.usize(..8));
        let numbers = Numbers::default();
        let mut sent: HashMap<(Incarnation, u16), u64> = HashMap::new();
        let mut taken: HashMap<(Incarnation, u16), Vec<u64>> = HashMap::new();
        let mut lost: HashMap<(Incarnation, u16), u64> = HashMap::new();
        let mut lives = [0_u8, 1];
        let mut on_the_way: Vec<((Incarnation, u16), u64)> = Vec::new();
        // What the first lives have given before the receiver has asked them.
        let mut begun: HashMap<(Incarnation, u16), u64> = HashMap::new();
        for at in 0..400 {
            if at == 50 {
                numbers.expect(&[0, 1, 2]);
            }
            if at == 60 {
                let stamp = |((life, bucket), number): (&(Incarnation, u16), &u64)| Stamp {
                    life: *life,
                    bucket: *bucket,
                    number: *number,
                };
                let given: Vec<Stamp> = sent.iter().map(stamp).collect();
                for stamp in numbers.settle(&[0, 1, 2], &given, &[]) {
                    begun.insert((stamp.life, stamp.bucket), stamp.number);
                }
                assert!(given.iter().all(|given| begun[&(given.life, given.bucket)] == given.number));
            }
            let node = rng.usize(..2);
            if rng.u8(..100) == 0 {
                // Another life begins with 1.
                lives[node] += 2;
            }
            let of = (Incarnation::from_bytes([lives[node]; Incarnation::BYTES]), rng.u16(..3));
            let number = sent.entry(of).or_default();
            *number += 1;
            if rng.u8(..100) >= loss {
                on_the_way.push((of, *number));
                if rng.u8(..100) < repeats {
                    on_the_way.push((of, *number));
                }
            }
            if on_the_way.len() < delays {
                continue;
            }
            let ((life, bucket), number) = on_the_way.remove(rng.usize(..on_the_way.len()));
            let of = (life, bucket);
            if let Some(missing) = numbers.receive(Stamp { life, bucket, number }) {
                taken.entry(of).or_default().push(number);
                *lost.entry(of).or_default() += missing;
            }
        }
        for (of, taken) in taken {
            assert!(taken.is_sorted_by(|one, next| one < next), "seed {seed}: {taken:?}");
            let (before, last) = (begun.get(&of).copied().unwrap_or_default(), taken[taken.len() - 1]);
            assert!(taken[0] > before, "seed {seed}: {taken:?}");
            let missing = last - before - taken.len() as u64;
            assert_eq!(lost[&of], missing, "seed {seed}: {taken:?}");
        }
    }
}

/// The first message of a publisher in a bucket is one like others.
#[tokio::test]
async fn what_is_lost_before_the_first_message_is_counted() {
    let (_, sender) = events(EventInterest::All, "c");
    let (_, ours) = events(EventInterest::Subscribed, "c");
    let bucket = bucket_of("a");
    ours.want(["a"]).await;
    let accepted = ours.accept(bucket, &sender.encode(bucket, 2, b"{}")).unwrap();
    assert_eq!((accepted.is_gap, ours.metrics.lost.get()), (true, 1));
    let (_, another) = events(EventInterest::All, "c");
    let accepted = ours.accept(bucket, &another.encode(bucket, 1, b"{}")).unwrap();
    assert_eq!((accepted.is_gap, ours.metrics.lost.get()), (false, 1));
}

#[tokio::test]
async fn buckets_are_subscribed_once() {
    let (wire, ours) = events(EventInterest::Subscribed, "c");
    ours.want(["a", "b"]).await;
    ours.want(["b", "c"]).await;
    let subscribed: Vec<Vec<u16>> = wire.subscribed.lock().clone();
    assert_eq!(subscribed.len(), 2);
    assert_eq!(subscribed[0].len(), 2);
    assert_eq!(subscribed[1], [bucket_of("c")]);
    let (wire, all) = events(EventInterest::All, "c");
    all.want(["a"]).await;
    assert!(wire.subscribed.lock().is_empty(), "it has subscribed to all");
    let (wire, off) = events(EventInterest::Off, "c");
    off.want(["a"]).await;
    assert!(wire.subscribed.lock().is_empty());
}

#[tokio::test]
async fn a_client_waits_for_a_subscription_that_another_one_has_begun() {
    let (wire, ours) = events(EventInterest::Subscribed, "c");
    let (told, known) = tokio::sync::oneshot::channel::<()>();
    *wire.answers.lock() = Some(known);
    let mut first = pin!(ours.want(["a"]));
    let mut second = pin!(ours.want(["a"]));
    assert!(first.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    told.send(()).unwrap();
    // Also if the first one is gone.
    second.await;
    assert_eq!(wire.subscribed.lock().len(), 1);
    first.await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_wanted_is_not_lost() {
    let (_, sender) = events(EventInterest::All, "c");
    let (wire, ours) = events(EventInterest::Subscribed, "c");
    let bucket = bucket_of("a");
    ours.want(["a"]).await;
    assert!(accepted(&ours, bucket, &sender.encode(bucket, 1, b"{}")).is_some());
    tokio::time::advance(LINGER).await;
    ours.arrivals.forget_unwanted();
    assert_eq!(accepted(&ours, bucket, &sender.encode(bucket, 7, b"{}")), None, "on its way until now");
    ours.want(["a"]).await;
    assert_eq!(wire.subscribed.lock().len(), 2);
    // The publisher is not asked here, so this is the number that it has told.
    let told = Stamp { life: sender.life, bucket, number: 8 };
    ours.arrivals.numbers.settle(&[bucket], &[told], &[]);
    assert!(accepted(&ours, bucket, &sender.encode(bucket, 9, b"{}")).is_some());
    assert_eq!(ours.metrics.lost.get(), 0);
    assert!(accepted(&ours, bucket, &sender.encode(bucket, 11, b"{}")).is_some());
    assert_eq!(ours.metrics.lost.get(), 1);
}

/// The node goes on to name a type for `HISTORY` after its last subscriber has left.
#[tokio::test(start_paused = true)]
async fn a_type_is_received_as_long_as_each_sweep_finds_it() {
    let (wire, ours) = events(EventInterest::Subscribed, "c");
    let wants = || ours.arrivals.is_wanted(bucket_of("a"));
    ours.want(["a"]).await;
    for _ in 0..20 {
        tokio::time::advance(SWEEP + Duration::from_secs(1)).await;
        join_all(ours.arrivals.ask_for([bucket_of("a")].into())).await;
        ours.arrivals.forget_unwanted();
        assert!(wants());
    }
    // After the last sweep that has found it.
    tokio::time::advance(LINGER - Duration::from_millis(1)).await;
    ours.arrivals.forget_unwanted();
    assert!(wants());
    tokio::time::advance(Duration::from_millis(1)).await;
    ours.arrivals.forget_unwanted();
    assert!(!wants());
    assert_eq!(wire.subscribed.lock().len(), 1);
}
