//! `rig check --online`: connects to the brokers that the settings name, and looks whether what the
//! gateway needs is there. `rig check --fetch`: fetches the keys of the identity providers.
//!
//! The definitions of APIs are those of `PROXY_CONFIG_FILE`. Those that a gateway has stored were
//! checked when they were stored, and belong to its data folder.

#[cfg(any(feature = "kafka", feature = "kinesis"))]
use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use auth::{CheckedIssuer, Issuer, Issuers, check_issuer};
use broker::Finding;
use cluster::nats::{NatsConfig, NatsWire};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use json::escape_text;
#[cfg(any(feature = "kafka", feature = "kinesis"))]
use proxy::{Broker, Definitions};
use seal::Incarnation;

use crate::cli::Looks;
use crate::settings::Settings;

/// How long each broker and each provider may take. All are looked at side by side.
const WITHIN: Duration = Duration::from_secs(10);

/// How long the process waits for connections to close.
const LEAVE: Duration = Duration::from_millis(500);

/// What a cluster's NATS is called.
const CLUSTER: &str = "cluster: connection to NATS";

/// Looks at what is asked for, and prints a line for each finding.
///
/// # Errors
/// Fails if something cannot be used, naming all of it.
pub(crate) fn check(settings: Settings, looks: Looks) -> anyhow::Result<()> {
    // rustls has one provider for the whole process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut all = Vec::new();
    if looks.fetch {
        all.extend(at_issuers(&settings.rooms.issuers.issuers));
    }
    if looks.online {
        all.extend(at_brokers(settings));
    }
    let findings: Vec<_> = runtime.block_on(async { join_all(all).await.concat() });
    // A library may still wait for a broker.
    runtime.shutdown_timeout(LEAVE);
    report(&findings, looks)
}

fn report(findings: &[Finding], looks: Looks) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let mut failed = Vec::new();
    for Finding { what, result } in findings {
        let (Ok(text) | Err(text)) = result;
        writeln!(out, "{}", escape_text(&format!("{what}: {text}")))?;
        if result.is_err() {
            failed.push(what.as_str());
        }
    }
    match (findings.len(), failed.len()) {
        (0, _) if looks.fetch => writeln!(out, "no identity provider is configured")?,
        (0, _) => writeln!(out, "no broker is configured")?,
        (count, 0) => writeln!(out, "all of {count} checks are good")?,
        (count, bad) => {
            let failed = failed.join(", ");
            bail!("{bad} of {count} checks failed: {}", escape_text(&failed))
        }
    }
    Ok(())
}

/// Returns the looks at all brokers that are used.
fn at_brokers(settings: Settings) -> Vec<BoxFuture<'static, Vec<Finding>>> {
    let mut looks = Vec::new();
    #[cfg(feature = "kafka")]
    if let Some(kafka) = settings.brokers.kafka {
        looks.extend(at_kafka(kafka, &settings.stored.apis));
    }
    #[cfg(feature = "kinesis")]
    {
        let kinesis = settings.brokers.kinesis;
        let targets = (kinesis.target, topics(&settings.stored.apis, Broker::Kinesis));
        looks.push(broker::kinesis::check::check(kinesis.source, targets, WITHIN).boxed());
    }
    #[cfg(feature = "nats")]
    if let Some(nats) = settings.brokers.nats {
        looks.push(broker::nats::check::check(nats, WITHIN).boxed());
    }
    if let Some(cluster) = settings.cluster {
        looks.push(at_cluster(cluster.nats).boxed());
    }
    looks
}

/// Returns the looks at all identity providers.
fn at_issuers(issuers: &Issuers) -> Vec<BoxFuture<'static, Vec<Finding>>> {
    let look = |issuer: &Arc<Issuer>| {
        let config = issuer.config.clone();
        async move { of_issuer(&config.id, check_issuer(&config).await) }.boxed()
    };
    issuers.iter().map(look).collect()
}

fn of_issuer(id: &str, checked: Result<CheckedIssuer, String>) -> Vec<Finding> {
    let what = |of: &str| format!("issuer {id}: {of}");
    let checked = match checked {
        Ok(checked) => checked,
        Err(reason) => return vec![Finding::new(what("keys"), Err::<String, _>(reason))],
    };
    let good = |of, found: &dyn fmt::Display| Finding::new(what(of), Ok::<_, String>(found));
    let count = checked.keys.len();
    let keys = format!("{count} {} at {}", if count == 1 { "key" } else { "keys" }, checked.key_set);
    let metadata = checked.metadata.iter().map(|place| good("metadata", place));
    let unusable = checked.skipped.iter().map(|flaw| good("a key that is not used", flaw));
    metadata.chain([good("keys", &keys)]).chain(unusable).collect()
}

#[cfg(feature = "kafka")]
fn at_kafka(
    kafka: crate::settings::KafkaSettings,
    apis: &Definitions,
) -> Vec<BoxFuture<'static, Vec<Finding>>> {
    use broker::kafka::Reach;
    use broker::kafka::check::{KafkaCheck, check, check_registry};

    let mut needed: Vec<_> = topics(apis, Broker::Kafka).into_iter().collect();
    needed.extend(kafka.dead_letters);
    needed.extend(kafka.log.iter().map(|log| log.topic.clone()));
    let mut unused = kafka.response_topics;
    if apis.endpoints().any(|endpoint| endpoint.response_from == proxy::ResponseFrom::Kafka) {
        needed.append(&mut unused);
    }
    let group = match kafka.reach {
        Reach::Group { id, .. } => Some(id),
        Reach::Every => None,
    };
    let config = KafkaCheck { access: kafka.access, sources: kafka.topics, group, needed, unused };
    let mut looks = vec![check(config, WITHIN).boxed()];
    if let Some(registry) = kafka.registry {
        let mut subjects = BTreeSet::new();
        if kafka.sends_avro {
            let endpoints =
                apis.endpoints().filter_map(|endpoint| endpoint.broker.as_ref()?.schema.as_deref());
            subjects.extend(endpoints.map(str::to_owned));
            subjects.extend(kafka.log.and_then(|log| log.schema));
        }
        looks.push(check_registry(registry, subjects, WITHIN).boxed());
    }
    looks
}

/// Returns the topics or streams of a broker that endpoints send to.
#[cfg(any(feature = "kafka", feature = "kinesis"))]
fn topics(apis: &Definitions, broker: Broker) -> BTreeSet<String> {
    let targets = apis.endpoints().filter_map(|endpoint| endpoint.broker.as_ref());
    targets.filter(|target| target.broker == broker).map(|target| target.topic.to_string()).collect()
}

async fn at_cluster(config: NatsConfig) -> Vec<Finding> {
    // A name that no node has.
    let config = NatsConfig { node: "operator".to_owned(), ..config };
    let connected = match NatsWire::open(&config, Incarnation::unnamed()).await {
        Ok(wire) => wire.connected(WITHIN).await,
        Err(error) => Err(error.to_string()),
    };
    vec![Finding::new(CLUSTER, connected.map(|()| "connected"))]
}
