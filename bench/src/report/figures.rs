//! What the page asks of the results: the middle and the spread of all runs of one thing, and
//! ratios of runs of the same round.

use crate::Transport;
use crate::client::Variant;
use crate::measure::connect::Connect;
use crate::measure::fanout::Fanout;
use crate::measure::idle::Idle;
use crate::measure::publish::Publish;
use crate::measure::sustained::Sustained;
use crate::server::Product;
use crate::stats::Spread;
use crate::suite::Results;

impl Results {
    /// `None` where that was not measured.
    pub(super) fn idle(&self, server: Product, variant: Variant, value: fn(&Idle) -> f64) -> Option<Spread> {
        let of = |run: &&Idle| (run.server, run.variant) == (server, variant);
        Spread::of(self.idle.iter().filter(of).map(value))
    }

    pub(super) fn fanout(
        &self,
        server: Product,
        transport: Transport,
        value: fn(&Fanout) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.fanouts(server, transport).map(value))
    }

    /// What the gateway has of what another has.
    pub(super) fn fanout_ratio(
        &self,
        other: Product,
        transport: Transport,
        value: fn(&Fanout) -> f64,
    ) -> Option<Spread> {
        ratio(self.fanouts(Product::Rig, transport).map(value), self.fanouts(other, transport).map(value))
    }

    fn fanouts(&self, server: Product, transport: Transport) -> impl Iterator<Item = &Fanout> {
        self.fanout.iter().filter(move |run| (run.server, run.transport) == (server, transport))
    }

    /// Without a rate: as fast as the server takes them.
    pub(super) fn sustained(
        &self,
        server: Product,
        transport: Transport,
        rate: Option<u32>,
        value: fn(&Sustained) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.sustaineds(server, transport, rate).map(value))
    }

    pub(super) fn saturated_ratio(&self, other: Product, transport: Transport) -> Option<Spread> {
        let cpu = |server| self.sustaineds(server, transport, None).map(|run| run.server_microseconds);
        ratio(cpu(Product::Rig), cpu(other))
    }

    fn sustaineds(
        &self,
        server: Product,
        transport: Transport,
        rate: Option<u32>,
    ) -> impl Iterator<Item = &Sustained> {
        let of = move |run: &&Sustained| (run.server, run.transport, run.rate) == (server, transport, rate);
        self.sustained.iter().filter(of)
    }

    /// The rates that were tried, in events in a second.
    pub(super) fn rates(&self) -> Vec<u32> {
        let mut rates: Vec<_> = self.sustained.iter().filter_map(|run| run.rate).collect();
        rates.sort_unstable();
        rates.dedup();
        rates
    }

    /// Numbers of subscriptions in the index, and the CPU time of an event, µs.
    pub(super) fn filter(&self) -> Vec<(u64, Spread)> {
        let mut numbers: Vec<_> = self.filter.iter().map(|run| run.subscriptions).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let of = |number| {
            let runs = self.filter.iter().filter(move |run| run.subscriptions == number);
            Spread::of(runs.map(|run| run.microseconds))
        };
        numbers.into_iter().filter_map(|number| Some((number, of(number)?))).collect()
    }

    pub(super) fn publish(
        &self,
        server: Product,
        publishers: u32,
        value: fn(&Publish) -> f64,
    ) -> Option<Spread> {
        let of = |run: &&Publish| (run.server, run.publishers) == (server, publishers);
        Spread::of(self.publish.iter().filter(of).map(value))
    }

    pub(super) fn connect(
        &self,
        server: Product,
        transport: Transport,
        value: fn(&Connect) -> f64,
    ) -> Option<Spread> {
        let of = |run: &&Connect| (run.server, run.transport) == (server, transport);
        Spread::of(self.connect.iter().filter(of).map(value))
    }
}

fn ratio(these: impl Iterator<Item = f64>, others: impl Iterator<Item = f64>) -> Option<Spread> {
    Spread::of(these.zip(others).map(|(this, other)| this / other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round() {
        let ratio = ratio([1.0, 4.0, 9.0].into_iter(), [1.0, 2.0, 3.0].into_iter()).unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (1.0, 2.0, 3.0));
        assert!(super::ratio([].into_iter(), [1.0].into_iter()).is_none());
    }
}
