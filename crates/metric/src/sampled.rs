//! Metrics that are refreshed at each scrape.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

/// A metric that is refreshed before each scrape, which is cheaper than maintaining it
/// continuously. Clones share the metric.
#[derive(Clone)]
pub struct Sampled<M>(Arc<Sample<M>>);

struct Sample<M> {
    metric: M,
    refresh: OnceLock<Refresh<M>>,
}

type Refresh<M> = Box<dyn Fn(&M) + Send + Sync>;

impl<M> Sampled<M> {
    /// Sets the function that refreshes the metric. It must not hold the struct that contains this
    /// metric, or neither would ever be freed.
    ///
    /// # Panics
    /// Panics if it was set before.
    pub fn sample_with(&self, refresh: impl Fn(&M) + Send + Sync + 'static) {
        assert!(self.0.refresh.set(Box::new(refresh)).is_ok(), "a metric is sampled in one place");
    }
}

impl<M> Deref for Sampled<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.0.metric
    }
}

impl<M: Default> Default for Sampled<M> {
    fn default() -> Self {
        Self(Arc::new(Sample { metric: M::default(), refresh: OnceLock::new() }))
    }
}

impl<M: fmt::Debug> fmt::Debug for Sampled<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.metric.fmt(f)
    }
}

impl<M: EncodeMetric> EncodeMetric for Sampled<M> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.metric.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        self.0.metric.metric_type()
    }

    /// Refreshes the metric. The registry calls this first, and leaves out metrics that are empty.
    fn is_empty(&self) -> bool {
        if let Some(refresh) = self.0.refresh.get() {
            refresh(&self.0.metric);
        }
        self.0.metric.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;
    use std::sync::atomic::Ordering::Relaxed;

    use prometheus_client::encoding::text;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::Registry;

    crate::families! {
        struct Metrics {
            /// Wet
            /// feet.
            feet: Sampled<Gauge> = "feet";
        }
    }

    #[test]
    fn a_sampled_metric_is_refreshed_at_each_scrape() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let scrapes = AtomicI64::new(6);
        metrics.feet.sample_with(move |feet| {
            feet.set(scrapes.fetch_add(1, Relaxed) + 1);
        });
        for feet in [7, 8] {
            let mut scraped = String::new();
            text::encode(&mut scraped, &registry).unwrap();
            assert_eq!(scraped, format!("# HELP feet Wet feet.\n# TYPE feet gauge\nfeet {feet}\n# EOF\n"));
        }
    }
}
