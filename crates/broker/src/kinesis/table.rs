//! The table of leases: in DynamoDB, where the workers of a group share it, or in memory.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    TableStatus,
};
use parking_lot::Mutex;

use super::aws::{Failed, Trouble};
use super::lease::{Change, Lease, Leases, Position, ShardId, apply};

/// Limit of the rows that are read. Streams have fewer shards, also with those that are closed.
const ROWS: usize = 20_000;

// The columns.
const SHARD: &str = "leaseKey";
const OWNER: &str = "leaseOwner";
const COUNTER: &str = "leaseCounter";
const CHECKPOINT: &str = "checkpoint";
const PART: &str = "checkpointSubSequenceNumber";
const SWITCHES: &str = "ownerSwitchesSinceCheckpoint";
const PARENTS: &str = "parentShardId";
const SINCE: &str = "rigLatestSince";

/// The table of leases, as one worker sees it.
pub(crate) enum Table {
    /// The workers of a group share it.
    Shared(SharedTable),
    /// There is no other worker, and nothing is kept.
    Own { worker: Arc<str>, leases: Mutex<Leases> },
}

/// A table in DynamoDB.
pub(crate) struct SharedTable {
    pub(crate) client: Client,
    pub(crate) name: String,
    pub(crate) worker: Arc<str>,
}

impl Table {
    /// Returns all leases.
    pub(crate) async fn read(&self) -> Result<Vec<Lease>, Failed> {
        match self {
            Self::Shared(shared) => shared.read().await,
            Self::Own { leases, .. } => Ok(leases.lock().values().cloned().collect()),
        }
    }

    /// Changes a lease. Returns `false` if the condition of the change does not hold.
    pub(crate) async fn apply(&self, shard: &ShardId, change: &Change) -> Result<bool, Failed> {
        match self {
            Self::Shared(shared) => match shared.apply(shard, change).await {
                Ok(()) => Ok(true),
                Err(failed) if failed.trouble == Trouble::Condition => Ok(false),
                Err(failed) => Err(failed),
            },
            Self::Own { worker, leases } => Ok(apply(&mut leases.lock(), worker, shard, change)),
        }
    }
}

impl SharedTable {
    async fn read(&self) -> Result<Vec<Lease>, Failed> {
        match self.scan().await {
            Err(failed) if failed.trouble == Trouble::Missing => {
                self.create().await?;
                self.scan().await
            }
            scanned => scanned,
        }
    }

    async fn scan(&self) -> Result<Vec<Lease>, Failed> {
        let mut leases = Vec::new();
        let mut from = None;
        loop {
            let scan = self.client.scan().table_name(&self.name).consistent_read(true);
            let page = Box::pin(scan.set_exclusive_start_key(from).send()).await?;
            leases.extend(page.items().iter().filter_map(lease));
            from = page.last_evaluated_key;
            if from.is_none() {
                return Ok(leases);
            }
            if leases.len() > ROWS {
                return Err(Failed::new(
                    Trouble::Refused,
                    format!("the table {} has more than {ROWS} leases", self.name),
                ));
            }
        }
    }

    /// Creates the table. Fails until it can be used.
    async fn create(&self) -> Result<(), Failed> {
        let key = KeySchemaElement::builder().attribute_name(SHARD).key_type(KeyType::Hash).build();
        let kind =
            AttributeDefinition::builder().attribute_name(SHARD).attribute_type(ScalarAttributeType::S);
        let create = self.client.create_table().table_name(&self.name);
        let create = create
            .key_schema(key.expect("its name and type are set"))
            .attribute_definitions(kind.build().expect("its name and type are set"))
            .billing_mode(BillingMode::PayPerRequest);
        match Box::pin(create.send()).await {
            Ok(_) => {
                tracing::info!(table = self.name, "created the table of the leases on shards of Kinesis")
            }
            Err(error)
                if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => {}
            Err(error) => return Err(error.into()),
        }
        let describe = self.client.describe_table().table_name(&self.name);
        let described = Box::pin(describe.send()).await?;
        let status = described.table.and_then(|table| table.table_status);
        if status == Some(TableStatus::Active) {
            return Ok(());
        }
        Err(Failed::new(Trouble::Away, format!("the table {} is being created", self.name)))
    }

    async fn apply(&self, shard: &ShardId, change: &Change) -> Result<(), Failed> {
        let write = match change {
            Change::Create(lease) => {
                let put = self.client.put_item().table_name(&self.name).set_item(Some(row(lease)));
                let unless = format!("attribute_not_exists({SHARD})");
                Box::pin(put.condition_expression(unless).send()).await?;
                return Ok(());
            }
            Change::Delete { counter } => {
                let delete = self.client.delete_item().table_name(&self.name).key(SHARD, text(shard));
                let delete = delete.condition_expression(format!("{COUNTER} = :counter"));
                let delete = delete.expression_attribute_values(":counter", number(counter));
                Box::pin(delete.send()).await?;
                return Ok(());
            }
            Change::Renew { counter } => self
                .write(&[(COUNTER, number(counter.wrapping_add(1)))])
                .when(COUNTER, number(counter))
                .when(OWNER, text(&self.worker)),
            Change::Take { lease, now } => {
                let taken = lease.taken_by(&self.worker, *now);
                let mut set = vec![
                    (OWNER, text(&self.worker)),
                    (COUNTER, number(taken.counter)),
                    (SWITCHES, number(taken.switches)),
                ];
                set.extend(taken.since.map(|since| (SINCE, number(since))));
                let write = self.write(&set).when(COUNTER, number(lease.counter));
                match &lease.owner {
                    Some(owner) => write.when(OWNER, text(owner)),
                    None => write.when_absent(OWNER),
                }
            }
            Change::Store(position) => {
                let (checkpoint, part) = position.columns();
                self.write(&[(CHECKPOINT, text(checkpoint)), (PART, number(part)), (SWITCHES, number(0))])
                    .when(OWNER, text(&self.worker))
            }
            Change::Release => {
                let mut write = self.write(&[]).when(OWNER, text(&self.worker));
                write.values.insert(":one".to_owned(), number(1));
                write.update = format!("SET {COUNTER} = {COUNTER} + :one REMOVE {OWNER}");
                write
            }
        };
        let update = self.client.update_item().table_name(&self.name).key(SHARD, text(shard));
        let update = update
            .update_expression(write.update)
            .condition_expression(write.condition)
            .set_expression_attribute_values(Some(write.values));
        Box::pin(update.send()).await?;
        Ok(())
    }

    fn write(&self, set: &[(&str, AttributeValue)]) -> Write {
        let assignments: Vec<_> = set.iter().map(|(column, _)| format!("{column} = :{column}")).collect();
        let values = set.iter().map(|(column, value)| (format!(":{column}"), value.clone())).collect();
        Write { update: format!("SET {}", assignments.join(", ")), condition: String::new(), values }
    }
}

/// A change of a row, in the language of DynamoDB.
struct Write {
    update: String,
    condition: String,
    values: HashMap<String, AttributeValue>,
}

impl Write {
    /// Adds the condition that a column has this value.
    fn when(mut self, column: &str, value: AttributeValue) -> Self {
        self.values.insert(format!(":was_{column}"), value);
        self.and(format!("{column} = :was_{column}"))
    }

    /// Adds the condition that the row lacks a column.
    fn when_absent(self, column: &str) -> Self {
        self.and(format!("attribute_not_exists({column})"))
    }

    fn and(mut self, condition: String) -> Self {
        if !self.condition.is_empty() {
            self.condition += " AND ";
        }
        self.condition += &condition;
        self
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// Returns the row of a new lease.
fn row(lease: &Lease) -> HashMap<String, AttributeValue> {
    let (checkpoint, part) = lease.position.columns();
    let mut row = HashMap::from([
        (SHARD.to_owned(), text(&lease.shard)),
        (COUNTER.to_owned(), number(lease.counter)),
        (CHECKPOINT.to_owned(), text(checkpoint)),
        (PART.to_owned(), number(part)),
        (SWITCHES.to_owned(), number(lease.switches)),
    ]);
    row.extend(lease.since.map(|since| (SINCE.to_owned(), number(since))));
    if !lease.parents.is_empty() {
        let parents = lease.parents.iter().map(|parent| parent.to_string()).collect();
        row.insert(PARENTS.to_owned(), AttributeValue::Ss(parents));
    }
    row
}

/// Returns the lease of a row; `None` if the row is none.
fn lease(row: &HashMap<String, AttributeValue>) -> Option<Lease> {
    let text = |column| row.get(column).and_then(|value| value.as_s().ok()).map(String::as_str);
    fn number<N: std::str::FromStr>(row: &HashMap<String, AttributeValue>, column: &str) -> Option<N> {
        row.get(column)?.as_n().ok()?.parse().ok()
    }
    let parents = row.get(PARENTS).and_then(|value| value.as_ss().ok());
    Some(Lease {
        shard: text(SHARD)?.into(),
        owner: text(OWNER).map(Into::into),
        counter: number(row, COUNTER)?,
        position: Position::parse(text(CHECKPOINT)?, number(row, PART).unwrap_or(0)),
        switches: number(row, SWITCHES).unwrap_or(0),
        parents: parents.into_iter().flatten().map(|parent| parent.as_str().into()).collect(),
        since: number(row, SINCE),
    })
}
