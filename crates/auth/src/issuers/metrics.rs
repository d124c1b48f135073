//! Metrics of issuers: their keys, and what they are asked for. Labels come only from the
//! configuration.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use metric::Sampled;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

use super::Issuer;

metric::labels! {
    /// A document of an issuer.
    pub(super) enum What {
        /// Its metadata.
        Metadata = "metadata",
        /// Its key set.
        Keys = "keys",
        /// What it says about an opaque token.
        Introspection = "introspection",
        /// One of its status lists.
        StatusList = "status_list",
    }

    /// The result of a fetch.
    pub(super) enum FetchResult {
        /// The document was read.
        Ok = "ok",
        /// The document has not changed.
        NotModified = "not_modified",
        /// No connection, or it was lost; this includes TLS.
        Unreachable = "unreachable",
        /// No answer in time.
        Timeout = "timeout",
        /// The server, or what it resolves to, must not be connected to.
        Forbidden = "forbidden",
        /// The status is neither 200 nor, if it was asked for, 304.
        Status = "status",
        /// The document is larger than is read.
        TooLarge = "too_large",
        /// The document cannot be used.
        Invalid = "invalid",
    }
}

const WHATS: [What; 4] = [What::Metadata, What::Keys, What::Introspection, What::StatusList];

const RESULTS: [FetchResult; 8] = [
    FetchResult::Ok,
    FetchResult::NotModified,
    FetchResult::Unreachable,
    FetchResult::Timeout,
    FetchResult::Forbidden,
    FetchResult::Status,
    FetchResult::TooLarge,
    FetchResult::Invalid,
];

/// What is counted of one issuer.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// By document and result, in the order of the variants.
    fetches: [[AtomicU64; RESULTS.len()]; WHATS.len()],
    unknown: AtomicU64,
    withdrawn: AtomicU64,
}

impl Counts {
    pub(super) fn fetched(&self, what: What, result: FetchResult) {
        self.fetches[what as usize][result as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn unknown(&self) {
        self.unknown.fetch_add(1, Relaxed);
    }

    pub(super) fn withdrawn(&self) {
        self.withdrawn.fetch_add(1, Relaxed);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByIssuer {
    issuer: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByFetch {
    issuer: Arc<str>,
    what: What,
    result: FetchResult,
}

metric::families! {
    /// The metrics of the keys of issuers; the label `issuer` is the id of the settings.
    pub(super) struct IssuerMetrics {
        /// Usable keys of an issuer; 0 if none were fetched, or they are too old
        keys: Sampled<Family<ByIssuer, Gauge>> = "rig_issuer_keys";
        /// Time since the keys of an issuer were last fetched
        age: Sampled<Family<ByIssuer, Gauge<f64, AtomicU64>>> = "rig_issuer_keys_age_seconds";
        /// What issuers were asked for: metadata, keys, opaque tokens and status lists, by result
        fetches: Sampled<Family<ByFetch, Counter>> = "rig_issuer_fetches_total";
        /// Tokens that named a key that is not among those of their issuer
        unknown: Sampled<Family<ByIssuer, Counter>> = "rig_issuer_unknown_keys_total";
        /// Remembered opaque tokens that were active when their issuer was last asked
        opaque: Sampled<Family<ByIssuer, Gauge>> = "rig_issuer_opaque_tokens";
        /// Status lists of an issuer that are in force
        lists: Sampled<Family<ByIssuer, Gauge>> = "rig_issuer_status_lists";
        /// Keys that issuers have withdrawn
        withdrawn: Sampled<Family<ByIssuer, Counter>> = "rig_issuer_keys_withdrawn_total";
    }
}

impl IssuerMetrics {
    /// Sets whose keys are shown. Everything is read from the issuers at each scrape.
    pub(super) fn watch<'i>(&self, issuers: impl IntoIterator<Item = &'i Arc<Issuer>>) {
        let issuers: Arc<[Weak<Issuer>]> = issuers.into_iter().map(Arc::downgrade).collect();
        self.keys.sample_with(each(&issuers, |gauges: &Family<_, Gauge>, issuer, labels| {
            let keys = issuer.keys.current().map_or(0, |set| set.len());
            gauges.get_or_create(&labels).set(keys as i64);
        }));
        self.age.sample_with(each(&issuers, |gauges: &Family<_, Gauge<f64, AtomicU64>>, issuer, labels| {
            if let Some(good_at) = issuer.keys.fetches().good_at {
                gauges.get_or_create(&labels).set(good_at.elapsed().as_secs_f64());
            }
        }));
        self.fetches.sample_with(each(&issuers, |counters, issuer, labels: ByIssuer| {
            for (what, row) in WHATS.iter().zip(&issuer.keys.counts.fetches) {
                for (result, count) in RESULTS.iter().zip(row) {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        let issuer = labels.issuer.clone();
                        let labels = ByFetch { issuer, what: *what, result: *result };
                        show(counters, &labels, count);
                    }
                }
            }
        }));
        self.unknown.sample_with(each(&issuers, |counters, issuer, labels| {
            show(counters, &labels, issuer.keys.counts.unknown.load(Relaxed));
        }));
        self.opaque.sample_with(each(&issuers, |gauges: &Family<_, Gauge>, issuer, labels| {
            if let Some(introspection) = &issuer.introspection {
                gauges.get_or_create(&labels).set(introspection.state().tokens as i64);
            }
        }));
        self.lists.sample_with(each(&issuers, |gauges: &Family<_, Gauge>, issuer, labels| {
            if let Some(lists) = &issuer.lists {
                gauges.get_or_create(&labels).set(lists.len() as i64);
            }
        }));
        self.withdrawn.sample_with(each(&issuers, |counters, issuer, labels| {
            show(counters, &labels, issuer.keys.counts.withdrawn.load(Relaxed));
        }));
    }
}

/// Refreshes a family for each issuer that still exists.
fn each<F>(
    issuers: &Arc<[Weak<Issuer>]>,
    refresh: impl Fn(&F, &Issuer, ByIssuer) + Send + Sync + 'static,
) -> impl Fn(&F) + Send + Sync + 'static {
    let issuers = issuers.clone();
    move |family| {
        for issuer in issuers.iter().filter_map(Weak::upgrade) {
            refresh(family, &issuer, ByIssuer { issuer: issuer.config.id.clone() });
        }
    }
}

fn show<L>(counters: &Family<L, Counter>, labels: &L, count: u64)
where
    L: Clone + std::hash::Hash + Eq,
{
    counters.get_or_create(labels).inner().store(count, Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_the_order_of_the_variants() {
        assert!(WHATS.iter().enumerate().all(|(at, what)| *what as usize == at));
        assert!(RESULTS.iter().enumerate().all(|(at, result)| *result as usize == at));
    }
}
