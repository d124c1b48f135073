//! Events from Kafka, as a page of Markdown.

use std::path::Path;

use serde::Serialize;

use super::template;
use crate::event;
use crate::machine::Testbed;
use crate::measure::kafka::{self, Dropped, KafkaPlan, KafkaRuns, MessageReader, SIZE};
use crate::server::{Launch, Product};

/// Messages of a whole measurement; fewer show only that it works.
const WHOLE: u32 = 1_000_000;

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct KafkaResults {
    machine: Testbed,
    plan: KafkaPlan,
    #[serde(flatten)]
    runs: KafkaRuns,
}

/// What the page shows.
#[derive(Serialize)]
struct KafkaPage<'a> {
    #[serde(flatten)]
    results: &'a KafkaResults,
    whole: bool,
    /// What the gateway takes for a message beyond its library, in each round. µs.
    own: Vec<f64>,
    /// What the resident set of the gateway grows by, in each round. KiB.
    grown_kib: Vec<f64>,
    /// Messages in a second, in each round.
    rates: Vec<f64>,
    /// Bytes.
    message_size: usize,
    event_size: usize,
}

/// Measures and writes `kafka.md` and `kafka.json` into the folder.
///
/// # Errors
/// One of the runs fails, or the files cannot be written.
pub(crate) async fn run(launch: &Launch, plan: &KafkaPlan, out: &Path) -> anyhow::Result<()> {
    let machine = Testbed::look(launch, &[Product::Rig])?;
    let runs = kafka::run(launch, plan).await?;
    super::write(out, "kafka", &KafkaResults { machine, plan: plan.clone(), runs }, page)
}

fn page(results: &KafkaResults) -> anyhow::Result<String> {
    let of = |reader, round| {
        results.runs.dropped.iter().find(move |run: &&Dropped| run.reader == reader && run.round == round)
    };
    let rounds = 1..=results.plan.rounds;
    let own = rounds.filter_map(|round| {
        let (gateway, library) = (of(MessageReader::Gateway, round)?, of(MessageReader::Library, round)?);
        Some(gateway.microseconds - library.microseconds)
    });
    let gateway = || results.runs.dropped.iter().filter(|run| run.reader == MessageReader::Gateway);
    let page = KafkaPage {
        results,
        whole: results.plan.messages >= WHOLE,
        own: own.collect(),
        grown_kib: gateway().map(|run| run.peak_kib as f64 - run.before_kib as f64).collect(),
        rates: gateway().map(|run| f64::from(results.plan.messages) / run.seconds).collect(),
        message_size: SIZE,
        event_size: event::SIZE,
    };
    template::render(include_str!("kafka.md.jinja"), page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::kafka::{KafkaDelivery, Origin};

    #[test]
    fn the_library_is_taken_off_round_by_round() {
        let plan = KafkaPlan {
            broker: "tansu".into(),
            python: "python".into(),
            rounds: 2,
            messages: 1_000_000,
            subscribers: 1000,
            events: 2000,
        };
        let dropped = |reader, round, microseconds, seconds| Dropped {
            reader,
            round,
            seconds,
            microseconds,
            system_part: 0.25,
            before_kib: 20_480,
            peak_kib: 51_200,
        };
        let dropped = vec![
            dropped(MessageReader::Gateway, 1, 3.0, 2.0),
            dropped(MessageReader::Library, 1, 1.0, 1.0),
            dropped(MessageReader::Library, 2, 4.0, 1.0),
            dropped(MessageReader::Gateway, 2, 7.0, 4.0),
        ];
        let delivery = |from, round, microseconds, events_per_second| KafkaDelivery {
            from,
            round,
            seconds: 1.0,
            events_per_second,
            microseconds,
            system_part: 0.75,
            client_microseconds: 2.0,
        };
        let deliveries = vec![
            delivery(Origin::Kafka, 1, 5.0, 196.0),
            delivery(Origin::Http, 1, 5.0, 200.0),
            delivery(Origin::Http, 2, 5.0, 200.0),
            delivery(Origin::Kafka, 2, 7.0, 176.0),
        ];
        let (broker, library) = ("tansu 0.6.0".to_owned(), "librdkafka 2.12.1".to_owned());
        let runs = KafkaRuns { broker, library, dropped, deliveries };
        let page = page(&KafkaResults { machine: Testbed::unknown(), plan, runs }).unwrap();
        for row in [
            "| first to last event at the client | 3.00 (2.00–4.00) s | ≤ 3 | met |",
            "| messages in a second | 375000 (250000–500000) |  |  |",
            "| CPU for a message | 5.00 (3.00–7.00) µs |  |  |",
            "| CPU for a message, library alone | 2.50 (1.00–4.00) µs |  |  |",
            "| CPU for a message, the gateway's own code | 2.50 (2.00–3.00) µs | ≤ 2 | **missed** |",
            "| resident set, largest | 50.0 (50.0–50.0) MiB |  |  |",
            "| growth | 30.0 (30.0–30.0) MiB |  |  |",
            "| from Kafka | 186 (176–196) | 186000 | 6.00 (5.00–7.00) | 75 % | 2.00 (2.00–2.00) |",
            "| CPU for a delivery | 1.20 (1.00–1.40) | ≤ 1.1 | **missed** |",
            "| events in a second | 0.93 (0.88–0.98) | ≥ 0.9 | met |",
        ] {
            assert!(page.contains(&format!("{row}\n")), "{row}: {page}");
        }
        assert!(!page.contains("only that it works"), "{page}");
    }
}
