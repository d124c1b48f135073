//! The registry, with what it has answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout};

use crate::answer::{Answer, Failure, Reference};
use crate::client::Client;
use crate::config::{ConfigError, RegistryConfig};
use crate::error::{DecodeError, EncodeError};
use crate::schema::Schema;

/// Schemas in the cache; beyond that, those that are used least are evicted and asked for again.
const MOST_SCHEMAS: usize = 1_000;

/// Limit of the memory of the schemas in the cache, in bytes, with the same effect.
const SCHEMA_BYTES: u64 = 256 << 20;

/// Subjects in the cache, with the same effect.
const MOST_SUBJECTS: usize = 1_000;

/// How long the latest schema of a subject is used before the registry is asked again.
const FRESH: Duration = Duration::from_mins(5);

/// How long a caller waits for a newer schema before it uses the one from before. It must be less
/// than the time that requests may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Deadline of loading a schema with all that it refers to.
const WITHIN: Duration = Duration::from_secs(15);

/// How long nothing is asked after the registry did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Limit of the schemas that a schema refers to, also through others.
const MOST_REFERENCES: usize = 64;

/// Limit of the levels of references.
const DEEPEST_REFERENCE: usize = 16;

/// The first byte of the wire format.
const MAGIC: u8 = 0;

/// The largest id: registries count in signed numbers.
const LARGEST_ID: u32 = i32::MAX.cast_unsigned();

/// What a path segment may hold as it is (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A schema registry with the HTTP interface of Confluent's. It is asked for what is not cached,
/// and what is cached is used while it is down.
#[derive(Debug)]
pub struct Registry {
    loader: Arc<Loader>,
    subjects: Cache<String, Arc<Subject>>,
}

/// Loads schemas.
#[derive(Debug)]
struct Loader {
    client: Client,
    /// A schema never changes under its id. The reason why one cannot be used stays as well.
    schemas: Cache<u32, Result<Arc<Schema>, Failure>, ByWeight>,
    outage: Mutex<Option<Outage>>,
}

/// A subject with its latest schema.
#[derive(Debug, Default)]
struct Subject {
    latest: Mutex<Option<Latest>>,
    /// Held by the one that asks for the latest schema.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// The latest schema of a subject.
#[derive(Clone, Debug)]
struct Latest {
    id: u32,
    schema: Arc<Schema>,
    since: Instant,
}

/// A time in which the registry is not asked.
#[derive(Clone, Debug)]
struct Outage {
    until: Instant,
    reason: String,
}

#[derive(Clone, Debug)]
struct ByWeight;

impl Weighter<u32, Result<Arc<Schema>, Failure>> for ByWeight {
    fn weight(&self, _: &u32, schema: &Result<Arc<Schema>, Failure>) -> u64 {
        let least = SCHEMA_BYTES / MOST_SCHEMAS as u64;
        schema.as_ref().map_or(least, |schema| least.max(schema.weight() as u64))
    }
}

impl Registry {
    /// Reads the files for TLS, but does not connect yet. Blocks on disk I/O.
    ///
    /// # Errors
    /// Fails if the configuration is wrong, or a file cannot be used.
    pub fn new(config: RegistryConfig) -> Result<Self, ConfigError> {
        // One shard: the weight of a large schema must not exceed that of its shard.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(MOST_SCHEMAS)
            .weight_capacity(SCHEMA_BYTES)
            .build()
            .expect("both capacities are given");
        let loader = Loader {
            client: Client::new(&config)?,
            schemas: Cache::with_options(
                options,
                ByWeight,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            outage: Mutex::new(None),
        };
        Ok(Self { loader: Arc::new(loader), subjects: Cache::new(MOST_SUBJECTS) })
    }

    /// Decodes a message in the wire format: a zero byte, the id of the schema in four bytes,
    /// big-endian, and the Avro binary encoding. The crate describes the JSON.
    ///
    /// # Errors
    /// Fails if the message or its schema cannot be used, or if the schema is not cached and the
    /// registry does not answer.
    pub async fn decode(&self, bytes: &[u8]) -> Result<Value, DecodeError> {
        let (id, encoded) = match bytes {
            [MAGIC, a, b, c, d, encoded @ ..] => (u32::from_be_bytes([*a, *b, *c, *d]), encoded),
            _ => {
                let reason = "expected a zero byte and the id of a schema in four bytes";
                return Err(DecodeError::Malformed(reason.to_owned()));
            }
        };
        let schema = self.loader.schema(id).await.map_err(|failure| DecodeError::of_schema(id, failure))?;
        schema.decode(encoded).map_err(|error| DecodeError::Malformed(format!("schema {id}: {error}")))
    }

    /// Encodes a value by the latest schema of a subject, in the wire format.
    ///
    /// # Errors
    /// Fails if the value does not fit the schema, the subject has none that can be used, or none
    /// is cached and the registry does not answer.
    pub async fn encode(&self, subject: &str, data: &Value) -> Result<Bytes, EncodeError> {
        let latest = self.latest(subject).await;
        let latest = latest.map_err(|failure| EncodeError::of_subject(subject, failure))?;
        let mut encoded = Vec::new();
        encoded.put_u8(MAGIC);
        encoded.put_u32(latest.id);
        let fits = latest.schema.encode_into(data, &mut encoded);
        fits.map_err(|mismatch| EncodeError::Invalid(mismatch.to_string()))?;
        Ok(encoded.into())
    }

    /// Checks that the registry is reached and accepts the credentials, whatever is cached.
    ///
    /// # Errors
    /// Fails with the reason.
    pub async fn check(&self) -> Result<(), String> {
        self.loader.client.check("/subjects").await.map_err(|failure| match failure {
            Failure::Unknown => "no subjects".to_owned(),
            Failure::Flaw(reason) | Failure::Unavailable(reason) | Failure::Forbidden(reason) => reason,
        })
    }

    /// Returns the latest schema of a subject. It is loaded by one caller at a time. If there is
    /// one from before, the others use that, and this one does so if the registry is slow or away.
    async fn latest(&self, name: &str) -> Result<Latest, Failure> {
        let new = || Ok::<_, Failure>(Arc::default());
        let subject: Arc<Subject> = self.subjects.get_or_insert_with(name, new)?;
        let before = subject.latest.lock().clone();
        let asking = match (&before, subject.asking.clone().try_lock_owned()) {
            (Some(latest), _) if latest.is_fresh() => return Ok(latest.clone()),
            (Some(latest), Err(_)) => return Ok(latest.clone()),
            (_, Ok(asking)) => asking,
            (None, Err(_)) => subject.asking.clone().lock_owned().await,
        };
        let loading = Box::pin(self.loader.clone().renew(name.to_owned(), subject, asking));
        let Some(before) = before else { return loading.await };
        // A task, which goes on when the caller does not wait any longer: the outage of a registry
        // that hangs must become known.
        match timeout(PATIENCE, tokio::spawn(loading)).await {
            Ok(Ok(loaded)) => loaded,
            _ => Ok(before),
        }
    }
}

impl Latest {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < FRESH
    }
}

impl Loader {
    /// Returns the schema with an id. Concurrent calls for one id make one request.
    async fn schema(&self, id: u32) -> Result<Arc<Schema>, Failure> {
        if id > LARGEST_ID {
            return Err(Failure::Unknown);
        }
        let load = async {
            match self.load_in_time(&format!("/schemas/ids/{id}")).await {
                Ok((_, schema)) => Ok(Ok(schema)),
                Err(Failure::Flaw(reason)) => Ok(Err(Failure::Flaw(reason))),
                // Not cached: an id may become known, and a registry comes back.
                Err(failure) => Err(failure),
            }
        };
        self.schemas.get_or_insert_async(&id, Box::pin(load)).await.flatten()
    }

    /// Loads the latest schema of a subject, unless that was just done. The one from before stays
    /// while the registry is away.
    async fn renew(
        self: Arc<Self>,
        name: String,
        subject: Arc<Subject>,
        _asking: OwnedMutexGuard<()>,
    ) -> Result<Latest, Failure> {
        let before = subject.latest.lock().clone();
        if let Some(latest) = before.clone().filter(Latest::is_fresh) {
            return Ok(latest);
        }
        match (self.load_latest(&name).await, before) {
            (Err(Failure::Unavailable(_) | Failure::Forbidden(_)), Some(latest)) => Ok(latest),
            (loaded, _) => {
                *subject.latest.lock() = loaded.as_ref().ok().cloned();
                loaded
            }
        }
    }

    async fn load_latest(&self, name: &str) -> Result<Latest, Failure> {
        if name.is_empty() {
            return Err(Failure::Unknown);
        }
        let (id, schema) = self.load_in_time(&version_path(name, "latest")).await?;
        let id = id.filter(|id| *id <= LARGEST_ID);
        let id = id.ok_or_else(|| Failure::Unavailable("the answer has no id of a schema".to_owned()))?;
        self.schemas.insert(id, Ok(schema.clone()));
        Ok(Latest { id, schema, since: Instant::now() })
    }

    async fn load_in_time(&self, path: &str) -> Result<(Option<u32>, Arc<Schema>), Failure> {
        let late = |_| Failure::Unavailable(format!("no schema within {} s", WITHIN.as_secs()));
        timeout(WITHIN, self.load(path)).await.map_err(late)?
    }

    /// Loads a schema with all that it refers to.
    async fn load(&self, path: &str) -> Result<(Option<u32>, Arc<Schema>), Failure> {
        let answer = self.get(path).await?;
        let mut texts = Vec::new();
        self.load_references(&answer, &mut HashSet::new(), &mut texts, 0).await?;
        let schema =
            Schema::parse(&answer.schema, &texts).map_err(|error| Failure::Flaw(error.to_string()))?;
        Ok((answer.id, Arc::new(schema)))
    }

    /// Loads what a schema refers to, each after what it refers to itself. As in the registry, the
    /// first reference of a name counts, and a version may have been deleted since.
    async fn load_references(
        &self,
        answer: &Answer,
        seen: &mut HashSet<String>,
        texts: &mut Vec<String>,
        depth: usize,
    ) -> Result<(), Failure> {
        for reference in answer.references() {
            if !seen.insert(reference.name.clone()) {
                continue;
            }
            if depth >= DEEPEST_REFERENCE || seen.len() > MOST_REFERENCES {
                return Err(Failure::Flaw("too many references to other schemas".to_owned()));
            }
            let Reference { subject, version, .. } = reference;
            let path = version_path(subject, &format!("{version}?deleted=true"));
            let referred = self.get(&path).await?;
            Box::pin(self.load_references(&referred, seen, texts, depth + 1)).await?;
            // One version may be referred to by several names.
            if texts.contains(&referred.schema) {
                continue;
            }
            texts.push(referred.schema);
            if texts.iter().map(String::len).sum::<usize>() > crate::schema::LONGEST {
                return Err(Failure::Flaw("references to schemas that are too long".to_owned()));
            }
        }
        Ok(())
    }

    /// Asks the registry, unless it just did not answer.
    async fn get(&self, path: &str) -> Result<Answer, Failure> {
        if let Some(outage) = &*self.outage.lock()
            && Instant::now() < outage.until
        {
            return Err(Failure::Unavailable(outage.reason.clone()));
        }
        let answer = self.client.get(path).await;
        let mut outage = self.outage.lock();
        if let Err(Failure::Unavailable(reason)) = &answer {
            if outage.is_none() {
                tracing::warn!(%reason, "the schema registry is unavailable");
            }
            *outage = Some(Outage { until: Instant::now() + PAUSE, reason: reason.clone() });
        } else if outage.take().is_some() {
            tracing::info!("the schema registry is available again");
        }
        answer
    }
}

fn version_path(subject: &str, version: &str) -> String {
    format!("/subjects/{}/versions/{version}", utf8_percent_encode(subject, UNRESERVED))
}
