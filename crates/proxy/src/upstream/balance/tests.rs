use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use http::uri::Scheme;
use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::definition::{TargetConfig, TlsFiles};

const TIME: Duration = Duration::from_secs(10);

fn balancer(weights: &[u32], after: Option<u32>) -> Balancer {
    let target = |weight: &u32| TargetConfig {
        scheme: Scheme::HTTP,
        host: "127.0.0.1".to_owned(),
        port: 80,
        weight: *weight,
    };
    Balancer::new(&UpstreamConfig {
        targets: weights.iter().map(target).collect(),
        http2: false,
        tls: TlsFiles::default(),
        health_check: None,
        ejection: after.map(|after| Ejection { after, time: TIME }),
    })
}

/// Returns how many of `requests` each server gets.
fn shares(balancer: &Balancer, servers: usize, requests: usize) -> Vec<usize> {
    let mut shares = vec![0; servers];
    (0..requests).for_each(|_| shares[balancer.pick(0).unwrap()] += 1);
    shares
}

/// Checks that two servers get about the same number of requests.
fn assert_even(balancer: &Balancer) {
    let shares = shares(balancer, 2, 100);
    assert!(shares.iter().all(|share| (45..=55).contains(share)), "{shares:?}");
}

proptest! {
    #[test]
    fn each_server_gets_its_share_of_every_stretch(
        weights in prop::collection::vec(0u32..=65_535, 2..=64).prop_filter("no weight", |weights| weights.iter().any(|weight| *weight > 0)),
        requests in 1usize..3000,
    ) {
        let shares = shares(&balancer(&weights, None), weights.len(), requests);
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for (weight, share) in weights.iter().zip(shares) {
            let due = requests as f64 * f64::from(*weight) / total;
            // The known bound for the golden ratio, for each run of requests and each part of the
            // line.
            let most = 2.0 * (1.0 + (requests as f64).ln());
            prop_assert!((share as f64 - due).abs() <= most, "{share} instead of {due}");
            prop_assert!(*weight > 0 || share == 0);
        }
    }

    #[test]
    fn a_request_goes_to_every_server_with_a_weight_and_to_none_twice(
        weights in prop::collection::vec(0u32..=2, 1..=64),
        unwell in any::<u64>(),
    ) {
        prop_assume!(weights.iter().any(|weight| *weight > 0) && (weights.len() > 1 || weights[0] > 0));
        let balancer = balancer(&weights, None);
        (0..weights.len()).for_each(|at| balancer.set_well(at, unwell >> at & 1 == 0));
        let mut tried = 0u64;
        while let Some(at) = balancer.pick(tried) {
            prop_assert_eq!(tried >> at & 1, 0);
            tried |= 1 << at;
        }
        let weighted = weights.iter().filter(|weight| **weight > 0).count();
        prop_assert_eq!(tried.count_ones() as usize, weighted);
    }
}

#[test]
fn one_server_is_the_one_whatever_it_does() {
    let balancer = balancer(&[1], Some(1));
    balancer.set_well(0, false);
    assert!(!balancer.failed(0), "there is nobody else");
    assert_eq!((balancer.pick(0), balancer.pick(1)), (Some(0), None));
}

#[test]
fn an_unwell_server_is_left_out_until_it_is_well() {
    let balancer = balancer(&[1, 1, 0], None);
    balancer.set_well(0, false);
    assert_eq!(shares(&balancer, 3, 100), [0, 100, 0]);
    assert_eq!(balancer.pick(0b010), Some(0), "better than none");
    balancer.set_well(0, true);
    assert_even(&balancer);
}

#[test]
fn where_none_is_well_all_are_tried() {
    let balancer = balancer(&[1, 1, 0], None);
    (0..3).for_each(|at| balancer.set_well(at, false));
    assert_even(&balancer);
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_eject_for_a_time() {
    let balancer = balancer(&[1, 1], Some(3));
    assert!(!balancer.failed(0) && !balancer.failed(0));
    assert!(!balancer.succeeded(0), "it was never out");
    assert!(!balancer.failed(0) && !balancer.failed(0), "a success begins the row anew");
    assert_even(&balancer);
    assert!(balancer.failed(0));
    assert_eq!(shares(&balancer, 2, 100), [0, 100]);
    assert!(!balancer.succeeded(0), "asked before it was ejected");
    assert!(!balancer.failed(0), "known");
    advance(TIME - Duration::from_millis(1)).await;
    assert_eq!(shares(&balancer, 2, 100), [0, 100]);
}

#[tokio::test(start_paused = true)]
async fn after_the_time_one_request_decides() {
    let balancer = balancer(&[1, 1], Some(2));
    assert!(!balancer.failed(0) && balancer.failed(0));
    advance(TIME).await;
    assert_eq!(shares(&balancer, 2, 100), [1, 99], "one to try");
    assert!(!balancer.failed(0), "out again at once, which is no news");
    assert_eq!(shares(&balancer, 2, 100), [0, 100]);
    advance(TIME).await;
    assert_eq!(shares(&balancer, 2, 100), [1, 99]);
    assert!(balancer.succeeded(0));
    assert_even(&balancer);
    assert!(!balancer.failed(0), "it has all its failures before it");
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_nobody_hears_of_is_followed_by_another() {
    let balancer = balancer(&[1, 1], Some(1));
    assert!(balancer.failed(0));
    advance(TIME).await;
    assert_eq!(shares(&balancer, 2, 100), [1, 99]);
    advance(TIME).await;
    assert_eq!(shares(&balancer, 2, 100), [1, 99]);
}

#[tokio::test(start_paused = true)]
async fn a_server_must_be_both_well_and_trusted() {
    let balancer = balancer(&[1, 1], Some(1));
    assert!(balancer.failed(0));
    balancer.set_well(0, false);
    advance(TIME).await;
    assert_eq!(shares(&balancer, 2, 100), [0, 100], "no trial of one that is unwell");
    balancer.set_well(0, true);
    assert_eq!(shares(&balancer, 2, 100), [1, 99], "being well is no trial");
}

#[test]
fn failures_at_once_eject_once() {
    const THREADS: u32 = 8;
    const EACH: u32 = 1000;
    for _ in 0..20 {
        let balancer = balancer(&[1, 1], Some(THREADS * EACH));
        let (ejected, back) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || {
            for _ in 0..EACH {
                balancer.pick(0).unwrap();
                ejected.fetch_add(usize::from(balancer.failed(0)), Ordering::Relaxed);
                back.fetch_add(usize::from(balancer.succeeded(1)), Ordering::Relaxed);
            }
        };
        std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
        assert_eq!(
            (ejected.into_inner(), back.into_inner()),
            (1, 0),
            "no failure is lost, none counts twice"
        );
        assert_eq!(shares(&balancer, 2, 10), [0, 10]);
    }
}
