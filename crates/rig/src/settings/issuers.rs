//! The identity providers whose tokens are accepted, and what they may report.
//!
//! | file | contents |
//! | --- | --- |
//! | `one` | the members of one table of `ISSUERS` |
//! | `events` | its table `events` |
//! | `asked` | what it is asked about tokens: `introspection`, `status_lists` |
//! | `short` | the provider of the variables `OIDC_…` |
//! | `value` | single values: URLs, pointers, texts |

mod asked;
mod events;
mod one;
mod short;
pub(super) mod value;

use std::collections::HashMap;
use std::sync::Arc;

use auth::{IssuerConfig, Issuers};
use identity::{FeedConfig, SubjectIssuer};
use session::IssuerField;

use super::reader::Reader;
use super::tables::{Table, read_tables};

/// Limit of the number of issuers. Each has a task, and labels in the metrics.
const MOST: usize = 32;

/// The issuers, and how they reach the gateway.
pub(crate) struct IssuerSettings {
    /// Who may sign tokens.
    pub(crate) issuers: Issuers,
    /// What each of them may report, in the same order.
    pub(crate) feeds: Vec<FeedConfig>,
    /// Whether they report at the internal port.
    pub(crate) report_internally: bool,
}

/// An issuer that has been read.
struct IssuerRead {
    config: IssuerConfig,
    /// What it may report.
    feed: FeedConfig,
    /// The ids of the issuers whose tokens its events may select.
    subject_issuers: Vec<String>,
}

/// What all issuers have in common.
struct Common {
    /// `JWT_SESSION_FIELD`.
    session_field: String,
    /// `PUBLIC_URL`, without a slash at its end.
    public_url: Option<String>,
}

/// The ids and texts of issuers, each with the name of its setting: two issuers may not share one.
#[derive(Default)]
struct Taken(HashMap<(&'static str, Arc<str>), String>);

impl Taken {
    /// Takes a text for the setting `name`. Fails with the name of the setting that has it already.
    fn take(&mut self, kind: &'static str, text: &Arc<str>, name: String) -> Result<(), String> {
        match self.0.entry((kind, text.clone())) {
            std::collections::hash_map::Entry::Occupied(other) => Err(other.get().clone()),
            std::collections::hash_map::Entry::Vacant(free) => {
                free.insert(name);
                Ok(())
            }
        }
    }
}

/// Reads all issuers. `session_field` is where tokens name their session if an issuer does not say
/// so itself.
pub(super) fn read_issuers(reader: &mut Reader, session_field: &str) -> IssuerSettings {
    let public_url = reader.optional("PUBLIC_URL", |text, kind| match value::url(text, false) {
        Ok(_) if !text.contains('?') => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(format!("expected {kind}")),
    });
    let common = Common { session_field: session_field.to_owned(), public_url };
    let report_internally = reader.word("FEEDS_PORT", |word| match word {
        "inbound" => Some(false),
        "internal" => Some(true),
        _ => None,
    });
    let mut taken = Taken::default();
    let mut tables = read_tables(reader, "ISSUERS", MOST);
    let mut all: Vec<_> = tables.iter_mut().map(|table| one::read(table, &common, &mut taken)).collect();
    for (index, table) in tables.into_iter().enumerate() {
        name_subject_issuers(&mut all, index, table).finish(reader);
    }
    all.push(short::read(reader, &common, &mut taken));
    let (mut configs, mut feeds) = (Vec::new(), Vec::new());
    for read in all.into_iter().flatten() {
        configs.push(read.config);
        feeds.push(read.feed);
    }
    IssuerSettings { issuers: Issuers::new(configs), feeds, report_internally }
}

/// Looks up the issuers whose tokens the events of an issuer may select. Returns its table.
fn name_subject_issuers(all: &mut [Option<IssuerRead>], index: usize, mut table: Table) -> Table {
    let Some(read) = &all[index] else { return table };
    let mut subject_issuers = Vec::new();
    for id in &read.subject_issuers {
        let others = all.iter().flatten().map(|other| &other.config);
        let mut others = others.filter(|other| *other.id != *read.config.id);
        match others.find(|other| *other.id == **id) {
            Some(other) => subject_issuers.push(SubjectIssuer {
                id: other.id.clone(),
                issuer: other.issuer.clone(),
                aliases: other.aliases.clone(),
                max_token_life: other.max_token_life,
                leeway: other.leeway,
            }),
            None => {
                table.mistake("events.subject_issuers", format!("{id:?} is not the id of another issuer"))
            }
        }
    }
    if let Some(events) = all[index].as_mut().and_then(|read| read.feed.events.as_mut()) {
        events.subject_issuers = subject_issuers;
    }
    table
}

impl IssuerSettings {
    /// Returns where the tokens of each issuer name their session, and what selects them.
    pub(super) fn session_fields(&self) -> Vec<IssuerField> {
        let field = |feed: &FeedConfig| IssuerField {
            issuer: feed.issuer.clone(),
            aliases: feed.aliases.clone(),
            session_field: feed.session_field.clone(),
            selectable: feed.claims().map(str::to_owned).collect(),
            leeway: Some(feed.leeway),
        };
        self.feeds.iter().map(field).collect()
    }
}
